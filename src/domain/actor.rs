//! The task behind a domain's mailbox.
//!
//! Owns the definition and the guest, and publishes a new view after each change. What may wait for QEMU
//! runs beside it and reports back, so that a hung guest never keeps `Stop` from getting through. Must
//! never wait for anything but its two mailboxes.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::events::Memory;
use super::guest::{GRACE, Guest};
use super::recover::Adopted;
use super::report::{self, Report};
use super::start::{self, Started};
use super::state::{self, Denial, Effect, Event, State};
use super::{Command, Context, Error, Handle, Info, Recovered, StartOptions, View, info, live};
use crate::model::DomainDoc;
use crate::store::{Envelope, Kind};
use crate::sys::process::Exit;

const MAILBOX: usize = 64;
/// Why a guest is off that was running when the daemon ended.
const LOST: &str = "failed: QEMU ended while Warren was not running";

pub(super) type Reply<T> = crate::mailbox::Reply<T, Error>;

#[derive(Debug)]
pub(super) enum Message {
    Start { options: StartOptions, reply: Reply<()> },
    Stop { graceful: bool, reply: Reply<()> },
    Undefine { reply: Reply<()> },
    Redefine { doc: Box<DomainDoc>, generation: u64, reply: Reply<()> },
    SetAutostart { autostart: bool, reply: Reply<()> },
    Document { live: bool, reply: Reply<DomainDoc> },
    Info { reply: Reply<Info> },
    Command { command: Command, reply: Reply<()> },
    OpenConsole { device: String, force: bool, reply: Reply<OwnedFd> },
    OpenGraphics { device: String, reply: Reply<OwnedFd> },
}

/// What an actor begins with.
#[derive(Debug)]
pub struct Seed {
    /// The complete definition.
    pub doc: DomainDoc,
    /// Its uuid.
    pub uuid: Uuid,
    /// What is stored beside it.
    pub envelope: Envelope,
    /// What a former service left.
    pub recovered: super::Recovered,
}

pub(super) struct Actor {
    pub(super) context: Context,
    pub(super) uuid: Uuid,
    pub(super) doc: DomainDoc,
    envelope: Envelope,
    state: State,
    reason: String,
    pub(super) guest: Option<Guest>,
    /// The definition as it runs.
    pub(super) live_doc: Option<DomainDoc>,
    starting: Option<(Reply<()>, StartOptions)>,
    cancel: watch::Sender<bool>,
    /// Calls that wait for its end; each caller has a share of those.
    pub(super) stopping: Vec<Reply<()>>,
    /// Why QEMU is about to tell that the CPUs are halted or run, where that is known.
    pub(super) about_to: Option<&'static str>,
    /// Which guest it is, of those that this actor has had.
    pub(super) guest_number: u64,
    /// The place, in what QEMU has sent, of the last that is known of the guest's state.
    pub(super) known_to: u64,
    pub(super) memory: Memory,
    /// What it is when all is given back, where its end alone does not tell.
    ended_as: Option<State>,
    view: watch::Sender<Arc<View>>,
    pub(super) reports: mpsc::Sender<Report>,
}

/// Starts the actor of a domain.
pub fn spawn(context: Context, seed: Seed) -> Handle {
    let (mailbox, messages) = mpsc::channel(MAILBOX);
    let (reports, reported) = mpsc::channel(report::QUEUE);
    let Seed { doc, uuid, envelope, recovered } = seed;
    context.kept.count(&context.store, &uuid, envelope.owner);
    let (state, reason) = match &recovered {
        Recovered::Adopted(adopted) => (adopted.state(), "adopted"),
        Recovered::Lost => (State::Crashed, LOST),
        Recovered::Ending { lost: true, .. } => (State::Stopping, LOST),
        Recovered::Ending { .. } => (State::Stopping, "none"),
        Recovered::Off => (State::Shutoff, "none"),
    };
    let mut actor = Actor {
        context,
        uuid,
        doc,
        envelope,
        state,
        reason: reason.to_owned(),
        guest: None,
        live_doc: None,
        starting: None,
        cancel: watch::Sender::new(false),
        stopping: Vec::new(),
        about_to: None,
        guest_number: 0,
        known_to: 0,
        memory: Memory::new(),
        ended_as: None,
        view: watch::Sender::new(Arc::new(View::empty(uuid))),
        reports,
    };
    actor.begin(recovered);
    actor.view.send_replace(Arc::new(actor.snapshot()));
    let handle = Handle { uuid, mailbox, view: actor.view.subscribe() };
    tokio::spawn(async move { actor.run(messages, reported).await });
    handle
}

