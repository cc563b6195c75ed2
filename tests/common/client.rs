//! The service as a caller on the bus sees it: members and signatures as the contract fixes them.
//!
//! Owns the names. Must never use the project's own code, so that a mistake there is not made twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use serde::Serialize;
use zbus::DBusError;
use zbus::fdo::ManagedObjects;
use zbus::message::Message;
use zbus::wire::DynamicDeserialize;
use zbus::{Connection, DynamicType, OwnedObjectPath, OwnedVariant, Variant};

use super::guest::{Console, Turn};
use super::world::eventually;

/// `a{sv}`.
pub(crate) type Properties = HashMap<String, OwnedVariant>;
/// `a{sv}` of a call.
pub(crate) type Options<'a> = HashMap<&'a str, Variant<'a>>;

const SERVICE: &str = "org.warren1";
const ROOT: &str = "/org/warren1";

/// One caller on the bus.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    connection: Connection,
}

impl Client {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Its name on the bus.
    pub(crate) fn unique_name(&self) -> String {
        self.connection.unique_name().expect("a bus gives everybody a name").to_string()
    }

    /// Any call to the service.
    pub(crate) async fn call<B, R>(&self, path: &str, member: &str, body: &B) -> Result<R, zbus::Error>
    where
        B: Serialize + DynamicType + Sync,
        R: for<'d> DynamicDeserialize<'d>,
    {
        self.send(path, member, body).await?.body().deserialize()
    }

    /// As [`Client::call`], whatever the answer is.
    pub(crate) async fn send<B>(&self, path: &str, member: &str, body: &B) -> Result<Message, zbus::Error>
    where
        B: Serialize + DynamicType + Sync,
    {
        let (interface, method) = member.rsplit_once('.').expect("a member is named with its interface");
        self.connection.call_method(Some(SERVICE), path, Some(interface), method, body).await
    }

    /// Sends a message, and waits for no answer.
    pub(crate) async fn post(&self, message: &Message) {
        self.connection.send(message).await.expect("the bus takes it");
    }

    /// Any call to another service.
    pub(crate) async fn call_on<B, R>(
        &self,
        service: &str,
        path: &str,
        member: &str,
        body: &B,
    ) -> Result<R, zbus::Error>
    where
        B: Serialize + DynamicType + Sync,
        R: for<'d> DynamicDeserialize<'d>,
    {
        let (interface, method) = member.rsplit_once('.').expect("a member is named with its interface");
        let reply = self.connection.call_method(Some(service), path, Some(interface), method, body).await?;
        reply.body().deserialize()
    }

    /// Adds a match rule.
    pub(crate) async fn match_signals(&self, rule: &str) {
        let member = "org.freedesktop.DBus.AddMatch";
        let bus = "org.freedesktop.DBus";
        self.call_on::<_, ()>(bus, "/org/freedesktop/DBus", member, &rule).await.expect("a valid rule");
    }

