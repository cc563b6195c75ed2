//! The beginning of a service: definitions from the disk, what still runs, the `default` network, and
//! what is to be started once in a boot.
//!
//! Owns the order: networks before domains, then leftovers that belong to nobody. Must never let one broken or hung
//! object keep the others from coming back: what takes longer than [`PATIENCE`] goes on beside, in the object's own
//! actor. Must never end what runs because its definition is lost.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::define::first_envelope;
use super::draft::Reading;
use super::{Error, Manager};
use crate::desk::off_thread;
use crate::domain;
use crate::ledger::DocumentShares;
use crate::model::DocError;
use crate::network;
use crate::plan::taps::Naming;
use crate::reason::Reason;
use crate::store::{self, Envelope, Kind, StoreError, Stored, file_bytes};
use crate::sys::memory;

/// The network that is there from the start.
const DEFAULT_NETWORK: &str = include_str!("../../examples/default.xml");

/// How long the daemon's start waits, in all, for networks that are taken over and for what is removed; for a domain
/// [`domain::recover`] has limits of its own.
const PATIENCE: Duration = Duration::from_millis(800);

impl Manager {
    /// Fills the registry from the disk and takes over what a previous daemon left running.
    pub async fn recover(self: &Arc<Self>) -> Result<(), Error> {
        // Those that run are known before anything is taken for a leftover.
        let running = domain::running(&self.domain_context()).await.map_err(domain::Error::Run)?;
        self.mark_uids(&running)?;
        self.forwarding.begin().await;
        let begun = tokio::time::Instant::now();
        let mut beside = self.recover_networks().await?;
        beside.extend(self.recover_domains(&running).await?);
        let networks = self.networks();
        let (ground, forwarding) = (self.ground.clone(), self.forwarding.clone());
        let loopback = self.loopback.clone();
        beside.push(tokio::spawn(async move { loopback.settle().await }));
        let mut rest = tokio::spawn(async move {
            join_all(networks.iter().map(network::Handle::settled)).await;
            join_all(beside).await;
            // Whatever stands on it has said so by now.
            ground.clear_leftovers().await;
            forwarding.settle().await;
        });
        if tokio::time::timeout_at(begun + PATIENCE, &mut rest).await.is_err() {
            tracing::warn!("not all that runs answers; the rest is taken over beside");
        }
        if self.store.first_time("default-network")? && self.directory.get("default").is_none() {
            let owner = self.scope.uid;
            let draft = self.read_network(DEFAULT_NETWORK.to_owned(), Reading::Strict, owner).await?;
            self.define_network(draft, owner, super::DefineOptions::default()).await?;
        }
        Ok(())
    }

    /// Before anything starts, no uid is free that a guest or a dnsmasq of a previous daemon may have.
    fn mark_uids(&self, running: &[domain::Found]) -> Result<(), Error> {
        let (networks, domains) = (self.network_context(), self.domain_context());
        let live = |kind| store::live_uuids(&self.scope.dirs.run, kind);
        let of_networks = live(Kind::Network)?.into_iter();
        let of_networks = of_networks.filter_map(|uuid| network::recorded_uid(&networks, &uuid));
        let of_domains = live(Kind::Domain)?.into_iter();
        let of_domains = of_domains.filter_map(|uuid| domain::recorded_uid(&domains, &uuid));
        let of_running = running.iter().map(domain::Found::uid);
        of_networks.chain(of_domains).chain(of_running).for_each(|uid| self.uids.mark(uid));
        Ok(())
    }

    /// What is defined; what cannot be used is kept aside.
    fn load<D>(
        &self,
        kind: Kind,
        read: impl Fn(String) -> Result<D, DocError>,
    ) -> Result<Vec<(D, Uuid, Envelope)>, Error> {
        let (found, broken) = self.store.load(kind)?;
        for problem in broken {
            tracing::error!("a definition is kept aside: {}", crate::chain(&problem));
        }
        let mut known = Vec::new();
        for Stored { uuid, envelope, xml } in found {
            match read(xml) {
                Ok(definition) => known.push((definition, uuid, envelope)),
                Err(e) => self.set_aside(kind, &uuid, &e.to_string()),
            }
        }
        // Each was a tree for a moment.
        memory::give_back();
        Ok(known)
    }

