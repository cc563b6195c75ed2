//! The task behind a domain's mailbox.
//!
//! Owns the definition and the guest, and publishes a new view after each change. What may wait for QEMU
//! runs beside it and reports back, so that a hung guest never keeps `Stop` from getting through. Must
//! never wait for anything but its two mailboxes.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::definition::{Definition, Snapshot};
use super::events::Memory;
use super::guest::Guest;
use super::recover::Adopted;
use super::report::{self, Report};
use super::state::{self, Denial, Effect, Event, State};
use super::{Command, Compared, Context, Error, Handle, Recovered, StartOptions, View};
use crate::ledger::DocumentShares;
use crate::reason::{Cause, Reason};
use crate::store::Envelope;

const MAILBOX: usize = 64;
/// Why a guest is off that was running when the daemon ended.
pub(super) const LOST: &str = "QEMU ended while Warren was not running";

pub(super) type Reply<T> = crate::mailbox::Reply<T, Error>;

#[derive(Debug)]
pub(super) enum Message {
    Start {
        options: StartOptions,
        reply: Reply<()>,
    },
    Stop {
        graceful: bool,
        reply: Reply<()>,
    },
    /// Tries again to remove what a teardown has left.
    Clear {
        reply: Reply<()>,
    },
    Undefine {
        reply: Reply<()>,
    },
    Redefine {
        definition: Definition,
        generation: u64,
        compared: Compared,
        reply: Reply<()>,
    },
    SetAutostart {
        autostart: bool,
        reply: Reply<()>,
    },
    Look {
        live: bool,
        reply: Reply<Snapshot>,
    },
    Command {
        command: Command,
        reply: Reply<()>,
    },
    OpenConsole {
        device: String,
        force: bool,
        by: u32,
        reply: Reply<OwnedFd>,
    },
    OpenGraphics {
        device: String,
        by: u32,
        reply: Reply<OwnedFd>,
    },
}

/// What an actor begins with.
#[derive(Debug)]
pub struct Seed {
    /// The complete definition.
    pub definition: Definition,
    /// Its uuid.
    pub uuid: Uuid,
    /// What is stored beside it.
    pub envelope: Envelope,
    /// What it counts for.
    pub shares: DocumentShares,
    /// What a previous daemon left.
    pub recovered: super::Recovered,
}

pub(super) struct Actor {
    pub(super) context: Context,
    pub(super) uuid: Uuid,
    pub(super) definition: Definition,
    pub(super) envelope: Envelope,
    pub(super) shares: DocumentShares,
    pub(super) state: State,
    pub(super) cause: Cause,
    pub(super) guest: Option<Guest>,
    /// The definition as it runs.
    pub(super) live: Option<Definition>,
    /// Whether that says something else than what is stored.
    pub(super) differs: bool,
    /// A change of what is stored is being written, or what a teardown has left removed.
    pub(super) changing: bool,
    /// It could not be found out yet whether a guest runs.
    pub(super) unsure: bool,
    /// What has come meanwhile and has to wait for it.
    pub(super) waiting: VecDeque<Message>,
    pub(super) starting: Option<(Reply<()>, StartOptions)>,
    pub(super) cancel: watch::Sender<bool>,
    /// Calls that wait for its end; each caller has a share of those.
    pub(super) stopping: Vec<Reply<()>>,
    /// Why QEMU is about to tell that the CPUs are halted or run, where that is known.
    pub(super) about_to: Option<Cause>,
    /// Which guest it is, of those that this actor has had.
    pub(super) guest_number: u64,
    /// The place, in what QEMU has sent, of the last that is known of the guest's state.
    pub(super) known_to: u64,
    pub(super) memory: Memory,
    /// What it is when all is given back, where its end alone does not tell.
    pub(super) ended_as: Option<State>,
    view: watch::Sender<Arc<View>>,
    /// What is in `live`, for all.
    running: watch::Sender<Option<Definition>>,
    pub(super) reports: mpsc::Sender<Report>,
}

/// Starts the actor of a domain.
pub fn spawn(context: Context, seed: Seed) -> Handle {
    let (mailbox, messages) = mpsc::channel(MAILBOX);
    let (reports, reported) = mpsc::channel(report::QUEUE);
    let Seed { definition, uuid, envelope, shares, recovered } = seed;
    context.kept.count(&context.store, &uuid, envelope.owner);
    let (state, cause) = recovered.state();
    let mut actor = Actor {
        context,
        uuid,
        definition,
        envelope,
        shares,
        state,
        cause,
        guest: None,
        live: None,
        differs: false,
        changing: false,
        unsure: false,
        waiting: VecDeque::new(),
        starting: None,
        cancel: watch::Sender::new(false),
        stopping: Vec::new(),
        about_to: None,
        guest_number: 0,
        known_to: 0,
        memory: Memory::new(),
        ended_as: None,
        view: watch::Sender::new(Arc::new(View::empty(uuid))),
        running: watch::Sender::new(None),
        reports,
    };
    actor.begin(recovered);
    actor.view.send_replace(Arc::new(actor.snapshot()));
    actor.running.send_replace(actor.live.clone());
    let (view, running) = (actor.view.subscribe(), actor.running.subscribe());
    let desk = actor.context.desk.clone();
    let handle = Handle { uuid, mailbox, view, running, desk };
    tokio::spawn(async move { actor.run(messages, reported).await });
    handle
}

