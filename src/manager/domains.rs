//! The domains that there are, to be found by UUID, and by owner and name.
//!
//! Owns that both ways lead to the same. Must never cost more with every domain that there is, where one of them
//! is looked for: each definition looks.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::domain;

#[derive(Debug)]
pub(super) struct DomainEntry {
    pub(super) handle: domain::Handle,
    /// It never changes, nor does the name.
    pub(super) owner: u32,
    /// That of the definition below.
    pub(super) generation: u64,
    pub(super) definition: domain::Definition,
}

#[derive(Debug, Default)]
pub(super) struct Domains {
    entries: BTreeMap<Uuid, DomainEntry>,
    names: BTreeMap<(u32, String), Uuid>,
    /// How many each user has.
    counts: BTreeMap<u32, usize>,
}

impl Domains {
    /// Enters a domain, in place of what was known of it.
    pub(super) fn insert(&mut self, uuid: Uuid, entry: DomainEntry) {
        let owner = entry.owner;
        self.names.insert((owner, entry.definition.name().to_string()), uuid);
        if self.entries.insert(uuid, entry).is_none() {
            *self.counts.entry(owner).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, uuid: &Uuid) {
        let Some(entry) = self.entries.remove(uuid) else { return };
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

    /// How many a user has.
    pub(super) fn owned_by(&self, owner: u32) -> usize {
        self.counts.get(&owner).copied().unwrap_or(0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Uuid, &DomainEntry)> {
        self.entries.iter()
    }
}