    /// What is there counts, limit or not.
    fn noted(&self, owner: u32, bytes: usize) -> DocumentShares {
        DocumentShares::note(&self.ledger, owner, bytes as u64, file_bytes(bytes))
    }

    /// Answers what goes on beside.
    async fn recover_networks(&self) -> Result<Vec<JoinHandle<()>>, Error> {
        let context = self.network_context();
        let mut known = self.load(Kind::Network, network::Definition::read)?;
        for uuid in self.unknown(Kind::Network, known.iter().map(|(_, uuid, _)| *uuid))? {
            if let Some(definition) = network::what_stands(&context, &uuid) {
                let envelope = self.define_again(Kind::Network, &uuid, self.scope.uid, definition.xml());
                known.push((definition, uuid, envelope));
            }
        }
        let standing = network::standing(&context).await;
        for (definition, uuid, envelope) in known {
            let left = network::left(&context, &uuid, true, standing.contains(&uuid));
            let shares = self.noted(envelope.owner, definition.bytes());
            self.enter_network(network::Seed { definition, uuid, envelope, shares, left });
        }
        let mut beside = Vec::new();
        for uuid in self.unknown(Kind::Network, self.networks().iter().map(network::Handle::uuid))? {
            let Some(left) = network::left(&context, &uuid, false, false) else { continue };
            let context = context.clone();
            beside.push(tokio::spawn(async move {
                if let Err(e) = left.recover(&context, &uuid, None).await {
                    tracing::error!("what the network {uuid} left is not removed: {}", crate::chain(&e));
                }
            }));
        }
        Ok(beside)
    }

    /// As [`Self::recover_networks`]. `running`: the guests that run, with a record or not.
    async fn recover_domains(&self, running: &[domain::Found]) -> Result<Vec<JoinHandle<()>>, Error> {
        let context = self.domain_context();
        let mut known = self.load(Kind::Domain, domain::Definition::read)?;
        let unknown = |known: Vec<Uuid>| {
            let mut unknown = self.unknown(Kind::Domain, known.iter().copied())?;
            unknown.extend(running.iter().map(|found| found.uuid).filter(|uuid| !known.contains(uuid)));
            unknown.sort_unstable();
            unknown.dedup();
            Ok::<_, Error>(unknown)
        };
        for uuid in unknown(known.iter().map(|(_, uuid, _)| *uuid).collect())? {
            if let Some((definition, owner)) = domain::what_runs(&context, &uuid, running).await {
                let envelope = self.define_again(Kind::Domain, &uuid, owner, definition.xml());
                known.push((definition, uuid, envelope));
            }
        }
        // All at once: whoever waits for the service does not wait for each guest that hangs.
        let recover = known.iter().map(|(definition, uuid, envelope)| {
            domain::recover(&context, uuid, Some((definition, envelope.owner)), running)
        });
        let recovered = join_all(recover).await;
        for ((definition, uuid, envelope), recovered) in known.into_iter().zip(recovered) {
            let recovered = recovered.unwrap_or_else(|e| {
                tracing::error!(domain = %definition.name(), "not taken over yet: {}", crate::chain(&e));
                domain::Recovered::Unsure
            });
            let shares = self.noted(envelope.owner, definition.bytes());
            self.enter_domain(domain::Seed { definition, uuid, envelope, shares, recovered });
        }
        let mut beside = Vec::new();
        for uuid in unknown(self.domains().iter().map(domain::Handle::uuid).collect())? {
            let (context, running) = (context.clone(), running.to_vec());
            beside.push(tokio::spawn(async move {
                match domain::recover(&context, &uuid, None, &running).await {
                    Ok(recovered) => recovered.settled().await,
                    Err(e) => {
                        tracing::error!("what the domain {uuid} left is not removed: {}", crate::chain(&e));
                    }
                }
            }));
        }
        Ok(beside)
    }

