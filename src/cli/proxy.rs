//! The service as seen from here: one connection, one method for each thing that is asked. Owns names
//! of members and their signatures; must never decide what to ask or print what came.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::OnceCell;
use zbus::fdo::ManagedObjects;
use zbus::message::Type as MessageType;
use zbus::proxy::{Builder, CacheProperties, MethodFlags};
use zbus::wire::DynamicDeserialize;
use zbus::{
    Connection, DynamicType, MatchRule, MessageStream, OwnedFd, OwnedObjectPath, OwnedVariant, Variant,
};

use super::agent;
use super::args::Scope;
use super::error::CliError;
use super::kind::Kind;
use super::near;
use super::remote::Host;

/// The service's name.
pub(super) const SERVICE: &str = "org.warren1";
/// The object that all others are below.
pub(super) const ROOT: &str = "/org/warren1";
const MANAGER: &str = "org.warren1.Manager";
/// The interface of jobs.
pub(super) const JOB: &str = "org.warren1.Job";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";

/// How long the bus has to let us in, and the service to answer a call: libdbus's own limit. A call for which a
/// person is asked has no limit.
const PATIENCE: Duration = Duration::from_secs(25);

/// For who has no session bus, as after `su` or in a job of cron.
const NO_SESSION: &str = "; a session bus comes with a login or by 'dbus-run-session', and DBUS_SESSION_BUS_ADDRESS \
                          says where it is; the system service is --system";

/// `a{sv}`.
pub(super) type Map = HashMap<String, OwnedVariant>;
/// `a{sv}` options of a call.
pub(super) type Options<'a> = HashMap<&'a str, Variant<'a>>;

/// A connection to the service. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Bus {
    connection: Connection,
    /// polkit may ask the person at this terminal.
    interactive: bool,
    /// Set once there is somebody to ask for polkit, where it asks on this host.
    agent: Option<Arc<OnceCell<()>>>,
}

impl Bus {
    /// Connects to the bus, here or on another host; the service is started by the first call.
    pub(super) async fn connect(scope: Scope, host: Option<&Host>) -> Result<Self, CliError> {
        // A document may come from standard input while somebody sits here.
        let interactive = std::io::stdin().is_terminal() || std::io::stderr().is_terminal();
        let agent = (scope == Scope::System && host.is_none()).then(Arc::default);
        let builder = match (host, scope) {
            (Some(host), _) => zbus::connection::Builder::address(host.address(scope)),
            (None, Scope::System) => zbus::connection::Builder::system(),
            (None, Scope::Session) => zbus::connection::Builder::session(),
        };
        let remedy = match (host, scope) {
            (Some(_), _) => "",
            (None, Scope::System) => "; does the system bus run here?",
            (None, Scope::Session) => NO_SESSION,
        };
        // ssh may ask for a password at the terminal, which takes as long as a person needs.
        let connected = async { builder.build().await.map_err(|e| CliError::Unreachable(e.to_string())) };
        let connected = if host.is_some() && interactive {
            connected.await
        } else {
            answer_of("the bus", connected).await
        };
        let connection = connected.map_err(|e| e.with(remedy))?;
        Ok(Self { connection, interactive, agent })
    }

    /// Who the bus takes us for; on another host that is another one than here.
    async fn uid(&self) -> Option<u32> {
        let name = self.connection.unique_name()?.clone();
        let bus = zbus::fdo::DBusProxy::new(&self.connection).await.ok()?;
        bus.get_connection_unix_user(name.into()).await.ok()
    }

    /// The connection, to listen on.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// All objects of the service, by one call.
    pub(super) async fn managed_objects(&self) -> Result<ManagedObjects, CliError> {
        self.ask(ROOT, OBJECT_MANAGER, "GetManagedObjects", &()).await
    }

    /// `ListDomains` or `ListNetworks`.
    pub(super) async fn list(&self, kind: Kind) -> Result<Vec<Map>, CliError> {
        let method = format!("List{}s", kind.word());
        let listed: HashMap<OwnedObjectPath, Map> =
            self.ask(ROOT, MANAGER, method.as_str(), &Options::new()).await?;
        Ok(listed.into_values().collect())
    }

    /// All objects of a service that runs already.
    pub(super) async fn running_objects(&self) -> Result<ManagedObjects, CliError> {
        self.call(ROOT, OBJECT_MANAGER, "GetManagedObjects", MethodFlags::NO_AUTO_START, &()).await
    }

