//! The guests that a former service started.
//!
//! Owns the comparison of RUN with the processes that are there. Must never lose a guest that runs (one
//! whose monitor is silent is adopted all the same), never keep one whose start was not finished, and
//! never touch a process whose identity does not match.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::actor::Actor;
use super::commands::{self, Status};
use super::guest::{Guest, Live, holder, identity_file};
use super::report::{News, Report};
use super::resync::follow;
use super::start::connect_monitor;
use super::{Context, Error, State, consoles};
use crate::ledger::Resource;
use crate::model::{DomainDoc, InterfaceKind};
use crate::network::PortRequest;
use crate::pace::Backoff;
use crate::plan::ports::PortWish;
use crate::store;
use crate::sys::process::{self, Process, StderrTail};
use crate::sys::qmp::QmpEvent;

/// How long after a failure the monitor is tried again, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
pub(super) const PAUSE_MOST: Duration = Duration::from_secs(30);

/// How long the daemon's start waits for a monitor; one that takes longer is reached beside.
const MONITOR: Duration = Duration::from_millis(400);

/// How long the daemon's start waits for what is left of a guest to be removed; more is done beside.
const REMOVAL: Duration = Duration::from_millis(800);

/// A guest taken over from a previous daemon.
#[derive(Debug)]
pub struct Adopted {
    pub(super) guest: Guest,
    pub(super) doc: DomainDoc,
    /// The monitor's events, and what the guest does; `None` where it did not answer yet.
    pub(super) monitor: Option<(mpsc::Receiver<QmpEvent>, Status)>,
}

impl Adopted {
    /// What the guest does: it runs, as far as is known.
    pub(super) fn state(&self) -> State {
        self.monitor.as_ref().map_or(State::Running, |(_, status)| status.state())
    }
}

/// What has become of a domain while nobody looked.
#[derive(Debug)]
pub enum Recovered {
    /// Its guest runs and was taken over.
    Adopted(Box<Adopted>),
    /// Its guest is gone.
    Lost,
    /// What is left of its guest is still being removed.
    Ending {
        /// That work.
        rest: JoinHandle<()>,
        /// The guest had ended by itself.
        lost: bool,
    },
    /// It was off.
    Off,
}

impl Recovered {
    /// Returns when nothing more is done.
    pub async fn settled(self) {
        if let Self::Ending { rest, .. } = self {
            // One that panicked has done what it could.
            let _ = rest.await;
        }
    }
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

/// Looks at what RUN says of a domain; adopts its guest or removes what is left of it. Neither waits long for what does
/// not answer: that goes on beside, and holds up nobody else.
pub async fn recover(context: &Context, uuid: &Uuid, defined: bool) -> Result<Recovered, Error> {
    let dir = context.scope.domain_run_dir(uuid);
    if !dir.exists() {
        return Ok(Recovered::Off);
    }
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
            hold(context, uuid, &doc, &guest);
            Ok(Recovered::Adopted(take_over(context, uuid, doc, guest).await))
        }
        _ => {
            let lost = active;
            if lost {
                tracing::warn!(domain = %guest.live.name, "the guest ended while Warren was not running");
            }
            guest.live.nics.retain(|n| n.downscript.is_some());
            let (context, uuid) = (context.clone(), *uuid);
            let mut rest = tokio::spawn(async move {
                for problem in guest.give_back(&context, &uuid).await {
                    tracing::warn!(domain = %uuid, "while removing what a former service left: {problem}");
                }
            });
            Ok(match tokio::time::timeout(REMOVAL, &mut rest).await {
                Err(_) => Recovered::Ending { rest, lost },
                Ok(_) if lost => Recovered::Lost,
                Ok(_) => Recovered::Off,
            })
        }
    }
}

/// Holds again what the guest stands on: the ground, and its ports. Both are noted, and waited for by nobody.
fn hold(context: &Context, uuid: &Uuid, doc: &DomainDoc, guest: &Guest) {
    if doc.def().interfaces().any(|nic| nic.kind.has_tap()) {
        context.ground.keep(&holder(uuid));
    }
    for nic in doc.def().interfaces() {
        let (InterfaceKind::Network { network, .. }, Some(mac)) = (&nic.kind, nic.mac) else { continue };
        let Some(handle) = context.networks.get(network) else { continue };
        handle.keep(PortRequest {
            domain: *uuid,
            domain_name: guest.live.name.clone(),
            mac,
            teaming: nic.teaming.is_some(),
            wish: PortWish::of(nic, guest.live.owner.unwrap_or(0)),
            path: nic.info.path.clone(),
        });
    }
}

async fn take_over(context: &Context, uuid: &Uuid, doc: DomainDoc, mut guest: Guest) -> Box<Adopted> {
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
    let answered = tokio::time::timeout(MONITOR, async {
        let (qmp, events) = connect_monitor(&dir).await?;
        let status = commands::status(&qmp).await?;
        Ok::<_, Error>((qmp, events, status))
    });
    let monitor = match answered.await {
        Ok(Ok((qmp, events, status))) => {
            guest.qmp = Some(qmp);
            Some((events, status))
        }
        Ok(Err(e)) => {
            tracing::warn!(domain = %uuid, "QEMU does not answer yet: {}", crate::chain(&e));
            None
        }
        Err(_) => {
            tracing::warn!(domain = %uuid, "QEMU does not answer yet");
            None
        }
    };
    Box::new(Adopted { guest, doc, monitor })
}

impl Actor {
    /// Tries, until QEMU is gone, to reach its monitor, at growing distances; then follows it. `at_once`: else after
    /// a pause, since it was there a moment ago.
    pub(super) fn reconnect(&mut self, at_once: bool) {
        let Some(process) = self.guest.as_ref().and_then(|g| g.process.clone()) else { return };
        let dir = self.context.scope.domain_run_dir(&self.uuid);
        let (reports, guest) = (self.reports.clone(), self.guest_number);
        // One that closes again and again is asked no more often than one that is silent.
        let pause = self.memory.closings.pause(Instant::now());
        let first = if at_once { Duration::ZERO } else { pause.max(PAUSE) };
        tokio::spawn(async move {
            let attempts = async {
                let mut backoff = Backoff::new(PAUSE, PAUSE_MOST);
                tokio::time::sleep(first).await;
                loop {
                    if let Ok(connection) = connect_monitor(&dir).await {
                        return connection;
                    }
                    tokio::time::sleep(backoff.pause(Instant::now()).max(PAUSE)).await;
                }
            };
            tokio::select! {
                (qmp, events) = attempts => {
                    let news = News::Reconnected(qmp.clone());
                    let _ = reports.send(Report::News { guest, news }).await;
                    follow(qmp, events, reports, guest, false).await;
                }
                _ = process.exited() => {}
            }
        });
    }
}
