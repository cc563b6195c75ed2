//! The ground that networks stand on: the host's own network in system scope, the nethost's namespaces
//! with pasta as their uplink in session scope.
//!
//! Owns the nethost and pasta: they are there as long as somebody holds the ground, and are found again
//! after a restart. Must never be known by what stands on it: a [`NetSpace`] is all that others see.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::Mutex;

use crate::scope::{Scope, ScopeKind};
use crate::sys::nethost::{self, Nethost, NethostError};
use crate::sys::netlink::NetlinkError;
use crate::sys::netspace::NetSpace;
use crate::sys::pasta::{self, Pasta};

/// How long after its end a lost uplink is started again.
const UPLINK_PAUSE: Duration = Duration::from_secs(2);

/// How long after a failure that is tried once more: the host itself may be offline.
const UPLINK_RETRY: Duration = Duration::from_secs(10);

/// Why there is no ground.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum GroundError {
    #[error("the session's network namespace could not be made")]
    Nethost(#[from] NethostError),
    #[error("the host's addresses and routes cannot be read")]
    Routes(#[from] NetlinkError),
}

/// Shared by all networks and by domains with a TAP of their own. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ground {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    scope: Arc<Scope>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    holders: BTreeSet<String>,
    /// Whether all that a former service left is known, so that nobody else may stand on it.
    settled: bool,
    session: Option<SessionGround>,
}

#[derive(Debug)]
struct SessionGround {
    nethost: Nethost,
    uplink: Result<Pasta, String>,
}

impl Ground {
    /// Nothing is started before somebody holds it.
    pub fn new(scope: Arc<Scope>) -> Self {
        Self { inner: Arc::new(Inner { scope, held: Mutex::default() }) }
    }

    /// The space to make links in, kept until [`Self::release`] with the same name.
    pub async fn hold(&self, holder: &str) -> Result<NetSpace, GroundError> {
        if self.inner.scope.kind == ScopeKind::System {
            return Ok(NetSpace::host());
        }
        let mut held = self.inner.held.lock().await;
        let space = match &held.session {
            Some(session) => session.nethost.space(),
            None => {
                let session = self.inner.raise().await?;
                let space = session.nethost.space();
                held.session = Some(session);
                space
            }
        };
        held.holders.insert(holder.to_owned());
        Ok(space)
    }

    /// Gives the space up; with the last holder the nethost and pasta end, but not before [`Self::clear_leftovers`].
    pub async fn release(&self, holder: &str) {
        let mut held = self.inner.held.lock().await;
        held.holders.remove(holder);
        if held.settled
            && held.holders.is_empty()
            && let Some(session) = held.session.take()
        {
            lower(session).await;
        }
    }

    /// All that stands on what a former service left behind holds it by now: ends it if nobody does.
    pub async fn clear_leftovers(&self) {
        let mut held = self.inner.held.lock().await;
        held.settled = true;
        if self.inner.scope.kind == ScopeKind::System || !held.holders.is_empty() {
            return;
        }
        if let Some(session) = held.session.take() {
            return lower(session).await;
        }
        let run = &self.inner.scope.dirs.run;
        match nethost::find(run).await {
            Ok(Some(nethost)) => {
                let uplink = pasta::adopt(run).ok().flatten().ok_or_else(String::new);
                lower(SessionGround { nethost, uplink }).await;
            }
            Ok(None) => {}
            Err(e) => tracing::warn!("a leftover nethost cannot be looked for: {}", crate::chain(&e)),
        }
    }

    /// Whom dnsmasq asks: pasta's forwarder in session scope; `None`: what the host's resolv.conf says.
    pub async fn upstream_dns(&self) -> Option<IpAddr> {
        let held = self.inner.held.lock().await;
        held.session.as_ref().and_then(|s| s.uplink.as_ref().ok()).map(|pasta| pasta.dns)
    }

    /// The only way out there is; `None`: whatever the host has.
    pub async fn only_uplink(&self) -> Option<String> {
        let held = self.inner.held.lock().await;
        let session = held.session.as_ref()?;
        Some(session.uplink.as_ref().map_or_else(|_| String::new(), |pasta| pasta.ifname.clone()))
    }

    /// Why guests cannot reach out, where that is known.
    pub async fn warning(&self) -> Option<String> {
        let held = self.inner.held.lock().await;
        let error = held.session.as_ref()?.uplink.as_ref().err()?;
        Some(format!("guests do not reach beyond this host: {error}"))
    }

    /// All subnets that the host has or routes, default routes aside.
    pub async fn used_subnets(&self) -> Result<Vec<IpNet>, GroundError> {
        let mut spaces = vec![NetSpace::host()];
        if let Some(session) = &self.inner.held.lock().await.session {
            spaces.push(session.nethost.space());
        }
        let mut used = Vec::new();
        for space in spaces {
            let netlink = space.netlink().await?;
            used.extend(netlink.addresses().await?.into_iter().map(|(_, net)| net.trunc()));
            used.extend(netlink.routes().await?.into_iter().map(|route| route.dst.trunc()));
        }
        used.retain(|net| net.prefix_len() > 0);
        used.sort();
        used.dedup();
        Ok(used)
    }
}

impl Inner {
    async fn raise(self: &Arc<Self>) -> Result<SessionGround, GroundError> {
        let run = &self.scope.dirs.run;
        let nethost = nethost::find_or_start(run, &self.scope.exe, self.scope.helper_user()).await?;
        let uplink = self.raise_uplink(&nethost).await;
        if let Ok(pasta) = &uplink {
            tokio::spawn(watch_uplink(Arc::downgrade(self), pasta.process.clone()));
        }
        Ok(SessionGround { nethost, uplink })
    }

    async fn raise_uplink(&self, nethost: &Nethost) -> Result<Pasta, String> {
        let run = &self.scope.dirs.run;
        if let Ok(Some(pasta)) = pasta::adopt(run) {
            return Ok(pasta);
        }
        pasta::start(nethost, run, self.scope.helper_user()).await.map_err(|e| {
            let why = crate::chain(&e);
            tracing::warn!("no uplink for the session's networks: {why}");
            why
        })
    }
}

/// Starts the uplink again when it ends while the ground is held.
async fn watch_uplink(inner: Weak<Inner>, mut process: crate::sys::process::Process) {
    let mut pause = UPLINK_PAUSE;
    loop {
        process.exited().await;
        tokio::time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        let mut held = inner.held.lock().await;
        let Some(session) = &mut held.session else { return };
        let same = |pasta: &Pasta| pasta.process.identity() == process.identity();
        if session.uplink.as_ref().is_ok_and(|pasta| !same(pasta)) {
            return;
        }
        if pause == UPLINK_PAUSE {
            tracing::warn!("the session's uplink ended; starting it again");
        }
        session.uplink = inner.raise_uplink(&session.nethost).await;
        pause = match &session.uplink {
            Ok(pasta) => {
                tracing::info!("the session's networks have an uplink again");
                process = pasta.process.clone();
                UPLINK_PAUSE
            }
            Err(_) => UPLINK_RETRY,
        };
    }
}

async fn lower(session: SessionGround) {
    if let Ok(pasta) = session.uplink
        && let Err(e) = pasta.stop().await
    {
        tracing::warn!("the uplink could not be ended: {}", crate::chain(&e));
    }
    if let Err(e) = session.nethost.stop().await {
        tracing::warn!("the nethost could not be ended: {}", crate::chain(&e));
    }
}
