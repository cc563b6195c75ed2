//! A TAP's place on a bridge: the one way to it, for a guest that starts, for a network that is started again under its
//! guests, and for a daemon that takes both over.
//!
//! Owns the settings of a port and their order. Must never leave a TAP on a bridge without its settings: one that
//! cannot have them is taken off again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Error;
use super::actor::{Actor, PortRequest};
use super::bring_up::{Up, alias};
use super::state::Denial;
use crate::model::Mac;
use crate::plan::ports::{PortRules, PortWish};
use crate::sys::netlink::{Link, Netlink, NetlinkError, PortSpec};
use crate::sys::netspace::{NetSpace, SysctlError};

/// Why a TAP is not on its bridge.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PortError {
    #[error("there is no bridge '{0}'")]
    NoBridge(String),
    #[error("there is no TAP '{0}'")]
    NoTap(String),
    #[error(
        "{mac} cannot be the address of a NIC on the bridge '{bridge}'; give another, or leave it out and Warren chooses one"
    )]
    Address { mac: Mac, bridge: String },
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
}

/// Ports that the actor does not know yet. Clones are the same list. There is one for each NIC of a guest that runs, so
/// it needs no other bound.
#[derive(Debug, Clone, Default)]
pub(super) struct KeptPorts(Arc<Mutex<Vec<PortRequest>>>);

impl KeptPorts {
    fn lock(&self) -> MutexGuard<'_, Vec<PortRequest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, request: PortRequest) {
        self.lock().push(request);
    }

    pub(super) fn take(&self) -> Vec<PortRequest> {
        std::mem::take(&mut self.lock())
    }
}

/// How a TAP is on a bridge.
#[derive(Debug, Clone, Copy)]
pub struct Port {
    /// How the bridge treats it.
    pub spec: PortSpec,
    /// Its own MTU; `None`: the bridge's.
    pub mtu: Option<u32>,
    /// The guest's end of the cable.
    pub mac: Option<Mac>,
}

impl Port {
    /// On a network with these rules. Guests do not take part in the spanning tree, which is the network owner's.
    pub(super) fn on_network(rules: &PortRules, wish: PortWish) -> Self {
        let spec = PortSpec { isolated: rules.isolates(wish), passes_bpdus: true };
        // A network that was started again may have a lower one than the guest.
        Self { spec, mtu: wish.mtu.map(|mtu| mtu.min(rules.mtu)), mac: wish.mac }
    }
}

/// Puts a TAP on a bridge, and sets it up.
pub async fn plug(space: &NetSpace, bridge: &str, tap: &str, port: Port) -> Result<(), PortError> {
    let netlink = space.netlink().await?;
    let found = netlink.link(bridge).await?.filter(|link| link.kind.as_deref() == Some("bridge"));
    let bridge = found.ok_or_else(|| PortError::NoBridge(bridge.to_owned()))?;
    let tap = netlink.link(tap).await?.ok_or_else(|| PortError::NoTap(tap.to_owned()))?;
    attach(space, &netlink, &bridge, &tap, port).await
}

/// As [`plug`]. A TAP that is there already gets what it may lack, since a daemon can be killed between any two steps.
async fn attach(
    space: &NetSpace,
    netlink: &Netlink,
    bridge: &Link,
    tap: &Link,
    port: Port,
) -> Result<(), PortError> {
    let is_there = tap.master == Some(bridge.index);
    // A guest with the bridge's own address would have what is for the host.
    if let Some(mac) = port.mac.filter(|mac| !is_there && (mac.is_zero() || bridge.mac == Some(mac.0))) {
        return Err(PortError::Address { mac, bridge: bridge.name.clone() });
    }
    if !is_there {
        // The host itself has no business on a guest's cable.
        let key = format!("net/ipv6/conf/{}/disable_ipv6", tap.name);
        if space.sysctl_get(&key).await.is_ok() {
            space.sysctl(&key, "1").await?;
        }
        let mtu = port.mtu.unwrap_or(bridge.mtu);
        if tap.mtu != mtu {
            netlink.set_mtu(tap.index, mtu).await?;
        }
        // Nothing passes before it has its settings.
        if tap.up {
            netlink.set_up(tap.index, false).await?;
        }
        netlink.set_master(tap.index, Some(bridge.index)).await?;
    }
    if port.spec != PortSpec::default()
        && let Err(e) = netlink.set_port(tap.index, port.spec).await
    {
        let _ = netlink.set_master(tap.index, None).await;
        return Err(e.into());
    }
    if !(is_there && tap.up) {
        netlink.set_up(tap.index, true).await?;
    }
    Ok(())
}

impl Actor {
    /// Puts the TAP of a NIC on the network, if it may be there.
    pub(super) async fn plug(&mut self, request: PortRequest) -> Result<(), Error> {
        let Some(up) = &self.up else {
            return Err(Error::Denied { name: self.name(), denial: Denial::NotActive });
        };
        let rules = up.definition.port_rules(self.envelope.owner);
        let findings = rules.objections(request.wish, &request.path, self.definition.name().as_str());
        if !findings.is_empty() {
            return Err(Error::Port { network: self.name(), findings });
        }
        let twin = self.ports.values().find(|p| p.mac == request.mac && p.domain != request.domain);
        if let Some(twin) = twin {
            return Err(Error::MacInUse {
                mac: request.mac,
                network: self.name(),
                domain: twin.domain_name.clone(),
            });
        }
        let port = Port::on_network(&rules, request.wish);
        let plugged = plug(&up.space, &up.bridge, &request.tap, port).await;
        plugged.map_err(|source| Error::Plug { tap: request.tap.clone(), network: self.name(), source })?;
        self.begin_run(request.mac).await;
        self.ports.insert((request.domain, request.mac), request);
        Ok(())
    }

    /// Puts guests on the network that run and should be on it: it was stopped under them by force, or a daemon was
    /// killed while it did this.
    pub(super) async fn reattach(&self, up: &Up) {
        if self.ports.is_empty() {
            return;
        }
        let Ok(netlink) = up.space.netlink().await else { return };
        let Ok(links) = netlink.links().await else { return };
        let Some(bridge) = links.iter().find(|l| l.name == up.bridge) else { return };
        let rules = up.definition.port_rules(self.envelope.owner);
        for request in self.ports.values() {
            let alias = alias(&request.domain);
            let is_it = |l: &&Link| l.name == request.tap && l.alias.as_deref() == Some(&alias);
            let Some(tap) = links.iter().find(is_it) else { continue };
            // One that somebody has put elsewhere stays there.
            if tap.master.is_some_and(|master| master != bridge.index) {
                continue;
            }
            let port = Port::on_network(&rules, request.wish);
            if let Err(e) = attach(&up.space, &netlink, bridge, tap, port).await {
                tracing::warn!("'{}' could not be attached again: {}", tap.name, crate::chain(&e));
            }
        }
    }
}
