//! The guests that a previous daemon started.
//!
//! Owns the comparison of RUN with the processes that are there. Must never lose a guest that runs (one
//! whose monitor is silent, or whose records are lost, is adopted all the same), never keep one whose start was not finished, and
//! never touch a process whose identity does not match.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::actor::{Actor, LOST};
use super::commands::{self, Status};
use super::find::Found;
use super::guest::{Guest, Live, definition_file, holder, stderr_fifo, text_as_it_runs};
use super::report::{News, Report};
use super::resync::follow;
use super::start::connect_monitor;
use super::{Context, Definition, Error, NOBODY, State, consoles, find, lost};
use crate::ledger::Resource;
use crate::model::{DomainDef, InterfaceKind};
use crate::network::PortRequest;
use crate::pace::Backoff;
use crate::plan::ports::PortWish;
use crate::reason::{Cause, Reason};
use crate::scope::ScopeKind;
use crate::store;
use crate::sys::process::{self, StderrTail};
use crate::sys::qmp::QmpEvent;

/// How long after a failure the monitor is tried again, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
pub(super) const PAUSE_MOST: Duration = Duration::from_secs(30);

/// What is known of a guest of which nothing could be found out.
const UNSURE: &str = "it could not be found out yet whether it runs";

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
    /// That could not be found out: it is tried again.
    Unsure,
}

impl Recovered {
    /// What the domain is then, and why.
    pub(super) fn state(&self) -> (State, Cause) {
        match self {
            Self::Adopted(adopted) => (adopted.state(), Reason::Adopted.into()),
            Self::Lost => (State::Crashed, Cause::new(Reason::Failed, LOST)),
            Self::Ending { lost: true, .. } => (State::Stopping, Cause::new(Reason::Failed, LOST)),
            Self::Ending { .. } => (State::Stopping, Reason::None.into()),
            Self::Off => (State::Shutoff, Reason::None.into()),
            // What may run counts as such, so that nothing is removed or started over it.
            Self::Unsure => (State::Running, Cause::new(Reason::Adopted, UNSURE)),
        }
    }

    /// Returns when nothing more is done.
    pub async fn settled(self) {
        if let Self::Ending { rest, .. } = self {
            // One that panicked has done what it could.
            let _ = rest.await;
        }
    }
}

/// The definition and the owner of a guest that runs, as RUN has them: all that is left where what was stored is lost.
pub async fn what_runs(context: &Context, uuid: &Uuid, running: &[Found]) -> Option<(Definition, u32)> {
    let guest = lost::recorded(context, uuid, Some(running)).await.ok()?;
    if !(guest.live.active && guest.process.is_some()) {
        return None;
    }
    let text = text_as_it_runs(&context.scope.domain_run_dir(uuid), &guest.live).ok()?;
    // Without its owner it is nobody's: what it names on the host is opened with the owner's rights.
    let unknown = if context.scope.kind == ScopeKind::Session { context.scope.uid } else { NOBODY };
    Some((Definition::read(text).ok()?, guest.live.owner.unwrap_or(unknown)))
}

/// The uid that RUN records for a domain's guest.
pub fn recorded_uid(context: &Context, uuid: &Uuid) -> Option<u32> {
    store::load_live::<Live>(&context.scope.domain_run_dir(uuid)).ok()??.uid
}

/// The definition that a guest runs with, its meaning, and whether what is stored says something else.
struct Runs {
    definition: Definition,
    def: DomainDef,
    differs: bool,
}

impl Runs {
    /// What is not another text is kept once. Where the text is lost the guest runs with what is stored, as far as is
    /// known.
    async fn read(
        context: &Context,
        dir: &Path,
        guest: &mut Guest,
        stored: Definition,
    ) -> Result<Self, Error> {
        let text = match text_as_it_runs(dir, &guest.live) {
            Ok(text) => Ok(text),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                Err(e.to_string())
            }
            Err(e) => return Err(Error::Run(e)),
        };
        let read = move || {
            let running = text.and_then(|text| {
                if text == stored.xml() {
                    Ok(stored.clone())
                } else {
                    Definition::read(text).map_err(|e| e.to_string())
                }
            });
            let (definition, lost) = match running {
                Ok(definition) => (definition, None),
                Err(why) => (stored.clone(), Some(why)),
            };
            let differs = !definition.says_the_same(&stored);
            let def = definition.doc()?.into_def();
            Ok::<_, Error>((Self { definition, def, differs }, lost))
        };
        let (runs, lost) = context.desk.run_own(usize::MAX, read).await?;
        if let Some(why) = lost {
            let path = definition_file(dir);
            let name = runs.definition.name();
            tracing::error!(domain = %name, "'{}' is lost or broken ({why}); what is stored counts", path.display());
            guest.lost.push(path);
        }
        Ok(runs)
    }
}