    /// The public properties of the service itself.
    pub(super) async fn properties(&self) -> Result<Map, CliError> {
        self.ask(ROOT, PROPERTIES, "GetAll", &MANAGER).await
    }

    /// `GetHost`.
    pub(super) async fn host(&self) -> Result<Map, CliError> {
        self.ask(ROOT, MANAGER, "GetHost", &()).await
    }

    /// `GetPermissions`, of the caller in general or concerning one object.
    pub(super) async fn permissions(
        &self,
        object: Option<&Object>,
    ) -> Result<BTreeMap<String, String>, CliError> {
        let options: Options<'_> =
            object.map(|o| ("object", Variant::from(o.path.as_ref()))).into_iter().collect();
        self.ask(ROOT, MANAGER, "GetPermissions", &options).await
    }

    /// `Subscribe` to unicast signals.
    pub(super) async fn subscribe(&self, topics: &[String]) -> Result<(), CliError> {
        self.act(ROOT, MANAGER, "Subscribe", &(topics, Options::new())).await
    }

    /// `DefineNetwork` or `DefineDomain`.
    pub(super) async fn define(
        &self,
        kind: Kind,
        xml: &str,
        options: Options<'_>,
    ) -> Result<OwnedObjectPath, CliError> {
        self.act(ROOT, MANAGER, &format!("Define{}", kind.word()), &(xml, options)).await
    }

    /// `CheckNetwork` or `CheckDomain`.
    pub(super) async fn check(&self, kind: Kind, xml: &str) -> Result<Map, CliError> {
        self.act(ROOT, MANAGER, &format!("Check{}", kind.word()), &(xml, Options::new())).await
    }

    /// The object of this name or UUID.
    pub(super) async fn find(&self, kind: Kind, name: &str) -> Result<Object, CliError> {
        let word = kind.word();
        if uuid::Uuid::try_parse(name).is_ok() {
            match self.ask(ROOT, MANAGER, &format!("Get{word}ByUuid"), &name).await {
                Ok(path) => return Ok(self.object(kind, path)),
                // A name may look like a UUID.
                Err(e) if e.is(&format!("NoSuch{word}")) => {}
                Err(e) => return Err(e),
            }
        }
        match self.ask(ROOT, MANAGER, &format!("Get{word}ByName"), &name).await {
            Ok(path) => Ok(self.object(kind, path)),
            Err(e) if e.is(&format!("NoSuch{word}")) => {
                let objects = self.managed_objects().await.unwrap_or_default();
                Err(e.with(&near::hint(kind, name, objects)))
            }
            Err(e) => Err(e),
        }
    }

    /// The object at this path.
    pub(super) fn object(&self, kind: Kind, path: OwnedObjectPath) -> Object {
        Object { bus: self.clone(), kind, path }
    }

    /// The `Completed` signals of all jobs from now on, so that a job which ends before its path is
    /// known here is not missed.
    pub(super) async fn completions(&self) -> Result<MessageStream, CliError> {
        let rule = MatchRule::builder()
            .msg_type(MessageType::Signal)
            .sender(SERVICE)
            .interface(JOB)
            .member("Completed")
            .build()?;
        // Jobs of everybody are heard while a call waits, when nobody reads the queue.
        let stream = MessageStream::for_match_rule(rule, &self.connection, NonZeroUsize::new(1024));
        answer_of("the bus", stream).await
    }

    /// A job's properties.
    pub(super) async fn job(&self, job: &str) -> Result<Map, CliError> {
        self.ask(job, PROPERTIES, "GetAll", &JOB).await.map_err(|e| no_job(e, job))
    }

    /// A job's `Progress`, or the error that tells that the job or the service is gone.
    pub(super) async fn job_progress(&self, job: &str) -> Result<f64, CliError> {
        let flags = MethodFlags::NO_AUTO_START;
        let value: OwnedVariant = self.call(job, PROPERTIES, "Get", flags, &(JOB, "Progress")).await?;
        Ok(f64::try_from(value).unwrap_or(-1.0))
    }

    /// `Job.Cancel`.
    pub(super) async fn job_cancel(&self, job: &str) -> Result<(), CliError> {
        self.act(job, JOB, "Cancel", &Options::new()).await.map_err(|e| no_job(e, job))
    }

