//! Who is told, unicast, what is not public.
//!
//! Owns the subscriptions of connections and what each was admitted to see when it subscribed. Must never
//! tell a connection of an object that its user may not read.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zbus::names::UniqueName;

use super::callers::Claim;
use super::error::Error;

/// What can be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// `LeaseAdded` and `LeaseRemoved` of networks.
    Leases,
    /// `AddressesChanged` of domains.
    Addresses,
}

impl Topic {
    /// The topics of these words.
    pub(super) fn read(words: &[String]) -> Result<BTreeSet<Self>, Error> {
        let topic = |word: &String| match word.as_str() {
            "leases" => Ok(Self::Leases),
            "addresses" => Ok(Self::Addresses),
            "devices" | "console" => Err(Error::not_supported(format!(
                "the topic '{word}' has no signals yet; known are: leases, addresses"
            ))),
            _ => Err(Error::invalid_args(format!(
                "there is no topic '{word}'; known are: leases, addresses, devices, console"
            ))),
        };
        words.iter().map(topic).collect()
    }
}

/// What a subscriber may see, by polkit's answer when it subscribed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// Domains of this uid: its own.
    pub(super) own_domains: Option<u32>,
    /// Domains of others.
    pub(super) other_domains: bool,
    /// Networks whose `Access` is `users`.
    pub(super) shared_networks: bool,
    /// All networks.
    pub(super) networks: bool,
}

impl Sight {
    /// What either may see.
    fn or(self, other: Self) -> Self {
        Self {
            own_domains: self.own_domains.or(other.own_domains),
            other_domains: self.other_domains || other.other_domains,
            shared_networks: self.shared_networks || other.shared_networks,
            networks: self.networks || other.networks,
        }
    }

    /// Whether a domain of this owner may be seen.
    pub(super) fn domain(&self, owner: u32) -> bool {
        if self.own_domains == Some(owner) { true } else { self.other_domains }
    }

    /// Whether a network with this `Access` may be seen.
    pub(super) fn network(&self, access: &str) -> bool {
        self.networks || (self.shared_networks && access == "users")
    }
}

#[derive(Debug)]
struct Subscriber {
    topics: BTreeSet<Topic>,
    sight: Sight,
    _share: Claim,
}

/// All subscriptions, by the connection's unique name.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    by_name: Mutex<HashMap<String, Subscriber>>,
}

impl Subscriptions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Subscriber>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has any topic.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().values().all(|s| s.topics.is_empty())
    }

    /// Adds topics to what a connection has, and to what it may see: it was admitted until it leaves. `share` makes the claim for one
    /// that has none yet; true for such a one, which is to be forgotten when it leaves the bus.
    pub(super) fn add(
        &self,
        sender: &str,
        topics: BTreeSet<Topic>,
        sight: Sight,
        share: impl FnOnce() -> Result<Claim, Error>,
    ) -> Result<bool, Error> {
        let mut all = self.lock();
        if let Some(known) = all.get_mut(sender) {
            known.topics.extend(topics);
            known.sight = known.sight.or(sight);
            return Ok(false);
        }
        all.insert(sender.to_owned(), Subscriber { topics, sight, _share: share()? });
        Ok(true)
    }

    /// Takes topics away. One without any stays known until it leaves.
    pub(super) fn remove(&self, sender: &str, topics: &BTreeSet<Topic>) {
        if let Some(known) = self.lock().get_mut(sender) {
            known.topics.retain(|topic| !topics.contains(topic));
        }
    }

    /// Forgets a connection that has left.
    pub(super) fn forget(&self, sender: &str) {
        self.lock().remove(sender);
    }

    /// The connections that are to be told of something.
    pub(super) fn receivers(
        &self,
        topic: Topic,
        may_see: impl Fn(&Sight) -> bool,
    ) -> Vec<UniqueName<'static>> {
        let all = self.lock();
        let told = all.iter().filter(|(_, s)| s.topics.contains(&topic) && may_see(&s.sight));
        told.filter_map(|(name, _)| UniqueName::try_from(name.clone()).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::callers::{Callers, Resource};
    use super::*;
    use crate::scope::Limits;

    #[test]
    fn only_those_are_told_who_may_see() {
        let callers = Callers::new(Limits::default());
        let all = Subscriptions::default();
        let topics = Topic::read(&["leases".into(), "addresses".into()]).unwrap();
        let add = |name: &str, sight| {
            all.add(name, topics.clone(), sight, || callers.claim(1000, Resource::Subscription)).unwrap()
        };
        let alice = Sight { own_domains: Some(1000), shared_networks: true, ..Sight::default() };
        assert!(add(":1.1", alice));
        assert!(!add(":1.1", alice), "a second subscription of one connection is the same one");
        assert!(add(":1.2", Sight { networks: true, ..Sight::default() }));
        let told = |topic, see: &dyn Fn(&Sight) -> bool| {
            let mut names: Vec<_> =
                all.receivers(topic, see).iter().map(|name| name.as_str().to_owned()).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(told(Topic::Addresses, &|s| s.domain(1000)), ":1.1");
        assert_eq!(told(Topic::Addresses, &|s| s.domain(0)), "");
        assert_eq!(told(Topic::Leases, &|s| s.network("users")), ":1.1 :1.2");
        assert_eq!(told(Topic::Leases, &|s| s.network("admin")), ":1.2");
        all.remove(":1.1", &BTreeSet::from([Topic::Leases]));
        assert_eq!(told(Topic::Leases, &|s| s.network("users")), ":1.2");
        all.forget(":1.1");
        assert_eq!(told(Topic::Addresses, &|s| s.domain(1000)), "");
    }

    #[test]
    fn unknown_topics_are_named() {
        let error = |word: &str| Topic::read(&[word.to_owned()]).unwrap_err().to_string();
        assert!(error("lease").contains("InvalidArgs: there is no topic 'lease'"));
        assert!(error("devices").contains("NotSupported"));
    }
}