/// Looks at what RUN and the host say of a domain, of which this is stored, with its owner; adopts its guest or removes
/// what is left of it. Neither waits long for what does not answer: a task of its own does.
pub async fn recover(
    context: &Context,
    uuid: &Uuid,
    stored: Option<(&Definition, u32)>,
    running: &[Found],
) -> Result<Recovered, Error> {
    let dir = context.scope.domain_run_dir(uuid);
    if !dir.try_exists().map_err(Error::Run)? && find::of_domain(running, uuid).is_none() {
        return Ok(Recovered::Off);
    }
    let mut guest = lost::recorded(context, uuid, Some(running)).await?;
    guest.live.owner = guest.live.owner.or(stored.map(|(_, owner)| owner));
    if let Some(uid) = guest.live.uid {
        context.uids.mark(uid);
    }
    let runs = guest.live.active && guest.process.is_some();
    match stored {
        Some((stored, _)) if runs => {
            let runs = Runs::read(context, &dir, &mut guest, stored.clone()).await?;
            lost::complete(context, uuid, &runs.def, &mut guest).await;
            hold(context, uuid, &runs.def, &guest);
            Ok(Recovered::Adopted(take_over(context, uuid, runs, guest).await))
        }
        None if runs => {
            let pid = guest.process.map_or(0, |process| process.identity().pid);
            tracing::error!(
                "QEMU (process {pid}) of the domain '{}' ({uuid}) runs, and no definition of it is left: it is left alone",
                guest.live.name
            );
            Ok(Recovered::Off)
        }
        _ => Ok(remove(context, uuid, guest, stored.is_some()).await),
    }
}

/// Removes what is left of a guest that does not run. `known`: its domain is defined.
async fn remove(context: &Context, uuid: &Uuid, mut guest: Guest, known: bool) -> Recovered {
    let lost = guest.live.active && known;
    if lost {
        tracing::warn!(domain = %guest.live.name, "the guest ended while Warren was not running");
    }
    guest.live.nics.retain(|n| n.downscript.is_some());
    let (context, uuid) = (context.clone(), *uuid);
    let mut rest = tokio::spawn(async move {
        for problem in guest.give_back(&context, &uuid).await {
            tracing::warn!(domain = %uuid, "while removing what a previous daemon left: {problem}");
        }
    });
    match tokio::time::timeout(REMOVAL, &mut rest).await {
        Err(_) => Recovered::Ending { rest, lost },
        Ok(_) if lost => Recovered::Lost,
        Ok(_) => Recovered::Off,
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
            wish: PortWish::of(nic, guest.owner()),
            path: nic.info.path.clone(),
        });
    }
}

async fn take_over(context: &Context, uuid: &Uuid, runs: Runs, mut guest: Guest) -> Box<Adopted> {
    let dir = context.scope.domain_run_dir(uuid);
    guest.copies = Some(context.ledger.note(guest.owner(), Resource::GuestMemory, guest.live.copies));
    let stderr = stderr_fifo(&dir);
    match process::reopen_fifo(&stderr) {
        Ok(fd) => guest.stderr = Some(StderrTail::start(fd, format!("QEMU of '{}'", guest.live.name))),
        Err(e) => tracing::warn!(domain = %uuid, "QEMU's words are not heard, '{}': {e}", stderr.display()),
    }
    let Runs { definition, def, differs } = runs;
    guest.note_demand(context, &def);
    if let Err(e) = consoles::attach(context, uuid, &def, &mut guest).await {
        tracing::warn!(domain = %uuid, "the console is not read: {}", crate::chain(&e));
    }
    lost::note_sockets(&dir, &def, &mut guest);
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
    /// Tries again what could not be found out, at growing distances, until it is known.
    pub(super) fn recover_again(&self) {
        let (context, uuid, reports) = (self.context.clone(), self.uuid, self.reports.clone());
        let (stored, owner) = (self.definition.clone(), self.envelope.owner);
        tokio::spawn(async move {
            let mut backoff = Backoff::new(PAUSE, PAUSE_MOST);
            let recovered = loop {
                tokio::time::sleep(backoff.pause(Instant::now()).max(PAUSE)).await;
                let again = async {
                    let running = find::running(&context).await.map_err(Error::Run)?;
                    recover(&context, &uuid, Some((&stored, owner)), &running).await
                };
                match again.await {
                    Ok(recovered) => break recovered,
                    Err(e) => tracing::error!(domain = %uuid, "not taken over yet: {}", crate::chain(&e)),
                }
            };
            // The rules were made without it.
            if let Err(e) = context.loopback.open(&uuid).await {
                tracing::error!(domain = %uuid, "its rules of the loopback are not made yet: {}", crate::chain(&e));
            }
            let _ = reports.send(Report::Recovered(Box::new(recovered))).await;
        });
    }

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