    /// All signals that come from now on.
    pub(crate) fn signals(&self) -> Signals {
        let seen = Signals::default();
        let (all, mut stream) = (seen.0.clone(), zbus::MessageStream::from(&self.connection));
        // Read at once: a stream that nobody reads holds up the whole connection.
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if message.message_type() == zbus::message::Type::Signal {
                    all.lock().expect("no test panicked with it").push(message);
                }
            }
        });
        seen
    }

    /// Leaves the bus.
    pub(crate) async fn leave(self) {
        self.connection.close().await.expect("a connection can be closed");
    }

    /// Puts an object there for others to call.
    pub(crate) async fn serve_at(&self, path: &str, object: impl zbus::object_server::Interface) {
        self.connection.object_server().at(path, object).await.expect("the object is new");
    }

    /// Stands in for a service of that name.
    pub(crate) async fn serve(&self, name: &str, path: &str, object: impl zbus::object_server::Interface) {
        self.serve_at(path, object).await;
        self.connection.request_name(name.to_owned()).await.expect("the name is free");
    }

    async fn bus(&self) -> zbus::fdo::DBusProxy<'_> {
        zbus::fdo::DBusProxy::new(&self.connection).await.expect("the bus answers")
    }

    /// Whether somebody owns this name on the bus.
    pub(crate) async fn has_owner(&self, name: &str) -> bool {
        let bus = self.bus().await;
        bus.name_has_owner(name.try_into().expect("a valid bus name")).await.expect("the bus answers")
    }

    /// How many names there are on the bus.
    pub(crate) async fn names(&self) -> usize {
        let bus = self.bus().await;
        bus.list_names().await.expect("the bus answers").len()
    }

    /// Who owns this name on the bus.
    pub(crate) async fn owner(&self, name: &str) -> Option<String> {
        let bus = self.bus().await;
        let owner = bus.get_name_owner(name.try_into().expect("a valid bus name")).await;
        owner.ok().map(|owner| owner.to_string())
    }

    /// All objects with their properties.
    pub(crate) async fn objects(&self) -> ManagedObjects {
        let member = "org.freedesktop.DBus.ObjectManager.GetManagedObjects";
        self.call(ROOT, member, &()).await.expect("GetManagedObjects answers")
    }

    /// A property of the Manager.
    pub(crate) async fn manager_property(&self, name: &str) -> OwnedVariant {
        let body = ("org.warren1.Manager", name);
        self.call(ROOT, "org.freedesktop.DBus.Properties.Get", &body).await.expect("the property is there")
    }

    /// `DefineNetwork` without options.
    pub(crate) async fn define_network(&self, xml: &str) -> Result<Object, zbus::Error> {
        self.define("Network", xml).await
    }

    /// `DefineDomain` without options.
    pub(crate) async fn define_domain(&self, xml: &str) -> Result<Object, zbus::Error> {
        self.define("Domain", xml).await
    }

    async fn define(&self, kind: &'static str, xml: &str) -> Result<Object, zbus::Error> {
        let member = format!("org.warren1.Manager.Define{kind}");
        let path: OwnedObjectPath = self.call(ROOT, &member, &(xml, Options::new())).await?;
        Ok(Object { client: self.clone(), kind, path })
    }

    /// `GetNetworkByName`.
    pub(crate) async fn network(&self, name: &str) -> Result<Object, zbus::Error> {
        self.find("Network", name).await
    }

    /// `GetDomainByName`.
    pub(crate) async fn domain(&self, name: &str) -> Result<Object, zbus::Error> {
        self.find("Domain", name).await
    }

    async fn find(&self, kind: &'static str, name: &str) -> Result<Object, zbus::Error> {
        let path: OwnedObjectPath =
            self.call(ROOT, &format!("org.warren1.Manager.Get{kind}ByName"), &name).await?;
        Ok(Object { client: self.clone(), kind, path })
    }
}

/// The signals that have come to one connection.
#[derive(Debug, Default)]
pub(crate) struct Signals(Arc<Mutex<Vec<Message>>>);

impl Signals {
    /// Those of this member, in their order.
    pub(crate) fn seen(&self, member: &str) -> Vec<Message> {
        let all = self.0.lock().expect("no test panicked with it");
        all.iter()
            .filter(|m| m.header().member().is_some_and(|name| name.as_str() == member))
            .cloned()
            .collect()
    }
}

/// One network or domain.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    client: Client,
    kind: &'static str,
    pub(crate) path: OwnedObjectPath,
}

impl Object {
    /// The same object as another caller sees it.
    pub(crate) fn seen_by(&self, client: &Client) -> Self {
        Self { client: client.clone(), ..self.clone() }
    }

    /// A method that takes only options, with none.
    pub(crate) async fn ask<R>(&self, method: &str) -> Result<R, zbus::Error>
    where
        R: for<'d> DynamicDeserialize<'d>,
    {
        self.ask_with(method, Options::new()).await
    }

