//! Who has called, and how much each user takes of the service.
//!
//! Owns the uid behind each connection (the bus is asked once) and, for each uid, the calls that are being
//! answered and their bytes, the work under way, its objects and the subscriptions. Must never keep a caller
//! waiting for another: what is beyond a limit is refused at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;
use tokio::time::Instant;
use zbus::message::Header;

use super::error::Error;
use crate::auth::{AuthError, Authority, Caller};
use crate::scope::Limits;

/// Connections whose uid is remembered. Beyond, those are forgotten that wait for nothing.
const REMEMBERED: usize = 1024;

/// Bytes of calls that are being answered, and of documents that are the answers. A document has 4 MiB at most.
const BYTES: usize = 64 << 20;

/// Job objects for each piece of work that may be under way: they stay a minute longer than it.
const JOBS_EACH: usize = 4;

/// Something of which one user may have so much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    /// A call that is being answered.
    Call,
    /// A byte of such a call, or of the document that it is answered with.
    Byte,
    /// Work under way.
    Work,
    /// The object of work that nobody waited for.
    Job,
    /// A connection with a subscription.
    Subscription,
}

/// How many there are.
const RESOURCES: usize = 5;

/// All callers.
#[derive(Debug)]
pub(super) struct Callers {
    limits: Limits,
    uids: Mutex<HashMap<String, Arc<OnceCell<u32>>>>,
    used: Arc<Mutex<Used>>,
}

/// How much each uid has, by [`Resource`].
type Used = HashMap<u32, [usize; RESOURCES]>;

/// A share of one user's; it is given back when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    used: Arc<Mutex<Used>>,
    uid: u32,
    resource: Resource,
    amount: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Callers {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, uids: Mutex::default(), used: Arc::default() }
    }

    /// Who sent this message, and a share of the calls in flight and their bytes for it.
    pub(super) async fn enter(
        &self,
        authority: &Authority,
        header: &Header<'_>,
        arrived: Instant,
    ) -> Result<(Caller, [Claim; 2]), Error> {
        let sender = header.sender().ok_or(AuthError::NoSender)?;
        let uid = self.remembered(sender.as_str());
        // Many calls of one connection ask the bus once.
        let uid = *uid.get_or_try_init(|| authority.uid_of(sender)).await?;
        let bytes = usize::try_from(header.primary().body_len()).unwrap_or(usize::MAX);
        let claims = [self.claim(uid, Resource::Call)?, self.claim_much(uid, Resource::Byte, bytes)?];
        Ok((Caller::new(header, uid, arrived)?, claims))
    }

    fn remembered(&self, sender: &str) -> Arc<OnceCell<u32>> {
        let mut uids = lock(&self.uids);
        if let Some(known) = uids.get(sender) {
            return known.clone();
        }
        if uids.len() >= REMEMBERED {
            uids.retain(|_, uid| Arc::strong_count(uid) > 1);
        }
        uids.entry(sender.to_owned()).or_default().clone()
    }

    /// A share of what this user may have; refused where all of it is taken.
    pub(super) fn claim(&self, uid: u32, resource: Resource) -> Result<Claim, Error> {
        self.claim_much(uid, resource, 1)
    }

    /// So many of them.
    pub(super) fn claim_much(&self, uid: u32, resource: Resource, amount: usize) -> Result<Claim, Error> {
        let (limit, what) = match resource {
            Resource::Call => (self.limits.calls, "calls in flight"),
            Resource::Byte => (BYTES, "bytes of calls in flight"),
            Resource::Work => (self.limits.jobs, "starts, stops and other work under way"),
            Resource::Job => (self.limits.jobs * JOBS_EACH, "jobs that run or have ended in the last minute"),
            Resource::Subscription => (self.limits.subscriptions, "connections with a subscription"),
        };
        let mut used = lock(&self.used);
        let of_user = used.entry(uid).or_default();
        let count = &mut of_user[resource as usize];
        if count.saturating_add(amount) > limit {
            if *of_user == [0; RESOURCES] {
                used.remove(&uid);
            }
            return Err(Error::limit_exceeded(format!(
                "uid {uid} has {limit} {what} already, which is all that one user may have at once; wait \
                 for some to end"
            )));
        }
        *count += amount;
        Ok(Claim { used: self.used.clone(), uid, resource, amount })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut used = lock(&self.used);
        if let Some(of_user) = used.get_mut(&self.uid) {
            of_user[self.resource as usize] -= self.amount;
            if *of_user == [0; RESOURCES] {
                used.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callers() -> Callers {
        Callers::new(Limits { calls: 2, jobs: 1, ..Limits::default() })
    }

    #[test]
    fn each_user_has_limits_of_its_own() {
        let callers = callers();
        let held = [(); 2].map(|()| callers.claim(1000, Resource::Call).unwrap());
        let refused = callers.claim(1000, Resource::Call).unwrap_err().to_string();
        assert!(refused.contains("LimitExceeded") && refused.contains("uid 1000 has 2 calls"), "{refused}");
        let _other_user = callers.claim(1001, Resource::Call).unwrap();
        let _other_resource = callers.claim(1000, Resource::Work).unwrap();
        drop(held);
        callers.claim(1000, Resource::Call).unwrap();
    }

    #[test]
    fn bytes_and_jobs_have_limits_too() {
        let callers = callers();
        let documents: Vec<_> =
            (0..16).map(|_| callers.claim_much(1000, Resource::Byte, 4 << 20).unwrap()).collect();
        let refused = callers.claim_much(1000, Resource::Byte, 1).unwrap_err().to_string();
        assert!(refused.contains("LimitExceeded") && refused.contains("bytes"), "{refused}");
        let _other_user = callers.claim_much(1001, Resource::Byte, 4 << 20).unwrap();
        drop(documents);
        callers.claim_much(1000, Resource::Byte, 1).unwrap();
        assert!(callers.claim_much(1002, Resource::Byte, usize::MAX).is_err());
        assert!(!lock(&callers.used).contains_key(&1002), "what was refused leaves nothing");
        let _jobs = [(); 4].map(|()| callers.claim(1000, Resource::Job).unwrap());
        assert!(callers.claim(1000, Resource::Job).is_err());
    }

    #[test]
    fn what_is_given_back_leaves_nothing() {
        let callers = callers();
        drop(callers.claim(1000, Resource::Call).unwrap());
        assert!(lock(&callers.used).is_empty());
        for n in 0..2 * REMEMBERED {
            let _ = callers.remembered(&format!(":1.{n}"));
        }
        assert!(lock(&callers.uids).len() <= REMEMBERED);
    }
}
