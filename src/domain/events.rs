//! What QEMU tells by itself.
//!
//! Owns the meaning of QMP's events: which are news of the guest's state, and what is done when the guest
//! has switched itself off. A guest that does so again and again is started again at a growing distance, and what is
//! an echo of Warren's own reset starts nothing. Must never wait; what takes time is begun beside the actor.

use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::Error;
use super::actor::Actor;
use super::commands::{self, Status};
use super::definition::Definition;
use super::recover::PAUSE_MOST;
use super::report::Report;
use super::state::Event;
use crate::model::LifecycleAction;
use crate::pace::{Backoff, Meter};
use crate::reason::{Cause, Reason};
use crate::sys::qmp::QmpEvent;

/// Why a guest is halted whose disk has no room; it goes on by `Resume`, and tries once more.
const DISK_IS_FULL: &str = "there is no space left for one of its disks";

/// The same of one that cannot be read or written.
pub(super) const DISK_FAILED: &str = "one of its disks cannot be read or written";

/// The pause before a guest that has just been restarted is restarted again: at first, and at most. One that has run
/// for as long as the latter is restarted at once.
const RESTART: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long after a reset firmware may reset the machine once more: SeaBIOS does, to have its own code back.
const FIRMWARE: Duration = Duration::from_secs(3);

/// Lines in the log on one guest's events: so many at once, and one more in each such time.
const LINES: (u32, Duration) = (10, Duration::from_secs(60));

/// How long a guest that has flooded the monitor counts as one that does.
const FLOOD: Duration = Duration::from_secs(10);

/// What is remembered of a guest's events.
#[derive(Debug)]
pub(super) struct Memory {
    restarts: Backoff,
    /// A restart of the guest has begun, or waits for its time.
    restarting: bool,
    /// Why the guest was switched off last while that is so, and the place of that in what QEMU has sent.
    missed: Option<(u64, String)>,
    /// QEMU is about to be told again what it does where the guest resets itself.
    resets: Option<AbortHandle>,
    /// How often the monitor is reached again after it was closed.
    pub(super) closings: Backoff,
    flooded: Option<Instant>,
    lines: Meter,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            restarts: Backoff::new(RESTART.0, RESTART.1),
            restarting: false,
            missed: None,
            resets: None,
            closings: Backoff::new(Duration::from_secs(1), PAUSE_MOST),
            flooded: None,
            lines: Meter::new(LINES.0, LINES.1),
        }
    }
}

/// What is done about a guest that has switched itself off, by the `reason` of `SHUTDOWN`, and why its state changes.
/// `reboot`: it was asked to, in order to start again.
fn lifecycle(def: &Definition, reason: &str, reboot: bool) -> (LifecycleAction, Reason) {
    match reason {
        // QEMU tells of a reset in this way only where it is not to do it. The second is an echo of our own.
        "guest-reset" | "host-qmp-system-reset" => (def.on_reboot(), Reason::Reboot),
        "guest-panic" => (def.on_crash(), Reason::Panicked),
        // QEMU ends; nothing can be started in it.
        "host-signal" | "host-qmp-quit" => (LifecycleAction::Destroy, Reason::Shutdown),
        _ if reboot => (def.on_reboot(), Reason::Reboot),
        _ => (def.on_poweroff(), Reason::Shutdown),
    }
}

/// Why a guest was switched off before the answer at `seq`, which says no more than that it is; or after it.
fn parted(missed: Option<(u64, String)>, seq: u64) -> (Option<String>, Option<String>) {
    match missed {
        // The echo of our own reset.
        Some((_, reason)) if reason == "host-qmp-system-reset" => (None, None),
        Some((at, reason)) if at > seq => (None, Some(reason)),
        missed => (missed.map(|(_, reason)| reason), None),
    }
}

impl Actor {
    pub(super) fn qmp_event(&mut self, event: &QmpEvent) {
        match event.name.as_str() {
            "BLOCK_IO_ERROR" if event.data["action"] == "stop" => {
                let full = event.data["nospace"] == true;
                let (reason, why) =
                    if full { (Reason::DiskFull, DISK_IS_FULL) } else { (Reason::IoError, DISK_FAILED) };
                let node = event.data["node-name"].as_str().unwrap_or_default();
                let node: String = node.chars().take(64).collect();
                let detail = format!("{why} ({})", node.escape_debug());
                if self.memory.lines.admits(Instant::now()) {
                    tracing::warn!(domain = %self.name(), "QEMU halts the guest: {detail}");
                }
                self.about_to = Some(Cause::new(reason, detail));
            }
            "STOP" => {
                let why = self.about_to.take().unwrap_or(Reason::Halted.into());
                self.note(Event::Halted, why);
            }
            "RESUME" | "WAKEUP" => {
                let or = if self.memory.restarting { Reason::Reboot } else { Reason::Resumed };
                let why = self.about_to.take().unwrap_or(or.into());
                self.note(Event::Ran, why);
            }
            "SUSPEND" => self.note(Event::Slept, Reason::Guest),
            "SHUTDOWN" => self.powered_off(event.data["reason"].as_str().unwrap_or("")),
            _ => {}
        }
    }

    /// The guest is off and QEMU halted (`-no-shutdown`): what the definition says is done.
    pub(super) fn powered_off(&mut self, reason: &str) {
        // Told twice, the echo of the reset that is under way, or news: its end tells.
        if self.memory.restarting {
            self.memory.missed = Some((self.known_to, reason.to_owned()));
            return;
        }
        let def = self.live.as_ref().unwrap_or(&self.definition);
        let reboot = self.guest.as_ref().is_some_and(|g| g.live.reboot);
        let (action, why) = lifecycle(def, reason, reboot);
        match action {
            LifecycleAction::Destroy => {
                if let Ok((next, _)) = self.step(Event::PoweredOff) {
                    self.enter(next, why);
                    self.end_qemu(false);
                }
            }
            LifecycleAction::Restart => self.start_again(why),
            LifecycleAction::Preserve => self.note(Event::Halted, why),
        }
    }

