//! What a network's document names on the host.

use super::PathField;
use crate::model::{
    Bootp, BridgeDef, DhcpDef, DnsDomain, Forward, ForwardMode, HostPciAddress, IpDef, MacTableManager, Nat,
    NetworkDef, PciDriver, Portgroup, RouteDef,
};

/// Each part with the place of its element.
pub(super) fn named(def: &NetworkDef) -> Vec<(PathField, String)> {
    let NetworkDef {
        name: _,
        uuid: _,
        title: _,
        description: _,
        ipv6: _,
        trust_guest_rx_filters: _,
        forward,
        bridge,
        mac: _,
        mtu: _,
        domain,
        dns: _,
        ips,
        routes,
        portgroups,
        isolated_ports: _,
        bandwidth: _,
        vlan: _,
        virtual_port: _,
        dnsmasq_options,
    } = def;
    let mut named = Vec::new();
    // They can make dnsmasq do anything that its user may.
    if !dnsmasq_options.is_empty() {
        named.push((PathField::NetworkOption, "/network/dnsmasq:options".to_owned()));
    }
    named.extend(ips.iter().filter_map(ip));
    if forward.as_ref().is_some_and(reaches_host) {
        named.push((PathField::NetworkForward, "/network/forward".to_owned()));
    }
    own_bridge(bridge);
    domain.iter().for_each(|DnsDomain { name: _, local_only: _, register: _ }| ());
    routes.iter().for_each(|RouteDef { path: _, dst: _, gateway: _, metric: _ }| ());
    portgroups.iter().for_each(portgroup);
    named
}

/// Guests get what dnsmasq's user may read below the root.
fn ip(ip: &IpDef) -> Option<(PathField, String)> {
    let IpDef { path, net: _, local_ptr: _, tftp_root, dhcp } = ip;
    dhcp.iter().for_each(|DhcpDef { ranges: _, hosts: _, bootp }| {
        // A name that guests are told, and ask some server for.
        bootp.iter().for_each(|Bootp { file: _, server: _ }| ());
    });
    tftp_root.as_ref().map(|_| (PathField::NetworkTftp, format!("{path}/tftp")))
}

/// Whether NICs are on a bridge or a device of the host. Where packets leave is for who may manage networks.
fn reaches_host(forward: &Forward) -> bool {
    let Forward { mode, dev: _, interfaces: _, pf, addresses, managed: _, driver, nat } = forward;
    let (PciDriver { name: _, model: _ }, Nat { ipv6: _, addresses: _, ports: _ }) = (driver, nat);
    addresses.iter().for_each(|HostPciAddress { domain: _, bus: _, slot: _, function: _ }| ());
    let of_host = match mode {
        ForwardMode::Nat | ForwardMode::Route | ForwardMode::Open => false,
        ForwardMode::Bridge
        | ForwardMode::Private
        | ForwardMode::Vepa
        | ForwardMode::Passthrough
        | ForwardMode::Hostdev => true,
    };
    of_host || pf.is_some() || !addresses.is_empty()
}

/// Warren makes the bridge, under a name that nothing has, and never takes one that is there.
fn own_bridge(bridge: &BridgeDef) {
    let BridgeDef { name: _, template: _, stp: _, delay: _, zone: _, mac_table_manager } = bridge;
    match mac_table_manager {
        None | Some(MacTableManager::Kernel | MacTableManager::Libvirt) => (),
    }
}

fn portgroup(group: &Portgroup) {
    let Portgroup {
        path: _,
        name: _,
        is_default: _,
        trust_guest_rx_filters: _,
        bandwidth: _,
        vlan: _,
        virtual_port: _,
    } = group;
}
