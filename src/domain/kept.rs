//! What is on the disk for each domain beside its definition, counted against its owner.
//!
//! Owns the shares: one for each domain, as long as its files are there. Must never write or remove a file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::ledger::{Exceeded, Ledger, Resource, Share};
use crate::store::{Kind, Store};

/// The counts of one service. Clones share them.
#[derive(Debug, Clone)]
pub struct Kept {
    ledger: Ledger,
    shares: Arc<Mutex<HashMap<Uuid, Share>>>,
}

impl Kept {
    /// Nothing is counted yet.
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, shares: Arc::default() }
    }

    /// Counts what is there, limit or not.
    pub(super) fn count(&self, store: &Store, uuid: &Uuid, owner: u32) {
        match store.kept_bytes(Kind::Domain, uuid) {
            Ok(0) => self.forget(uuid),
            Ok(bytes) => {
                let share = self.ledger.note(owner, Resource::StoredBytes, bytes);
                self.change(|shares| drop(shares.insert(*uuid, share)));
            }
            Err(e) => tracing::warn!(domain = %uuid, "{}", crate::chain(&e)),
        }
    }

    /// Counts what is about to be written, unless that exceeds the owner's limit.
    pub(super) fn add(&self, uuid: &Uuid, owner: u32, bytes: u64) -> Result<(), Exceeded> {
        self.change(|shares| {
            let nothing = || self.ledger.note(owner, Resource::StoredBytes, 0);
            let share = shares.entry(*uuid).or_insert_with(nothing);
            share.resize(share.amount().saturating_add(bytes))
        })
    }

    /// Nothing is there any more.
    pub(super) fn forget(&self, uuid: &Uuid) {
        self.change(|shares| drop(shares.remove(uuid)));
    }

    fn change<T>(&self, change: impl FnOnce(&mut HashMap<Uuid, Share>) -> T) -> T {
        change(&mut self.shares.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Limits;

    #[test]
    fn what_is_kept_counts_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let ledger = Ledger::new(Limits { stored_bytes: 100, ..Limits::default() });
        let kept = Kept::new(ledger.clone());
        let used = || ledger.used(1000, Resource::StoredBytes);
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        kept.add(&one, 1000, 60).unwrap();
        assert!(kept.add(&two, 1000, 60).is_err());
        assert_eq!(used(), 60);
        store.note_firmware(&two, &[b' '; 70]).unwrap();
        kept.count(&store, &two, 1000);
        assert_eq!(used(), 130, "what is there counts");
        kept.count(&store, &one, 1000);
        assert_eq!(used(), 70, "what was not written does not");
        store.remove(Kind::Domain, &two).unwrap();
        kept.forget(&two);
        assert_eq!(used(), 0);
    }
}
