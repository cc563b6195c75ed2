//! The one way to a network: a mailbox and its latest view. Owns no state; must never wait for
//! anything but its actor's answer.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::actor::{Message, PortRequest};
use super::port::KeptPorts;
use super::{Definition, Error, Info, NetworkLease, View, live};
use crate::desk::Desk;
use crate::mailbox::{self, Reply};
use crate::reason::Reason;
use crate::sys::netlink::Neighbour;

/// A network, from outside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) uuid: Uuid,
    pub(super) mailbox: mpsc::Sender<Message>,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) leases: watch::Receiver<Arc<Vec<NetworkLease>>>,
    pub(super) desk: Desk,
    pub(super) kept: KeptPorts,
}

impl Handle {
    /// The network's UUID, which never changes.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// What everybody may know, without waiting.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T, Error>) -> Message) -> Result<T, Error> {
        mailbox::ask(&self.mailbox, message, || Error::Gone(self.view().name.clone())).await
    }

    /// Starts it; refused if it is active.
    pub async fn start(&self, reason: Reason) -> Result<(), Error> {
        self.ask(|reply| Message::Start { reason, reply }).await
    }

    /// Starts it unless it is active.
    pub async fn ensure_active(&self) -> Result<(), Error> {
        match self.start(Reason::Requested).await {
            Err(Error::Denied { denial: super::state::Denial::AlreadyActive, .. }) => Ok(()),
            other => other,
        }
    }

    /// Stops it; refused while domains are on it, unless forced.
    pub async fn stop(&self, force: bool) -> Result<(), Error> {
        self.ask(|reply| Message::Stop { force, reply }).await
    }

    /// Removes what a teardown has left; refused while something cannot be removed.
    pub async fn clear(&self) -> Result<(), Error> {
        self.ask(|reply| Message::Clear { reply }).await
    }

    /// Forgets it, on disk too; the actor ends. Refused while something of it is left: see [`Self::clear`].
    pub async fn undefine(&self) -> Result<(), Error> {
        self.ask(|reply| Message::Undefine { reply }).await
    }

    /// Takes a new definition of the same network, with this generation. What runs is untouched.
    pub async fn redefine(&self, definition: Definition, generation: u64) -> Result<(), Error> {
        self.ask(|reply| Message::Redefine { definition, generation, reply }).await
    }

    /// Whether it is started once in a boot.
    pub async fn set_autostart(&self, autostart: bool) -> Result<(), Error> {
        self.ask(|reply| Message::SetAutostart { autostart, reply }).await
    }

    /// `admin` or `users`.
    pub async fn set_access(&self, access: String) -> Result<(), Error> {
        self.ask(|reply| Message::SetAccess { access, reply }).await
    }

    /// The document's text, as stored or as it runs, for `by`.
    pub async fn xml(&self, live: bool, by: u32) -> Result<String, Error> {
        let (definition, bridge) = self.ask(|reply| Message::Look { live, reply }).await?;
        let Some(bridge) = bridge else { return Ok(definition.xml().to_owned()) };
        let bytes = definition.bytes();
        let written = move || Ok(live::document(definition.doc()?, &bridge).to_xml());
        self.desk.run(by, bytes, written).await
    }

    /// What went wrong, and what a page about it shows.
    pub async fn info(&self) -> Result<Info, Error> {
        self.ask(|reply| Message::Info { reply }).await
    }

    /// Current DHCP leases.
    pub async fn leases(&self) -> Result<Vec<NetworkLease>, Error> {
        self.ask(|reply| Message::Leases { reply }).await
    }

    /// The leases that were told of last, without waiting.
    pub fn known_leases(&self) -> Arc<Vec<NetworkLease>> {
        self.leases.borrow().clone()
    }

    /// Who has answered on the bridge of late, by the kernel's table of neighbours.
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>, Error> {
        self.ask(|reply| Message::Neighbours { reply }).await
    }

    /// Puts the TAP of a domain's NIC on the network, where the ground has it, and sets it up.
    pub async fn plug(&self, request: PortRequest) -> Result<(), Error> {
        self.ask(|reply| Message::Plug { request, reply }).await
    }

    /// Knows again the port of a guest that a previous daemon started: its place is there when the network is. Nobody
    /// waits for it: the network may take its time to be taken over. It is known before any later message is answered,
    /// however many wait.
    pub fn keep(&self, request: PortRequest) {
        self.kept.put(request);
    }

    /// Returns when it has taken over, or removed, what a previous daemon left of it.
    pub async fn settled(&self) {
        let _ = self.ask(|reply| Message::Settled { reply }).await;
    }

    /// Gives up all ports of a domain. Never fails: a network that is gone has no ports.
    pub async fn unplug(&self, domain: Uuid) {
        let _ = self.ask(|reply| Message::Unplug { domain, reply }).await;
    }
}
