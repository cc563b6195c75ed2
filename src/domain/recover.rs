//! The guests that a former service started.
//!
//! Owns the comparison of RUN with the processes that are there. Must never lose a guest that runs (one
//! whose monitor is silent is adopted all the same), never keep one whose start was not finished, and
//! never touch a process whose identity does not match.

use std::time::Duration;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::actor::{Actor, Report};
use super::events::{DISK_FAILED, pass_on};
use super::guest::{Guest, Live, holder, identity_file};
use super::start::connect_monitor;
use super::state::Event;
use super::{Context, Error, State, commands, consoles};
use crate::ledger::Resource;
use crate::model::{DomainDoc, InterfaceKind};
use crate::network::PortRequest;
use crate::plan::ports::PortWish;
use crate::store;
use crate::sys::process::{self, Process, StderrTail};
use crate::sys::qmp::{Qmp, QmpEvent};

/// How long after a failure the monitor is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// A guest taken over from a former service.
#[derive(Debug)]
pub struct Adopted {
    pub(super) guest: Guest,
    pub(super) doc: DomainDoc,
    pub(super) state: State,
    /// The guest switched itself off while nobody was there to see it.
    pub(super) powered_off: bool,
    /// `None` where the monitor did not answer yet.
    pub(super) events: Option<mpsc::Receiver<QmpEvent>>,
}

/// What has become of a domain while nobody looked.
#[derive(Debug)]
pub enum Recovered {
    /// Its guest runs and was taken over.
    Adopted(Box<Adopted>),
    /// Its guest is gone.
    Lost,
    /// It was off.
    Off,
}

/// The document and the owner of a guest that runs, as RUN has them: all that is left where the definition is lost.
pub fn what_runs(context: &Context, uuid: &Uuid) -> Option<(DomainDoc, u32)> {
    let dir = context.scope.domain_run_dir(uuid);
    let live = store::load_live::<Live>(&dir).ok()?.filter(|live| live.boot_id == *context.boot_id)?;
    let identity = process::read_identity(&identity_file(&dir)).ok()??;
    let runs = live.active && Process::adopt(identity).ok()?.is_some();
    // Without its owner it is nobody's: what it names on the host is opened with the owner's rights.
    runs.then_some((DomainDoc::parse(&live.xml).ok()?, live.owner?))
}

/// The uid that RUN records for a domain's guest.
pub fn recorded_uid(context: &Context, uuid: &Uuid) -> Option<u32> {
    store::load_live::<Live>(&context.scope.domain_run_dir(uuid)).ok()??.uid
}

/// Looks at what RUN says of a domain; adopts its guest or removes what is left of it.
pub async fn recover(context: &Context, uuid: &Uuid, defined: bool) -> Result<Recovered, Error> {
    let dir = context.scope.domain_run_dir(uuid);
    // Without it, what lies beside it may still name a QEMU.
    let unknown = || Live { boot_id: context.boot_id.to_string(), ..Live::default() };
    let live = match store::load_live::<Live>(&dir) {
        Ok(Some(live)) if live.boot_id == *context.boot_id => live,
        Ok(Some(_)) => Live::default(),
        Ok(None) => unknown(),
        Err(e) => {
            tracing::warn!("{}", crate::chain(&e));
            unknown()
        }
    };
    let same_boot = live.boot_id == *context.boot_id;
    let identity = process::read_identity(&identity_file(&dir)).map_err(Error::Run)?.filter(|_| same_boot);
    let process = match identity {
        Some(identity) => Process::adopt(identity).map_err(Error::Run)?,
        None => None,
    };
    let active = live.active && defined;
    let doc = DomainDoc::parse(&live.xml).ok();
    let mut guest = Guest { live, process, ..Guest::default() };
    if let Some(uid) = guest.live.uid {
        context.uids.mark(uid);
    }
    match doc {
        Some(doc) if active && guest.process.is_some() => {
            hold(context, uuid, &doc, &guest).await;
            take_over(context, uuid, doc, guest).await.map(Recovered::Adopted)
        }
        _ => {
            let crashed = active.then(|| guest.live.name.clone());
            guest.live.nics.retain(|n| n.downscript.is_some());
            for problem in guest.give_back(context, uuid).await {
                tracing::warn!(domain = %uuid, "while removing what a former service left: {problem}");
            }
            let Some(name) = crashed else { return Ok(Recovered::Off) };
            tracing::warn!(domain = %name, "the guest ended while Warren was not running");
            Ok(Recovered::Lost)
        }
    }
}