    /// A method that takes only options.
    pub(crate) async fn ask_with<R>(&self, method: &str, options: Options<'_>) -> Result<R, zbus::Error>
    where
        R: for<'d> DynamicDeserialize<'d>,
    {
        self.client.call(self.path.as_str(), &format!("org.warren1.{}.{method}", self.kind), &options).await
    }

    /// `Start`, `Stop` or `Undefine`: done when this returns, also if it went on as a job.
    pub(crate) async fn act(&self, method: &str) -> Result<(), zbus::Error> {
        let job: OwnedObjectPath = self.ask(method).await?;
        if job.as_str() == "/" {
            return Ok(());
        }
        eventually(&format!("the job of {method} ends"), Duration::from_secs(60), async || {
            let body = ("org.warren1.Job", "State");
            let member = "org.freedesktop.DBus.Properties.Get";
            let state: OwnedVariant =
                self.client.call(job.as_str(), member, &body).await.expect("a job lives a minute longer");
            match text(&state).as_str() {
                "running" => None,
                "completed" => Some(()),
                other => panic!("{method} ended as {other}"),
            }
        })
        .await;
        Ok(())
    }

    /// `Start`; it must succeed.
    pub(crate) async fn start(&self) {
        self.act("Start").await.unwrap_or_else(|e| panic!("Start of {} succeeds: {e}", self.path.as_str()));
    }

    /// `Start` of a test guest, which is in its turn: its console and its NICs when it has booted.
    pub(crate) async fn boot(&self) -> (Console, Vec<(String, String)>) {
        let _turn = Turn::wait().await;
        self.start().await;
        let mut console = self.console().await;
        let nics = console.booted().await;
        (console, nics)
    }

    /// `Stop`; it must succeed.
    pub(crate) async fn stop(&self) {
        self.act("Stop").await.unwrap_or_else(|e| panic!("Stop of {} succeeds: {e}", self.path.as_str()));
    }

    /// `Undefine`; it must succeed.
    pub(crate) async fn undefine(&self) {
        self.act("Undefine")
            .await
            .unwrap_or_else(|e| panic!("Undefine of {} succeeds: {e}", self.path.as_str()));
    }

    /// `GetXml`.
    pub(crate) async fn xml(&self) -> String {
        self.ask("GetXml").await.expect("GetXml answers")
    }

    /// A public property.
    pub(crate) async fn property(&self, name: &str) -> OwnedVariant {
        let body = (format!("org.warren1.{}", self.kind), name);
        let member = "org.freedesktop.DBus.Properties.Get";
        self.client.call(self.path.as_str(), member, &body).await.expect("the property is there")
    }

    /// The `State` property.
    pub(crate) async fn state(&self) -> String {
        text(&self.property("State").await)
    }

    /// The `Pid` property of a domain.
    pub(crate) async fn pid(&self) -> u32 {
        u32::try_from(self.property("Pid").await).expect("Pid is a u")
    }

    /// `GetInfo` of a domain.
    pub(crate) async fn info(&self) -> Properties {
        self.ask("GetInfo").await.expect("GetInfo answers")
    }

    /// The list under this key of `GetInfo`, such as `interfaces`.
    pub(crate) async fn info_list(&self, key: &str) -> Vec<Properties> {
        let mut info = self.info().await;
        let list = info.remove(key).unwrap_or_else(|| panic!("GetInfo tells '{key}'"));
        Vec::<Properties>::try_from(list).unwrap_or_else(|e| panic!("'{key}' is aa{{sv}}: {e}"))
    }

    /// `GetLeases` of a network.
    pub(crate) async fn leases(&self) -> Vec<Properties> {
        self.ask("GetLeases").await.expect("GetLeases answers")
    }

    /// `OpenConsole` of a domain.
    pub(crate) async fn console(&self) -> Console {
        let fd: zbus::OwnedFd = self.ask("OpenConsole").await.expect("OpenConsole answers");
        Console::new(fd.into())
    }
}

/// The string in a variant.
pub(crate) fn text(value: &OwnedVariant) -> String {
    String::try_from(value.try_clone().expect("a string can be cloned")).expect("the value is a string")
}

/// The name of the error that a call was answered with.
pub(crate) fn error_name(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(name, ..) => name.to_string(),
        zbus::Error::FDO(error) => error.name().to_string(),
        other => panic!("an answer was expected, this came: {other}"),
    }
}

/// The call failed with this error (`org.warren1.Error.` is left out), and its message has all these words.
pub(crate) fn assert_error<T: std::fmt::Debug>(answer: Result<T, zbus::Error>, name: &str, words: &[&str]) {
    let name = if name.contains('.') { name.to_owned() } else { format!("org.warren1.Error.{name}") };
    match answer {
        Err(zbus::Error::MethodError(found, message, _)) => {
            let message = message.unwrap_or_default();
            assert_eq!(found.as_str(), name, "with the message '{message}'");
            for word in words {
                assert!(message.contains(word), "the message of {name} tells '{word}': '{message}'");
            }
        }
        other => panic!("{name} was expected, this came: {other:?}"),
    }
}
