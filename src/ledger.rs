//! What each user takes of the machine, held against the limits of the configuration.
//!
//! Owns one count for each uid and resource. A share is given back when its holder drops it, so nothing is counted
//! that no longer exists. Must never refuse what exists already (a recovery notes it), nor limit root.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::scope::Limits;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Bytes of the documents of networks and domains, as they are held in memory.
    DocumentBytes,
    /// Bytes that Warren has written for the user on the host's disk.
    StoredBytes,
    /// Bytes of memory of running guests.
    GuestMemory,
    /// vCPUs of running guests.
    GuestVcpus,
    /// Threads that running guests' QEMU may have.
    GuestThreads,
    /// Descriptors that the service itself holds for the user.
    Descriptors,
}

impl Resource {
    /// The key under `[limits]` of warrend.toml.
    pub fn key(self) -> &'static str {
        match self {
            Self::DocumentBytes => "documents-bytes",
            Self::StoredBytes => "stored-bytes",
            Self::GuestMemory => "guest-memory",
            Self::GuestVcpus => "guest-vcpus",
            Self::GuestThreads => "guest-threads",
            Self::Descriptors => "descriptors",
        }
    }

    fn limit(self, limits: &Limits) -> u64 {
        match self {
            Self::DocumentBytes => limits.documents_bytes,
            Self::StoredBytes => limits.stored_bytes,
            Self::GuestMemory => limits.guest_memory,
            Self::GuestVcpus => limits.guest_vcpus,
            Self::GuestThreads => limits.guest_threads,
            Self::Descriptors => limits.descriptors,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DocumentBytes => "bytes of documents",
            Self::StoredBytes => "bytes on the host's disk",
            Self::GuestMemory => "bytes of guests' memory",
            Self::GuestVcpus => "vCPUs of running guests",
            Self::GuestThreads => "threads of running guests",
            Self::Descriptors => "descriptors of the service",
        })
    }
}

/// A user would have more than the configuration allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "uid {uid} has {used} {resource}, and {wanted} more would exceed the limit of {limit}; free some, or raise '{}' \
     under [limits] in warrend.toml",
    .resource.key()
)]
pub struct Exceeded {
    /// Whose share it is.
    pub uid: u32,
    /// Of what.
    pub resource: Resource,
    /// What the user has already.
    pub used: u64,
    /// What was asked for on top.
    pub wanted: u64,
    /// What one user may have.
    pub limit: u64,
}

/// The counts of one service. Clones share them.
#[derive(Debug, Clone)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    used: Mutex<HashMap<(u32, Resource), u64>>,
}

/// Something that counts for as long as it is held.
#[derive(Debug)]
#[must_use = "a share is given back when it is dropped"]
pub struct Share {
    ledger: Ledger,
    uid: u32,
    resource: Resource,
    amount: u64,
}

impl Ledger {
    /// Nothing is taken yet.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner { limits, used: Mutex::default() }))
    }

    /// Takes a share for `uid`, unless that exceeds the limit. Root has none.
    pub fn take(&self, uid: u32, resource: Resource, amount: u64) -> Result<Share, Exceeded> {
        let mut share = self.note(uid, resource, 0);
        share.resize(amount)?;
        Ok(share)
    }

    /// Counts what exists already, limit or not.
    pub fn note(&self, uid: u32, resource: Resource, amount: u64) -> Share {
        self.change(uid, resource, |used| used.saturating_add(amount));
        Share { ledger: self.clone(), uid, resource, amount }
    }

    /// What `uid` has at the moment.
    pub fn used(&self, uid: u32, resource: Resource) -> u64 {
        let used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.get(&(uid, resource)).copied().unwrap_or(0)
    }

    fn change(&self, uid: u32, resource: Resource, change: impl FnOnce(u64) -> u64) {
        let mut all = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = all.entry((uid, resource)).or_default();
        *used = change(*used);
        if *used == 0 {
            all.remove(&(uid, resource));
        }
    }
}

impl Share {
    /// What it counts.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Makes it larger, unless that exceeds the limit, or smaller, which always works.
    pub fn resize(&mut self, amount: u64) -> Result<(), Exceeded> {
        let (uid, resource, limit) = (self.uid, self.resource, self.resource.limit(&self.ledger.0.limits));
        let mut all = self.ledger.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = all.get(&(uid, resource)).copied().unwrap_or(0);
        let others = used.saturating_sub(self.amount);
        if uid != 0 && amount > self.amount && others.saturating_add(amount) > limit {
            return Err(Exceeded { uid, resource, used, wanted: amount - self.amount, limit });
        }
        all.insert((uid, resource), others.saturating_add(amount));
        self.amount = amount;
        Ok(())
    }
}