    fn start_again(&mut self, why: Reason) {
        if self.step(Event::Command).is_err() {
            return;
        }
        self.set_reboot(false);
        // Without a monitor the guest's state is asked for when it is there again, and this is come to once more.
        let Some(qmp) = self.guest.as_ref().and_then(|g| g.qmp.clone()) else { return };
        // QEMU was told to switch off where the guest resets itself: that is not for our own reset.
        let kept_from_reset = self.is_kept_from_reset();
        if let Some(resets) = self.memory.resets.take() {
            resets.abort();
        }
        let pause = self.memory.restarts.pause(Instant::now());
        if !pause.is_zero() && self.memory.lines.admits(Instant::now()) {
            tracing::warn!(
                domain = %self.name(),
                "the guest has switched itself off soon after its restart; it is restarted in {} s",
                pause.as_secs()
            );
        }
        self.note(Event::Halted, why);
        self.memory.restarting = true;
        let (reports, guest) = (self.reports.clone(), self.guest_number);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let allowed = if kept_from_reset { commands::on_reset(&qmp, "reset").await } else { Ok(()) };
            let outcome = match allowed {
                Ok(()) => commands::restart(&qmp).await,
                Err(e) => Err(e),
            };
            let _ = reports.send(Report::Restarted { guest, outcome }).await;
        });
    }

    fn is_kept_from_reset(&self) -> bool {
        self.live.as_ref().unwrap_or(&self.definition).on_reboot() != LifecycleAction::Restart
    }

    pub(super) fn restarted(&mut self, outcome: Result<Status, Error>) {
        self.memory.restarting = false;
        let missed = self.memory.missed.take();
        if let Some(qmp) = self.guest.as_ref().and_then(|g| g.qmp.clone())
            && self.is_kept_from_reset()
        {
            let task = tokio::spawn(async move {
                tokio::time::sleep(FIRMWARE).await;
                // One that has ended meanwhile resets itself no more.
                let _ = commands::on_reset(&qmp, "shutdown").await;
            });
            self.memory.resets = Some(task.abort_handle());
        }
        if self.guest.is_none() || self.step(Event::Command).is_err() {
            return;
        }
        match outcome {
            Ok(status) => {
                let (before, after) = parted(missed, status.seq);
                self.status(&Status { shutdown: before, ..status }, Some(Reason::Reboot.into()));
                if let Some(reason) = after {
                    self.powered_off(&reason);
                }
            }
            Err(e) => {
                if self.memory.lines.admits(Instant::now()) {
                    tracing::warn!(
                        domain = %self.name(),
                        "the guest is not restarted, which is tried again: {}",
                        crate::chain(&e)
                    );
                }
                self.start_again(Reason::Reboot);
            }
        }
    }

    /// Begins anew, for another guest.
    pub(super) fn forget_restarts(&mut self) {
        self.memory = Memory::new();
    }

    /// The guest has sent more than is taken.
    pub(super) fn flooded(&mut self) {
        if self.memory.flooded.is_none() {
            tracing::warn!(domain = %self.name(), "the guest's QEMU sends more than is taken; its state is asked for");
        }
        self.memory.flooded = Some(Instant::now());
    }

    /// Whether the guest floods its monitor: a QEMU that does so has forfeited its patience.
    pub(super) fn floods(&self) -> bool {
        self.memory.flooded.is_some_and(|at| at.elapsed() < FLOOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(inner: &str, reason: &str, reboot: bool) -> LifecycleAction {
        let text = format!(
            "<domain type='qemu'><name>n</name><memory>1</memory><os><type>hvm</type></os>{inner}</domain>"
        );
        lifecycle(&Definition::read(text).unwrap(), reason, reboot).0
    }

    #[test]
    fn what_a_guest_does_is_told_from_what_is_done_to_it() {
        use LifecycleAction as A;
        let restarts = "<on_poweroff>restart</on_poweroff><on_reboot>destroy</on_reboot>";
        assert_eq!(action(restarts, "guest-shutdown", false), A::Restart);
        // Our own reset is no reason for another one.
        assert_eq!(action(restarts, "host-qmp-system-reset", false), A::Destroy);
        assert_eq!(action(restarts, "host-signal", false), A::Destroy);
        assert_eq!(action("", "guest-shutdown", false), A::Destroy);
        assert_eq!(action("", "guest-shutdown", true), A::Restart);
        assert_eq!(action("<on_reboot>preserve</on_reboot>", "guest-shutdown", true), A::Preserve);
        assert_eq!(action("<on_crash>preserve</on_crash>", "guest-panic", false), A::Preserve);
    }

    #[test]
    fn a_guest_that_switches_itself_off_during_its_restart_is_heard() {
        let missed = |at, reason: &str| parted(Some((at, reason.to_owned())), 7);
        let why = || Some("guest-shutdown".to_owned());
        assert_eq!(missed(8, "guest-shutdown"), (None, why()), "its answer does not know of it");
        assert_eq!(missed(6, "guest-shutdown"), (why(), None), "its answer says whether it is off");
        assert_eq!(missed(8, "host-qmp-system-reset"), (None, None));
        assert_eq!(parted(None, 7), (None, None));
    }
}
