//! Addresses: ranges, reservations, options, router advertisements. Must never offer what a check refuses.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use super::{Conf, quoted};
use crate::model::{DhcpDef, DhcpHost, DhcpRange, IpDef, LeaseTime, LeaseUnit, NetworkDef, is_dns_name};

/// An `<ip>` whose subnet is chosen.
pub(super) struct Subnet<'a> {
    pub(super) net: IpNet,
    pub(super) ip: &'a IpDef,
}

impl<'a> Subnet<'a> {
    pub(super) fn of(ip: &'a IpDef) -> Option<Self> {
        Some(Self { net: ip.net?, ip })
    }

    fn dhcp(&self) -> impl Iterator<Item = &DhcpDef> {
        self.ip.dhcp.iter()
    }

    fn ranges(&self) -> impl Iterator<Item = &DhcpRange> {
        // A range that is not chosen yet has nothing to offer.
        self.dhcp().flat_map(|dhcp| dhcp.ranges.iter().flatten())
    }

    fn hosts(&self) -> impl Iterator<Item = &DhcpHost> {
        self.dhcp().flat_map(|dhcp| &dhcp.hosts)
    }

    pub(super) fn serves_dhcp(&self) -> bool {
        self.ranges().next().is_some() || self.hosts().next().is_some()
    }
}

/// Ranges, reservations and the boot file of one subnet.
pub(super) fn addresses(conf: &mut Conf, subnet: &Subnet<'_>) {
    let net = subnet.net;
    // dnsmasq takes a netmask for IPv4 and a prefix length for IPv6.
    let mask = match net {
        IpNet::V4(v4) => v4.netmask().to_string(),
        IpNet::V6(v6) => v6.prefix_len().to_string(),
    };
    for range in subnet.ranges() {
        let lease = range.lease.map_or_else(String::new, |l| format!(",{}", lease_time(l)));
        conf.set("dhcp-range", format_args!("{},{},{mask}{lease}", range.start, range.end));
    }
    if subnet.ranges().next().is_none() && subnet.hosts().next().is_some() {
        conf.set("dhcp-range", format_args!("{},static,{mask}", net.addr()));
    }
    for host in subnet.hosts() {
        reservation(conf, host, net.addr().is_ipv6());
    }
    let boot = subnet.dhcp().find_map(|dhcp| dhcp.bootp.as_ref()).filter(|_| net.addr().is_ipv4());
    if let Some(boot) = boot {
        let server = boot.server.map_or_else(String::new, |s| format!(",,{s}"));
        conf.set("dhcp-boot", format_args!("{}{server}", quoted(&boot.file)));
    }
}

/// An identifier before the address tells who the guest is, a name after it is given to the guest. A name
/// alone does both.
fn reservation(conf: &mut Conf, host: &DhcpHost, is_ipv6: bool) {
    let id = host.id.as_ref().filter(|id| id.chars().all(|c| c.is_ascii_hexdigit() || c == ':'));
    let who = if is_ipv6 { id.map(|id| format!("id:{id}")) } else { host.mac.map(|mac| mac.to_string()) };
    let name = host.name.clone().filter(|name| is_dns_name(name));
    let Some(address) = host.ip.map(|ip| match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }) else {
        return;
    };
    let parts = if who.is_some() { [who, Some(address), name] } else { [name, Some(address), None] };
    let mut parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.len() > 1 {
        parts.extend(host.lease.map(lease_time));
        conf.set("dhcp-host", parts.join(","));
    }
}

fn lease_time(lease: LeaseTime) -> String {
    match lease {
        LeaseTime::Infinite => "infinite".to_owned(),
        LeaseTime::Of(n, LeaseUnit::Seconds) => format!("{n}s"),
        LeaseTime::Of(n, LeaseUnit::Minutes) => format!("{n}m"),
        LeaseTime::Of(n, LeaseUnit::Hours) => format!("{n}h"),
    }
}

/// What all subnets with DHCP have in common.
pub(super) fn options(conf: &mut Conf, def: &NetworkDef, subnets: &[Subnet<'_>], leasefile: &Path) {
    if !subnets.iter().any(Subnet::serves_dhcp) {
        return;
    }
    if def.forward.is_none() {
        // No default route: there is nothing to reach.
        conf.set("dhcp-option", 3);
    }
    if let Some(mtu) = def.mtu {
        conf.set("dhcp-option", format_args!("option:mtu,{mtu}"));
    }
    if subnets.iter().any(|s| s.net.addr().is_ipv4() && s.serves_dhcp()) {
        conf.flag("dhcp-no-override");
        conf.flag("dhcp-authoritative");
    }
    let leases: u128 = subnets.iter().flat_map(Subnet::ranges).map(range_size).sum();
    if leases > 0 {
        conf.set("dhcp-lease-max", leases.min(i32::MAX as u128));
    }
    conf.set("dhcp-leasefile", quoted(&leasefile.display().to_string()));
}

fn range_size(range: &DhcpRange) -> u128 {
    match (range.start, range.end) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(b.to_bits().saturating_sub(a.to_bits())) + 1,
        (IpAddr::V6(a), IpAddr::V6(b)) => b.to_bits().saturating_sub(a.to_bits()).saturating_add(1),
        _ => 0,
    }
}

/// Guests learn IPv6 prefixes from router advertisements: with DHCPv6 where any subnet has it, else alone.
pub(super) fn advertisements(conf: &mut Conf, def: &NetworkDef, subnets: &[Subnet<'_>]) {
    let v6 = || subnets.iter().filter(|s| s.net.addr().is_ipv6());
    if v6().next().is_none() {
        return;
    }
    if def.forward.is_none() {
        // The prefix, but no default route.
        conf.set("ra-param", "*,0,0");
    }
    if v6().any(Subnet::serves_dhcp) {
        conf.flag("enable-ra");
    } else {
        for subnet in v6() {
            conf.set("dhcp-range", format_args!("{},ra-only", subnet.net.addr()));
        }
    }
}
