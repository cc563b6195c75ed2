//! The leases of a network while it is active.
//!
//! Owns what was last read of dnsmasq's lease file, and tells what has come and gone since. Must never
//! write the file: it is dnsmasq's.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Definition;
use crate::sys::dnsmasq::{self, Lease};
use crate::sys::file_watch::FileWatch;

/// dnsmasq writes the file in pieces; this long it has for all of them.
const SETTLE: Duration = Duration::from_millis(50);
/// The longest that is, where reading takes long.
const SETTLE_AT_MOST: Duration = Duration::from_secs(2);

/// One lease, with the length of the prefix of its subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkLease {
    /// As dnsmasq keeps it.
    pub lease: Lease,
    /// Of the address; 0 where the network has no such subnet any more.
    pub prefix: u8,
}

/// What has come and gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseChange {
    /// New ones, and those whose guest has another name now.
    pub added: Vec<NetworkLease>,
    /// Those that ran out or were given back.
    pub removed: Vec<NetworkLease>,
}

impl LeaseChange {
    /// Makes one change of this one and the one after it: what came and went is none.
    pub(crate) fn join(&mut self, after: &Self) {
        let without = |all: &[NetworkLease], those: &[NetworkLease]| -> Vec<NetworkLease> {
            let those: HashSet<_> = those.iter().map(key).collect();
            all.iter().filter(|lease| !those.contains(&key(lease))).cloned().collect()
        };
        let added = [without(&self.added, &after.removed), without(&after.added, &self.removed)].concat();
        let removed = [without(&self.removed, &after.added), without(&after.removed, &self.added)].concat();
        *self = Self { added, removed };
    }
}

/// The leases of one network.
#[derive(Debug)]
pub(super) struct Leases {
    known: watch::Sender<Arc<Vec<NetworkLease>>>,
    followed: Option<Followed>,
}

/// A file that is followed.
#[derive(Debug)]
struct Followed {
    /// `None` once it has failed.
    watch: Option<FileWatch>,
    place: Place,
    /// When what was written is to be read.
    due: Option<Instant>,
    /// How long writing may take, and how long there is between two looks at least.
    settle: Duration,
}

/// A lease file, and what its addresses belong to.
#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
    subnets: Vec<IpNet>,
}

impl Leases {
    /// What is known already.
    pub(super) fn new(known: Vec<NetworkLease>) -> Self {
        Self { known: watch::Sender::new(Arc::new(known)), followed: None }
    }

    /// These are known, and no news.
    pub(super) fn know(&self, known: Vec<NetworkLease>) {
        self.known.send_replace(Arc::new(known));
    }

    /// What is known without waiting.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Vec<NetworkLease>>> {
        self.known.subscribe()
    }

    /// Begins to follow the lease file of a network that has one, with a look at it.
    pub(super) fn follow(&mut self, run_dir: &Path, definition: &Definition) {
        let place = Place::of(run_dir, definition);
        let watch = FileWatch::new(&place.path).inspect_err(
            |e| tracing::warn!(network = %definition.name(), "its leases are not followed: {e}"),
        );
        self.followed =
            Some(Followed { watch: watch.ok(), place, due: Some(Instant::now()), settle: SETTLE });
    }

    /// The network is down: nobody has an address there any more.
    pub(super) fn end(&mut self) -> Option<LeaseChange> {
        self.followed = None;
        let removed = self.known.send_replace(Arc::default());
        (!removed.is_empty()).then(|| LeaseChange { added: Vec::new(), removed: removed.to_vec() })
    }

    /// Returns when the file is to be looked at; never where none is followed. It may be dropped at any moment: what it
    /// has learned is kept before it waits.
    pub(super) async fn written(&mut self) {
        let Some(followed) = &mut self.followed else { return std::future::pending().await };
        loop {
            if let Some(due) = followed.due {
                tokio::time::sleep_until(due).await;
                followed.due = None;
                return;
            }
            let Some(watch) = &followed.watch else { return std::future::pending().await };
            match watch.changed().await {
                Ok(()) => followed.due = Some(Instant::now() + followed.settle),
                Err(e) => {
                    tracing::warn!("leases are not followed any more: {e}");
                    followed.watch = None;
                }
            }
        }
    }

    /// What has come and gone since the last look.
    pub(super) async fn look(&mut self) -> io::Result<Option<LeaseChange>> {
        let Some(followed) = &mut self.followed else { return Ok(None) };
        let (place, before) = (followed.place.clone(), self.known.borrow().clone());
        let begun = Instant::now();
        let read = move || {
            let now = place.read()?;
            let change = changes(&before, &now);
            Ok::<_, io::Error>((now, change))
        };
        let looked = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?;
        // Whoever writes without end costs a tenth of a CPU at most.
        followed.settle = (begun.elapsed() * 10).clamp(SETTLE, SETTLE_AT_MOST);
        let (now, change) = looked?;
        self.known.send_replace(Arc::new(now));
        Ok(change)
    }

    /// What is in the file now, and what that changes: whoever asks for addresses next learns the same.
    pub(super) async fn ask(&mut self) -> io::Result<(Vec<NetworkLease>, Option<LeaseChange>)> {
        let now = self.read().await?;
        let news = changes(&self.known.borrow(), &now).is_some();
        if !news {
            return Ok((now, None));
        }
        // It may have been read between two pieces.
        tokio::time::sleep(SETTLE).await;
        let change = self.look().await?;
        let known = self.known.borrow().to_vec();
        Ok((known, change))
    }

    async fn read(&self) -> io::Result<Vec<NetworkLease>> {
        let Some(followed) = &self.followed else { return Ok(Vec::new()) };
        followed.place.clone().read_beside().await
    }
}

