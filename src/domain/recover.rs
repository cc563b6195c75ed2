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
use super::guest::{Guest, Live, holder, identity_file, text_as_it_runs};
use super::report::{News, Report};
use super::resync::follow;
use super::start::connect_monitor;
use super::{Context, Definition, Error, State, consoles};
use crate::ledger::Resource;
use crate::model::{DomainDef, InterfaceKind};
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
    pub(super) definition: Definition,
    /// Whether what is stored says something else.
    pub(super) differs: bool,
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

/// The definition and the owner of a guest that runs, as RUN has them: all that is left where what was stored is lost.
pub fn what_runs(context: &Context, uuid: &Uuid) -> Option<(Definition, u32)> {
    let dir = context.scope.domain_run_dir(uuid);
    let live = store::load_live::<Live>(&dir).ok()?.filter(|live| live.boot_id == *context.boot_id)?;
    let identity = process::read_identity(&identity_file(&dir)).ok()??;
    let runs = live.active && Process::adopt(identity).ok()?.is_some();
    // Without its owner it is nobody's: what it names on the host is opened with the owner's rights.
    if !runs {
        return None;
    }
    Some((Definition::read(text_as_it_runs(&dir, &live)?).ok()?, live.owner?))
}

/// The uid that RUN records for a domain's guest.
pub fn recorded_uid(context: &Context, uuid: &Uuid) -> Option<u32> {
    store::load_live::<Live>(&context.scope.domain_run_dir(uuid)).ok()??.uid
}

/// The guest that RUN records, running or not.
pub(super) fn recorded(context: &Context, uuid: &Uuid) -> Result<Guest, Error> {
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
    Ok(Guest { live, process, ..Guest::default() })
}

/// The definition that a guest runs with, its meaning, and whether what is stored says something else.
struct Runs {
    definition: Definition,
    def: DomainDef,
    differs: bool,
}

impl Runs {
    /// What is not another text is kept once.
    async fn read(context: &Context, text: Option<String>, stored: Definition) -> Option<Self> {
        let text = text?;
        let read = move || {
            let definition =
                if text == stored.xml() { stored.clone() } else { Definition::read(text).ok()? };
            let differs = !definition.says_the_same(&stored);
            let def = definition.doc().ok()?.into_def();
            Some(Self { definition, def, differs })
        };
        context.desk.run_own(usize::MAX, read).await
    }
}

/// Looks at what RUN says of a domain, of which this is stored; adopts its guest or removes what is left of it. Neither
/// waits long for what does not answer: that goes on beside, and holds up nobody else.
pub async fn recover(
    context: &Context,
    uuid: &Uuid,
    stored: Option<&Definition>,
) -> Result<Recovered, Error> {
    let dir = context.scope.domain_run_dir(uuid);
    if !dir.exists() {
        return Ok(Recovered::Off);
    }
    let mut guest = recorded(context, uuid)?;
    let active = guest.live.active && stored.is_some();
    let runs = match stored.filter(|_| guest.live.active && guest.process.is_some()) {
        Some(stored) => Runs::read(context, text_as_it_runs(&dir, &guest.live), stored.clone()).await,
        None => None,
    };
    if let Some(uid) = guest.live.uid {
        context.uids.mark(uid);
    }
    match runs {
        Some(runs) => {
            hold(context, uuid, &runs.def, &guest);
            Ok(Recovered::Adopted(take_over(context, uuid, runs, guest).await))
        }
        None => {
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
fn hold(context: &Context, uuid: &Uuid, def: &DomainDef, guest: &Guest) {
    if def.interfaces().any(|nic| nic.kind.has_tap()) {
        context.ground.keep(&holder(uuid));
    }
    context.loopback.keep(uuid, def, &guest.live);
    for (index, nic) in def.interfaces().enumerate() {
        let (InterfaceKind::Network { network, .. }, Some(mac)) = (&nic.kind, nic.mac) else { continue };
        let tap = guest.live.nics.get(index).and_then(|nic| nic.target.clone());
        let Some(handle) = context.networks.get(network) else { continue };
        handle.keep(PortRequest {
            domain: *uuid,
            domain_name: guest.live.name.clone(),
            mac,
            tap: tap.unwrap_or_default(),
            teaming: nic.teaming.is_some(),
            wish: PortWish::of(nic, guest.live.owner.unwrap_or(0)),
            path: nic.info.path.clone(),
        });
    }
}

async fn take_over(context: &Context, uuid: &Uuid, runs: Runs, mut guest: Guest) -> Box<Adopted> {
    let dir = context.scope.domain_run_dir(uuid);
    let copies = |owner| context.ledger.note(owner, Resource::GuestMemory, guest.live.copies);
    guest.copies = guest.live.owner.map(copies);
    match process::reopen_fifo(&dir.join("stderr")) {
        Ok(fd) => guest.stderr = Some(StderrTail::start(fd, format!("QEMU of '{}'", guest.live.name))),
        Err(e) => tracing::warn!(domain = %uuid, "QEMU's words are not heard: {e}"),
    }
    let Runs { definition, def, differs } = runs;
    guest.note_demand(context, &def);
    if let Err(e) = consoles::attach(context, uuid, &def, &mut guest).await {
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
    Box::new(Adopted { guest, definition, differs, monitor })
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
