//! What a NIC names on the host, beyond the networks that Warren keeps.

use super::PathField;
use super::compare::What;
use super::domain::Found;
use crate::model::{
    EthernetSide, InterfaceDef, InterfaceKind, NicBackend, NicRom, PasstBackend, PortForward, PortRange,
    SocketAddress, VhostUserSource,
};

pub(super) fn nic<'a>(found: &mut Found<'a>, nic: &'a InterfaceDef) {
    let InterfaceDef {
        info,
        kind,
        mac: _,
        model: _,
        driver: _,
        backend,
        target,
        managed_tap: _,
        link_up: _,
        mtu: _,
        rom,
        teaming: _,
        bandwidth: _,
        vlan: _,
        virtual_port: _,
        isolated: _,
        trust_guest_rx_filters: _,
        filter: _,
        sndbuf: _,
        coalesce: _,
        ips: _,
        routes: _,
        port_forwards,
    } = nic;
    let place = info.path.as_str();
    self::kind(found, place, kind);
    let NicBackend { passt, tap, vhost } = backend;
    if let Some(PasstBackend { log_file, hostname: _, fqdn: _ }) = passt {
        found.host_if(log_file.is_some(), PathField::NicPasstLog, place);
    }
    found.host_if(tap.is_some(), PathField::NicTapDevice, place);
    found.host_if(vhost.is_some(), PathField::NicVhostDevice, place);
    if let Some(NicRom { enabled: _, bar: _, file }) = rom {
        found.host_if(file.is_some(), PathField::NicRom, place);
    }
    if let Some(name) = target {
        found.owner(PathField::NicTarget, place, What::Target(name));
    }
    found.host_if(port_forwards.iter().any(of_host), PathField::NicPortForward, place);
}

fn kind<'a>(found: &mut Found<'a>, place: &str, kind: &'a InterfaceKind) {
    match kind {
        InterfaceKind::Network { network, portgroup: _ } => found.networks.push(network),
        InterfaceKind::Bridge { bridge: _ } => found.host(PathField::NicBridge, place),
        InterfaceKind::Ethernet(side) => {
            let EthernetSide { script: _, downscript: _, ips: _, routes: _ } = &**side;
            found.host(PathField::NicEthernet, place);
        }
        InterfaceKind::Direct { dev: _, mode: _ } => found.host(PathField::NicDirect, place),
        InterfaceKind::Vdpa { dev: _ } => found.host(PathField::NicVdpa, place),
        InterfaceKind::Hostdev { address: _, managed: _ } => found.host(PathField::NicHostdev, place),
        InterfaceKind::VhostUser(VhostUserSource::Socket { path: _, listens: _, reconnect: _ }) => {
            found.host(PathField::NicVhostUser, place);
        }
        InterfaceKind::User { dev } | InterfaceKind::VhostUser(VhostUserSource::Passt { dev }) => {
            found.host_if(dev.is_some(), PathField::NicPasstDevice, place);
        }
        // Addresses and ports of the host are open to everybody.
        InterfaceKind::Server(SocketAddress { address: _, port: _ })
        | InterfaceKind::Client(SocketAddress { address: _, port: _ })
        | InterfaceKind::Mcast(SocketAddress { address: _, port: _ })
        | InterfaceKind::Udp { remote: _, local: _ }
        | InterfaceKind::Internal
        | InterfaceKind::Null
        | InterfaceKind::Vds => (),
    }
}

/// Whether it takes an interface of the host, or ports that only root opens, which the host's own programs use.
fn of_host(forward: &PortForward) -> bool {
    let PortForward { path: _, udp: _, address: _, dev, ranges } = forward;
    let reserved = |range: &PortRange| {
        let PortRange { start, end: _, to: _, exclude } = range;
        !exclude && *start < 1024
    };
    dev.is_some() || ranges.is_empty() || ranges.iter().any(reserved)
}
