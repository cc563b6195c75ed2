//! Who may connect to the displays of running guests on this host, and what guests may reach there.
//!
//! Owns the table of `plan::loopback` in the kernel, and the ports of displays that are given out. Rules are there
//! before a display listens and before a CPU runs; the table goes with the last guest. They hold while no daemon runs:
//! the next one notes what runs ([`Loopback::keep`]) and makes the table anew ([`Loopback::settle`]). Must never
//! replace the table before all that runs is known.
//!
//! In session scope all processes are the user's, so there are no rules; the ports are given out all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as Turn;
use uuid::Uuid;

use super::Error;
use super::guest::Live;
use crate::desk::off_thread;
use crate::model::{Device, DomainDef, GraphicsKind, Listen};
use crate::pace::Backoff;
use crate::plan::loopback::{self as plan, Reach};
use crate::scope::{Scope, ScopeKind};
use crate::sys::netspace::NetSpace;
use crate::sys::nft::{self, NftError};
use crate::sys::resolve;

/// How long after a failure the table is made again, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(60);

/// Shared by all domains of a service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Loopback {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The uids that guests have; `None` where there are no rules.
    guests: Option<Range<u32>>,
    held: Mutex<BTreeMap<Uuid, Reach>>,
    /// Held while the table is changed.
    kernel: Turn<Kernel>,
}

/// What is known of the table.
#[derive(Debug, Default)]
struct Kernel {
    /// All that the previous daemon left is held by now.
    settled: bool,
    /// It is as this daemon made it, with these guests.
    entered: Option<BTreeMap<Uuid, Reach>>,
    /// A task tries again to make it so.
    mending: bool,
}

impl Loopback {
    /// Changes nothing before a guest starts or [`Self::settle`].
    pub fn new(scope: &Scope) -> Self {
        let guests = (scope.kind == ScopeKind::System).then(|| scope.guest_uids());
        Self { inner: Arc::new(Inner { guests, held: Mutex::default(), kernel: Turn::default() }) }
    }

    /// Notes what a guest has; false, where another one has a display at the same place.
    pub(super) fn hold(&self, uuid: &Uuid, reach: Reach) -> bool {
        let mut held = self.inner.held();
        let mut others = held.iter().filter(|(other, _)| *other != uuid).flat_map(|(_, r)| &r.displays);
        if others.any(|other| reach.displays.iter().any(|display| overlap(display, other))) {
            return false;
        }
        held.insert(*uuid, reach);
        true
    }

    /// The same for a guest that runs.
    pub(super) fn keep(&self, uuid: &Uuid, def: &DomainDef, live: &Live) {
        let reach = reach(def, live, displays(def, live));
        self.inner.held().insert(*uuid, reach);
    }

    /// Makes the rules of a guest that is held. It runs to its end, also when its caller is dropped.
    pub(super) async fn open(&self, uuid: &Uuid) -> Result<(), Error> {
        let (inner, uuid) = (self.inner.clone(), *uuid);
        let result = tokio::spawn(async move { inner.enter(uuid).await }).await;
        result.unwrap_or(Ok(())).map_err(Error::Loopback)
    }

    /// Forgets a guest that is gone, and removes its rules. What cannot be removed is tried again, at the latest before
    /// another guest has its uid.
    pub(super) async fn close(&self, uuid: &Uuid) -> Result<(), Error> {
        if self.inner.held().remove(uuid).is_none() {
            return Ok(());
        }
        let (inner, uuid) = (self.inner.clone(), *uuid);
        let result = tokio::spawn(async move { inner.leave(uuid).await }).await;
        result.unwrap_or(Ok(())).map_err(Error::Loopback)
    }

    /// All that runs is known: makes the table what it should be, whatever the previous daemon left.
    pub async fn settle(&self) {
        let mut kernel = self.inner.kernel.lock().await;
        kernel.settled = true;
        if kernel.entered.is_some() {
            return;
        }
        if let Err(e) = self.inner.renew(&mut kernel).await {
            if self.inner.held().is_empty() {
                tracing::info!("rules of the loopback that may be left: {}", crate::chain(&e));
            } else {
                tracing::error!("the rules of the loopback may be gone: {}", crate::chain(&e));
            }
        }
    }

    /// Whether a display has what would listen here.
    pub(super) fn is_held(&self, at: &SocketAddr) -> bool {
        self.inner.held().values().flat_map(|reach| &reach.displays).any(|display| overlap(display, at))
    }

    /// Whether this connection of the host's leads to a display.
    pub(super) fn is_display(&self, ours: SocketAddr, peer: SocketAddr) -> bool {
        let to_itself = ours.ip() == peer.ip() || peer.ip().is_loopback();
        to_itself && self.inner.held().values().flat_map(|r| &r.displays).any(|d| overlap(d, &peer))
    }
}

