//! The domains that there are, to be found by UUID, by owner and name, and by MAC.
//!
//! Owns that all ways lead to the same. Must never cost more with every domain that there is, where one of them
//! is looked for: each definition looks.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::domain;
use crate::model::Mac;

#[derive(Debug)]
pub(super) struct DomainEntry {
    pub(super) handle: domain::Handle,
    /// It never changes, nor does the name.
    pub(super) owner: u32,
    pub(super) definition: domain::Definition,
}

#[derive(Debug, Default)]
pub(super) struct Domains {
    entries: BTreeMap<Uuid, DomainEntry>,
    names: BTreeMap<(u32, String), Uuid>,
    /// Who has a NIC of which MAC.
    macs: BTreeSet<(Mac, Uuid)>,
    /// How many each user has.
    counts: BTreeMap<u32, usize>,
}

fn macs_of(uuid: Uuid, entry: &DomainEntry) -> impl Iterator<Item = (Mac, Uuid)> {
    entry.definition.macs().iter().flatten().map(move |mac| (*mac, uuid))
}

impl Domains {
    /// Enters a domain, in place of what was known of it.
    pub(super) fn insert(&mut self, uuid: Uuid, entry: DomainEntry) {
        let owner = entry.owner;
        self.names.insert((owner, entry.definition.name().to_string()), uuid);
        let macs: Vec<_> = macs_of(uuid, &entry).collect();
        match self.entries.insert(uuid, entry) {
            None => *self.counts.entry(owner).or_default() += 1,
            Some(before) => {
                for mac in macs_of(uuid, &before) {
                    self.macs.remove(&mac);
                }
            }
        }
        self.macs.extend(macs);
    }

    pub(super) fn remove(&mut self, uuid: &Uuid) {
        let Some(entry) = self.entries.remove(uuid) else { return };
        for mac in macs_of(*uuid, &entry) {
            self.macs.remove(&mac);
        }
        if let Some(count) = self.counts.get_mut(&entry.owner) {
            *count -= 1;
        }
        let name = (entry.owner, entry.definition.name().to_string());
        // On a disk that somebody else has written to, two can have one name.
        if self.names.get(&name) == Some(uuid) {
            self.names.remove(&name);
        }
    }

    pub(super) fn get(&self, uuid: &Uuid) -> Option<&DomainEntry> {
        self.entries.get(uuid)
    }

    pub(super) fn named(&self, owner: u32, name: &str) -> Option<&DomainEntry> {
        self.entries.get(self.names.get(&(owner, name.to_owned()))?)
    }

    /// Those that have a NIC with this MAC.
    pub(super) fn with_mac(&self, mac: Mac) -> impl Iterator<Item = (&Uuid, &DomainEntry)> {
        let having = self.macs.range((mac, Uuid::nil())..=(mac, Uuid::max()));
        having.filter_map(|(_, uuid)| self.entries.get_key_value(uuid))
    }

    /// How many a user has.
    pub(super) fn owned_by(&self, owner: u32) -> usize {
        self.counts.get(&owner).copied().unwrap_or(0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Uuid, &DomainEntry)> {
        self.entries.iter()
    }
}
