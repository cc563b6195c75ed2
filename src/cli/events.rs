//! What the service tells without being asked. Owns the match rules and the translation of signals; must
//! never call the service, since who waits for an answer reads no signals.

use std::num::NonZeroUsize;

use futures_util::StreamExt;
use serde_json::Value;
use zbus::message::Type as MessageType;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath, fdo};

use super::error::CliError;
use super::output;
use super::proxy::{Bus, Map, SERVICE, answer_of};

/// Signals that wait here while nobody reads; with all of them in use the connection would stand still.
const QUEUE: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");

/// One thing that happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The service has come, or has gone.
    Service { runs: bool },
    /// An object has come, with these interfaces and their properties.
    Added { object: String, interfaces: Vec<(String, Map)> },
    /// Interfaces of an object have gone, and so the object.
    Removed { object: String },
    /// Properties have other values now.
    Changed { object: String, changed: Map },
    /// Another signal, its arguments as JSON.
    Signal { object: String, member: String, arguments: Vec<Value> },
}

/// All events from now on, in their order.
#[derive(Debug)]
pub(super) struct Events {
    stream: MessageStream,
    /// Who has the service's name. Others may send signals to this connection, which mean nothing.
    owner: Option<String>,
}

impl Events {
    /// Begins to listen.
    pub(super) async fn listen(bus: &Bus) -> Result<Self, CliError> {
        let connection = bus.connection();
        let mut stream = MessageStream::from(connection);
        stream.set_max_queued(QUEUE);
        let owner = answer_of("the bus", Self::subscribe(connection)).await?;
        Ok(Self { stream, owner })
    }

    /// Asks the bus for the service's signals; answers who has the service's name.
    async fn subscribe(connection: &Connection) -> zbus::Result<Option<String>> {
        let daemon = fdo::DBusProxy::new(connection).await?;
        let signals = || zbus::MatchRule::builder().msg_type(MessageType::Signal);
        daemon.add_match_rule(signals().sender(SERVICE).build()?).await?;
        let owners = signals().sender("org.freedesktop.DBus").member("NameOwnerChanged").arg(0, SERVICE);
        daemon.add_match_rule(owners.build()?).await?;
        let owner = daemon.get_name_owner(SERVICE.try_into()?).await;
        Ok(owner.ok().map(|owner| owner.to_string()))
    }

    /// The next event; an error when the bus is gone.
    pub(super) async fn next(&mut self) -> Result<Event, CliError> {
        loop {
            let gone = || CliError::Unreachable("the bus closed the connection".into());
            let message = self.stream.next().await.ok_or_else(gone)?.map_err(|_| gone())?;
            if let Some(event) = self.event(&message) {
                return Ok(event);
            }
        }
    }

    fn event(&mut self, message: &Message) -> Option<Event> {
        if message.message_type() != MessageType::Signal {
            return None;
        }
        let header = message.header();
        let (sender, member) = (header.sender()?.as_str(), header.member()?.as_str());
        if sender == "org.freedesktop.DBus" {
            return if member == "NameOwnerChanged" { self.owner_changed(message) } else { None };
        }
        if self.owner.as_deref() != Some(sender) {
            return None;
        }
        let object = header.path()?.to_string();
        let body = message.body();
        match (header.interface()?.as_str(), member) {
            ("org.freedesktop.DBus.ObjectManager", "InterfacesAdded") => {
                let (path, parts): (OwnedObjectPath, std::collections::HashMap<String, Map>) =
                    body.deserialize().ok()?;
                Some(Event::Added { object: path.to_string(), interfaces: parts.into_iter().collect() })
            }
            ("org.freedesktop.DBus.ObjectManager", "InterfacesRemoved") => {
                let (path, _): (OwnedObjectPath, Vec<String>) = body.deserialize().ok()?;
                Some(Event::Removed { object: path.to_string() })
            }
            ("org.freedesktop.DBus.Properties", "PropertiesChanged") => {
                let (_, changed, _): (String, Map, Vec<String>) = body.deserialize().ok()?;
                Some(Event::Changed { object, changed })
            }
            (interface, member) if interface.starts_with(SERVICE) => {
                Some(Event::Signal { object, member: member.to_owned(), arguments: arguments(message) })
            }
            _ => None,
        }
    }

    fn owner_changed(&mut self, message: &Message) -> Option<Event> {
        let body = message.body();
        let (name, _, new): (String, String, String) = body.deserialize().ok()?;
        if name != SERVICE {
            return None;
        }
        self.owner = Some(new).filter(|owner| !owner.is_empty());
        Some(Event::Service { runs: self.owner.is_some() })
    }
}

/// The arguments of any signal, so that one which is newer than this program is shown too.
fn arguments(message: &Message) -> Vec<Value> {
    let body = message.body();
    match body.deserialize::<zbus::wire::Structure<'_>>() {
        Ok(arguments) => arguments.fields().iter().map(output::to_json).collect(),
        Err(_) => Vec::new(),
    }
}