impl Inner {
    fn held(&self) -> MutexGuard<'_, BTreeMap<Uuid, Reach>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn enter(self: &Arc<Self>, uuid: Uuid) -> Result<(), NftError> {
        let Some(uids) = &self.guests else { return Ok(()) };
        let mut kernel = self.kernel.lock().await;
        // One that was given up meanwhile has none.
        let Some(reach) = self.held().get(&uuid).cloned() else { return Ok(()) };
        if let Some(entered) = kernel.entered.as_mut().filter(|entered| !entered.is_empty())
            && nft::apply(&NetSpace::host(), &plan::addition(uids, &reach)).await.is_ok()
        {
            entered.insert(uuid, reach);
            return Ok(());
        }
        self.renew(&mut kernel).await
    }

    async fn leave(self: &Arc<Self>, uuid: Uuid) -> Result<(), NftError> {
        let Some(uids) = &self.guests else { return Ok(()) };
        let mut kernel = self.kernel.lock().await;
        if let Some(entered) = &mut kernel.entered {
            let Some(reach) = entered.remove(&uuid) else { return Ok(()) };
            let last = entered.values().all(|other| other.owner != reach.owner || other.displays.is_empty());
            let script = plan::subtraction(uids, &reach, last);
            if !entered.is_empty() && nft::apply(&NetSpace::host(), &script).await.is_ok() {
                return Ok(());
            }
        } else if !kernel.settled {
            // What the previous daemon left is removed when all of it is known.
            return Ok(());
        }
        self.renew(&mut kernel).await
    }

    /// Makes the table anew with all that is held, or removes it if that is nothing.
    async fn renew(self: &Arc<Self>, kernel: &mut Kernel) -> Result<(), NftError> {
        let result = self.make(kernel).await;
        if result.is_err() && !kernel.mending {
            kernel.mending = true;
            tokio::spawn(self.clone().mend());
        }
        result
    }

    /// Tries, until it is so, to make the table what it should be.
    async fn mend(self: Arc<Self>) {
        let mut backoff = Backoff::new(PAUSE, PAUSE_MOST);
        loop {
            tokio::time::sleep(backoff.pause(Instant::now()).max(PAUSE)).await;
            let mut kernel = self.kernel.lock().await;
            if kernel.entered.is_some() || self.make(&mut kernel).await.is_ok() {
                kernel.mending = false;
                return;
            }
        }
    }

    async fn make(&self, kernel: &mut Kernel) -> Result<(), NftError> {
        let Some(uids) = &self.guests else { return Ok(()) };
        kernel.entered = None;
        let all = self.held().clone();
        let script = if all.is_empty() {
            plan::removal()
        } else {
            let resolvers: Vec<IpAddr> = off_thread(resolve::servers).await;
            plan::whole(uids, &resolvers, &all.values().collect::<Vec<_>>())
        };
        nft::apply(&NetSpace::host(), &script).await?;
        kernel.entered = Some(all);
        Ok(())
    }
}

/// What a guest may reach and who reaches it, with its displays at these places.
pub(super) fn reach(def: &DomainDef, live: &Live, displays: Vec<SocketAddr>) -> Reach {
    let named = if live.uid.is_some() { plan::named(def) } else { BTreeSet::new() };
    Reach { uid: live.uid.unwrap_or(0), owner: live.owner.unwrap_or(0), displays, named }
}

/// Where the displays of a guest listen that runs already.
fn displays(def: &DomainDef, live: &Live) -> Vec<SocketAddr> {
    if !live.displays.is_empty() {
        return live.displays.clone();
    }
    // A previous version has written down the ports alone.
    let place = |device: &Device| {
        let Device::Graphics(display) = device else { return None };
        let Some(Listen::Address(address)) = display.listens.first() else { return None };
        let port = match display.kind {
            GraphicsKind::Vnc(_) => live.vnc_port?,
            GraphicsKind::Spice(_) => live.spice_port?,
            _ => return None,
        };
        let address = address.as_deref().unwrap_or("127.0.0.1");
        let address = address.parse().unwrap_or(IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED));
        Some(SocketAddr::new(address, port))
    };
    def.devices.iter().filter_map(place).collect()
}

/// Whether both would listen for the same connections.
fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    let all_of = |any: IpAddr, of: IpAddr| any.is_unspecified() && (any.is_ipv6() || of.is_ipv4());
    one.port() == other.port() && (a == b || all_of(a, b) || all_of(b, a))
}

#[cfg(test)]
mod tests {
    #[test]
    fn displays_that_would_have_the_same_connections_overlap() {
        let overlap = |one: &str, other: &str| {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(super::overlap(&one, &other), super::overlap(&other, &one));
            super::overlap(&one, &other)
        };
        assert!(overlap("127.0.0.1:1", "127.0.0.1:1") && overlap("127.0.0.1:1", "[::ffff:127.0.0.1]:1"));
        assert!(overlap("0.0.0.0:1", "127.0.0.1:1") && overlap("[::]:1", "127.0.0.1:1"));
        assert!(overlap("[::]:1", "0.0.0.0:1") && overlap("[::]:1", "[::1]:1"));
        assert!(!overlap("127.0.0.1:1", "127.0.0.1:2") && !overlap("127.0.0.1:1", "127.0.0.2:1"));
        assert!(!overlap("0.0.0.0:1", "[::1]:1"));
    }
}