    /// A call that changes nothing and that anybody may make.
    async fn ask<B, R>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<R, CliError>
    where
        B: Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        self.call(path, interface, method, MethodFlags::empty(), body).await
    }

    /// A call that the service authorises, with a prompt if somebody sits at the terminal.
    async fn act<B, R>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<R, CliError>
    where
        B: Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        // Nothing has been done when this is refused, so it can be asked again. The agent is slow to start,
        // and most calls need none.
        match self.call(path, interface, method, MethodFlags::empty(), body).await {
            Err(e) if e.is("InteractiveAuthorizationRequired") && self.interactive => {
                if let Some(agent) = &self.agent {
                    agent.get_or_init(agent::start).await;
                }
                self.call(path, interface, method, MethodFlags::ALLOW_INTERACTIVE_AUTH, body).await
            }
            Err(e) if e.is("InteractiveAuthorizationRequired") => {
                Err(e.with("; call warrenctl at a terminal or as root, or let a polkit rule allow it"))
            }
            other => other,
        }
    }

    async fn call<B, R>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        flags: MethodFlags,
        body: &B,
    ) -> Result<R, CliError>
    where
        B: Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        let proxy: zbus::Proxy<'_> = Builder::new(&self.connection)
            .destination(SERVICE)
            .path(path)
            .interface(interface)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let asks_person = flags.contains(MethodFlags::ALLOW_INTERACTIVE_AUTH);
        let call = proxy.call_with_flags(method, flags, body);
        let answer = if asks_person { call.await? } else { answer_of("the service", call).await? };
        answer.ok_or_else(|| CliError::Unreachable("it gave no answer".into()))
    }
}

/// Waits for an answer that needs no person.
pub(super) async fn answer_of<T, E: Into<CliError>>(
    whose: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, CliError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => {
            let message = format!("{whose} gave no answer within {} seconds", PATIENCE.as_secs());
            Err(CliError::Unreachable(message))
        }
    }
}

/// The objects that have this interface, with its properties.
pub(super) fn having(
    objects: ManagedObjects,
    interface: &str,
) -> impl Iterator<Item = (OwnedObjectPath, Map)> {
    let of = move |all: HashMap<_, Map>| all.into_iter().find(|(name, _)| *name == interface);
    objects.into_iter().filter_map(move |(path, all)| Some((path, of(all)?.1)))
}

/// The bus speaks of an object where people speak of a job.
fn no_job(error: CliError, job: &str) -> CliError {
    match error {
        CliError::Refused { name, .. } if name.ends_with(".UnknownObject") => {
            let message = format!("there is no job {job}; it is forgotten a minute after its end");
            CliError::Refused { name, message }
        }
        other => other,
    }
}

/// One network or machine of the service.
#[derive(Debug)]
pub(super) struct Object {
    bus: Bus,
    kind: Kind,
    path: OwnedObjectPath,
}

impl Object {
    /// All its public properties.
    pub(super) async fn properties(&self) -> Result<Map, CliError> {
        self.bus.ask(self.path.as_str(), PROPERTIES, "GetAll", &self.kind.interface()).await
    }

    /// A method that takes only options: `Start`, `GetXml` and the like.
    pub(super) async fn act<R>(&self, method: &str, options: Options<'_>) -> Result<R, CliError>
    where
        R: for<'d> DynamicDeserialize<'d>,
    {
        self.bus.act(self.path.as_str(), self.kind.interface(), method, &options).await
    }

    /// The same, and nobody is asked for a password.
    pub(super) async fn try_act<R>(&self, method: &str, options: Options<'_>) -> Result<R, CliError>
    where
        R: for<'d> DynamicDeserialize<'d>,
    {
        self.bus.ask(self.path.as_str(), self.kind.interface(), method, &options).await
    }

    /// Whether it is the caller's own.
    pub(super) async fn is_own(&self) -> Result<bool, CliError> {
        let owner = self.properties().await?.remove("Owner").and_then(|uid| u32::try_from(uid).ok());
        Ok(owner == self.bus.uid().await)
    }

    /// `SetAutostart` or `SetAccess`.
    pub(super) async fn set<V>(&self, method: &str, value: V) -> Result<(), CliError>
    where
        V: Serialize + zbus::Type,
    {
        self.bus.act(self.path.as_str(), self.kind.interface(), method, &(value, Options::new())).await
    }

    /// `OpenConsole`.
    pub(super) async fn open_console(&self, options: Options<'_>) -> Result<std::os::fd::OwnedFd, CliError> {
        let fd: OwnedFd = self.act("OpenConsole", options).await?;
        Ok(fd.into())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &str {
        self.path.as_str()
    }

    /// The connection it is reached by.
    pub(super) fn bus(&self) -> &Bus {
        &self.bus
    }
}
