//! What the tasks beside an actor report to it.
//!
//! Owns the order of news: what QEMU has sent before something that is known already changes nothing, and what comes
//! of a guest that has gone is dropped. The queue is bounded; who reports waits, and only for this one domain. Must
//! never wait.

use tokio::sync::mpsc;

use super::actor::{Actor, Reply};
use super::change::Change;
use super::commands::Status;
use super::guest::Guest;
use super::resync::follow;
use super::start::Started;
use super::state::{Event, State};
use super::{Error, events};
use crate::reason::{Cause, Reason};
use crate::sys::process::Exit;
use crate::sys::qmp::{Qmp, QmpEvent};

/// Reports that may wait for the actor.
pub(super) const QUEUE: usize = 64;

/// What comes from the tasks beside the actor.
pub(super) enum Report {
    Started(Box<Result<Started, Error>>),
    /// A command was run; for some, what the guest does since.
    CommandDone {
        outcome: Result<Option<Status>, Error>,
        reply: Reply<()>,
    },
    /// The guest of that number was reset and runs, or not.
    Restarted {
        guest: u64,
        outcome: Result<Status, Error>,
    },
    /// Of the monitor of the guest of that number.
    News {
        guest: u64,
        news: News,
    },
    Exited(Exit),
    /// QEMU was asked to end and did not.
    StillThere(Error),
    GivenBack,
    /// What could not be found out when the daemon started.
    Recovered(Box<super::Recovered>),
    /// What is stored of the domain was changed, or was not.
    Changed(Box<Change>),
    /// What a teardown had left was tried again.
    Cleared {
        left: Vec<String>,
        reply: Reply<()>,
    },
}

/// What comes from a monitor.
pub(super) enum News {
    Event(QmpEvent),
    /// It has sent more than is taken.
    Flooded,
    /// What the guest does, since that was not known.
    Status(Status),
    Closed,
    /// It is there again.
    Reconnected(Qmp),
}

impl Actor {
    /// Takes in a report; true when the domain is no more.
    pub(super) fn heed(&mut self, report: Report) -> bool {
        match report {
            Report::Started(result) => self.started(*result),
            Report::CommandDone { outcome, reply } => {
                self.about_to = None;
                let result = outcome.map(|status| {
                    if let Some(status) = status {
                        self.status(&status, Some(Reason::Requested.into()));
                    }
                });
                if let Err(e) = &result {
                    tracing::warn!(domain = %self.name(), "{}", crate::chain(e));
                }
                let _ = reply.send(result);
            }
            Report::Restarted { guest, outcome } if guest == self.guest_number => self.restarted(outcome),
            Report::News { guest, news } if guest == self.guest_number => self.news(news),
            Report::Restarted { .. } | Report::News { .. } => {}
            Report::Exited(exit) => self.exited(&exit),
            Report::StillThere(e) => {
                let text = crate::chain(&e);
                tracing::warn!(domain = %self.name(), "{text}");
                if let Some(last) = self.stopping.pop() {
                    let _ = last.send(Err(e));
                }
                self.answer_stops_with(&text);
            }
            Report::GivenBack => self.given_back(),
            Report::Recovered(recovered) => {
                self.recovered(*recovered);
                self.go_on();
            }
            Report::Changed(change) => {
                if self.changed(*change) {
                    return true;
                }
                self.go_on();
            }
            Report::Cleared { left, reply } => {
                self.cleared(left, reply);
                self.go_on();
            }
        }
        false
    }

    /// What has waited for a change is handled.
    fn go_on(&mut self) {
        while !self.changing
            && let Some(message) = self.waiting.pop_front()
        {
            self.handle(message);
        }
    }

    fn news(&mut self, news: News) {
        match news {
            News::Event(event) if event.seq > self.known_to => {
                self.known_to = event.seq;
                self.qmp_event(&event);
            }
            News::Event(_) => {}
            News::Flooded => self.flooded(),
            News::Status(status) => {
                let why = self.about_to.clone();
                self.status(&status, why);
            }
            News::Closed => {
                if let Some(guest) = &mut self.guest {
                    guest.qmp = None;
                    self.reconnect(false);
                }
            }
            News::Reconnected(qmp) => {
                if let Some(guest) = &mut self.guest {
                    guest.qmp = Some(qmp);
                }
            }
        }
    }

    /// What QEMU says that the guest does; `why`: the cause of a change, where it is known.
    pub(super) fn status(&mut self, status: &Status, why: Option<Cause>) {
        if status.seq <= self.known_to {
            return;
        }
        self.known_to = status.seq;
        let or = |other: Reason| why.unwrap_or(other.into());
        match (status.word.as_str(), status.state()) {
            ("shutdown", _) => self.powered_off(status.shutdown.as_deref().unwrap_or("guest-shutdown")),
            ("io-error", _) => self.note(Event::Halted, Cause::new(Reason::IoError, events::DISK_FAILED)),
            (_, State::Running) => self.note(Event::Ran, or(Reason::Resumed)),
            (_, State::PmSuspended) => self.note(Event::Slept, Reason::Guest),
            _ => self.note(Event::Halted, or(Reason::Halted)),
        }
    }

    /// From here on QEMU's end and its news are reported. `events`: of its monitor, and whether its state is known;
    /// without them the monitor is still to be reached.
    pub(super) fn take_guest(&mut self, guest: Guest, events: Option<(mpsc::Receiver<QmpEvent>, bool)>) {
        self.guest_number += 1;
        self.forget_restarts();
        if let Some(process) = guest.process.clone() {
            let reports = self.reports.clone();
            tokio::spawn(async move {
                let exit = process.exited().await;
                let _ = reports.send(Report::Exited(exit)).await;
            });
        }
        let qmp = guest.qmp.clone();
        self.guest = Some(guest);
        match (qmp, events) {
            (Some(qmp), Some((events, known))) => {
                tokio::spawn(follow(qmp, events, self.reports.clone(), self.guest_number, known));
            }
            _ => self.reconnect(true),
        }
    }
}