impl Actor {
    /// Goes on with what a previous daemon left.
    fn begin(&mut self, recovered: Recovered) {
        match recovered {
            Recovered::Adopted(adopted) => {
                let Adopted { guest, doc, monitor } = *adopted;
                self.live_doc = Some(doc);
                let (events, status) = monitor.unzip();
                self.take_guest(guest, events.map(|events| (events, true)));
                if let Some(status) = status {
                    self.status(&status, "adopted");
                }
            }
            Recovered::Ending { rest, lost } => {
                self.ended_as = lost.then_some(State::Crashed);
                let reports = self.reports.clone();
                tokio::spawn(async move {
                    // One that panicked has done what it could.
                    let _ = rest.await;
                    let _ = reports.send(Report::GivenBack).await;
                });
            }
            Recovered::Lost | Recovered::Off => {}
        }
    }

    async fn run(&mut self, mut messages: mpsc::Receiver<Message>, mut reported: mpsc::Receiver<Report>) {
        loop {
            // Reports first: a message is judged by what has happened before it.
            tokio::select! {
                biased;
                Some(report) = reported.recv() => self.heed(report),
                message = messages.recv() => match message {
                    Some(message) => if self.handle(message) { return },
                    None => return,
                },
            }
        }
    }

    /// Answers one message, or begins what will answer it; true when the domain is no more.
    fn handle(&mut self, message: Message) -> bool {
        match message {
            Message::Start { options, reply } => self.start(options, reply),
            Message::Stop { graceful, reply } => self.stop(graceful, reply),
            Message::Undefine { reply } => {
                let result = self.undefine();
                let ended = result.is_ok();
                let _ = reply.send(result);
                return ended;
            }
            Message::Redefine { doc, generation, reply } => {
                // What was set beside the definition while it waited here stays.
                let envelope = Envelope { generation, ..self.envelope.clone() };
                let _ = reply.send(self.redefine(*doc, envelope));
            }
            Message::SetAutostart { autostart, reply } => {
                let envelope = Envelope { autostart, ..self.envelope.clone() };
                let unchanged = envelope == self.envelope;
                let doc = self.doc.clone();
                let _ = reply.send(if unchanged { Ok(()) } else { self.redefine(doc, envelope) });
            }
            Message::Document { live, reply } => {
                let doc = match (&self.live_doc, &self.guest) {
                    (Some(running), Some(guest)) if live => live::document(running, guest),
                    (Some(starting), None) if live => starting.clone(),
                    _ => self.doc.clone(),
                };
                let _ = reply.send(Ok(doc));
            }
            Message::Info { reply } => {
                let doc = self.live_doc.as_ref().unwrap_or(&self.doc);
                let _ = reply.send(Ok(info::of(doc.def(), self.guest.as_ref())));
            }
            Message::Command { command, reply } => self.command(command, reply),
            Message::OpenConsole { device, force, reply } => {
                drop(reply.send(self.open_console(&device, force)));
            }
            Message::OpenGraphics { device, reply } => self.open_graphics(&device, reply),
        }
        false
    }

    pub(super) fn name(&self) -> String {
        self.doc.def().name.to_string()
    }

    pub(super) fn step(&self, event: Event) -> Result<(State, Effect), Error> {
        state::step(self.state, event).map_err(|denial| self.denied(denial))
    }

    pub(super) fn denied(&self, denial: Denial) -> Error {
        Error::Denied { name: self.name(), denial }
    }

    pub(super) fn enter(&mut self, state: State, reason: impl Into<String>) {
        if self.state != state {
            self.state = state;
            self.reason = reason.into();
            self.publish();
        }
    }

    /// Takes an event that is only news; what it does not fit is ignored.
    pub(super) fn note(&mut self, event: Event, reason: &str) {
        if let Ok((next, _)) = self.step(event) {
            self.enter(next, reason);
        }
    }

    fn publish(&self) {
        let new = Arc::new(self.snapshot());
        let old = self.view.send_replace(new.clone());
        if old != new {
            (self.context.announce)(self.uuid, &old, &new);
        }
    }

    fn snapshot(&self) -> View {
        let def = self.doc.def();
        let running = self.live_doc.as_ref().unwrap_or(&self.doc).def();
        let process = self.guest.as_ref().and_then(|g| g.process.as_ref());
        View {
            name: self.name(),
            uuid: self.uuid,
            title: def.title.clone(),
            state: self.state,
            reason: self.reason.clone(),
            autostart: self.envelope.autostart,
            pending_changes: self.live_doc.as_ref().is_some_and(|d| !d.says_the_same(&self.doc)),
            generation: self.envelope.generation,
            owner: self.envelope.owner,
            pid: process.map_or(0, |p| p.identity().pid.unsigned_abs()),
            vcpus: running.vcpus,
            memory_bytes: running.memory.0,
        }
    }

