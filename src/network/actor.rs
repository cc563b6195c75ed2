//! The task behind a network's mailbox: one message at a time, in the order of their arrival.
//!
//! Owns the definition, the live parts and the ports, and publishes a new view after each change. Must
//! never be waited for in a getter; every step it takes has a deadline of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::bring_up::{self, Up};
use super::leases::{LeaseChange, Leases, NetworkLease};
use super::port::KeptPorts;
use super::presence::Presence;
use super::recover::{ATTEMPT, Left, NO_DNSMASQ};
use super::state::{self, Denial, Effect, Event, State};
use super::{Context, Definition, Error, Handle, View};
use crate::ledger::DocumentShares;
use crate::model::{Mac, Severity};
use crate::pace::Backoff;
use crate::plan::ports::{PortRules, PortWish};
use crate::reason::{Cause, Reason};
use crate::store::Envelope;
use crate::sys::netlink::Neighbour;

const MAILBOX: usize = 64;
/// The pause before a dnsmasq that has ended by itself is started again: none for one that has lasted, else growing
/// between these.
const REVIVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

type Reply<T> = crate::mailbox::Reply<T, Error>;

/// The definition, and of one that runs the bridge.
pub(super) type Seen = (Definition, Option<String>);

#[derive(Debug)]
pub(super) enum Message {
    Start {
        reason: Reason,
        reply: Reply<()>,
    },
    Stop {
        force: bool,
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
        reply: Reply<()>,
    },
    SetAutostart {
        autostart: bool,
        reply: Reply<()>,
    },
    SetAccess {
        access: String,
        reply: Reply<()>,
    },
    Look {
        live: bool,
        reply: Reply<Seen>,
    },
    Info {
        reply: Reply<Info>,
    },
    Leases {
        reply: Reply<Vec<NetworkLease>>,
    },
    Neighbours {
        reply: Reply<Vec<Neighbour>>,
    },
    Plug {
        request: PortRequest,
        reply: Reply<()>,
    },
    Settled {
        reply: Reply<()>,
    },
    Unplug {
        domain: Uuid,
        reply: Reply<()>,
    },
}

/// A NIC that wants to be on the network.
#[derive(Debug, Clone)]
pub struct PortRequest {
    /// Whose NIC it is.
    pub domain: Uuid,
    /// Its name, for messages.
    pub domain_name: String,
    /// The NIC's address, unique among the ports.
    pub mac: Mac,
    /// The host's end of its cable, which is there already.
    pub tap: String,
    /// The NIC may share its address with its teaming partner in the same domain.
    pub teaming: bool,
    /// What it asks for, and for whom.
    pub wish: PortWish,
    /// The NIC's place in its document, for messages.
    pub path: String,
}

/// What an authorised caller is told of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// What went wrong last; empty where nothing did.
    pub failure: String,
    /// The host's addresses on it, each with its subnet, as it runs where it does.
    pub addresses: Vec<ipnet::IpNet>,
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
    /// What a previous daemon left of it, if anything.
    pub left: Option<Left>,
}

pub(super) struct Actor {
    pub(super) context: Context,
    pub(super) uuid: Uuid,
    pub(super) definition: Definition,
    pub(super) envelope: Envelope,
    pub(super) shares: DocumentShares,
    state: State,
    pub(super) cause: Cause,
    pub(super) up: Option<Up>,
    /// Whether what runs says something else than what is stored.
    pub(super) differs: bool,
    pub(super) ports: BTreeMap<(Uuid, Mac), PortRequest>,
    kept: KeptPorts,
    pub(super) warnings: Vec<String>,
    revivals: Backoff,
    /// When a dnsmasq that has ended is started again, and how it ended.
    revival: Option<(Instant, String)>,
    /// What a previous daemon left, while that could not be taken over, and when it is tried again.
    pub(super) left: Option<(Left, Instant)>,
    pub(super) attempts: Backoff,
    pub(super) leases: Leases,
    pub(super) presence: Presence,
    view: watch::Sender<Arc<View>>,
}

