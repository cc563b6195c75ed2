//! The host side of a guest's NICs: TAPs, ports, scripts and the connection of a `client`.
//!
//! Owns the steps for each type of NIC. Must never leave a TAP behind: none is persistent, so the
//! kernel removes each with its last descriptor, which is QEMU's.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use uuid::Uuid;

use super::guest::{Guest, LiveNic, holder};
use super::{Context, Error, NetworkRights, StartOptions, host_side};
use crate::model::{
    DomainDef, EthernetSide, Finding, IfName, InterfaceDef, InterfaceKind, Mac, Severity, SocketAddress,
};
use crate::network::{self, Handle as Network, PortRequest};
use crate::plan::host::QemuFacts;
use crate::plan::ports::PortWish;
use crate::plan::qemu;
use crate::plan::taps::{self, Naming};
use crate::scope::ScopeKind;
use crate::sys::bridge_helper;
use crate::sys::connect::connect_as;
use crate::sys::netlink::PortSpec;
use crate::sys::netspace::NetSpace;
use crate::sys::process::{Exit, Purpose, Spawn};
use crate::sys::resolve::resolve;
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
    Tap {
        /// One for each queue.
        queues: Vec<OwnedFd>,
        /// The kernel's own virtio for them; none: QEMU moves the frames.
        vhost: Vec<OwnedFd>,
    },
    /// A connected TCP socket.
    Client(OwnedFd),
}

