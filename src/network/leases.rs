//! The leases of a network while it is active.
//!
//! Owns what was last read of dnsmasq's lease file, and tells what has come and gone since. Must never
//! write the file: it is dnsmasq's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;

use crate::model::NetworkDef;
use crate::sys::dnsmasq::{self, Lease};
use crate::sys::file_watch::FileWatch;

/// dnsmasq writes the file in pieces; this long it has for all of them.
const SETTLE: Duration = Duration::from_millis(50);

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

/// The leases of one network.
#[derive(Debug)]
pub(super) struct Leases {
    known: watch::Sender<Arc<Vec<NetworkLease>>>,
    followed: Option<(FileWatch, PathBuf, Vec<IpNet>)>,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self { known: watch::Sender::new(Arc::default()), followed: None }
    }

    /// What is known without waiting.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Vec<NetworkLease>>> {
        self.known.subscribe()
    }

    /// Begins to follow the lease file of a network that has one; what is in it already is known, not news.
    pub(super) fn follow(&mut self, run_dir: &std::path::Path, def: &NetworkDef) {
        let path = dnsmasq::lease_file(run_dir);
        let subnets = def.ips.iter().filter_map(|ip| ip.net).collect();
        match FileWatch::new(&path) {
            Ok(watch) => self.followed = Some((watch, path, subnets)),
            Err(e) => tracing::warn!(network = %def.name, "its leases are not followed: {e}"),
        }
        if let Ok(now) = self.read() {
            self.known.send_replace(Arc::new(now));
        }
    }

    /// The network is down: nobody has an address there any more.
    pub(super) fn end(&mut self) -> Option<LeaseChange> {
        self.followed = None;
        let removed = self.known.send_replace(Arc::default());
        (!removed.is_empty()).then(|| LeaseChange { added: Vec::new(), removed: removed.to_vec() })
    }

    /// Returns when the file was written; never where none is followed.
    pub(super) async fn written(&self) {
        let Some((watch, ..)) = &self.followed else { return std::future::pending().await };
        if let Err(e) = watch.changed().await {
            tracing::warn!("leases are not followed any more: {e}");
            return std::future::pending().await;
        }
        tokio::time::sleep(SETTLE).await;
    }

    /// What has come and gone since the last look.
    pub(super) fn look(&self) -> std::io::Result<Option<LeaseChange>> {
        let now = self.read()?;
        let before = self.known.send_replace(Arc::new(now.clone()));
        let missing = |from: &[NetworkLease], of: &[NetworkLease]| -> Vec<NetworkLease> {
            from.iter().filter(|l| !of.iter().any(|o| same(l, o))).cloned().collect()
        };
        let change = LeaseChange { added: missing(&now, &before), removed: missing(&before, &now) };
        Ok((!change.added.is_empty() || !change.removed.is_empty()).then_some(change))
    }

    /// What is in the file now.
    pub(super) fn read(&self) -> std::io::Result<Vec<NetworkLease>> {
        let Some((_, path, subnets)) = &self.followed else { return Ok(Vec::new()) };
        let with_prefix = |lease: Lease| {
            let subnet = subnets.iter().find(|net| net.contains(&lease.address));
            NetworkLease { prefix: subnet.map_or(0, IpNet::prefix_len), lease }
        };
        Ok(dnsmasq::read_leases(path)?.into_iter().map(with_prefix).collect())
    }
}

/// Whether both are one lease: a renewed one is no news.
fn same(a: &NetworkLease, b: &NetworkLease) -> bool {
    let key = |l: &NetworkLease| (l.lease.address, l.lease.mac.clone(), l.lease.hostname.clone());
    key(a) == key(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NetworkDoc;

    #[test]
    fn renewals_are_no_news() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        let dir = tempfile::tempdir().unwrap();
        let file = dnsmasq::lease_file(dir.path());
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        let write = |lines: &str| std::fs::write(&file, lines).unwrap();
        let doc = "<network><name>n</name><ip address='10.0.0.1' prefix='24'/></network>";
        let mut leases = Leases::new();
        write("1900000000 52:54:00:00:00:01 10.0.0.2 a *\n");
        leases.follow(dir.path(), NetworkDoc::parse(doc).unwrap().def());
        assert_eq!(leases.look().unwrap(), None);
        write("1900000060 52:54:00:00:00:01 10.0.0.2 a *\n1900000000 52:54:00:00:00:02 10.0.0.3 b *\n");
        let change = leases.look().unwrap().unwrap();
        assert_eq!((change.added.len(), change.removed.len()), (1, 0));
        assert_eq!((change.added[0].prefix, change.added[0].lease.hostname.as_deref()), (24, Some("b")));
        write("1900000060 52:54:00:00:00:01 10.0.0.2 a *\n");
        assert_eq!(leases.look().unwrap().unwrap().removed.len(), 1);
        assert_eq!(leases.end().unwrap().removed.len(), 1);
    }
}