/// Starts the actor of a network.
pub fn spawn(context: Context, seed: Seed) -> Handle {
    let (mailbox, messages) = mpsc::channel(MAILBOX);
    let Seed { definition, uuid, envelope, shares, left } = seed;
    // As RUN says, until it is known.
    let (state, reason) = match &left {
        Some(left) if left.active => (State::Active, Reason::Adopted),
        Some(_) => (State::Stopping, Reason::None),
        None => (State::Inactive, Reason::None),
    };
    let mut actor = Actor {
        context,
        uuid,
        definition,
        envelope,
        shares,
        state,
        cause: reason.into(),
        up: None,
        differs: false,
        ports: BTreeMap::new(),
        kept: KeptPorts::default(),
        warnings: Vec::new(),
        revivals: Backoff::new(REVIVAL.0, REVIVAL.1),
        revival: None,
        left: None,
        attempts: Backoff::new(ATTEMPT.0, ATTEMPT.1),
        leases: Leases::new(Vec::new()),
        presence: Presence::default(),
        view: watch::Sender::new(Arc::new(View {
            name: String::new(),
            uuid,
            bridge: String::new(),
            forward_mode: String::new(),
            state,
            reason: Reason::None,
            autostart: false,
            pending_changes: false,
            generation: 0,
            owner: 0,
            access: String::new(),
            warnings: Vec::new(),
            ports: PortRules::default(),
        })),
    };
    actor.view.send_replace(Arc::new(actor.snapshot()));
    let (view, leases) = (actor.view.subscribe(), actor.leases.subscribe());
    let handle =
        Handle { uuid, mailbox, view, leases, desk: actor.context.desk.clone(), kept: actor.kept.clone() };
    tokio::spawn(async move {
        if let Some(left) = left {
            actor.recover(left).await;
        }
        actor.run(messages).await;
    });
    handle
}