/// Makes sure that the networks of all NICs are there, open to the guest, and active.
pub(super) async fn ready_networks(
    context: &Context,
    def: &DomainDef,
    owner: u32,
    options: StartOptions,
) -> Result<(), Error> {
    for nic in def.interfaces() {
        let InterfaceKind::Network { network, .. } = &nic.kind else { continue };
        let view = find_network(context, nic, network)?.view();
        if options.network_rights == NetworkRights::Owner && !view.is_open_to(owner) {
            let path = format!("{}/source/@network", nic.info.path);
            return Err(Error::NetworkDenied { path, network: network.clone(), owner });
        }
    }
    for nic in def.interfaces() {
        let InterfaceKind::Network { network, .. } = &nic.kind else { continue };
        let handle = find_network(context, nic, network)?;
        let path = || format!("{}/source/@network", nic.info.path);
        if options.start_networks {
            handle.ensure_active().await.map_err(|source| Error::Network {
                path: path(),
                network: network.clone(),
                source: Box::new(source),
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
    def: &DomainDef,
    qemu: &QemuFacts,
    nic: &InterfaceDef,
    naming: Naming,
    guest: &mut Guest,
) -> Result<NicDescriptor, Error> {
    let template = taps::written(nic, naming).map_or(TEMPLATE, IfName::as_str);
    let mac = nic.mac.unwrap_or_else(|| Mac::for_guest([0; 3]));
    let (queues, vhost) = qemu::queues(nic, &def.os.arch, qemu.vhost_net);
    let descriptor = match &nic.kind {
        InterfaceKind::Network { network, .. } => {
            let handle = find_network(context, nic, network)?;
            // Noted first, so that a start that is cut off gives it back.
            guest.live.networks.push(network.clone());
            guest.save(context, uuid)?;
            let space = ground(context, uuid, nic).await?;
            let taps = make_tap(&space, uuid, nic, NewTap { template, queues, mac }).await?;
            let request = PortRequest {
                domain: *uuid,
                domain_name: def.name.to_string(),
                mac,
                tap: taps.name.clone().unwrap_or_default(),
                teaming: nic.teaming.is_some(),
                wish: PortWish::of(nic, guest.live.owner.unwrap_or_default()),
                path: nic.info.path.clone(),
            };
            let plugged = handle.plug(request).await;
            plugged.map_err(|source| Error::Network {
                path: nic.info.path.clone(),
                network: network.clone(),
                source: Box::new(source),
            })?;
            return note(guest, nic, taps, vhost, None);
        }
        InterfaceKind::Bridge { bridge } if context.scope.kind == ScopeKind::System => {
            let taps = on_bridge(uuid, nic, NewTap { template, queues, mac }, bridge).await?;
            return note(guest, nic, taps, vhost, None);
        }
        InterfaceKind::Bridge { bridge } => {
            let taps = by_the_helper(def, nic, bridge, queues).await?;
            return note(guest, nic, taps, vhost, None);
        }
        InterfaceKind::Ethernet(side) => {
            let space = if nic.managed_tap { ground(context, uuid, nic).await? } else { NetSpace::host() };
            let taps = match &nic.target {
                Some(own) if !nic.managed_tap => open_own(&space, nic, own, queues).await?,
                _ => alone(&space, uuid, nic, NewTap { template, queues, mac }).await?,
            };
            let name = taps.name.clone().unwrap_or_default();
            // Noted first, so that what a script has begun that is cut off is undone by the other.
            let descriptor = note(guest, nic, taps, vhost, side.downscript.as_deref())?;
            guest.save(context, uuid)?;
            ethernet(context, uuid, nic, &name, &space, side).await?;
            return Ok(descriptor);
        }
        InterfaceKind::Client(server) => NicDescriptor::Client(connect(context, nic, server, guest).await?),
        // The start is refused where a type that needs more than this is there.
        _ => NicDescriptor::None,
    };
    guest.live.nics.push(LiveNic::default());
    Ok(descriptor)
}

/// Notes the name of a TAP, and what is to be done when the guest is gone.
fn note(
    guest: &mut Guest,
    nic: &InterfaceDef,
    taps: Taps,
    vhost: u32,
    downscript: Option<&Path>,
) -> Result<NicDescriptor, Error> {
    let downscript = downscript.map(Path::to_owned);
    guest.live.nics.push(LiveNic { target: taps.name, downscript });
    let failed = |source| Error::Vhost { path: format!("{}/driver", nic.info.path), source };
    let vhost = (0..vhost).map(|_| tap::open_vhost()).collect::<Result<_, _>>().map_err(failed)?;
    Ok(NicDescriptor::Tap { queues: taps.queues, vhost })
}

/// A TAP with all of its queues.
struct Taps {
    queues: Vec<OwnedFd>,
    name: Option<String>,
}

async fn ground(context: &Context, uuid: &Uuid, nic: &InterfaceDef) -> Result<NetSpace, Error> {
    let held = context.ground.hold(&holder(uuid)).await;
    held.map_err(|source| Error::Ground { path: nic.info.path.clone(), source })
}

/// A TAP that is to be made.
#[derive(Clone, Copy)]
struct NewTap<'a> {
    /// Its name, or a pattern of names.
    template: &'a str,
    queues: u32,
    /// The guest's end of the cable.
    mac: Mac,
}

/// In session scope only the host's own helper may touch the host's bridges. It makes a TAP with one queue,
/// and as the bridge has it.
async fn by_the_helper(
    def: &DomainDef,
    nic: &InterfaceDef,
    bridge: &IfName,
    queues: u32,
) -> Result<Taps, Error> {
    let beyond = [
        ("driver/@queues", queues > 1),
        ("mtu", nic.mtu.is_some()),
        ("port/@isolated", nic.isolated == Some(true)),
    ];
    if let Some((place, _)) = beyond.iter().find(|(_, asked)| *asked) {
        let finding = Finding {
            severity: Severity::Unsupported,
            path: format!("{}/{place}", nic.info.path),
            line: 0,
            column: 0,
            message: "an ordinary user gets a TAP on the host's bridge only as the host's helper makes it"
                .into(),
            remedy: "leave it out, or use a <source network>".into(),
        };
        return Err(Error::NotSupported { name: def.name.to_string(), findings: vec![finding] });
    }
    let failed = |source| Error::BridgeHelper { path: nic.info.path.clone(), source };
    let fd = bridge_helper::bridge_tap(bridge.as_str()).await.map_err(failed)?;
    Ok(Taps { name: tap::name_of(&fd).ok(), queues: vec![fd] })
}

/// A TAP of the name that the document gives, or the next free one; with alias, address and MTU, and not up yet.
async fn make_tap(space: &NetSpace, uuid: &Uuid, nic: &InterfaceDef, new: NewTap<'_>) -> Result<Taps, Error> {
    let link = |source| Error::Link { path: nic.info.path.clone(), source };
    let netlink = space.netlink().await.map_err(link)?;
    let taps = open_queues(space, nic, new).await?;
    let name = taps.name.clone().unwrap_or_default();
    let made = netlink.link(&name).await.map_err(link)?;
    let index = made.map_or(0, |l| l.index);
    netlink.set_alias(index, &network::alias(uuid)).await.map_err(link)?;
    netlink.set_mac(index, host_side(new.mac)).await.map_err(link)?;
    if let Some(mtu) = nic.mtu {
        netlink.set_mtu(index, mtu).await.map_err(link)?;
    }
    Ok(taps)
}

/// A TAP without a bridge, set up.
async fn alone(space: &NetSpace, uuid: &Uuid, nic: &InterfaceDef, new: NewTap<'_>) -> Result<Taps, Error> {
    let link = |source| Error::Link { path: nic.info.path.clone(), source };
    let taps = make_tap(space, uuid, nic, new).await?;
    let netlink = space.netlink().await.map_err(link)?;
    let made = netlink.link(taps.name.as_deref().unwrap_or_default()).await.map_err(link)?;
    netlink.set_up(made.map_or(0, |l| l.index), true).await.map_err(link)?;
    Ok(taps)
}

/// A TAP on a bridge that is not Warren's.
async fn on_bridge(uuid: &Uuid, nic: &InterfaceDef, new: NewTap<'_>, bridge: &IfName) -> Result<Taps, Error> {
    let link = |source| Error::Link { path: nic.info.path.clone(), source };
    let space = NetSpace::host();
    let netlink = space.netlink().await.map_err(link)?;
    let found = netlink.link(bridge.as_str()).await.map_err(link)?;
    let found = found.filter(|l| l.kind.as_deref() == Some("bridge")).ok_or_else(|| Error::NoSuchBridge {
        path: format!("{}/source/@bridge", nic.info.path),
        bridge: bridge.to_string(),
    })?;
    let taps = make_tap(&space, uuid, nic, new).await?;
    if nic.mtu.is_some_and(|mtu| mtu != found.mtu) {
        // It may still follow the MTU of its ports: else the kernel would give all of it the MTU of this one.
        netlink.fix_mtu(&found, found.mtu).await.map_err(link)?;
    }
    let spec = PortSpec { isolated: nic.isolated == Some(true), ..PortSpec::default() };
    let (tap, port) =
        (taps.name.as_deref().unwrap_or_default(), network::Port { spec, mtu: nic.mtu, mac: nic.mac });
    let plugged = network::plug(&space, bridge.as_str(), tap, port).await;
    plugged.map_err(|source| Error::Plug { path: nic.info.path.clone(), source })?;
    Ok(taps)
}

async fn open_queues(space: &NetSpace, nic: &InterfaceDef, new: NewTap<'_>) -> Result<Taps, Error> {
    let NewTap { template, queues, .. } = new;
    let failed = |source| Error::Tap { path: format!("{}/target/@dev", nic.info.path), source };
    let first = match queues {
        1 => space.open_tap(template, true).await,
        _ => space.open_queue(template, true).await,
    };
    let first = first.map_err(failed)?;
    let mut taps = Taps { queues: vec![first.fd], name: Some(first.name.clone()) };
    for _ in 1..queues {
        taps.queues.push(space.open_queue(&first.name, false).await.map_err(failed)?.fd);
    }
    Ok(taps)
}

/// Connects a TAP without a bridge, by addresses and routes of the document and the user's script.
async fn ethernet(
    context: &Context,
    uuid: &Uuid,
    nic: &InterfaceDef,
    tap: &str,
    space: &NetSpace,
    side: &EthernetSide,
) -> Result<(), Error> {
    addresses(space, nic, tap, side).await?;
    if let Some(script) = &side.script {
        run_script(context, uuid, &format!("{}/script/@path", nic.info.path), script, tap).await?;
    }
    Ok(())
}

/// One that is the user's own is only opened.
async fn open_own(space: &NetSpace, nic: &InterfaceDef, own: &IfName, queues: u32) -> Result<Taps, Error> {
    let path = format!("{}/target/@dev", nic.info.path);
    let link = |source| Error::Link { path: path.clone(), source };
    if space.netlink().await.map_err(link)?.link(own.as_str()).await.map_err(link)?.is_none() {
        return Err(Error::NoSuchTap { path, tap: own.to_string() });
    }
    let open = |_| tap::open_existing(own.as_str(), queues > 1);
    let opened: std::io::Result<Vec<Tap>> = (0..queues).map(open).collect();
    let failed = |source| Error::Tap { path, source: tap::TapError::Make { name: own.to_string(), source } };
    let queues = opened.map_err(failed)?.into_iter().map(|tap| tap.fd).collect();
    Ok(Taps { queues, name: Some(own.to_string()) })
}

/// Addresses and routes of the host's side.
async fn addresses(
    space: &NetSpace,
    nic: &InterfaceDef,
    tap: &str,
    side: &EthernetSide,
) -> Result<(), Error> {
    let link = |source| Error::Link { path: format!("{}/source", nic.info.path), source };
    let netlink = space.netlink().await.map_err(link)?;
    let index = netlink.link(tap).await.map_err(link)?.map_or(0, |l| l.index);
    let net = |address: IpAddr, prefix: Option<u8>| {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, prefix.unwrap_or(whole)).unwrap_or_else(|_| address.into())
    };
    for ip in &side.ips {
        let net = net(ip.address, ip.prefix);
        match ip.peer {
            Some(peer) => netlink.add_address_with_peer(index, net, peer).await.map_err(link)?,
            None => netlink.add_address(index, net).await.map_err(link)?,
        }
    }
    for route in &side.routes {
        // The kernel's own metric is 0 for IPv4; libvirt writes none where none is said.
        let to = net(route.to, Some(route.prefix));
        netlink.add_route(index, to, route.gateway, route.metric.unwrap_or(0)).await.map_err(link)?;
    }
    Ok(())
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
    let run = Spawn::brief(script, Purpose::Script).arg(tap).run_as(user).enter(&space);
    let run = run.output(None, SCRIPT).await;
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

/// QEMU 7.2 does not try again, so the connection is made here, where its failure can be told. It is one of the guest's
/// user's: QEMU could lead it elsewhere, and is held to the rules of the loopback with it.
async fn connect(
    context: &Context,
    nic: &InterfaceDef,
    server: &SocketAddress,
    guest: &Guest,
) -> Result<OwnedFd, Error> {
    let (uid, owner) = (guest.live.uid, guest.live.owner.unwrap_or(0));
    let host = if server.address.is_empty() { "127.0.0.1" } else { &server.address };
    let peer = format!("{host}:{}", server.port);
    let path = || format!("{}/source", nic.info.path);
    let failed = |source| Error::Peer { path: path(), peer: peer.clone(), source };
    let attempt = async {
        let addresses = resolve(host, server.port, owner).await?;
        // The rules refuse it as if nothing were there.
        if addresses.iter().any(|at| at.ip().is_loopback() && context.loopback.is_held(at)) {
            return Ok(None);
        }
        let stream = connect_as(uid, addresses, CONNECT).await?;
        stream.set_nonblocking(true)?;
        Ok(Some(stream))
    };
    let stream = tokio::time::timeout(CONNECT, attempt)
        .await
        .map_err(|_| Error::NoPeer { path: path(), peer: peer.clone() })?
        .map_err(failed)?;
    let is_display = || Error::PeerIsDisplay { path: path(), peer: peer.clone() };
    let stream = stream.ok_or_else(is_display)?;
    // What listens there has come since the rules were made.
    if let (Ok(ours), Ok(peer_address)) = (stream.local_addr(), stream.peer_addr())
        && context.loopback.is_display(ours, peer_address)
    {
        return Err(is_display());
    }
    // A connection that breaks later is the guest's cable pulled out; QEMU notices it by itself.
    Ok(stream.into())
}
