//! Which names of interfaces the definitions have taken, whether what they define runs or not.
//!
//! Owns the bridges of networks, and the TAPs of root's domains. Those of an ordinary user's domains are kept from
//! nobody: else a definition that is never started would keep another user's guest from its name. Must never look at
//! the host, where the kernel itself refuses what is there.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use uuid::Uuid;

/// What a name is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Use {
    /// The bridge of the network of that name.
    Bridge(String),
    /// A TAP of a domain of root's.
    Tap,
}

/// The names of one service. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<RwLock<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    by_name: BTreeMap<String, BTreeMap<Uuid, Use>>,
    by_object: BTreeMap<Uuid, Vec<String>>,
}

impl Taken {
    fn forget(&mut self, object: &Uuid) {
        for name in self.by_object.remove(object).into_iter().flatten() {
            if let Some(users) = self.by_name.get_mut(&name) {
                users.remove(object);
                if users.is_empty() {
                    self.by_name.remove(&name);
                }
            }
        }
    }

    fn set(&mut self, object: Uuid, names: Vec<String>, used: &Use) {
        self.forget(&object);
        for name in &names {
            self.by_name.entry(name.clone()).or_default().insert(object, used.clone());
        }
        if !names.is_empty() {
            self.by_object.insert(object, names);
        }
    }
}

impl Names {
    fn read(&self) -> RwLockReadGuard<'_, Taken> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Taken> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the definition of this network says now.
    pub fn set_network(&self, uuid: Uuid, network: &str, bridge: Option<&str>) {
        let names = bridge.map(str::to_owned).into_iter().collect();
        self.write().set(uuid, names, &Use::Bridge(network.to_owned()));
    }

    /// What the definition of this domain, of `owner`, says now.
    pub fn set_domain(&self, uuid: Uuid, owner: u32, taps: impl Iterator<Item = String>) {
        let names = if owner == 0 { taps.collect() } else { Vec::new() };
        self.write().set(uuid, names, &Use::Tap);
    }

    /// This network or domain is no more.
    pub fn forget(&self, uuid: &Uuid) {
        self.write().forget(uuid);
    }

    /// Who keeps this name from a TAP of a domain of `owner`, as words that follow "it is". Root's domains share names
    /// among them: they need not run at the same time.
    pub fn kept_from_tap(&self, name: &str, owner: u32) -> Option<String> {
        let taken = self.read();
        let users = taken.by_name.get(name)?;
        let bridge = users.values().find(|used| matches!(used, Use::Bridge(_)));
        words(bridge.or_else(|| users.values().next().filter(|_| owner != 0))?)
    }

    /// Who keeps this name from the bridge of the network `uuid`.
    pub fn kept_from_bridge(&self, name: &str, uuid: Option<&Uuid>) -> Option<String> {
        let taken = self.read();
        let users = taken.by_name.get(name)?;
        words(users.iter().find(|(user, _)| Some(*user) != uuid)?.1)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it ends a chain of options")]
fn words(used: &Use) -> Option<String> {
    Some(match used {
        Use::Bridge(network) => format!("the bridge of the network '{network}'"),
        Use::Tap => "the name of an interface of a domain of root's".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_by_networks_and_by_root() {
        let names = Names::default();
        let (lan, tap, users) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        names.set_network(lan, "lan", Some("wt-lan"));
        names.set_domain(tap, 0, ["wt-root".to_owned()].into_iter());
        names.set_domain(users, 1000, ["wt-mine".to_owned()].into_iter());
        let tap_of = |name, owner| names.kept_from_tap(name, owner).unwrap_or_default();
        assert_eq!(tap_of("wt-lan", 0), "the bridge of the network 'lan'");
        assert!(tap_of("wt-root", 1000).contains("root") && tap_of("wt-root", 0).is_empty());
        assert!(tap_of("wt-mine", 1001).is_empty());
        assert!(names.kept_from_bridge("wt-lan", Some(&lan)).is_none());
        assert!(names.kept_from_bridge("wt-lan", None).is_some());
        assert!(names.kept_from_bridge("wt-root", Some(&lan)).is_some());
        names.set_network(lan, "lan", None);
        names.forget(&tap);
        assert!(tap_of("wt-lan", 1000).is_empty() && tap_of("wt-root", 1000).is_empty());
    }
}
