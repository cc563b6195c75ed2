//! The way of a document into the registry: whether it may be there, and its place.
//!
//! Owns the rules of replacement (by UUID, else by name among the caller's own) and of uniqueness. Must
//! never change anything before the definition is on disk, nor hold its lock while a person is asked.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::domains::DomainEntry;
use super::draft::{Draft, Finished, finish_domain};
use super::{Error, Event, Manager, NetworkEntry, read, write};
use crate::desk::off_thread;
use crate::domain::{self, Recovered};
use crate::ledger::DocumentShares;
use crate::model::{Finding, Mac, Severity};
use crate::network;
use crate::store::{Envelope, Kind, file_bytes};

/// How often a definition is finished anew, since what it is based on has changed meanwhile.
const ATTEMPTS: usize = 8;

/// What a document would replace.
type Base = Option<(domain::Handle, domain::Definition)>;

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
        to_its_end(keep).await?;
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
    /// dry run, else which domain it is and which definition.
    ///
    /// What takes as long as the document is, is done before others are kept from defining, and once more where what it
    /// was based on is another by then.
    pub async fn define_domain(
        self: &Arc<Self>,
        draft: Draft<domain::Handle>,
        owner: u32,
        by: u32,
        options: DefineOptions,
    ) -> Result<Option<(Uuid, domain::Edition)>, Error> {
        // One who defines many waits here, and not in front of others.
        let _turn = self.defining_turns.take(by).await;
        let mut taken = HashSet::new();
        for _ in 0..ATTEMPTS {
            let base = self.base_of(&draft, owner, options)?;
            let old = base.as_ref().map(|(handle, before)| (handle.uuid(), before.clone()));
            let (xml, used, bytes) = (draft.xml.clone(), taken.clone(), draft.xml.len());
            let finish = move || finish_domain(&xml, old.as_ref(), options.keep_secrets, &used);
            let finished = self.desk.run_own(bytes, finish).await?;
            let compared = match &base {
                Some((handle, _)) => Some(handle.compare(&finished.definition).await?),
                None => None,
            };
            let defining = self.defining_domains.clone().lock_owned().await;
            let now = self.base_of(&draft, owner, options)?;
            let edition = |base: &Base| base.as_ref().map(|(handle, def)| (handle.uuid(), def.edition()));
            let before = taken.len();
            taken.extend(finished.chosen.iter().copied().filter(|mac| self.is_taken(*mac, finished.uuid)));
            if edition(&now) != edition(&base) || taken.len() > before {
                continue;
            }
            self.refuse_beyond_limit(owner, now.is_some())?;
            let Finished { definition, uuid, .. } = finished;
            let target = match now.zip(compared) {
                Some(((handle, _), compared)) => Target::Old((handle, compared)),
                None => Target::New(self.shares(owner, definition.bytes())?),
            };
            if options.dry_run {
                return Ok(None);
            }
            let edition = definition.edition();
            self.take_domain(defining, target, definition, uuid, owner).await?;
            return Ok(Some((uuid, edition)));
        }
        Err(Error::Changed(draft.name.to_string()))
    }

    /// To its end, also if nobody waits for it any more: what is on the disk is known.
    async fn take_domain(
        self: &Arc<Self>,
        defining: OwnedMutexGuard<()>,
        target: Target<(domain::Handle, domain::Compared)>,
        definition: domain::Definition,
        uuid: Uuid,
        owner: u32,
    ) -> Result<(), Error> {
        let manager = self.clone();
        to_its_end(async move {
            let _defining = defining;
            match target {
                Target::New(shares) => manager.keep_domain(definition, uuid, owner, shares).await,
                Target::Old((handle, compared)) => {
                    let generation = handle.view().generation + 1;
                    handle.redefine(definition.clone(), generation, compared).await?;
                    manager.take_taps(uuid, owner, &definition);
                    write(&manager.domains).insert(uuid, DomainEntry { handle, owner, definition });
                    Ok(())
                }
            }
        })
        .await
    }

    /// What the document would replace, if it may.
    fn base_of(
        &self,
        draft: &Draft<domain::Handle>,
        owner: u32,
        options: DefineOptions,
    ) -> Result<Base, Error> {
        let name = draft.name.as_str();
        let old = self.domain_to_replace(&draft.name, draft.uuid, owner)?;
        let base = old.and_then(|handle| Some((handle.clone(), self.definition_of(&handle.uuid())?)));
        if let Some((other, _)) = base.as_ref().filter(|(old, _)| old.view().owner != owner) {
            // It came after the caller was asked whose it would replace.
            return Err(Error::UuidTaken { kind: "domain", name: name.to_owned(), uuid: other.uuid() });
        }
        let generation = base.as_ref().map_or(0, |(handle, _)| handle.view().generation);
        refuse_generation(name, generation, options.if_generation)?;
        let edition = base.as_ref().map(|(_, definition)| definition.edition());
        if draft.judged_by.is_some() && draft.judged_by != edition {
            return Err(Error::Changed(name.to_owned()));
        }
        Ok(base)
    }

    /// Whether a NIC of another domain has this address.
    fn is_taken(&self, mac: Mac, by: Uuid) -> bool {
        read(&self.domains).with_mac(mac).any(|(uuid, _)| *uuid != by)
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
        self.enter_domain(domain::Seed { definition, uuid, envelope, shares, recovered });
        Ok(())
    }

    /// Starts the actor of a domain and makes it known.
    pub(super) fn enter_domain(&self, seed: domain::Seed) {
        let (uuid, definition) = (seed.uuid, seed.definition.clone());
        let owner = seed.envelope.owner;
        self.take_taps(uuid, owner, &definition);
        let handle = domain::spawn(self.domain_context(), seed);
        let entry = DomainEntry { handle: handle.clone(), owner, definition };
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

/// Does some work to its end, also if nobody waits for it any more.
pub(super) async fn to_its_end(
    work: impl Future<Output = Result<(), Error>> + Send + 'static,
) -> Result<(), Error> {
    tokio::spawn(work).await.map_err(|_| Error::JobLost)?
}