impl Actor {
    async fn run(&mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            let dnsmasq = self.up.as_ref().and_then(|up| up.dnsmasq.as_ref()).map(|d| d.process.clone());
            let dnsmasq_exit = async {
                match dnsmasq {
                    Some(process) => process.exited().await,
                    None => std::future::pending().await,
                }
            };
            let revival = self.revival.as_ref().map(|(at, _)| tokio::time::Instant::from_std(*at));
            let attempt = self.left.as_ref().map(|(_, at)| tokio::time::Instant::from_std(*at));
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => if self.handle(message).await { return },
                    None => return,
                },
                () = self.leases.written() => self.look_at_leases().await,
                () = self.presence.due() => self.look_for_guests().await,
                exit = dnsmasq_exit => self.dnsmasq_ended(format!("{exit:?}")),
                () = tokio::time::sleep_until(revival.unwrap_or_else(tokio::time::Instant::now)), if revival.is_some()
                    => self.revive_dnsmasq().await,
                () = tokio::time::sleep_until(attempt.unwrap_or_else(tokio::time::Instant::now)), if attempt.is_some()
                    => self.recover_again().await,
            }
        }
    }

    /// Answers one message; true when the network is no more.
    async fn handle(&mut self, message: Message) -> bool {
        for request in self.kept.take() {
            self.presence.expect(request.mac);
            self.ports.insert((request.domain, request.mac), request);
        }
        match message {
            Message::Start { reason, reply } => drop(reply.send(self.start(reason).await)),
            Message::Stop { force, reply } => drop(reply.send(self.stop(force).await)),
            Message::Clear { reply } => drop(reply.send(self.clear().await)),
            Message::Undefine { reply } => {
                let result = self.undefine().await;
                let ended = result.is_ok();
                let _ = reply.send(result);
                return ended;
            }
            Message::Redefine { definition, generation, reply } => {
                // What was set beside the definition while it waited here stays.
                let envelope = Envelope { generation, ..self.envelope.clone() };
                let _ = reply.send(self.redefine(definition, envelope).await);
            }
            Message::SetAutostart { autostart, reply } => {
                let _ = reply.send(self.change(|e| e.autostart = autostart).await);
            }
            Message::SetAccess { access, reply } => {
                let _ = reply.send(self.change(|e| e.access = access).await);
            }
            Message::Look { live, reply } => {
                let running = self.up.as_ref().filter(|_| live);
                let stored = || (self.definition.clone(), None);
                let seen = running.map_or_else(stored, |up| (up.definition.clone(), Some(up.bridge.clone())));
                let _ = reply.send(Ok(seen));
            }
            Message::Info { reply } => drop(reply.send(Ok(self.info()))),
            Message::Leases { reply } => drop(reply.send(self.leases().await)),
            Message::Neighbours { reply } => drop(reply.send(self.neighbours().await)),
            Message::Plug { request, reply } => drop(reply.send(self.plug(request).await)),
            Message::Settled { reply } => {
                // All guests that run are known by now.
                if let Some(up) = &self.up {
                    self.reattach(up).await;
                }
                let _ = reply.send(Ok(()));
            }
            Message::Unplug { domain, reply } => {
                self.end_run(domain);
                self.ports.retain(|(owner, _), _| *owner != domain);
                let _ = reply.send(Ok(()));
            }
        }
        false
    }

    pub(super) fn name(&self) -> String {
        self.definition.name().to_string()
    }

    pub(super) fn step(&self, event: Event) -> Result<(State, Effect), Error> {
        state::step(self.state, event).map_err(|denial| Error::Denied { name: self.name(), denial })
    }

    /// Enters a state and tells everybody.
    pub(super) fn enter(&mut self, state: State, cause: impl Into<Cause>) {
        self.state = state;
        self.cause = cause.into();
        self.publish();
    }

    pub(super) fn publish(&self) {
        let new = Arc::new(self.snapshot());
        let old = self.view.send_replace(new.clone());
        if old != new {
            (self.context.announce)(self.uuid, &old, &new);
        }
    }

    fn snapshot(&self) -> View {
        let chosen = self.definition.bridge();
        let running = self.up.as_ref().map_or(&self.definition, |up| &up.definition);
        View {
            name: self.name(),
            uuid: self.uuid,
            bridge: self.up.as_ref().map_or(chosen, |up| &up.bridge).to_owned(),
            forward_mode: self.definition.forward_mode().to_owned(),
            state: self.state,
            reason: self.cause.reason,
            autostart: self.envelope.autostart,
            pending_changes: self.differs,
            generation: self.envelope.generation,
            owner: self.envelope.owner,
            access: self.envelope.access.clone(),
            warnings: self.warnings.clone(),
            ports: running.port_rules(self.envelope.owner),
        }
    }

    fn info(&self) -> Info {
        let runs = self.up.as_ref().map_or(&self.definition, |up| &up.definition);
        Info { failure: self.cause.failure.clone(), addresses: runs.subnets().to_vec() }
    }

    async fn start(&mut self, reason: Reason) -> Result<(), Error> {
        let (next, _) = self.step(Event::Start)?;
        let definition = self.definition.clone();
        let read = move || {
            let doc = definition.doc()?;
            let findings = crate::plan::check::network(&doc);
            Ok::<_, Error>((doc.into_def(), findings))
        };
        let (def, mut findings) = self.context.desk.run_own(self.definition.bytes(), read).await?;
        findings.retain(|f| f.severity == Severity::Unsupported);
        if !findings.is_empty() {
            let error = Error::NotSupported { name: self.name(), findings };
            self.enter(self.state, Cause::failed(&error));
            return Err(error);
        }
        self.enter(next, reason);
        match bring_up::up(&self.context, &self.uuid, &self.definition, &def).await {
            Ok(up) => {
                self.reattach(&up).await;
                self.up = Some(up);
                self.follow_leases();
                self.revivals = Backoff::new(REVIVAL.0, REVIVAL.1);
                // An isolated one reaches nothing else anyway.
                let leads_out = def.forward.is_some();
                let warning = if leads_out { self.context.ground.warning().await } else { None };
                self.warnings = self.context.forwarding.notes(self.definition.forwarding()).await;
                self.warnings.extend(warning);
                let (next, _) = self.step(Event::Up)?;
                self.enter(next, reason);
                tracing::info!(network = %self.name(), "network started");
                Ok(())
            }
            Err(e) => {
                let (next, _) = self.step(Event::UpFailed)?;
                self.enter(next, Cause::failed(&e));
                Err(e)
            }
        }
    }

    async fn stop(&mut self, force: bool) -> Result<(), Error> {
        self.recover_again().await;
        let (next, _) = self.step(Event::Stop)?;
        if self.left.is_some() {
            return Err(Error::Unsure { name: self.name(), why: self.cause.failure.clone() });
        }
        if !force && !self.ports.is_empty() {
            let mut domains: Vec<String> =
                self.ports.values().map(|p| format!("'{}'", p.domain_name)).collect();
            domains.dedup();
            return Err(Error::InUse { name: self.name(), domains });
        }
        self.enter(next, Reason::Requested);
        self.revival = None;
        let Some(up) = self.up.take() else { return Ok(()) };
        self.differs = false;
        self.count();
        let problems = bring_up::down(&self.context, &self.uuid, &up.space, up.mac, up.dnsmasq).await;
        self.warnings.clear();
        let gone = self.leases.end();
        self.tell_leases(gone);
        let (next, _) = self.step(Event::Down)?;
        tracing::info!(network = %self.name(), "network stopped");
        if problems.is_empty() {
            self.enter(next, Reason::Requested);
            return Ok(());
        }
        let error = Error::TearDown(problems);
        tracing::error!(network = %self.name(), "{error}");
        self.enter(next, Cause::failed(&error));
        Err(error)
    }

    /// Leases of a network that is active are told of as they come and go.
    pub(super) fn follow_leases(&mut self) {
        let Some(up) = self.up.as_ref().filter(|up| up.dnsmasq.is_some()) else { return };
        self.leases.follow(&self.context.scope.network_run_dir(&self.uuid), &up.definition);
    }

    async fn look_at_leases(&mut self) {
        match self.leases.look().await {
            Ok(change) => self.tell_leases(change),
            Err(e) => tracing::warn!(network = %self.name(), "its leases cannot be read: {e}"),
        }
    }

    pub(super) fn tell_leases(&self, change: Option<LeaseChange>) {
        if let Some(change) = change {
            (self.context.leases)(self.uuid, change);
        }
    }

    async fn leases(&mut self) -> Result<Vec<NetworkLease>, Error> {
        if self.up.is_none() {
            return Err(Error::Denied { name: self.name(), denial: Denial::NotActive });
        }
        let asked = self.leases.ask().await;
        let (leases, change) = asked.map_err(|source| Error::Leases { name: self.name(), source })?;
        self.tell_leases(change);
        Ok(leases)
    }

    pub(super) async fn neighbours(&self) -> Result<Vec<Neighbour>, Error> {
        let Some(up) = &self.up else { return Ok(Vec::new()) };
        let failed = |source| Error::Netlink { step: "reading who is on the bridge", source };
        let netlink = up.space.netlink().await.map_err(failed)?;
        let Some(bridge) = netlink.link(&up.bridge).await.map_err(failed)? else { return Ok(Vec::new()) };
        netlink.neighbours(bridge.index).await.map_err(failed)
    }

    fn dnsmasq_ended(&mut self, exit: String) {
        let Some(up) = &mut self.up else { return };
        up.dnsmasq = None;
        let pause = self.revivals.pause(Instant::now());
        let name = self.definition.name();
        tracing::warn!(network = %name, "dnsmasq ended by itself ({exit}); it is started again in {pause:?}");
        self.revival = Some((Instant::now() + pause, exit));
    }

    /// Starts dnsmasq again; where that fails, once more after a pause that grows.
    async fn revive_dnsmasq(&mut self) {
        let (Some((_, exit)), Some(up)) = (self.revival.take(), &mut self.up) else { return };
        let revived = bring_up::revive_dnsmasq(&self.context, &self.uuid, up).await;
        self.warnings.retain(|warning| warning != NO_DNSMASQ);
        match revived {
            Ok(()) => self.cause.failure.clear(),
            Err(e) => {
                self.warnings.push(NO_DNSMASQ.to_owned());
                let detail = format!("{NO_DNSMASQ} ({exit}): {}", crate::chain(&e));
                tracing::error!(network = %self.definition.name(), "{detail}");
                self.cause = Cause::new(self.cause.reason, detail);
                let pause = self.revivals.pause(Instant::now()).max(REVIVAL.0);
                self.revival = Some((Instant::now() + pause, exit));
            }
        }
        // Its file may be a new one.
        self.follow_leases();
        self.publish();
    }
}