    fn start(&mut self, options: StartOptions, reply: Reply<()>) {
        let next = match self.step(Event::Start) {
            Ok((next, _)) => next,
            Err(e) => return drop(reply.send(Err(e))),
        };
        self.starting = Some((reply, options));
        self.cancel.send_replace(false);
        self.live_doc = Some(self.doc.clone());
        self.enter(next, options.reason);
        let attempt = start::start(
            self.context.clone(),
            self.uuid,
            self.doc.clone(),
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
                self.live_doc = None;
                let cancelled = self.state == State::Stopping;
                let reason =
                    if cancelled { "requested".to_owned() } else { format!("failed: {}", e.in_public()) };
                if let Ok((next, _)) = self.step(Event::StartFailed) {
                    self.enter(next, reason);
                }
                let _ = reply.send(Err(e));
                self.answer_stops();
            }
        }
    }

    fn stop(&mut self, graceful: bool, reply: Reply<()>) {
        let (next, effect) = match self.step(Event::Stop) {
            Ok(step) => step,
            Err(e) => return drop(reply.send(Err(e))),
        };
        self.stopping.push(reply);
        self.enter(next, "requested");
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
            self.reason = format!("failed: QEMU ended by itself ({exit})");
            let words = guest.last_words();
            tracing::warn!(domain = %self.name(), "{}; it said last: {}", self.reason, words.trim());
        }
        let (context, uuid, reports) = (self.context.clone(), self.uuid, self.reports.clone());
        tokio::spawn(async move {
            for problem in guest.give_back(&context, &uuid).await {
                tracing::warn!(domain = %uuid, "while cleaning up: {problem}");
            }
            let _ = reports.send(Report::GivenBack).await;
        });
    }

    pub(super) fn given_back(&mut self) {
        self.live_doc = None;
        if let Ok((next, _)) = self.step(Event::Gone) {
            let next = self.ended_as.take().unwrap_or(next);
            let reason = self.reason.clone();
            self.enter(next, reason);
        }
        tracing::info!(domain = %self.name(), "domain stopped");
        self.answer_stops();
    }

    fn answer_stops(&mut self) {
        for reply in self.stopping.drain(..) {
            let _ = reply.send(Ok(()));
        }
    }

    fn undefine(&mut self) -> Result<(), Error> {
        self.step(Event::Undefine)?;
        self.context.store.remove(Kind::Domain, &self.uuid)?;
        self.context.kept.forget(&self.uuid);
        Ok(())
    }

    fn redefine(&mut self, doc: DomainDoc, envelope: Envelope) -> Result<(), Error> {
        self.context.store.save(Kind::Domain, &self.uuid, &envelope, &doc.to_xml())?;
        (self.doc, self.envelope) = (doc, envelope);
        self.publish();
        Ok(())
    }

    fn command(&mut self, command: Command, reply: Reply<()>) {
        if let Err(e) = self.step(Event::Command) {
            return drop(reply.send(Err(e)));
        }
        let Some(qmp) = self.guest.as_ref().and_then(|g| g.qmp.clone()) else {
            return drop(reply.send(Err(Error::NoMonitor)));
        };
        self.set_reboot(command == Command::Reboot);
        // QEMU tells of it before it answers.
        self.about_to = matches!(command, Command::Suspend | Command::Resume).then_some("requested");
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let outcome = command.run(&qmp).await;
            let _ = reports.send(Report::CommandDone { outcome, reply }).await;
        });
    }

    /// Notes in RUN whether a power-off is the first half of a reboot.
    pub(super) fn set_reboot(&mut self, reboot: bool) {
        let Some(guest) = &mut self.guest else { return };
        if guest.live.reboot != reboot {
            guest.live.reboot = reboot;
            self.save_guest();
        }
    }

    fn save_guest(&self) {
        if let Some(Err(e)) = self.guest.as_ref().map(|guest| guest.save(&self.context, &self.uuid)) {
            tracing::warn!(domain = %self.uuid, "{}", crate::chain(&e));
        }
    }

    pub(super) fn answer_stops_with(&mut self, text: &str) {
        for reply in self.stopping.drain(..) {
            let _ = reply.send(Err(Error::Run(std::io::Error::other(text.to_owned()))));
        }
    }
}
