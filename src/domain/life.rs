//! How a guest comes, and how it goes.
//!
//! Owns who is answered when it has. Must never wait for QEMU: what does is begun beside the actor, and reports.

use std::time::Duration;

use super::actor::{Actor, Reply};
use super::guest::GRACE;
use super::report::Report;
use super::start::{self, Started};
use super::state::{Effect, Event, State};
use super::{Error, StartOptions};
use crate::reason::{Cause, Reason};
use crate::sys::process::Exit;

impl Actor {
    pub(super) fn start(&mut self, options: StartOptions, reply: Reply<()>) {
        let next = match self.step(Event::Start) {
            Ok((next, _)) => next,
            Err(e) => return drop(reply.send(Err(e))),
        };
        if options.judged.is_some_and(|judged| judged != self.definition.edition()) {
            return drop(reply.send(Err(Error::Changed { name: self.name() })));
        }
        self.starting = Some((reply, options));
        self.cancel.send_replace(false);
        self.live = Some(self.definition.clone());
        self.enter(next, options.reason);
        let attempt = start::start(
            self.context.clone(),
            self.uuid,
            self.definition.clone(),
            self.envelope.owner,
            options,
            self.cancel.subscribe(),
        );
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let _ = reports.send(Report::Started(Box::new(attempt.await))).await;
        });
    }

    pub(super) fn started(&mut self, result: Result<Started, Error>) {
        let Some((reply, options)) = self.starting.take() else { return };
        match result {
            Ok(Started { guest, events }) => {
                self.take_guest(guest, Some((events, true)));
                if self.state == State::Stopping {
                    // The stop came when the start was already through.
                    self.end_qemu(false);
                    return drop(reply.send(Err(Error::Cancelled)));
                }
                let event = if options.paused { Event::Halted } else { Event::Ran };
                self.note(event, options.reason);
                tracing::info!(domain = %self.name(), "domain started");
                let _ = reply.send(Ok(()));
            }
            Err(e) => {
                self.end_live();
                let cancelled = self.state == State::Stopping;
                let cause = if cancelled { Reason::Requested.into() } else { Cause::failed(&e) };
                if let Ok((next, _)) = self.step(Event::StartFailed) {
                    self.enter(next, cause);
                }
                let _ = reply.send(Err(e));
                self.answer_stops();
            }
        }
    }

    pub(super) fn stop(&mut self, graceful: bool, reply: Reply<()>) {
        if self.unsure {
            return drop(reply.send(Err(Error::Unsure(self.name()))));
        }
        let (next, effect) = match self.step(Event::Stop) {
            Ok(step) => step,
            Err(e) => return drop(reply.send(Err(e))),
        };
        self.stopping.push(reply);
        self.enter(next, Reason::Requested);
        match effect {
            Effect::EndQemu => self.end_qemu(graceful),
            Effect::CancelStart => drop(self.cancel.send_replace(true)),
            // A forced stop overtakes a graceful one.
            _ if !graceful && self.starting.is_none() => self.end_qemu(false),
            _ => {}
        }
    }

    /// Ends QEMU, which RUN knows first: a service that finds it ended, or not yet, must not take it for a crash.
    pub(super) fn end_qemu(&mut self, graceful: bool) {
        if let Some(guest) = &mut self.guest {
            guest.live.active = false;
            self.save_guest();
        }
        let Some(process) = self.guest.as_ref().and_then(|g| g.process.clone()) else { return };
        // Without a SIGKILL at its end a graceful stop has no other limit than patience.
        let grace = match (graceful, self.floods()) {
            (true, _) => Duration::from_secs(3600),
            (false, true) => GRACE / 5,
            (false, false) => GRACE,
        };
        let reports = self.reports.clone();
        tokio::spawn(async move {
            if let Err(e) = process.terminate(grace).await {
                let _ = reports.send(Report::StillThere(e.into())).await;
            }
        });
    }

    pub(super) fn exited(&mut self, exit: &Exit) {
        let Some(guest) = self.guest.take() else { return };
        let crashed = self.state != State::Stopping;
        if crashed {
            let (words, name) = (guest.last_words(), self.name());
            let said = words.trim().lines().map(|line| format!("; it said: {line}")).collect::<String>();
            let detail = format!("QEMU ended by itself ({exit}){said}");
            tracing::warn!(domain = %name, "{detail}");
            self.cause = Cause::new(Reason::Failed, detail);
        }
        let (context, uuid, reports) = (self.context.clone(), self.uuid, self.reports.clone());
        tokio::spawn(async move {
            for problem in guest.give_back(&context, &uuid).await {
                tracing::warn!(domain = %uuid, "while cleaning up: {problem}");
            }
            let _ = reports.send(Report::GivenBack).await;
        });
    }

    /// Nothing runs any more.
    fn end_live(&mut self) {
        (self.live, self.differs) = (None, false);
        if !self.changing {
            self.count();
        }
    }

    pub(super) fn given_back(&mut self) {
        self.end_live();
        if let Ok((next, _)) = self.step(Event::Gone) {
            let next = self.ended_as.take().unwrap_or(next);
            self.enter(next, self.cause.clone());
        }
        tracing::info!(domain = %self.name(), "domain stopped");
        self.answer_stops();
    }

    fn answer_stops(&mut self) {
        for reply in self.stopping.drain(..) {
            let _ = reply.send(Ok(()));
        }
    }

    pub(super) fn answer_stops_with(&mut self, text: &str) {
        for reply in self.stopping.drain(..) {
            let _ = reply.send(Err(Error::Run(std::io::Error::other(text.to_owned()))));
        }
    }
}
