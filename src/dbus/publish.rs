//! The one sender of signals, and the only one that adds and removes objects.
//!
//! Owns the order: what happened first is told first, and a method that waits for
//! [`crate::manager::Manager::told`] is answered after the signals that it caused. One `PropertiesChanged`
//! for each change of state.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;
use zbus::names::{InterfaceName, UniqueName};
use zbus::object_server::SignalEmitter;
use zbus::{OwnedObjectPath, Variant};

use super::domain::{DomainInterface, address};
use super::job::JobInterface;
use super::network::{NetworkInterface, lease};
use super::paths;
use super::service::Service;
use super::subscribe::Topic;
use super::tree::Kind;
use crate::manager::{Event, Failure, Feed, Job, JobState};
use crate::network::LeaseChange;
use crate::pace::Meter;
use crate::{domain, network};

const MANAGER: &str = "org.warren1.Manager";
const NETWORK: &str = "org.warren1.Network";
const DOMAIN: &str = "org.warren1.Domain";
const JOB: &str = "org.warren1.Job";

/// Lines in the log on what could not be told: so many at once, and one more in each such time.
const LINES: (u32, Duration) = (10, Duration::from_secs(10));

/// Tells events until the service ends.
pub(super) async fn run(connection: zbus::Connection, service: Arc<Service>, events: Feed) {
    let mut lines = Meter::new(LINES.0, LINES.1);
    loop {
        let event = events.next().await;
        // What was not told is not tried again: what comes next tells the state anew.
        if let Err(e) = tell(&connection, &service, event).await
            && lines.admits(Instant::now())
        {
            tracing::warn!("a change could not be told on the bus: {e}");
        }
    }
}

async fn tell(connection: &zbus::Connection, service: &Arc<Service>, event: Event) -> zbus::Result<()> {
    let server = connection.object_server();
    match event {
        Event::NetworkAdded(handle) => {
            let path = paths::network(&handle.uuid());
            server.at(path.clone(), NetworkInterface::new(service.clone(), handle)).await?;
            service.tree.add(path, Kind::Network);
        }
        Event::NetworkChanged { old, new } => network_changed(connection, &old, &new).await?,
        Event::NetworkRemoved(uuid) => {
            let path = paths::network(&uuid);
            service.tree.remove(&path);
            server.remove::<NetworkInterface, _>(path).await?;
        }
        Event::Leases { network, change } => leases_changed(connection, service, network, change).await?,
        Event::DomainAdded(handle) => {
            let path = paths::domain(&handle.uuid());
            server.at(path.clone(), DomainInterface::new(service.clone(), handle)).await?;
            service.tree.add(path, Kind::Domain);
        }
        Event::DomainChanged { old, new } => domain_changed(connection, &old, &new).await?,
        Event::DomainRemoved(uuid) => {
            let path = paths::domain(&uuid);
            service.tree.remove(&path);
            server.remove::<DomainInterface, _>(path).await?;
        }
        Event::Warnings(warnings) => {
            let root = OwnedObjectPath::try_from(paths::ROOT)?;
            let changed = HashMap::from([("Warnings", warnings.into())]);
            properties_changed(connection, root, MANAGER, changed).await?;
        }
        Event::JobAdded(job) => {
            let path = paths::job(job.id);
            server.at(path.clone(), JobInterface::new(service.clone(), job)).await?;
            service.tree.add(path, Kind::Job);
        }
        Event::JobEnded(job) => job_ended(connection, &job).await?,
        Event::JobRemoved(id) => {
            let path = paths::job(id);
            service.tree.remove(&path);
            server.remove::<JobInterface, _>(path).await?;
        }
        Event::Barrier(done) => drop(done.send(())),
    }
    Ok(())
}

/// The properties whose value is another one now.
fn difference<const N: usize>(
    old: [(&'static str, Variant<'static>); N],
    new: [(&'static str, Variant<'static>); N],
) -> HashMap<&'static str, Variant<'static>> {
    old.into_iter().zip(new).filter(|(old, new)| old.1 != new.1).map(|(_, new)| new).collect()
}

async fn properties_changed(
    connection: &zbus::Connection,
    path: OwnedObjectPath,
    interface: &'static str,
    changed: HashMap<&'static str, Variant<'static>>,
) -> zbus::Result<SignalEmitter<'static>> {
    let emitter = SignalEmitter::new(connection, path)?.into_owned();
    if !changed.is_empty() {
        let name = InterfaceName::from_static_str(interface)?;
        zbus::fdo::Properties::properties_changed(&emitter, name, changed, (&[][..]).into()).await?;
    }
    Ok(emitter)
}

async fn network_changed(
    connection: &zbus::Connection,
    old: &network::View,
    new: &network::View,
) -> zbus::Result<()> {
    let properties = |v: &network::View| -> [(&'static str, Variant<'static>); 10] {
        [
            ("Bridge", v.bridge.clone().into()),
            ("ForwardMode", v.forward_mode.clone().into()),
            ("State", v.state.as_str().into()),
            ("StateReason", v.reason.as_str().into()),
            ("Autostart", v.autostart.into()),
            ("PendingChanges", v.pending_changes.into()),
            ("Generation", v.generation.into()),
            ("Owner", v.owner.into()),
            ("Access", v.access.clone().into()),
            ("Warnings", v.warnings.clone().into()),
        ]
    };
    let changed = difference(properties(old), properties(new));
    let emitter = properties_changed(connection, paths::network(&new.uuid), NETWORK, changed).await?;
    if old.state != new.state {
        let (new_state, old_state) = (new.state.as_str(), old.state.as_str());
        NetworkInterface::state_entered(&emitter, new_state, old_state, new.reason.as_str()).await?;
    }
    Ok(())
}

