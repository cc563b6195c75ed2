//! The registry of networks and domains.
//!
//! Owns which objects there are, the rules of their names and UUIDs, their definition, their recovery
//! after a restart, their autostart, and the jobs. Must never decide who may call. The registry itself is locked for a
//! look or an entry only; who defines or forgets an object waits for the one before, of the same kind, whose object
//! has to take its new definition first.

mod addresses;
mod define;
mod domains;
mod draft;
mod feed;
mod jobs;
mod judge;
mod ports;
mod recover;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::desk::{Desk, Turns};
use crate::ledger::{Exceeded, Ledger};
use crate::model::{DocError, Finding, Mac};
use crate::names::Names;
use crate::network::forwarding::Forwarding;
use crate::network::ground::Ground;
use crate::plan::complete::CompleteError;
use crate::scope::Scope;
use crate::store::{Kind, Store, StoreError};
use crate::uids::Uids;
use crate::{domain, network};

use domains::Domains;

pub use addresses::{AddressSource, GuestAddress, RunningNic};
pub use define::DefineOptions;
pub use draft::{Draft, Reading};
pub use feed::Feed;
pub use jobs::{Failure, Job, JobState, Object, Work};
pub use judge::Report;

/// Why the manager did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error(transparent)]
    Document(#[from] DocError),
    #[error("the document is not right: {}", network::list(.0))]
    Invalid(Vec<Finding>),
    #[error(transparent)]
    Complete(#[from] CompleteError),
    #[error("there is already a {kind} '{name}', with the UUID {uuid}")]
    NameTaken { kind: &'static str, name: String, uuid: Uuid },
    #[error("the UUID {uuid} belongs to the {kind} '{name}'")]
    UuidTaken { kind: &'static str, name: String, uuid: Uuid },
    #[error("the definition of '{name}' has the generation {is}, not {wanted}; somebody else changed it")]
    Conflict { name: String, is: u64, wanted: u64 },
    #[error("the definition of '{0}' was changed while the call was judged; try again")]
    Changed(String),
    #[error("there is no network '{0}'")]
    NoSuchNetwork(String),
    #[error("there is no domain '{0}'")]
    NoSuchDomain(String),
    #[error(
        "no domain '{name}' is yours or root's; uid {owner} has one, with the UUID {uuid}: name it by that"
    )]
    OthersDomain { name: String, owner: u32, uuid: Uuid },
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error(transparent)]
    Domain(#[from] domain::Error),
    #[error("/network/bridge/@name: '{bridge}' is {holder}; choose another, or leave it out and Warren does")]
    BridgeTaken { bridge: String, holder: String },
    #[error("the host's subnets cannot be read")]
    Subnets(#[from] network::ground::GroundError),
    #[error("the definition could not be kept on disk")]
    Store(#[from] StoreError),
    #[error(
        "uid {owner} has {limit} networks and domains, which is all that one user may have; undefine some, or \
         raise 'objects' under [limits] in warrend.toml"
    )]
    TooManyObjects { owner: u32, limit: usize },
    #[error(transparent)]
    Limit(#[from] Exceeded),
    #[error("the {0} cannot be cancelled; it ends by itself")]
    NotCancellable(&'static str),
    #[error("the {0} has ended already")]
    JobEnded(&'static str),
    #[error("the job was cut off")]
    JobLost,
}

impl Error {
    /// The kind of failure, without an address, a name of a file or whatever else is not everybody's.
    fn in_public(&self) -> &'static str {
        match self {
            Self::Network(e) => e.in_public(),
            Self::Domain(e) => e.in_public(),
            _ => "it could not be done",
        }
    }
}

/// What there is to tell the bus, in the order in which it happened.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Event {
    NetworkAdded(network::Handle),
    NetworkChanged {
        old: Arc<network::View>,
        new: Arc<network::View>,
    },
    NetworkRemoved(Uuid),
    Leases {
        network: Uuid,
        change: network::LeaseChange,
    },
    DomainAdded(domain::Handle),
    DomainChanged {
        old: Arc<domain::View>,
        new: Arc<domain::View>,
    },
    DomainRemoved(Uuid),
    /// What is wrong with this host has been found out.
    Warnings(Vec<String>),
    JobAdded(Arc<Job>),
    JobEnded(Arc<Job>),
    JobRemoved(u64),
    /// Answered when all before it has been told.
    Barrier(oneshot::Sender<()>),
}

#[derive(Debug, Clone)]
struct NetworkEntry {
    handle: network::Handle,
    /// It never changes.
    owner: u32,
    definition: network::Definition,
}

/// All objects of one service.
#[derive(Debug)]
pub struct Manager {
    scope: Arc<Scope>,
    store: Store,
    boot_id: Arc<str>,
    ground: Ground,
    forwarding: Forwarding,
    loopback: domain::Loopback,
    directory: network::Directory,
    uids: Uids,
    ledger: Ledger,
    names: Names,
    kept: domain::Kept,
    desk: Desk,
    networks: RwLock<BTreeMap<Uuid, NetworkEntry>>,
    domains: RwLock<Domains>,
    /// Held while a network's definition is completed and entered, so that names and subnets stay unique. A network
    /// that is at work takes its new definition when it is through.
    defining_networks: Arc<tokio::sync::Mutex<()>>,
    /// The same for domains, their names and MACs; never held while a network is at work.
    defining_domains: Arc<tokio::sync::Mutex<()>>,
    /// Of each user one definition of a domain waits for that at a time.
    defining_turns: Turns,
    events: Feed,
    jobs: jobs::Counter,
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Manager {
    /// An empty registry over a scope; [`Self::recover`] fills it.
    pub fn new(scope: Arc<Scope>, boot_id: String, events: Feed) -> Result<Self, Error> {
        let boot_id: Arc<str> = boot_id.into();
        let ledger = Ledger::new(scope.config.limits);
        Ok(Self {
            store: Store::open(&scope.dirs.state)?,
            forwarding: Forwarding::new(&scope, boot_id.clone()),
            loopback: domain::Loopback::new(&scope),
            boot_id,
            ground: Ground::new(scope.clone()),
            directory: network::Directory::default(),
            uids: Uids::new(scope.guest_uids(), scope.service_uids()),
            kept: domain::Kept::new(ledger.clone()),
            ledger,
            names: Names::default(),
            desk: Desk::default(),
            defining_turns: Turns::default(),
            networks: RwLock::default(),
            domains: RwLock::default(),
            defining_networks: Arc::default(),
            defining_domains: Arc::default(),
            events,
            jobs: jobs::Counter::new(&scope.dirs.run),
            scope,
        })
    }

    /// The scope it works in.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Tells the bus something.
    pub fn tell(&self, event: Event) {
        self.events.put(event);
    }

    /// Returns when everything that has happened so far has been told on the bus.
    pub async fn told(&self) {
        let (done, wait) = oneshot::channel();
        self.tell(Event::Barrier(done));
        let _ = wait.await;
    }

    fn network_context(&self) -> network::Context {
        let (events, leases) = (self.events.clone(), self.events.clone());
        network::Context {
            scope: self.scope.clone(),
            store: self.store.clone(),
            ground: self.ground.clone(),
            uids: self.uids.clone(),
            forwarding: self.forwarding.clone(),
            ledger: self.ledger.clone(),
            desk: self.desk.clone(),
            announce: Arc::new(move |_, old, new| {
                events.put(Event::NetworkChanged { old: old.clone(), new: new.clone() });
            }),
            leases: Arc::new(move |network, change| {
                leases.put(Event::Leases { network, change });
            }),
            boot_id: self.boot_id.clone(),
        }
    }

    fn domain_context(&self) -> domain::Context {
        let events = self.events.clone();
        domain::Context {
            scope: self.scope.clone(),
            store: self.store.clone(),
            loopback: self.loopback.clone(),
            ground: self.ground.clone(),
            networks: self.directory.clone(),
            names: self.names.clone(),
            uids: self.uids.clone(),
            ledger: self.ledger.clone(),
            kept: self.kept.clone(),
            desk: self.desk.clone(),
            announce: Arc::new(move |_, old, new| {
                events.put(Event::DomainChanged { old: old.clone(), new: new.clone() });
            }),
            boot_id: self.boot_id.clone(),
        }
    }

    /// All networks.
    pub fn networks(&self) -> Vec<network::Handle> {
        read(&self.networks).values().map(|e| e.handle.clone()).collect()
    }

    /// All domains.
    pub fn domains(&self) -> Vec<domain::Handle> {
        read(&self.domains).iter().map(|(_, e)| e.handle.clone()).collect()
    }

    /// The network of that UUID.
    pub fn network(&self, uuid: &Uuid) -> Result<network::Handle, Error> {
        let found = read(&self.networks).get(uuid).map(|e| e.handle.clone());
        found.ok_or_else(|| Error::NoSuchNetwork(uuid.to_string()))
    }

    /// The network of that name.
    pub fn network_by_name(&self, name: &str) -> Result<network::Handle, Error> {
        self.directory.get(name).ok_or_else(|| Error::NoSuchNetwork(name.to_owned()))
    }

    /// The domain of that UUID.
    pub fn domain(&self, uuid: &Uuid) -> Result<domain::Handle, Error> {
        let found = read(&self.domains).get(uuid).map(|e| e.handle.clone());
        found.ok_or_else(|| Error::NoSuchDomain(uuid.to_string()))
    }

    /// The domain of that name among those of `owner`, then among root's.
    pub fn domain_by_name(&self, name: &str, owner: u32) -> Result<domain::Handle, Error> {
        let find = |owner| self.own_domain(name, owner);
        find(owner).or_else(|| find(0)).ok_or_else(|| {
            let domains = read(&self.domains);
            let mut named = domains.iter().filter(|(_, entry)| entry.definition.name().as_str() == name);
            let name = name.to_owned();
            match named.next() {
                Some((uuid, entry)) => Error::OthersDomain { name, owner: entry.owner, uuid: *uuid },
                None => Error::NoSuchDomain(name),
            }
        })
    }

    fn own_domain(&self, name: &str, owner: u32) -> Option<domain::Handle> {
        read(&self.domains).named(owner, name).map(|e| e.handle.clone())
    }

    /// Whose NIC has this MAC, among the domains that run, as they run.
    pub fn nic_of(&self, mac: &str) -> Option<RunningNic> {
        let mac = mac.parse::<Mac>().ok()?;
        read(&self.domains).iter().find_map(|(uuid, entry)| {
            let running = entry.handle.running().filter(|_| entry.handle.view().state.is_live())?;
            let alias = running.alias_of(mac)?.to_owned();
            Some(RunningNic { domain: *uuid, name: entry.handle.view().name.clone(), alias })
        })
    }

    /// Forgets a network that is not active. To its end, also if nobody waits for it any more: what is gone from the
    /// disk is not known any more.
    pub async fn undefine_network(self: &Arc<Self>, uuid: &Uuid) -> Result<(), Error> {
        let (manager, uuid) = (self.clone(), *uuid);
        let undefine = async move {
            let handle = manager.network(&uuid)?;
            // Before the lock, since it can take a while.
            handle.clear().await?;
            let _defining = manager.defining_networks.lock().await;
            handle.undefine().await?;
            manager.directory.set(&handle.view().name, None);
            write(&manager.networks).remove(&uuid);
            manager.names.forget(&uuid);
            manager.tell(Event::NetworkRemoved(uuid));
            Ok(())
        };
        define::to_its_end(undefine).await
    }

    /// Forgets a domain that is not running; as [`Self::undefine_network`].
    pub async fn undefine_domain(self: &Arc<Self>, uuid: &Uuid) -> Result<(), Error> {
        let (manager, uuid) = (self.clone(), *uuid);
        let undefine = async move {
            let handle = manager.domain(&uuid)?;
            // Before the lock, since it can take a while.
            handle.clear().await?;
            let _defining = manager.defining_domains.lock().await;
            handle.undefine().await?;
            write(&manager.domains).remove(&uuid);
            manager.names.forget(&uuid);
            manager.tell(Event::DomainRemoved(uuid));
            Ok(())
        };
        define::to_its_end(undefine).await
    }

    /// Whether anything runs, so that the service must stay.
    pub fn is_busy(&self) -> bool {
        let active = |h: network::Handle| h.view().state != network::State::Inactive;
        self.domains().into_iter().any(|h| h.view().state.is_live())
            || self.networks().into_iter().any(active)
    }

    /// Keeps a stored definition that cannot be used out of the way, and says so.
    fn set_aside(&self, kind: Kind, uuid: &Uuid, why: &str) {
        let path = self.store.path(kind, uuid);
        tracing::error!("'{}' is kept aside, since it cannot be used: {why}", path.display());
        self.store.set_aside(&path);
    }
}
