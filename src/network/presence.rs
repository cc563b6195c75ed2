//! Which guests on a network have shown themselves since they were started.
//!
//! Owns the end of what is known of a guest's last run: when it is started the kernel forgets who its neighbour was, and
//! its leases are marked. Then it is looked for, until it has shown itself. Must never take what an earlier run has left
//! for a sign of this one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::actor::Actor;
use super::leases::LeaseChange;
use crate::model::Mac;

/// A guest that has just been started is looked for this often, and for this long.
const SOON: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// One that has not shown itself by then.
const LATER: Duration = Duration::from_secs(15);

/// NICs that have not shown themselves.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Since when each is expected.
    expected: BTreeMap<Mac, Instant>,
    next: Option<Instant>,
}

impl Presence {
    /// A guest with this NIC begins to run.
    pub(super) fn expect(&mut self, mac: Mac) {
        let now = Instant::now();
        self.expected.insert(mac, now);
        self.next = Some(now + SOON.0);
    }

    /// Nobody waits for it any more. Whether somebody did.
    fn forget(&mut self, mac: &Mac) -> bool {
        self.expected.remove(mac).is_some()
    }

    /// Returns when it is time to look; never where all have shown themselves. It may be dropped at any moment.
    pub(super) async fn due(&self) {
        match self.next.filter(|_| !self.expected.is_empty()) {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    /// Puts off the next look.
    fn looked(&mut self) {
        let now = Instant::now();
        let is_new = |since: &Instant| now.duration_since(*since) < SOON.1;
        let pause = if self.expected.values().any(is_new) { SOON.0 } else { LATER };
        self.next = Some(now + pause);
    }
}

impl Actor {
    /// A guest with this NIC is about to run: what is known of its address is of an earlier run.
    pub(super) async fn begin_run(&mut self, mac: Mac) {
        let dir = self.context.scope.network_run_dir(&self.uuid);
        if let Err(e) = self.leases.begin_run(&dir, mac).await {
            tracing::warn!(network = %self.name(), "leases of {mac} may be of an earlier run: {e}");
        }
        let Some(up) = &self.up else { return };
        let forget = async {
            let netlink = up.space.netlink().await?;
            match netlink.link(&up.bridge).await? {
                Some(bridge) => netlink.forget_neighbour(bridge.index, mac.0).await,
                None => Ok(()),
            }
        };
        if let Err(e) = forget.await {
            tracing::warn!(network = %self.name(), "addresses of {mac} may be of an earlier run: {e}");
        }
        self.presence.expect(mac);
    }

    /// The guest does not run any more.
    pub(super) fn end_run(&mut self, domain: Uuid) {
        let dir = self.context.scope.network_run_dir(&self.uuid);
        let macs: Vec<Mac> =
            self.ports.keys().filter(|(owner, _)| *owner == domain).map(|(_, mac)| *mac).collect();
        for mac in macs {
            self.presence.forget(&mac);
            self.leases.end_run(&dir, mac);
        }
    }

    /// Whether one of those that are expected has answered on the bridge.
    pub(super) async fn look_for_guests(&mut self) {
        let found = self.neighbours().await;
        self.presence.looked();
        let neighbours = match found {
            Ok(neighbours) => neighbours,
            Err(e) => return tracing::debug!(network = %self.name(), "{}", crate::chain(&e)),
        };
        let macs = neighbours.iter().map(|neighbour| Mac(neighbour.mac));
        let shown: BTreeSet<String> =
            macs.filter(|mac| self.presence.forget(mac)).map(|mac| mac.to_string()).collect();
        if !shown.is_empty() {
            self.tell_leases(Some(LeaseChange { shown, ..LeaseChange::default() }));
        }
    }
}