impl Share {
    /// Makes it what is there, limit or not.
    pub fn settle(&mut self, amount: u64) {
        let before = self.amount;
        self.ledger
            .change(self.uid, self.resource, |used| used.saturating_sub(before).saturating_add(amount));
        self.amount = amount;
    }
}

/// What the definition of one object takes: its documents in memory, and its file.
#[derive(Debug)]
pub struct DocumentShares {
    held: Share,
    stored: Share,
}

impl DocumentShares {
    /// For a definition of `owner` with a document and a file of so many bytes.
    pub fn take(ledger: &Ledger, owner: u32, held: u64, stored: u64) -> Result<Self, Exceeded> {
        Ok(Self {
            held: ledger.take(owner, Resource::DocumentBytes, held)?,
            stored: ledger.take(owner, Resource::StoredBytes, stored)?,
        })
    }

    /// For one that is there already.
    pub fn note(ledger: &Ledger, owner: u32, held: u64, stored: u64) -> Self {
        Self {
            held: ledger.note(owner, Resource::DocumentBytes, held),
            stored: ledger.note(owner, Resource::StoredBytes, stored),
        }
    }

    /// Takes what is missing for a change, unless that exceeds a limit; what will be too much stays until
    /// [`Self::settle`].
    pub fn grow(&mut self, held: u64, stored: u64) -> Result<(), Exceeded> {
        let before = self.held.amount();
        self.held.resize(held.max(before))?;
        let grown = self.stored.resize(stored.max(self.stored.amount()));
        if grown.is_err() {
            self.held.settle(before);
        }
        grown
    }

    /// What there is after the change, or after all without it.
    pub fn settle(&mut self, held: u64, stored: u64) {
        self.held.settle(held);
        self.stored.settle(stored);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let amount = self.amount;
        self.ledger.change(self.uid, self.resource, |used| used.saturating_sub(amount));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_grows_in_both_or_in_neither() {
        let ledger = Ledger::new(Limits { documents_bytes: 10, stored_bytes: 20, ..Limits::default() });
        let used = || [Resource::DocumentBytes, Resource::StoredBytes].map(|of| ledger.used(1000, of));
        let mut shares = DocumentShares::take(&ledger, 1000, 5, 10).unwrap();
        assert_eq!(shares.grow(11, 11).unwrap_err().resource, Resource::DocumentBytes);
        assert_eq!(shares.grow(8, 21).unwrap_err().resource, Resource::StoredBytes);
        assert_eq!(used(), [5, 10]);
        shares.grow(8, 4).unwrap();
        assert_eq!(used(), [8, 10]);
        shares.settle(8, 4);
        assert_eq!(used(), [8, 4]);
        assert!(DocumentShares::take(&ledger, 1000, 2, 17).is_err());
        assert_eq!(used(), [8, 4]);
        drop(shares);
        assert_eq!(used(), [0, 0]);
    }

    #[test]
    fn a_share_counts_while_it_is_held() {
        let ledger = Ledger::new(Limits { guest_vcpus: 4, ..Limits::default() });
        let take = |uid, amount| ledger.take(uid, Resource::GuestVcpus, amount);
        let mut three = take(1000, 3).unwrap();
        let refused = take(1000, 2).unwrap_err();
        assert_eq!((refused.used, refused.wanted, refused.limit), (3, 2, 4));
        assert!(refused.to_string().contains("guest-vcpus"), "{refused}");
        let _others = take(1001, 4).unwrap();
        let _roots = take(0, 100).unwrap();
        assert!(three.resize(5).is_err());
        assert_eq!(three.amount(), 3);
        three.resize(1).unwrap();
        let _more = take(1000, 3).unwrap();
        drop(three);
        assert_eq!(ledger.used(1000, Resource::GuestVcpus), 3);
        let known = ledger.note(1000, Resource::GuestVcpus, 10);
        assert!(take(1000, 1).is_err());
        drop(known);
        assert!(take(1000, 1).is_ok());
    }
}
