//! Addresses, ranges, reservations and routes: what lies in what. Must never know what the host has.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::{Check, at};
use crate::model::{DhcpRange, IpDef, Mac, NetworkDef, Severity};
use crate::plan::dnsmasq::reverse_zone;

/// All findings on `<ip>` and `<route>`.
pub(super) fn check(check: &mut Check<'_, NetworkDef>, def: &NetworkDef) {
    for (i, ip) in def.ips.iter().enumerate() {
        subnet(check, ip);
        let family = |ip: &IpDef| ip.net.is_none_or(|n| n.addr().is_ipv4());
        let earlier = def.ips.iter().take(i).any(|e| serves_dhcp(e) && family(e) == family(ip));
        if serves_dhcp(ip) && earlier {
            let word = if family(ip) { "IPv4" } else { "IPv6" };
            let message = format!("a second {word} <ip> has <dhcp>");
            check.error(&format!("{}/dhcp", ip.path), message, "one <ip> of each family may have it");
        }
    }
    for route in &def.routes {
        let gateway = route.gateway;
        // A subnet that is not chosen yet may hold it.
        let reached = def.ips.iter().any(|ip| ip.net.map_or(gateway.is_ipv4(), |net| net.contains(&gateway)));
        if !reached {
            let message = format!("the gateway {gateway} is in no subnet of the network");
            check.error(&at(&route.path, "@gateway"), message, "give the address of a guest");
        }
    }
}

fn serves_dhcp(ip: &IpDef) -> bool {
    ip.dhcp.as_ref().is_some_and(|dhcp| !dhcp.ranges.is_empty() || !dhcp.hosts.is_empty())
}

/// Whether the address is the subnet's own. In a /31 and a /32 every address is a host's.
fn is_reserved(net: IpNet, address: IpAddr) -> bool {
    match net {
        IpNet::V4(n) if n.prefix_len() < 31 => address == net.network() || address == net.broadcast(),
        _ => false,
    }
}

fn subnet(check: &mut Check<'_, NetworkDef>, ip: &IpDef) {
    let Some(net) = ip.net else { return };
    if is_reserved(net, net.addr()) {
        let message = format!("{} is not the address of a host in {}", net.addr(), net.trunc());
        let remedy = "the first and the last address are the subnet's own";
        check.add(Severity::Warning, &at(&ip.path, "@address"), message, remedy);
    }
    if net.addr().is_multicast() || net.addr().is_unspecified() {
        let message = format!("{} is not the address of a host", net.addr());
        check.add(Severity::Unsupported, &at(&ip.path, "@address"), message, "");
    }
    if ip.local_ptr && reverse_zone(net).is_none() {
        let step = if net.addr().is_ipv4() { 8 } else { 4 };
        let message = format!("there is no reverse zone for {}", net.trunc());
        let remedy = format!("a length that {step} divides has one");
        check.add(Severity::Unsupported, &at(&ip.path, "@localPtr"), message, &remedy);
    }
    let Some(dhcp) = &ip.dhcp else { return };
    if serves_dhcp(ip) && net.addr().is_ipv6() && net.prefix_len() < 64 {
        let message = format!("there is no DHCP in {}: dnsmasq has it from 64 bits on", net.trunc());
        check.add(Severity::Unsupported, &at(&ip.path, "dhcp"), message, "lengthen the prefix");
    }
    for (i, range) in dhcp.ranges.iter().enumerate() {
        if let Some(range) = range {
            self::range(check, net, &numbered(ip, "range", i, dhcp.ranges.len()), range);
        }
    }
    reservations(check, ip, net);
}

fn numbered(ip: &IpDef, name: &str, i: usize, count: usize) -> String {
    let n = if count > 1 { format!("[{}]", i + 1) } else { String::new() };
    format!("{}/dhcp/{name}{n}", ip.path)
}

fn range(check: &mut Check<'_, NetworkDef>, net: IpNet, path: &str, range: &DhcpRange) {
    let (start, end) = (range.start, range.end);
    for (attr, address) in [("@start", start), ("@end", end)] {
        if !net.contains(&address) {
            check.error(&at(path, attr), format!("{address} is outside of {}", net.trunc()), "");
        } else if is_reserved(net, address) {
            let message = format!("{address} is not the address of a host in {}", net.trunc());
            check.error(&at(path, attr), message, "leave the subnet's first and last address out");
        }
    }
    if start > end {
        let message = format!("the range begins at {start} and ends before it, at {end}");
        check.error(path, message, "exchange start and end");
    } else if net.contains(&start) && net.contains(&end) && !is_one_block(start, end) {
        let message = format!("the range from {start} to {end} is too large");
        check.error(path, message, "all of it may differ in the last 16 bits only");
    }
}

/// libvirt's measure of a range: all but the last 16 bits are the same.
fn is_one_block(start: IpAddr, end: IpAddr) -> bool {
    match (start, end) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.to_bits() >> 16 == b.to_bits() >> 16,
        (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() >> 16 == b.to_bits() >> 16,
        _ => false,
    }
}

fn reservations(check: &mut Check<'_, NetworkDef>, ip: &IpDef, net: IpNet) {
    let Some(dhcp) = &ip.dhcp else { return };
    let count = dhcp.hosts.len();
    let mut seen: Vec<(IpAddr, String)> = Vec::new();
    for (i, host) in dhcp.hosts.iter().enumerate() {
        let path = numbered(ip, "host", i, count);
        if host.mac.is_some_and(Mac::is_multicast) {
            check.error(&at(&path, "@mac"), "a guest cannot have a multicast MAC address", "");
        }
        let Some(address) = host.ip else { continue };
        let place = at(&path, "@ip");
        if !net.contains(&address) {
            let message = format!("{address} is outside of {}, so it is never given out", net.trunc());
            check.add(Severity::Warning, &place, message, "");
        }
        // dnsmasq does not start with the same address reserved twice.
        if let Some((_, first)) = seen.iter().find(|(a, _)| *a == address) {
            let message = format!("{address} is reserved twice; first at {first}");
            check.add(Severity::Unsupported, &place, message, "leave one out");
        } else {
            seen.push((address, place));
        }
    }
}