async fn domain_changed(
    connection: &zbus::Connection,
    old: &domain::View,
    new: &domain::View,
) -> zbus::Result<()> {
    let properties = |v: &domain::View| -> [(&'static str, Variant<'static>); 10] {
        [
            ("Title", v.title.clone().into()),
            ("State", v.state.as_str().into()),
            ("StateReason", v.reason.as_str().into()),
            ("Autostart", v.autostart.into()),
            ("PendingChanges", v.pending_changes.into()),
            ("Generation", v.generation.into()),
            ("Owner", v.owner.into()),
            ("Pid", v.pid.into()),
            ("Vcpus", v.vcpus.into()),
            ("MemoryBytes", v.memory_bytes.into()),
        ]
    };
    let changed = difference(properties(old), properties(new));
    let emitter = properties_changed(connection, paths::domain(&new.uuid), DOMAIN, changed).await?;
    if old.state != new.state {
        let (new_state, old_state) = (new.state.as_str(), old.state.as_str());
        DomainInterface::state_entered(&emitter, new_state, old_state, new.reason.as_str()).await?;
    }
    Ok(())
}

/// Tells those who have subscribed and may know.
async fn leases_changed(
    connection: &zbus::Connection,
    service: &Arc<Service>,
    uuid: Uuid,
    change: LeaseChange,
) -> zbus::Result<()> {
    let Ok(network) = service.manager.network(&uuid) else { return Ok(()) };
    let access = network.view().access.clone();
    for receiver in service.subscriptions.receivers(Topic::Leases, |sight| sight.network(&access)) {
        let emitter = unicast(connection, paths::network(&uuid), receiver)?;
        for added in &change.added {
            NetworkInterface::lease_added(&emitter, lease(service, added)).await?;
        }
        for removed in &change.removed {
            NetworkInterface::lease_removed(&emitter, lease(service, removed)).await?;
        }
    }
    for domain in service.manager.domains_of(&change) {
        if !service.addresses.begins(domain.uuid()) {
            continue;
        }
        let (connection, service) = (connection.clone(), service.clone());
        // Its actor is asked, which the publisher must not wait for.
        tokio::spawn(async move {
            loop {
                if let Err(e) = addresses_changed(&connection, &service, &domain).await {
                    tracing::debug!("addresses could not be told on the bus: {e}");
                }
                if service.addresses.ends(domain.uuid()) {
                    return;
                }
            }
        });
    }
    Ok(())
}

/// Domains whose addresses are being told: one task for each, however often they change meanwhile.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Whether they have changed again since.
    told: Mutex<HashMap<Uuid, bool>>,
}

impl Addresses {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, bool>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// They have changed; true where nobody tells them yet, so that the caller does.
    fn begins(&self, domain: Uuid) -> bool {
        match self.lock().entry(domain) {
            Entry::Occupied(mut told) => {
                told.insert(true);
                false
            }
            Entry::Vacant(untold) => {
                untold.insert(false);
                true
            }
        }
    }

    /// They were told; true where that is all.
    fn ends(&self, domain: Uuid) -> bool {
        let mut told = self.lock();
        let again = told.get_mut(&domain).is_some_and(std::mem::take);
        if !again {
            told.remove(&domain);
        }
        !again
    }
}

async fn addresses_changed(
    connection: &zbus::Connection,
    service: &Service,
    domain: &domain::Handle,
) -> zbus::Result<()> {
    let view = domain.view();
    let receivers = service.subscriptions.receivers(Topic::Addresses, |sight| sight.domain(view.owner));
    if receivers.is_empty() {
        return Ok(());
    }
    // A domain that has gone has no addresses to tell.
    let Ok(addresses) = service.manager.addresses(domain, view.owner).await else { return Ok(()) };
    for receiver in receivers {
        let emitter = unicast(connection, paths::domain(&view.uuid), receiver)?;
        let addresses = addresses.iter().map(address).collect();
        DomainInterface::addresses_changed(&emitter, addresses).await?;
    }
    Ok(())
}

fn unicast(
    connection: &zbus::Connection,
    path: OwnedObjectPath,
    receiver: UniqueName<'static>,
) -> zbus::Result<SignalEmitter<'static>> {
    Ok(SignalEmitter::new(connection, path)?.set_destination(receiver.into()).into_owned())
}

async fn job_ended(connection: &zbus::Connection, job: &Job) -> zbus::Result<()> {
    let state = job.state();
    let mut changed = HashMap::from([("State", Variant::from(state.as_str()))]);
    if state == JobState::Completed {
        changed.insert("Progress", 1.0f64.into());
    }
    let path = paths::job(job.id);
    let emitter = properties_changed(connection, path.clone(), JOB, changed).await?;
    let JobState::Failed(failure) = &state else {
        return JobInterface::completed(&emitter, state.as_str(), "", "").await;
    };
    let Failure { name, message, in_public } = &**failure;
    // Who has begun it hears all of it, and first.
    if let Ok(by) = UniqueName::try_from(job.by.clone()) {
        let emitter = unicast(connection, path, by)?;
        JobInterface::completed(&emitter, state.as_str(), name, message).await?;
    }
    JobInterface::completed(&emitter, state.as_str(), name, in_public).await
}
