//! The way of a document into the registry: whether it may be there, and its place.
//!
//! Owns the rules of replacement (by UUID, else by name among the caller's own) and of uniqueness. Must
//! never change anything before the definition is on disk, nor hold its lock while a person is asked.

use std::sync::Arc;

use uuid::Uuid;

use super::domains::DomainEntry;
use super::draft::Draft;
use super::{Error, Event, Manager, NetworkEntry, read, write};
use crate::desk::off_thread;
use crate::domain::{self, Recovered};
use crate::ledger::DocumentShares;
use crate::model::{Finding, Severity};
use crate::network;
use crate::store::{Envelope, Kind, file_bytes};

/// How a definition is taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefineOptions {
    /// Only if the definition that is replaced has this generation.
    pub if_generation: Option<u64>,
    /// Say what would happen, change nothing.
    pub dry_run: bool,
    /// Secrets that a domain's document leaves out stay: who hands it in may not read them.
    pub keep_secrets: bool,
}

pub(super) fn refuse_errors(findings: Vec<Finding>) -> Result<(), Error> {
    let errors: Vec<_> = findings.into_iter().filter(|f| f.severity == Severity::Error).collect();
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

fn refuse_generation(name: &str, is: u64, wanted: Option<u64>) -> Result<(), Error> {
    match wanted {
        Some(wanted) if wanted != is => Err(Error::Conflict { name: name.to_owned(), is, wanted }),
        _ => Ok(()),
    }
}

/// What is known beside a document that is new.
pub(super) fn first_envelope(owner: u32) -> Envelope {
    Envelope { owner, generation: 1, autostart: false, access: "admin".into() }
}

impl Manager {
    /// Defines a network for `by`; `None` from a dry run.
    pub async fn define_network(
        self: &Arc<Self>,
        draft: Draft<network::Handle>,
        by: u32,
        options: DefineOptions,
    ) -> Result<Option<Uuid>, Error> {
        let defining = self.defining_networks.clone().lock_owned().await;
        let old = self.network_to_replace(&draft.name, draft.uuid)?;
        let generation = old.as_ref().map_or(0, |h| h.view().generation);
        refuse_generation(draft.name.as_str(), generation, options.if_generation)?;
        let used = self.subnets_of_host(&draft).await?;
        let (manager, old_uuid) = (self.clone(), old.as_ref().map(network::Handle::uuid));
        let bytes = draft.xml.len();
        let finish = move || manager.finish_network(&draft.xml, old_uuid, used);
        let (definition, uuid) = self.desk.run_own(bytes, finish).await?;
        self.refuse_beyond_limit(by, old.is_some())?;
        let target = match old {
            Some(handle) => Target::Old(handle),
            None => Target::New(self.shares(by, definition.bytes())?),
        };
        if options.dry_run {
            return Ok(None);
        }
        // To its end, also if nobody waits for it any more: what is on the disk is known.
        let manager = self.clone();
        let keep = async move {
            let _defining = defining;
            match target {
                Target::New(shares) => manager.keep_network(definition, uuid, by, shares).await,
                Target::Old(handle) => {
                    handle.redefine(definition.clone(), generation + 1).await?;
                    let owner = handle.view().owner;
                    manager.take_bridge(uuid, &definition);
                    write(&manager.networks).insert(uuid, NetworkEntry { handle, owner, definition });
                    Ok(())
                }
            }
        };
        kept(tokio::spawn(keep)).await?;
        Ok(Some(uuid))
    }

    async fn keep_network(
        &self,
        definition: network::Definition,
        uuid: Uuid,
        owner: u32,
        shares: DocumentShares,
    ) -> Result<(), Error> {
        let envelope = first_envelope(owner);
        let (store, first, text) = (self.store.clone(), envelope.clone(), definition.clone());
        off_thread(move || store.save(Kind::Network, &uuid, &first, text.xml())).await?;
        tracing::info!(network = %definition.name(), "network defined");
        self.enter_network(network::Seed { definition, uuid, envelope, shares, left: None });
        Ok(())
    }

    /// A replaced definition is none more. Root may have as many as there is room for.
    fn refuse_beyond_limit(&self, owner: u32, replaced: bool) -> Result<(), Error> {
        let networks = read(&self.networks).values().filter(|e| e.owner == owner).count();
        let domains = read(&self.domains).owned_by(owner);
        let limit = self.scope.config.limits.objects;
        if replaced || owner == 0 || networks + domains < limit {
            return Ok(());
        }
        Err(Error::TooManyObjects { owner, limit })
    }

    /// Starts the actor of a network and makes it known.
    pub(super) fn enter_network(&self, seed: network::Seed) {
        let (uuid, owner, definition) = (seed.uuid, seed.envelope.owner, seed.definition.clone());
        self.take_bridge(uuid, &definition);
        let handle = network::spawn(self.network_context(), seed);
        self.directory.set(definition.name().as_str(), Some(handle.clone()));
        write(&self.networks).insert(uuid, NetworkEntry { handle: handle.clone(), owner, definition });
        self.tell(Event::NetworkAdded(handle));
    }

    /// Defines a domain for `owner`, who must be that of the one that is replaced; `by` asks for it. `None` from a
    /// dry run.
    pub async fn define_domain(
        self: &Arc<Self>,
        draft: Draft<domain::Handle>,
        owner: u32,
        by: u32,
        options: DefineOptions,
    ) -> Result<Option<Uuid>, Error> {
        // One who defines many waits here, and not in front of others.
        let _turn = self.defining_turns.take(by).await;
        let defining = self.defining_domains.clone().lock_owned().await;
        let old = self.domain_to_replace(&draft.name, draft.uuid, owner)?;
        if let Some(other) = old.as_ref().filter(|old| old.view().owner != owner) {
            // It came after the caller was asked whose it would replace.
            return Err(Error::UuidTaken {
                kind: "domain",
                name: draft.name.to_string(),
                uuid: other.uuid(),
            });
        }
        let generation = old.as_ref().map_or(0, |h| h.view().generation);
        refuse_generation(draft.name.as_str(), generation, options.if_generation)?;
        refuse_generation(draft.name.as_str(), generation, draft.judged_by)?;
        let (manager, old_uuid) = (self.clone(), old.as_ref().map(domain::Handle::uuid));
        let bytes = draft.xml.len();
        let finish = move || manager.finish_domain(&draft.xml, old_uuid, options.keep_secrets);
        let (definition, uuid) = self.desk.run_own(bytes, finish).await?;
        self.refuse_beyond_limit(owner, old.is_some())?;
        let target = match old {
            Some(handle) => Target::Old(handle),
            None => Target::New(self.shares(owner, definition.bytes())?),
        };
        if options.dry_run {
            return Ok(None);
        }
        // To its end, also if nobody waits for it any more: what is on the disk is known.
        let manager = self.clone();
        let keep = async move {
            let _defining = defining;
            match target {
                Target::New(shares) => manager.keep_domain(definition, uuid, owner, shares).await,
                Target::Old(handle) => {
                    let generation = generation + 1;
                    handle.redefine(definition.clone(), generation).await?;
                    manager.take_taps(uuid, owner, &definition).await;
                    let entry = DomainEntry { handle, owner, generation, definition };
                    write(&manager.domains).insert(uuid, entry);
                    Ok(())
                }
            }
        };
        kept(tokio::spawn(keep)).await?;
        Ok(Some(uuid))
    }

    async fn keep_domain(
        &self,
        definition: domain::Definition,
        uuid: Uuid,
        owner: u32,
        shares: DocumentShares,
    ) -> Result<(), Error> {
        let envelope = first_envelope(owner);
        let (store, first, text) = (self.store.clone(), envelope.clone(), definition.clone());
        off_thread(move || store.save(Kind::Domain, &uuid, &first, text.xml())).await?;
        tracing::info!(domain = %definition.name(), "domain defined");
        let recovered = Recovered::Off;
        self.enter_domain(domain::Seed { definition, uuid, envelope, shares, recovered }).await;
        Ok(())
    }

    /// Starts the actor of a domain and makes it known.
    pub(super) async fn enter_domain(&self, seed: domain::Seed) {
        let (uuid, definition) = (seed.uuid, seed.definition.clone());
        let Envelope { owner, generation, .. } = seed.envelope;
        self.take_taps(uuid, owner, &definition).await;
        let handle = domain::spawn(self.domain_context(), seed);
        let entry = DomainEntry { handle: handle.clone(), owner, generation, definition };
        write(&self.domains).insert(uuid, entry);
        self.tell(Event::DomainAdded(handle));
    }

    /// What a new definition of `owner` counts for, of which there is so much.
    fn shares(&self, owner: u32, bytes: usize) -> Result<DocumentShares, Error> {
        Ok(DocumentShares::take(&self.ledger, owner, bytes as u64, file_bytes(bytes))?)
    }
}

/// Where a definition goes.
enum Target<H> {
    New(DocumentShares),
    Old(H),
}

/// The end of what was begun.
async fn kept(task: tokio::task::JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    task.await.map_err(|_| Error::JobLost)?
}
