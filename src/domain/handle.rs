//! The one way to a domain: a mailbox and its latest view. Owns no state; must never wait for anything
//! but its actor's answer.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::actor::Message;
use super::definition::{Definition, Edition, Snapshot, Xml};
use super::{Command, Error, Info, View, info};
use crate::desk::Desk;
use crate::mailbox::{self, Reply};
use crate::model::DomainDoc;
use crate::plan::taps::Naming;
use crate::reason::Reason;

/// A domain, from outside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) uuid: Uuid,
    pub(super) mailbox: mpsc::Sender<Message>,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) running: watch::Receiver<Option<Definition>>,
    pub(super) desk: Desk,
}

/// Whether a definition says something else than another one.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    pub(super) with: Edition,
    pub(super) differs: bool,
}

/// Whose right to have NICs on networks counts at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkRights {
    /// The caller's, which has been checked.
    Checked,
    /// The owner's: there is no caller who could be asked.
    Owner,
}

/// How a domain is started.
#[derive(Debug, Clone, Copy)]
pub struct StartOptions {
    /// Leave the guest's CPUs halted.
    pub paused: bool,
    /// Start the networks that its NICs are on, where they are inactive.
    pub start_networks: bool,
    /// Whose right to its networks counts.
    pub network_rights: NetworkRights,
    /// What `StateReason` says: requested or autostart.
    pub reason: Reason,
    /// The only definition that may be started: that which the caller's rights were judged by. `None`: whichever it is,
    /// since nothing was judged.
    pub judged: Option<Edition>,
    /// What the TAPs of an ordinary user's domain may be called in system scope; others are free in any case.
    pub naming: Naming,
}

impl Handle {
    /// The domain's UUID, which never changes.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// The definition as it runs, without waiting; `None` where it does not.
    pub fn running(&self) -> Option<Definition> {
        self.running.borrow().clone()
    }

    /// What everybody may know, without waiting.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T, Error>) -> Message) -> Result<T, Error> {
        mailbox::ask(&self.mailbox, message, || Error::Gone(self.view().name.clone())).await
    }

    /// Starts it; done when the guest's CPUs run (or are halted, if asked so).
    pub async fn start(&self, options: StartOptions) -> Result<(), Error> {
        self.ask(|reply| Message::Start { options, reply }).await
    }

    /// Powers it off; done when QEMU is gone. `graceful`: QEMU is asked, never killed.
    pub async fn stop(&self, graceful: bool) -> Result<(), Error> {
        self.ask(|reply| Message::Stop { graceful, reply }).await
    }

    /// Removes what a teardown has left; refused while something cannot be removed.
    pub async fn clear(&self) -> Result<(), Error> {
        self.ask(|reply| Message::Clear { reply }).await
    }

    /// Forgets it, on disk too; the actor ends. Refused while something of it is left: see [`Self::clear`].
    pub async fn undefine(&self) -> Result<(), Error> {
        self.ask(|reply| Message::Undefine { reply }).await
    }

    /// Compares a definition with that which runs, for [`Self::redefine`]: it takes a while, and nobody else waits.
    pub async fn compare(&self, definition: &Definition) -> Result<Compared, Error> {
        let running = self.look(true).await?.definition;
        let (bytes, new) = (running.bytes().max(definition.bytes()), definition.clone());
        let with = running.edition();
        let differs = self.desk.run_own(bytes, move || !running.says_the_same(&new)).await;
        Ok(Compared { with, differs })
    }

    /// Takes a new definition of the same domain, with this generation. What runs is untouched.
    pub async fn redefine(
        &self,
        definition: Definition,
        generation: u64,
        compared: Compared,
    ) -> Result<(), Error> {
        self.ask(|reply| Message::Redefine { definition, generation, compared, reply }).await
    }

    /// Whether it is started once in a boot.
    pub async fn set_autostart(&self, autostart: bool) -> Result<(), Error> {
        self.ask(|reply| Message::SetAutostart { autostart, reply }).await
    }

    async fn look(&self, live: bool) -> Result<Snapshot, Error> {
        self.ask(|reply| Message::Look { live, reply }).await
    }

    /// The definition as it is stored.
    pub async fn definition(&self) -> Result<Definition, Error> {
        Ok(self.look(false).await?.definition)
    }

    /// Reads the document, as stored or as it runs, in the turn of `by`; answers what is found there.
    pub async fn read<T: Send + 'static>(
        &self,
        live: bool,
        by: u32,
        find: impl FnOnce(&DomainDoc) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let seen = self.look(live).await?;
        self.desk.run(by, seen.definition.bytes(), move || Ok(find(&seen.doc()?))).await
    }

    /// Reads the document as stored, for a start that is judged by it; answers what is found there, and which definition
    /// it is.
    pub async fn judge<T: Send + 'static>(
        &self,
        by: u32,
        find: impl FnOnce(&DomainDoc) -> T + Send + 'static,
    ) -> Result<(T, Edition), Error> {
        let seen = self.look(false).await?;
        let edition = seen.definition.edition();
        let found =
            self.desk.run(by, seen.definition.bytes(), move || Ok::<_, Error>(find(&seen.doc()?))).await?;
        Ok((found, edition))
    }

    /// The document's text, as stored or as it runs, for `by`.
    pub async fn xml(&self, live: bool, by: u32) -> Result<Xml, Error> {
        let seen = self.look(live).await?;
        seen.refuse_rebuilt(&self.uuid)?;
        if let Some(text) = seen.plain() {
            return Ok(Xml { public: text.to_owned(), whole: None });
        }
        self.desk.run(by, seen.definition.bytes(), move || seen.xml()).await
    }

    /// Its devices, for `by`.
    pub async fn info(&self, by: u32) -> Result<Info, Error> {
        let seen = self.look(true).await?;
        seen.refuse_rebuilt(&self.uuid)?;
        let (bytes, failure) = (seen.definition.bytes(), seen.failure);
        let find = move || Ok::<_, Error>(info::of(seen.definition.doc()?.def(), seen.assigned.as_deref()));
        Ok(Info { failure, ..self.desk.run(by, bytes, find).await? })
    }

    /// Tells a running guest something.
    pub async fn command(&self, command: Command) -> Result<(), Error> {
        self.ask(|reply| Message::Command { command, reply }).await
    }

    /// One end of a serial console for the user `by`: first what was kept, then what comes. Empty `device`: the first. `force`:
    /// those who have it open are cut off.
    pub async fn open_console(&self, device: String, force: bool, by: u32) -> Result<OwnedFd, Error> {
        self.ask(|reply| Message::OpenConsole { device, force, by, reply }).await
    }

    /// One end of a connection to a display for the user `by`, `vnc` or `spice`; empty `device`: the first.
    pub async fn open_graphics(&self, device: String, by: u32) -> Result<OwnedFd, Error> {
        self.ask(|reply| Message::OpenGraphics { device, by, reply }).await
    }
}