    /// The UUIDs that RUN speaks of and the registry does not know.
    fn unknown(&self, kind: Kind, known: impl Iterator<Item = Uuid>) -> Result<Vec<Uuid>, Error> {
        let known: HashSet<Uuid> = known.collect();
        let mut live = store::live_uuids(&self.scope.dirs.run, kind)?;
        live.retain(|uuid| !known.contains(uuid));
        Ok(live)
    }

    /// What runs has lost its definition, which is broken, say, or of a newer version: the document that it runs with
    /// is its definition now.
    fn define_again(&self, kind: Kind, uuid: &Uuid, owner: u32, xml: &str) -> Envelope {
        let path = self.store.path(kind, uuid);
        tracing::error!(
            "'{}' is lost or broken; what it defined runs, and is defined anew as it runs",
            path.display()
        );
        let envelope = first_envelope(owner);
        if let Err(e) = self.store.save(kind, uuid, &envelope, xml) {
            tracing::error!("it is not kept: {}", crate::chain(&e));
        }
        envelope
    }

    /// Starts what is marked for it, once in a boot. What is still to be started is noted, so that the next
    /// service goes on where this one is killed.
    pub async fn autostart(&self) {
        let mut ahead = match self.noted_ahead() {
            Some(noted) => noted,
            None => {
                let marked = self.marked();
                if let Err(e) = self.note_ahead(&marked).await {
                    let why = crate::chain(&e);
                    tracing::error!("nothing is started automatically, since that cannot be noted: {why}");
                    return;
                }
                marked
            }
        };
        while let Some(uuid) = ahead.pop_front() {
            if let Ok(network) = self.network(&uuid) {
                autostart_network(&network).await;
            } else if let Ok(domain) = self.domain(&uuid) {
                autostart_domain(&domain).await;
            }
            if let Err(e) = self.note_ahead(&ahead).await {
                tracing::warn!("what was started is not noted: {}", crate::chain(&e));
            }
        }
    }

    /// What the service before this one did not come to in this boot; `None` where there was none.
    fn noted_ahead(&self) -> Option<VecDeque<Uuid>> {
        let note = fs_err::read_to_string(self.autostart_note()).ok()?;
        let mut lines = note.lines();
        (lines.next()? == &*self.boot_id).then(|| lines.filter_map(|line| line.parse().ok()).collect())
    }

    /// What is to be started in a boot, networks first.
    fn marked(&self) -> VecDeque<Uuid> {
        let (networks, domains) = (self.networks(), self.domains());
        let networks = networks.iter().filter(|h| h.view().autostart).map(network::Handle::uuid);
        let domains = domains.iter().filter(|h| h.view().autostart).map(domain::Handle::uuid);
        networks.chain(domains).collect()
    }

    async fn note_ahead(&self, ahead: &VecDeque<Uuid>) -> Result<(), StoreError> {
        let lines = ahead.iter().map(|uuid| format!("\n{uuid}"));
        let (note, path) = (format!("{}{}", self.boot_id, lines.collect::<String>()), self.autostart_note());
        off_thread(move || store::write_live(&path, note.as_bytes())).await
    }

    /// In RUN: the boot, and a line for each that is to be started yet.
    fn autostart_note(&self) -> PathBuf {
        self.scope.dirs.run.join("autostarted")
    }
}

/// Starts it if it is still marked and is off: one that was being started when the service before was killed may
/// run.
async fn autostart_network(network: &network::Handle) {
    let view = network.view();
    if view.autostart
        && view.state == network::State::Inactive
        && let Err(e) = network.start(Reason::Autostart).await
    {
        tracing::error!(network = %view.name, "not started: {}", crate::chain(&e));
    }
}

/// As [`autostart_network`].
async fn autostart_domain(domain: &domain::Handle) {
    let view = domain.view();
    let options = domain::StartOptions {
        paused: false,
        start_networks: true,
        network_rights: domain::NetworkRights::Owner,
        reason: Reason::Autostart,
        judged: None,
        naming: Naming::Prefixed,
    };
    if view.autostart
        && !view.state.is_live()
        && let Err(e) = domain.start(options).await
    {
        tracing::error!(domain = %view.name, "not started: {}", crate::chain(&e));
    }
}
