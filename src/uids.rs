//! The uids that running guests and the dnsmasqs of networks have, each its own.
//!
//! Owns the numbers in use. Must never give one out that RUN records ([`Uids::mark`], before anything starts) or that a
//! process has, whoever started it: who shares a uid can signal, trace and overwrite the other.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::unix;

/// What a uid is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A guest's QEMU.
    Guest,
    /// The dnsmasq of a network.
    Network,
}

/// All uids of one kind are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {count} uids kept for {} are in use; 'uid-count' in warrend.toml says how many there are", .purpose.whom())]
pub struct Exhausted {
    purpose: Purpose,
    count: usize,
}

impl Purpose {
    fn whom(self) -> &'static str {
        match self {
            Self::Guest => "guests",
            Self::Network => "networks",
        }
    }
}

/// The uids of one service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Uids {
    guests: Range<u32>,
    networks: Range<u32>,
    /// Of both kinds: a guest that a former version started may have one of those for networks.
    used: Arc<Mutex<BTreeSet<u32>>>,
}

impl Uids {
    /// Over two ranges. Both are empty where guests and helpers run as the service itself, who is not root then.
    pub fn new(guests: Range<u32>, networks: Range<u32>) -> Self {
        Self { guests, networks, used: Arc::default() }
    }

    /// A free one; `Ok(None)` where there are none to be had: the service's own is used.
    pub fn take(&self, purpose: Purpose) -> Result<Option<u32>, Exhausted> {
        let range = match purpose {
            Purpose::Guest => self.guests.clone(),
            Purpose::Network => self.networks.clone(),
        };
        if range.is_empty() {
            return Ok(None);
        }
        let count = range.len();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |uid: &u32| !used.contains(uid) && !unix::uid_is_alive(*uid);
        let uid = range.into_iter().find(free).ok_or(Exhausted { purpose, count })?;
        used.insert(uid);
        Ok(Some(uid))
    }

    /// Marks one that RUN records.
    pub fn mark(&self, uid: u32) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(uid);
    }

    /// Gives one back; what had it is gone.
    pub fn give_back(&self, uid: u32) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where no user is.
    const FREE: u32 = 1_899_000_000;

    #[test]
    fn no_uid_is_given_twice() {
        let uids = Uids::new(FREE..FREE + 2, FREE + 1..FREE + 3);
        let take = |purpose| uids.take(purpose).map(Option::unwrap).map_err(|e| e.to_string());
        assert_eq!((take(Purpose::Guest), take(Purpose::Guest)), (Ok(FREE), Ok(FREE + 1)));
        assert!(take(Purpose::Guest).unwrap_err().contains("all 2 uids kept for guests"));
        // A guest has the first of the networks'.
        assert_eq!(take(Purpose::Network), Ok(FREE + 2));
        assert!(take(Purpose::Network).unwrap_err().contains("all 2 uids kept for networks"));
        uids.give_back(FREE);
        uids.mark(FREE);
        assert!(take(Purpose::Guest).is_err());
        uids.give_back(FREE);
        assert_eq!(take(Purpose::Guest), Ok(FREE));
    }

    #[test]
    fn a_uid_that_a_process_has_is_not_given_out() {
        let me = rustix::process::getuid().as_raw();
        let uids = Uids::new(me..me + 1, 0..0);
        assert!(uids.take(Purpose::Guest).is_err());
        assert_eq!(uids.take(Purpose::Network), Ok(None));
    }
}
