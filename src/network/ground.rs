//! The ground that networks stand on: the host's own network in system scope, the nethost's namespaces
//! with pasta as their uplink in session scope.
//!
//! Owns the nethost and pasta: they are there as long as somebody holds the ground, and are found again
//! after a restart. Must never be known by what stands on it: a [`NetSpace`] is all that others see.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::Mutex;

use crate::pace::Backoff;
use crate::scope::{Scope, ScopeKind};
use crate::sys::nethost::{self, Nethost, NethostError};
use crate::sys::netlink::{Link, NetlinkError};
use crate::sys::netspace::NetSpace;
use crate::sys::pasta::{self, Pasta};

/// How long after its end a lost uplink is started again, at first and at most. A start may fail, too: the host itself
/// may be offline.
const UPLINK_PAUSE: Duration = Duration::from_secs(2);
const UPLINK_PAUSE_MOST: Duration = Duration::from_secs(30);

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
    /// Who stands on it. Never locked for longer than a look.
    holders: std::sync::Mutex<BTreeSet<String>>,
    /// Locked while the nethost is asked, which may take as long as it has for an answer.
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Whether all that a previous daemon left is known, so that nobody else may stand on it.
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
        let inner = Inner { scope, holders: std::sync::Mutex::default(), held: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// The space to make links in, kept until [`Self::release`] with the same name.
    pub async fn hold(&self, holder: &str) -> Result<NetSpace, GroundError> {
        if self.inner.scope.kind == ScopeKind::System {
            return Ok(NetSpace::host());
        }
        // First, so that nobody ends it meanwhile.
        let new = self.inner.holders().insert(holder.to_owned());
        let space = self.inner.held.lock().await.space(&self.inner).await;
        if space.is_err() && new {
            self.inner.holders().remove(holder);
        }
        space
    }

    /// As [`Self::hold`], for one that stands on it already: noted at once, and what is there is found again beside.
    pub fn keep(&self, holder: &str) {
        if self.inner.scope.kind == ScopeKind::System {
            return;
        }
        self.inner.holders().insert(holder.to_owned());
        let (inner, holder) = (self.inner.clone(), holder.to_owned());
        tokio::spawn(async move {
            let mut held = inner.held.lock().await;
            if !inner.holders().contains(&holder) {
                return;
            }
            if let Err(e) = held.space(&inner).await {
                tracing::warn!("{holder}: {}", crate::chain(&e));
            }
        });
    }

    /// Gives the space up; with the last holder the nethost and pasta end, but not before [`Self::clear_leftovers`].
    pub async fn release(&self, holder: &str) {
        if self.inner.scope.kind == ScopeKind::System || !self.inner.holders().remove(holder) {
            return;
        }
        let mut held = self.inner.held.lock().await;
        if held.settled && self.inner.holders().is_empty() {
            held.end(&self.inner).await;
        }
    }

    /// All that stands on what a previous daemon left behind holds it by now: ends it if nobody does.
    pub async fn clear_leftovers(&self) {
        if self.inner.scope.kind == ScopeKind::System {
            return;
        }
        let mut held = self.inner.held.lock().await;
        held.settled = true;
        if self.inner.holders().is_empty() {
            held.end(&self.inner).await;
        }
    }

    /// All links of the network that is there: the host's, or that of a nethost that lives. None is started.
    pub async fn links_that_stand(&self) -> Result<Vec<Link>, GroundError> {
        let space = match self.inner.scope.kind {
            ScopeKind::System => NetSpace::host(),
            ScopeKind::Session => match nethost::find(&self.inner.scope.dirs.run).await? {
                Some(nethost) => nethost.space(),
                None => return Ok(Vec::new()),
            },
        };
        Ok(space.netlink().await?.links().await?)
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

impl Held {
    /// The space of the nethost, which is raised where it is not there.
    async fn space(&mut self, inner: &Arc<Inner>) -> Result<NetSpace, GroundError> {
        if let Some(session) = &self.session {
            return Ok(session.nethost.space());
        }
        let session = inner.raise().await?;
        let space = session.nethost.space();
        self.session = Some(session);
        Ok(space)
    }

    /// Ends what is there, found by now or not.
    async fn end(&mut self, inner: &Inner) {
        if let Some(session) = self.session.take() {
            return lower(session).await;
        }
        let run = &inner.scope.dirs.run;
        match nethost::find(run).await {
            Ok(Some(nethost)) => {
                let uplink =
                    pasta::adopt(run, inner.helper_uid()).await.ok().flatten().ok_or_else(String::new);
                lower(SessionGround { nethost, uplink }).await;
            }
            Ok(None) => nethost::forget(run),
            Err(e) => tracing::warn!("a leftover nethost cannot be looked for: {}", crate::chain(&e)),
        }
    }
}

impl Inner {
    fn holders(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.holders.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The user as which nethost and pasta run.
    fn helper_uid(&self) -> u32 {
        self.scope.helper_user().map_or(self.scope.uid, |user| user.uid)
    }

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
        if let Ok(Some(pasta)) = pasta::adopt(run, self.helper_uid()).await {
            return Ok(pasta);
        }
        pasta::start(nethost, run, self.scope.helper_user()).await.map_err(|e| {
            let why = crate::chain(&e);
            tracing::warn!("no uplink for the session's networks: {why}");
            why
        })
    }
}

/// Starts the uplink again when it ends while the ground is held, and tries again where that fails: each time after a
/// pause, which grows for one that does not last.
async fn watch_uplink(inner: Weak<Inner>, process: crate::sys::process::Process) {
    let mut backoff = Backoff::new(UPLINK_PAUSE, UPLINK_PAUSE_MOST);
    let mut process = Some(process);
    loop {
        if let Some(process) = &process {
            process.exited().await;
        }
        let pause = backoff.pause(Instant::now()).max(UPLINK_PAUSE);
        tokio::time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        let mut held = inner.held.lock().await;
        let Some(session) = &mut held.session else { return };
        let same = |pasta: &Pasta| process.as_ref().is_some_and(|p| p.identity() == pasta.process.identity());
        if session.uplink.as_ref().is_ok_and(|pasta| !same(pasta)) {
            return;
        }
        tracing::warn!("the session has no uplink; starting it again");
        session.uplink = inner.raise_uplink(&session.nethost).await;
        process = session.uplink.as_ref().ok().map(|pasta| pasta.process.clone());
        if process.is_some() {
            tracing::info!("the session's networks have an uplink again");
        }
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
