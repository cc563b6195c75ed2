//! The uids that running guests have, each its own. Owns the numbers in use; must never give one out
//! twice at a time.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// The pool of one service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Uids {
    range: Range<u32>,
    used: Arc<Mutex<BTreeSet<u32>>>,
}

impl Uids {
    /// Over a range; an empty one means that guests run as the service itself.
    pub fn new(range: Range<u32>) -> Self {
        Self { range, used: Arc::default() }
    }

    /// Whether guests have uids of their own at all.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// A free one; `None` when all are in use.
    pub fn take(&self) -> Option<u32> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.range.clone().find(|uid| !used.contains(uid))?;
        used.insert(free);
        Some(free)
    }

    /// Marks the uid of a guest that was running before.
    pub fn mark(&self, uid: u32) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(uid);
    }

    /// Gives one back; its guest is gone.
    pub fn give_back(&self, uid: u32) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_uid_is_given_twice() {
        let uids = Uids::new(10..12);
        assert_eq!((uids.take(), uids.take(), uids.take()), (Some(10), Some(11), None));
        uids.give_back(10);
        uids.mark(10);
        assert_eq!(uids.take(), None);
    }
}
