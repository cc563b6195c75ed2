//! The host side of a guest's NICs: TAPs, ports, scripts and the connection of a `client`.
//!
//! Owns the steps for each type of NIC. Must never leave a TAP behind: none is persistent, so the
//! kernel removes each with its last descriptor, which is QEMU's.

use std::net::ToSocketAddrs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use super::guest::{Guest, LiveNic, holder};
use super::{Context, Error, host_side};
use crate::model::{DomainDef, IfName, InterfaceDef, InterfaceKind, Mac, SocketAddress};
use crate::network::{Handle as Network, PortRequest};
use crate::scope::ScopeKind;
use crate::sys::bridge_helper;
use crate::sys::netspace::NetSpace;
use crate::sys::process::{Exit, Spawn};
use crate::sys::tap::{self, Tap};

/// How long a server has to take a `client` NIC's connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a user's script may run.
const SCRIPT: Duration = Duration::from_secs(15);
/// What generated TAP names look like.
const TEMPLATE: &str = "wtap%d";

/// What QEMU gets for a NIC.
#[derive(Debug)]
pub(super) enum NicDescriptor {
    /// Nothing: QEMU makes its own sockets.
    None,
    /// A TAP.
    Tap(OwnedFd),
    /// A connected TCP socket.
    Client(OwnedFd),
}

/// Makes sure that the networks of all NICs are there and active.
pub(super) async fn ready_networks(context: &Context, def: &DomainDef, start: bool) -> Result<(), Error> {
    for nic in def.interfaces() {
        let InterfaceKind::Network { network } = &nic.kind else { continue };
        let handle = find_network(context, nic, network)?;
        let path = || format!("{}/source/@network", nic.info.path);
        if start {
            handle.ensure_active().await.map_err(|source| Error::Network {
                path: path(),
                network: network.clone(),
                source,
            })?;
        } else if handle.view().state != crate::network::State::Active {
            return Err(Error::NetworkInactive { path: path(), network: network.clone() });
        }
    }
    Ok(())
}

fn find_network(context: &Context, nic: &InterfaceDef, network: &str) -> Result<Network, Error> {
    context.networks.get(network).ok_or_else(|| Error::NoSuchNetwork {
        path: format!("{}/source/@network", nic.info.path),
        network: network.to_owned(),
    })
}

/// Prepares one NIC and notes in `guest` what it acquires.
pub(super) async fn prepare(
    context: &Context,
    uuid: &Uuid,
    name: &str,
    nic: &InterfaceDef,
    guest: &mut Guest,
) -> Result<NicDescriptor, Error> {
    let mac = nic.mac.unwrap_or_else(|| Mac::for_guest([0; 3]));
    let descriptor = match &nic.kind {
        InterfaceKind::Network { network } => {
            let handle = find_network(context, nic, network)?;
            // Noted first, so that a start that is cut off gives it back.
            guest.live.networks.push(network.clone());
            guest.save(context, uuid)?;
            let request =
                PortRequest { domain: *uuid, domain_name: name.to_owned(), mac, teaming: nic.teaming };
            let plugged = handle.plug(request).await.map_err(|source| Error::Network {
                path: nic.info.path.clone(),
                network: network.clone(),
                source,
            })?;
            let space = ground(context, uuid, nic).await?;
            let tap = make_tap(&space, uuid, nic, mac, Some(&plugged.bridge)).await?;
            if plugged.isolated {
                isolate(&space, nic, &tap).await?;
            }
            return Ok(note(guest, tap, None));
        }
        InterfaceKind::Bridge { bridge } => {
            return on_host_bridge(context, uuid, nic, mac, bridge, guest).await;
        }
        InterfaceKind::Ethernet { script, downscript } => {
            let space = ground(context, uuid, nic).await?;
            let tap = make_tap(&space, uuid, nic, mac, None).await?;
            if let Some(script) = script {
                run_script(context, uuid, &format!("{}/script/@path", nic.info.path), script, &tap.name)
                    .await?;
            }
            return Ok(note(guest, tap, downscript.as_deref()));
        }
        InterfaceKind::Client(server) => NicDescriptor::Client(connect(nic, server).await?),
        InterfaceKind::User
        | InterfaceKind::Server(_)
        | InterfaceKind::Mcast(_)
        | InterfaceKind::Udp { .. } => NicDescriptor::None,
    };
    guest.live.nics.push(LiveNic::default());
    Ok(descriptor)
}

fn note(guest: &mut Guest, tap: Tap, downscript: Option<&Path>) -> NicDescriptor {
    let downscript = downscript.map(Path::to_owned);
    guest.live.nics.push(LiveNic { target: Some(tap.name), downscript });
    NicDescriptor::Tap(tap.fd)
}

async fn ground(context: &Context, uuid: &Uuid, nic: &InterfaceDef) -> Result<NetSpace, Error> {
    let held = context.ground.hold(&holder(uuid)).await;
    held.map_err(|source| Error::Ground { path: nic.info.path.clone(), source })
}

