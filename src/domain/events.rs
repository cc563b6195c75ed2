//! What QEMU tells by itself.
//!
//! Owns the meaning of QMP's events: which are news of the guest's state, and what is done when the guest
//! has switched itself off. Must never wait; what takes time is begun beside the actor.

use tokio::sync::mpsc;

use super::actor::{Actor, Report};
use super::commands;
use super::state::Event;
use crate::model::LifecycleAction;
use crate::sys::qmp::QmpEvent;

/// Why a guest is halted whose disk has no room; it goes on by `Resume`, and tries once more.
const DISK_IS_FULL: &str = "failed: there is no space left for one of its disks";

/// The same of one that cannot be read or written.
pub(super) const DISK_FAILED: &str = "failed: one of its disks cannot be read or written";

/// Passes QEMU's events on to the actor until the monitor closes.
pub(super) async fn pass_on(mut events: mpsc::Receiver<QmpEvent>, reports: &mpsc::UnboundedSender<Report>) {
    while let Some(event) = events.recv().await {
        let _ = reports.send(Report::Qmp(event));
    }
    let _ = reports.send(Report::QmpClosed);
}

impl Actor {
    pub(super) fn qmp_event(&mut self, event: &QmpEvent) {
        match event.name.as_str() {
            "BLOCK_IO_ERROR" if event.data["action"] == "stop" => {
                let why = if event.data["nospace"] == true { DISK_IS_FULL } else { DISK_FAILED };
                let node = event.data["node-name"].as_str().unwrap_or_default();
                tracing::warn!(domain = %self.name(), "QEMU halts the guest: {why} ({node})");
                self.about_to = Some(why);
            }
            "STOP" => {
                let why = self.about_to.take().unwrap_or("halted");
                self.note(Event::Halted, why);
            }
            "RESUME" | "WAKEUP" => {
                let why = self.about_to.take().unwrap_or("resumed");
                self.note(Event::Ran, why);
            }
            "SUSPEND" => self.note(Event::Slept, "guest"),
            "SHUTDOWN" => self.powered_off(event.data["reason"].as_str().unwrap_or("")),
            _ => {}
        }
    }

    /// The guest is off and QEMU halted (`-no-shutdown`): what the definition says is done.
    pub(super) fn powered_off(&mut self, reason: &str) {
        let def = self.live_doc.as_ref().unwrap_or(&self.doc).def();
        let (action, why) = match reason {
            "guest-reset" => (def.on_reboot, "reboot"),
            "guest-panic" => (def.on_crash, "failed: the guest panicked"),
            _ if self.guest.as_ref().is_some_and(|g| g.live.reboot) => (LifecycleAction::Restart, "reboot"),
            _ => (def.on_poweroff, "shutdown"),
        };
        match action {
            LifecycleAction::Destroy => {
                if let Ok((next, _)) = self.step(Event::PoweredOff) {
                    self.enter(next, why);
                    self.end_qemu(false);
                }
            }
            LifecycleAction::Restart => self.start_again(),
            LifecycleAction::Preserve => self.note(Event::Halted, why),
        }
    }

    fn start_again(&mut self) {
        self.set_reboot(false);
        let Some(qmp) = self.guest.as_ref().and_then(|g| g.qmp.clone()) else { return };
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let outcome = match commands::execute(&qmp, "system_reset").await {
                Ok(_) => commands::execute(&qmp, "cont").await.map(|_| Some(Event::Ran)),
                Err(e) => Err(e),
            };
            let _ = reports.send(Report::CommandDone { outcome, reply: None });
        });
    }
}