impl Actor {
    /// Goes on with what a previous daemon left.
    fn begin(&mut self, recovered: Recovered) {
        match recovered {
            Recovered::Adopted(adopted) => {
                let Adopted { guest, definition, differs, monitor } = *adopted;
                (self.live, self.differs) = (Some(definition), differs);
                self.count();
                let (events, status) = monitor.unzip();
                self.take_guest(guest, events.map(|events| (events, true)));
                if let Some(status) = status {
                    self.status(&status, Some(Reason::Adopted.into()));
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
            Recovered::Unsure => {
                // All that would change or use it waits.
                (self.unsure, self.changing) = (true, true);
                self.recover_again();
            }
        }
    }

    /// What could not be found out is known now.
    pub(super) fn recovered(&mut self, recovered: Recovered) {
        (self.unsure, self.changing) = (false, false);
        (self.state, self.cause) = recovered.state();
        self.begin(recovered);
        self.publish();
    }

    async fn run(&mut self, mut messages: mpsc::Receiver<Message>, mut reported: mpsc::Receiver<Report>) {
        loop {
            // Reports first: a message is judged by what has happened before it.
            tokio::select! {
                biased;
                Some(report) = reported.recv() => if self.heed(report) { return },
                message = messages.recv() => match message {
                    Some(message) => self.handle(message),
                    None => return,
                },
            }
        }
    }

    /// Answers one message, or begins what will answer it.
    pub(super) fn handle(&mut self, message: Message) {
        if self.must_wait(&message) {
            return self.waiting.push_back(message);
        }
        match message {
            Message::Start { options, reply } => self.start(options, reply),
            Message::Stop { graceful, reply } => self.stop(graceful, reply),
            Message::Clear { reply } => self.clear(reply),
            Message::Undefine { reply } => self.undefine(reply),
            Message::Redefine { definition, generation, compared, reply } => {
                // What was set beside the definition while it waited here stays.
                let envelope = Envelope { generation, ..self.envelope.clone() };
                self.redefine(definition, envelope, Some(compared), reply);
            }
            Message::SetAutostart { autostart, reply } => {
                let envelope = Envelope { autostart, ..self.envelope.clone() };
                if envelope == self.envelope {
                    return drop(reply.send(Ok(())));
                }
                self.redefine(self.definition.clone(), envelope, None, reply);
            }
            Message::Look { live, reply } => drop(reply.send(Ok(self.look(live)))),
            Message::Command { command, reply } => self.command(command, reply),
            Message::OpenConsole { device, force, by, reply } => {
                drop(reply.send(self.open_console(&device, force, by)));
            }
            Message::OpenGraphics { device, by, reply } => self.open_graphics(&device, by, reply),
        }
    }

    /// The definition as stored, or as it runs where it does.
    fn look(&self, live: bool) -> Snapshot {
        let running = self.live.as_ref().filter(|_| live);
        let assigned = running.and(self.guest.as_ref()).map(|guest| Box::new(guest.live.clone()));
        Snapshot {
            definition: running.unwrap_or(&self.definition).clone(),
            assigned,
            failure: self.cause.failure.clone(),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.state.is_live()
    }

    pub(super) fn name(&self) -> String {
        self.definition.name().to_string()
    }

    pub(super) fn step(&self, event: Event) -> Result<(State, Effect), Error> {
        state::step(self.state, event).map_err(|denial| self.denied(denial))
    }

    pub(super) fn denied(&self, denial: Denial) -> Error {
        Error::Denied { name: self.name(), denial }
    }

    pub(super) fn enter(&mut self, state: State, cause: impl Into<Cause>) {
        if self.state != state {
            self.state = state;
            self.cause = cause.into();
            self.publish();
        }
    }

    /// Takes an event that is only news; what it does not fit is ignored.
    pub(super) fn note(&mut self, event: Event, cause: impl Into<Cause>) {
        if let Ok((next, _)) = self.step(event) {
            self.enter(next, cause);
        }
    }

    pub(super) fn publish(&self) {
        let is = |a: &Option<Definition>, b: &Option<Definition>| match (a, b) {
            (Some(a), Some(b)) => a.is(b),
            (a, b) => a.is_none() && b.is_none(),
        };
        if !is(&self.running.borrow(), &self.live) {
            self.running.send_replace(self.live.clone());
        }
        let new = Arc::new(self.snapshot());
        let old = self.view.send_replace(new.clone());
        if old != new {
            (self.context.announce)(self.uuid, &old, &new);
        }
    }

    fn snapshot(&self) -> View {
        let running = self.live.as_ref().unwrap_or(&self.definition);
        let process = self.guest.as_ref().and_then(|g| g.process.as_ref());
        View {
            name: self.name(),
            uuid: self.uuid,
            title: self.definition.title().to_owned(),
            state: self.state,
            reason: self.cause.reason,
            autostart: self.envelope.autostart,
            pending_changes: self.differs,
            generation: self.envelope.generation,
            owner: self.envelope.owner,
            pid: process.map_or(0, |p| p.identity().pid.unsigned_abs()),
            vcpus: running.vcpus(),
            memory_bytes: running.memory().0,
            started_ticks: process.map(|p| p.identity().start_time),
        }
    }

    fn command(&mut self, command: Command, reply: Reply<()>) {
        if let Err(e) = self.step(Event::Command) {
            return drop(reply.send(Err(e)));
        }
        let Some(qmp) = self.guest.as_ref().and_then(|g| g.qmp.clone()) else {
            return drop(reply.send(Err(self.no_monitor())));
        };
        self.set_reboot(command == Command::Reboot);
        // QEMU tells of it before it answers.
        self.about_to =
            matches!(command, Command::Suspend | Command::Resume).then(|| Reason::Requested.into());
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

    pub(super) fn save_guest(&self) {
        if let Some(Err(e)) = self.guest.as_ref().map(|guest| guest.save(&self.context, &self.uuid)) {
            tracing::warn!(domain = %self.uuid, "{}", crate::chain(&e));
        }
    }
}