/// In session scope only the host's own helper may touch the host's bridges.
async fn on_host_bridge(
    context: &Context,
    uuid: &Uuid,
    nic: &InterfaceDef,
    mac: Mac,
    bridge: &IfName,
    guest: &mut Guest,
) -> Result<NicDescriptor, Error> {
    if context.scope.kind == ScopeKind::System {
        let tap = make_tap(&NetSpace::host(), uuid, nic, mac, Some(bridge.as_str())).await?;
        return Ok(note(guest, tap, None));
    }
    let failed = |source| Error::BridgeHelper { path: nic.info.path.clone(), source };
    let fd = bridge_helper::bridge_tap(bridge.as_str()).await.map_err(failed)?;
    guest.live.nics.push(LiveNic { target: tap::name_of(&fd).ok(), downscript: None });
    Ok(NicDescriptor::Tap(fd))
}

/// A TAP of the name that the document gives, or the next free one; with alias, address and bridge.
async fn make_tap(
    space: &NetSpace,
    uuid: &Uuid,
    nic: &InterfaceDef,
    mac: Mac,
    bridge: Option<&str>,
) -> Result<Tap, Error> {
    let link = |source| Error::Link { path: nic.info.path.clone(), source };
    let netlink = space.netlink().await.map_err(link)?;
    let master = match bridge {
        Some(bridge) => {
            let found = netlink.link(bridge).await.map_err(link)?;
            let found = found.filter(|l| l.kind.as_deref() == Some("bridge"));
            Some(found.ok_or_else(|| Error::NoSuchBridge {
                path: format!("{}/source/@bridge", nic.info.path),
                bridge: bridge.to_owned(),
            })?)
        }
        None => None,
    };
    let template = nic.target.as_ref().map_or(TEMPLATE, IfName::as_str);
    let tap = space
        .open_tap(template, true)
        .await
        .map_err(|source| Error::Tap { path: format!("{}/target/@dev", nic.info.path), source })?;
    let made = netlink.link(&tap.name).await.map_err(link)?;
    let index = made.map_or(0, |l| l.index);
    netlink.set_alias(index, &format!("warren:{uuid}")).await.map_err(link)?;
    netlink.set_mac(index, host_side(mac)).await.map_err(link)?;
    if let Some(master) = master {
        // The host itself has nothing to say on a guest's cable.
        let key = format!("net/ipv6/conf/{}/disable_ipv6", tap.name);
        if space.sysctl_get(&key).await.is_ok() {
            let failed = |source| Error::LinkSetting { path: nic.info.path.clone(), source };
            space.sysctl(&key, "1").await.map_err(failed)?;
        }
        netlink.set_mtu(index, master.mtu).await.map_err(link)?;
        netlink.set_master(index, Some(master.index)).await.map_err(link)?;
    }
    netlink.set_up(index, true).await.map_err(link)?;
    Ok(tap)
}

/// Keeps a TAP on a bridge from those beside it. The guest does not run yet.
async fn isolate(space: &NetSpace, nic: &InterfaceDef, tap: &Tap) -> Result<(), Error> {
    let link = |source| Error::Link { path: nic.info.path.clone(), source };
    let netlink = space.netlink().await.map_err(link)?;
    let index = netlink.link(&tap.name).await.map_err(link)?.map_or(0, |l| l.index);
    netlink.set_isolated(index, true).await.map_err(link)
}

/// Runs the user's script with the TAP's name as its argument, where the TAP lives.
pub(super) async fn run_script(
    context: &Context,
    uuid: &Uuid,
    path: &str,
    script: &Path,
    tap: &str,
) -> Result<(), Error> {
    let space = match context.ground.hold(&holder(uuid)).await {
        Ok(space) => space,
        Err(source) => return Err(Error::Ground { path: path.to_owned(), source }),
    };
    // In system scope a script sets up the host's own network, which takes root; `host-access` guards it.
    let user = if context.scope.kind == ScopeKind::System { None } else { context.scope.helper_user() };
    let run = Spawn::new(script).arg(tap).run_as(user).enter(&space).output(None, SCRIPT).await;
    let output =
        run.map_err(|source| Error::ScriptRun { path: path.to_owned(), script: script.to_owned(), source })?;
    let end = match output.exit {
        Exit::Code(0) => return Ok(()),
        Exit::Code(code) => format!("failed with status {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
        Exit::Unknown => "ended in an unknown way".to_owned(),
    };
    Err(Error::ScriptFailed { path: path.to_owned(), script: script.to_owned(), end, stderr: output.stderr })
}

/// QEMU 7.2 does not try again, so the connection is made here, where its failure can be told.
async fn connect(nic: &InterfaceDef, server: &SocketAddress) -> Result<OwnedFd, Error> {
    let host = if server.address.is_empty() { "127.0.0.1" } else { &server.address };
    let peer = format!("{host}:{}", server.port);
    let path = || format!("{}/source", nic.info.path);
    let failed = |source| Error::Peer { path: path(), peer: peer.clone(), source };
    let (host, port) = (host.to_owned(), server.port);
    let attempt = async {
        let resolve = move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let addresses = tokio::task::spawn_blocking(resolve).await.map_err(std::io::Error::other)??;
        tokio::net::TcpStream::connect(addresses.as_slice()).await?.into_std()
    };
    let stream = tokio::time::timeout(CONNECT, attempt)
        .await
        .map_err(|_| Error::NoPeer { path: path(), peer: peer.clone() })?
        .map_err(failed)?;
    // A connection that breaks later is the guest's cable pulled out; QEMU notices it by itself.
    Ok(stream.into())
}