/// Holds again what the guest stands on: the ground, and its ports.
async fn hold(context: &Context, uuid: &Uuid, doc: &DomainDoc, guest: &Guest) {
    if doc.def().interfaces().any(|nic| nic.kind.has_tap())
        && let Err(e) = context.ground.hold(&holder(uuid)).await
    {
        tracing::warn!(domain = %uuid, "{}", crate::chain(&e));
    }
    for nic in doc.def().interfaces() {
        let (InterfaceKind::Network { network, .. }, Some(mac)) = (&nic.kind, nic.mac) else { continue };
        let Some(handle) = context.networks.get(network) else { continue };
        let request = PortRequest {
            domain: *uuid,
            domain_name: guest.live.name.clone(),
            mac,
            teaming: nic.teaming.is_some(),
            wish: PortWish::of(nic, guest.live.owner.unwrap_or(0)),
            path: nic.info.path.clone(),
        };
        if let Err(e) = handle.keep(request).await {
            tracing::warn!(domain = %uuid, "a port on '{network}' is not taken again: {}", crate::chain(&e));
        }
    }
}

async fn take_over(
    context: &Context,
    uuid: &Uuid,
    doc: DomainDoc,
    mut guest: Guest,
) -> Result<Box<Adopted>, Error> {
    let dir = context.scope.domain_run_dir(uuid);
    let copies = |owner| context.ledger.note(owner, Resource::GuestMemory, guest.live.copies);
    guest.copies = guest.live.owner.map(copies);
    match process::reopen_fifo(&dir.join("stderr")) {
        Ok(fd) => guest.stderr = Some(StderrTail::start(fd, format!("QEMU of '{}'", guest.live.name))),
        Err(e) => tracing::warn!(domain = %uuid, "QEMU's words are not heard: {e}"),
    }
    if let Err(e) = consoles::attach(context, uuid, doc.def(), &mut guest).await {
        tracing::warn!(domain = %uuid, "the console is not read: {}", crate::chain(&e));
    }
    let mut adopted = Adopted { guest, doc, state: State::Running, powered_off: false, events: None };
    match connect_monitor(&dir).await {
        Ok((qmp, events)) => {
            let (state, word) = status(&qmp).await.unwrap_or((State::Running, String::new()));
            (adopted.state, adopted.powered_off) = (state, word == "shutdown");
            adopted.guest.qmp = Some(qmp);
            adopted.events = Some(events);
        }
        Err(e) => tracing::warn!(domain = %uuid, "QEMU does not answer yet: {}", crate::chain(&e)),
    }
    Ok(Box::new(adopted))
}

/// What the guest does, in our words and in QEMU's.
async fn status(qmp: &Qmp) -> Result<(State, String), Error> {
    let status = commands::execute(qmp, "query-status").await?;
    let word = status["status"].as_str().unwrap_or("").to_owned();
    let state = match word.as_str() {
        "running" => State::Running,
        "suspended" => State::PmSuspended,
        _ => State::Paused,
    };
    Ok((state, word))
}

impl Actor {
    /// The monitor is there again; what QEMU did meanwhile is told as if it had been heard.
    pub(super) fn reconnected(&mut self, qmp: Qmp, missed: Option<(State, String)>) {
        let Some(guest) = &mut self.guest else { return };
        guest.qmp = Some(qmp);
        match missed {
            Some((_, word)) if word == "shutdown" => self.powered_off("guest-shutdown"),
            Some((State::Running, _)) => self.note(Event::Ran, "resumed"),
            Some((State::PmSuspended, _)) => self.note(Event::Slept, "guest"),
            Some((_, word)) if word == "io-error" => self.note(Event::Halted, DISK_FAILED),
            Some(_) => self.note(Event::Halted, "halted"),
            None => {}
        }
    }

    /// Tries again, until QEMU is gone, to reach its monitor; then reports what was missed.
    pub(super) fn reconnect(&self) {
        let Some(process) = self.guest.as_ref().and_then(|g| g.process.clone()) else { return };
        let dir = self.context.scope.domain_run_dir(&self.uuid);
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let attempts = async {
                loop {
                    tokio::time::sleep(PAUSE).await;
                    if let Ok((qmp, events)) = connect_monitor(&dir).await {
                        return (qmp, events);
                    }
                }
            };
            tokio::select! {
                (qmp, events) = attempts => {
                    let missed = status(&qmp).await.ok();
                    let _ = reports.send(Report::Reconnected { qmp, missed });
                    pass_on(events, &reports).await;
                }
                _ = process.exited() => {}
            }
        });
    }
}