/// The leases of a network that nobody follows yet.
pub(super) async fn read_now(run_dir: &Path, definition: &Definition) -> io::Result<Vec<NetworkLease>> {
    Place::of(run_dir, definition).read_beside().await
}

impl Place {
    fn of(run_dir: &Path, definition: &Definition) -> Self {
        let subnets = definition.subnets().to_vec();
        Self { path: dnsmasq::lease_file(run_dir), subnets }
    }

    /// Beside the thread that answers calls.
    async fn read_beside(self) -> io::Result<Vec<NetworkLease>> {
        tokio::task::spawn_blocking(move || self.read()).await.map_err(io::Error::other)?
    }

    fn read(&self) -> io::Result<Vec<NetworkLease>> {
        let with_prefix = |lease: Lease| {
            let subnet = self.subnets.iter().find(|net| net.contains(&lease.address));
            NetworkLease { prefix: subnet.map_or(0, IpNet::prefix_len), lease }
        };
        Ok(dnsmasq::read_leases(&self.path)?.into_iter().map(with_prefix).collect())
    }
}

fn changes(before: &[NetworkLease], now: &[NetworkLease]) -> Option<LeaseChange> {
    let missing = |from: &[NetworkLease], of: &[NetworkLease]| -> Vec<NetworkLease> {
        let there: HashSet<_> = of.iter().map(key).collect();
        from.iter().filter(|l| !there.contains(&key(l))).cloned().collect()
    };
    let change = LeaseChange { added: missing(now, before), removed: missing(before, now) };
    (!change.added.is_empty() || !change.removed.is_empty()).then_some(change)
}

/// What makes a lease another one: a renewed one is no news.
fn key(of: &NetworkLease) -> (IpAddr, &str, Option<&str>) {
    (of.lease.address, &of.lease.mac, of.lease.hostname.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_comes_and_goes_is_no_change() {
        let lease = |last: u8| NetworkLease {
            lease: Lease {
                expires_usec: 0,
                mac: String::new(),
                address: [10, 0, 0, last].into(),
                hostname: None,
                client_id: None,
            },
            prefix: 24,
        };
        let change = |added: &[u8], removed: &[u8]| LeaseChange {
            added: added.iter().map(|n| lease(*n)).collect(),
            removed: removed.iter().map(|n| lease(*n)).collect(),
        };
        let mut all = change(&[1], &[9]);
        all.join(&change(&[2, 9], &[1, 3]));
        assert_eq!(all, change(&[2], &[3]));
        (0..1000).for_each(|_| {
            all.join(&change(&[4], &[]));
            all.join(&change(&[], &[4]));
        });
        assert_eq!(all, change(&[2], &[3]));
    }

    fn network() -> Definition {
        let doc = "<network><name>n</name><ip address='10.0.0.1' prefix='24'/></network>";
        Definition::read(doc.to_owned()).unwrap()
    }

    const A: &str = "1900000000 52:54:00:00:00:01 10.0.0.2 a *\n";
    const B: &str = "1900000000 52:54:00:00:00:02 10.0.0.3 b *\n";

    fn write(dir: &Path, lines: &str) {
        let file = dnsmasq::lease_file(dir);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, lines).unwrap();
    }

    #[tokio::test]
    async fn renewals_are_no_news() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), A);
        let mut leases = Leases::new(read_now(dir.path(), &network()).await.unwrap());
        leases.follow(dir.path(), &network());
        assert_eq!(leases.look().await.unwrap(), None);
        write(dir.path(), &format!("1900000060 52:54:00:00:00:01 10.0.0.2 a *\n{B}"));
        let change = leases.look().await.unwrap().unwrap();
        assert_eq!((change.added.len(), change.removed.len()), (1, 0));
        assert_eq!((change.added[0].prefix, change.added[0].lease.hostname.as_deref()), (24, Some("b")));
        write(dir.path(), A);
        assert_eq!(leases.look().await.unwrap().unwrap().removed.len(), 1);
        assert_eq!(leases.end().unwrap().removed.len(), 1);
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_loses_no_change() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "");
        let mut leases = Leases::new(Vec::new());
        leases.follow(dir.path(), &network());
        leases.written().await;
        assert_eq!(leases.look().await.unwrap(), None);
        write(dir.path(), A);
        // As a message does that comes between the change and the look.
        for _ in 0..3 {
            let dropped = tokio::time::timeout(SETTLE / 5, leases.written()).await;
            assert!(dropped.is_err());
        }
        tokio::time::timeout(Duration::from_secs(10), leases.written())
            .await
            .expect("the change is not lost");
        assert_eq!(leases.look().await.unwrap().unwrap().added.len(), 1);
    }
}
