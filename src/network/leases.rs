//! The leases of a network while it is active.
//!
//! Owns what was last read of dnsmasq's lease file, and tells what has come and gone since. Must never
//! write the file: it is dnsmasq's.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Definition;
use crate::model::Mac;
use crate::store::{self, StoreError};
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
    /// Whether its guest has been started since, and has not yet asked for it again.
    pub stale: bool,
}

/// What has come and gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseChange {
    /// New ones, and those whose guest has another name now.
    pub added: Vec<NetworkLease>,
    /// Those that ran out or were given back.
    pub removed: Vec<NetworkLease>,
    /// MACs that have shown themselves for the first time since their guests were started: by asking again for an
    /// address that they had, or as neighbours.
    pub shown: BTreeSet<String>,
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
        let shown = self.shown.union(&after.shown).cloned().collect();
        *self = Self { added, removed, shown };
    }
}

/// The leases of one network.
#[derive(Debug)]
pub(super) struct Leases {
    known: watch::Sender<Arc<Vec<NetworkLease>>>,
    followed: Option<Followed>,
    last_run: LastRun,
}

/// What each guest that runs had, by its MAC, when it was started: addresses, and until when.
#[derive(Debug, Clone, Default)]
struct LastRun(BTreeMap<String, Vec<(IpAddr, u64)>>);

/// The file in RUN that has it for the next daemon.
const LAST_RUN: &str = "last-run.json";

impl LastRun {
    /// One of a former version has none: what its guests have, they have got in this run.
    fn load(run_dir: &Path) -> Self {
        let text = fs_err::read(run_dir.join(LAST_RUN)).unwrap_or_default();
        Self(serde_json::from_slice(&text).unwrap_or_default())
    }

    fn save(&self, run_dir: &Path) -> Result<(), StoreError> {
        let path = run_dir.join(LAST_RUN);
        match serde_json::to_vec(&self.0) {
            Ok(text) => store::write_live(&path, &text),
            Err(e) => Err(StoreError::Write { path, source: e.into() }),
        }
    }

    fn mark(&self, leases: &mut [NetworkLease]) {
        for NetworkLease { lease, stale, .. } in leases {
            let had = self.0.get(&lease.mac);
            *stale = had.is_some_and(|had| had.contains(&(lease.address, lease.expires_usec)));
        }
    }
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
        Self { known: watch::Sender::new(Arc::new(known)), followed: None, last_run: LastRun::default() }
    }

    /// These are known, and no news; a previous daemon may have noted what its guests had before.
    pub(super) fn know(&mut self, mut known: Vec<NetworkLease>, run_dir: &Path) {
        self.last_run = LastRun::load(run_dir);
        self.last_run.mark(&mut known);
        self.known.send_replace(Arc::new(known));
    }

    /// A guest with this MAC is about to run.
    pub(super) async fn begin_run(&mut self, run_dir: &Path, mac: Mac) -> io::Result<()> {
        let (now, mac) = (self.read().await?, mac.to_string());
        let had = now.iter().map(|l| &l.lease).filter(|lease| lease.mac == mac);
        let had: Vec<_> = had.map(|lease| (lease.address, lease.expires_usec)).collect();
        if had.is_empty() && self.last_run.0.remove(&mac).is_none() {
            return Ok(());
        }
        if !had.is_empty() {
            self.last_run.0.insert(mac, had);
        }
        self.mark_again();
        self.last_run.save(run_dir).map_err(io::Error::other)
    }

    /// It does not run any more.
    pub(super) fn end_run(&mut self, run_dir: &Path, mac: Mac) {
        if self.last_run.0.remove(&mac.to_string()).is_none() {
            return;
        }
        self.mark_again();
        // What it says of a guest that does not run, nobody asks for.
        if let Err(e) = self.last_run.save(run_dir) {
            tracing::debug!("{}", crate::chain(&e));
        }
    }

    fn mark_again(&self) {
        self.known.send_modify(|known| self.last_run.mark(Arc::<Vec<_>>::make_mut(known).as_mut_slice()));
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
        self.last_run = LastRun::default();
        let removed = self.known.send_replace(Arc::default());
        (!removed.is_empty()).then(|| LeaseChange { removed: removed.to_vec(), ..LeaseChange::default() })
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
        let (begun, last_run) = (Instant::now(), self.last_run.clone());
        let read = move || {
            let mut now = place.read()?;
            last_run.mark(&mut now);
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
        let mut now = self.read().await?;
        self.last_run.mark(&mut now);
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
            NetworkLease { prefix: subnet.map_or(0, IpNet::prefix_len), lease, stale: false }
        };
        Ok(dnsmasq::read_leases(&self.path)?.into_iter().map(with_prefix).collect())
    }
}

fn changes(before: &[NetworkLease], now: &[NetworkLease]) -> Option<LeaseChange> {
    let missing = |from: &[NetworkLease], of: &[NetworkLease]| -> Vec<NetworkLease> {
        let there: HashSet<_> = of.iter().map(key).collect();
        from.iter().filter(|l| !there.contains(&key(l))).cloned().collect()
    };
    let stale: HashSet<_> = before.iter().filter(|l| l.stale).map(key).collect();
    let asked_again = now.iter().filter(|l| !l.stale && stale.contains(&key(l)));
    let change = LeaseChange {
        added: missing(now, before),
        removed: missing(before, now),
        shown: asked_again.map(|l| l.lease.mac.clone()).collect(),
    };
    (change != LeaseChange::default()).then_some(change)
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
            stale: false,
        };
        let change = |added: &[u8], removed: &[u8]| LeaseChange {
            added: added.iter().map(|n| lease(*n)).collect(),
            removed: removed.iter().map(|n| lease(*n)).collect(),
            ..LeaseChange::default()
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
    async fn a_lease_of_the_last_run_is_stale_until_it_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let mac: Mac = "52:54:00:00:00:01".parse().unwrap();
        write(dir.path(), &format!("{A}{B}"));
        let mut leases = Leases::new(Vec::new());
        leases.follow(dir.path(), &network());
        leases.look().await.unwrap().unwrap();
        let stale = |leases: &Leases| leases.known.borrow().iter().map(|l| l.stale).collect::<Vec<_>>();
        leases.begin_run(dir.path(), mac).await.unwrap();
        assert_eq!(stale(&leases), [true, false]);
        assert_eq!(leases.look().await.unwrap(), None, "it is no news");
        // The next daemon knows it, too.
        let known = leases.known.borrow().to_vec();
        let mut next = Leases::new(Vec::new());
        next.know(known, dir.path());
        assert_eq!(stale(&next), [true, false]);
        write(dir.path(), &format!("{}{B}", A.replace("1900000000", "1900000060")));
        let change = leases.look().await.unwrap().unwrap();
        assert_eq!(change, LeaseChange { shown: [mac.to_string()].into(), ..LeaseChange::default() });
        assert_eq!(stale(&leases), [false, false]);
        // The same in the next run; after it there is none.
        leases.begin_run(dir.path(), mac).await.unwrap();
        assert_eq!(stale(&leases), [true, false]);
        leases.end_run(dir.path(), mac);
        assert_eq!(stale(&leases), [false, false]);
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
        let mut told = false;
        for _ in 0..3 {
            // On a busy machine the wait is over at once.
            told = told || tokio::time::timeout(SETTLE / 5, leases.written()).await.is_ok();
        }
        if !told {
            tokio::time::timeout(Duration::from_secs(10), leases.written())
                .await
                .expect("the change is not lost");
        }
        assert_eq!(leases.look().await.unwrap().unwrap().added.len(), 1);
    }
}
