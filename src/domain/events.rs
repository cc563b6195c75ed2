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
            "STOP" => self.note(Event::Halted, "halted"),
            "RESUME" | "WAKEUP" => self.note(Event::Ran, "resumed"),
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
