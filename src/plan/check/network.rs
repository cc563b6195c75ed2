//! Judges a network's definition: what belongs together, what excludes each other, what cannot be run yet.
//!
//! Owns the rules that need more than one place of a network's document. Must never look at the host or at
//! other documents.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Check, at};
use crate::model::{Finding, ForwardMode, IpDef, Mac, NetworkDef, NetworkDoc, Severity};

/// Everything there is to say about a network's document, with what was noticed while reading it.
/// Complete or not: what Warren chooses later is not missed.
pub fn network(doc: &NetworkDoc) -> Vec<Finding> {
    let mut check = Check::new(doc);
    forward(&mut check, doc);
    if doc.def().mac.is_some_and(Mac::is_multicast) {
        check.error("/network/mac/@address", "a bridge cannot have a multicast MAC address", "");
    }
    for (i, ip) in doc.def().ips.iter().enumerate() {
        subnet(&mut check, ip);
        let family = |ip: &IpDef| ip.net.is_none_or(|n| n.addr().is_ipv4());
        let earlier = doc.def().ips.iter().take(i).any(|e| e.dhcp.is_some() && family(e) == family(ip));
        if ip.dhcp.is_some() && earlier {
            let word = if family(ip) { "IPv4" } else { "IPv6" };
            let message = format!("a second {word} <ip> has <dhcp>");
            check.error(&format!("{}/dhcp", ip.path), message, "one <ip> of each family may have it");
        }
    }
    port_settings(&mut check, doc.def());
    check.findings
}

/// What Warren does not do to ports yet.
fn port_settings(check: &mut Check<'_, NetworkDef>, def: &NetworkDef) {
    let given = [
        ("bandwidth", def.bandwidth.is_some()),
        ("vlan", def.vlan.is_some()),
        ("virtualport", def.virtual_port.is_some()),
    ];
    for (name, _) in given.iter().filter(|(_, given)| *given) {
        let message = format!("Warren does not apply <{name}> yet");
        check.add(Severity::Unsupported, &format!("/network/{name}"), message, "leave it out");
    }
}

fn forward(check: &mut Check<'_, NetworkDef>, doc: &NetworkDoc) {
    let Some(forward) = &doc.def().forward else { return };
    let word = forward.mode.as_str();
    if forward.mode == ForwardMode::Open && forward.dev.is_some() {
        let message = "an open network does not name a device to forward through";
        check.error("/network/forward/@dev", message, "leave dev out, or use mode='route'");
    }
    if forward.mode.owns_bridge() {
        return;
    }
    let message = format!("Warren does not run networks of forward mode '{word}' yet");
    let remedy = "nat, route and open are known, and no <forward> at all is an isolated network";
    check.add(Severity::Unsupported, "/network/forward/@mode", message, remedy);
    for name in ["ip", "mac", "dns", "domain"] {
        if doc.tree().root().child(name).is_some() {
            let message =
                format!("a network of forward mode '{word}' has no <{name}>: the host's network does that");
            check.error(&format!("/network/{name}"), message, "leave it out");
        }
    }
}

fn subnet(check: &mut Check<'_, NetworkDef>, ip: &IpDef) {
    let Some(net) = ip.net else { return };
    let reserved = |a: IpAddr| match net {
        // In a /31 and a /32 every address is a host's.
        IpNet::V4(n) if n.prefix_len() < 31 => a == net.network() || a == net.broadcast(),
        _ => false,
    };
    if reserved(net.addr()) {
        let message = format!("{} is not the address of a host in {}", net.addr(), net.trunc());
        let remedy = "the first and the last address are the subnet's own";
        check.add(Severity::Warning, &at(&ip.path, "@address"), message, remedy);
    }
    if net.addr().is_multicast() || net.addr().is_unspecified() {
        let message = format!("{} is not the address of a host", net.addr());
        check.error(&at(&ip.path, "@address"), message, "");
    }
    let Some(dhcp) = &ip.dhcp else { return };
    let number = |name: &str, i: usize, count: usize| {
        let n = if count > 1 { format!("[{}]", i + 1) } else { String::new() };
        format!("{}/dhcp/{name}{n}", ip.path)
    };
    for (i, range) in dhcp.ranges.iter().enumerate() {
        let Some(range) = range else { continue };
        let path = number("range", i, dhcp.ranges.len());
        for (attr, end) in [("@start", range.start), ("@end", range.end)] {
            if !net.contains(&end) {
                check.error(&at(&path, attr), format!("{end} is outside of {}", net.trunc()), "");
            } else if reserved(end) {
                let message = format!("{end} is not the address of a host in {}", net.trunc());
                check.error(&at(&path, attr), message, "leave the subnet's first and last address out");
            }
        }
        if range.start > range.end {
            let message = format!("the range begins at {} and ends before it, at {}", range.start, range.end);
            check.error(&path, message, "exchange start and end");
        }
    }
    reservations(check, ip, net);
}

fn reservations(check: &mut Check<'_, NetworkDef>, ip: &IpDef, net: IpNet) {
    let dhcp_path = at(&ip.path, "dhcp");
    let tree = check.doc.tree();
    // By the tree, since a reservation that Warren does not know is not in the definition.
    let elements: Vec<_> = tree.find(&dhcp_path).into_iter().flat_map(|d| d.children_named("host")).collect();
    let count = elements.len();
    let hosts: Vec<(String, Option<IpAddr>, Option<Mac>)> = elements
        .into_iter()
        .enumerate()
        .map(|(i, e)| {
            let n = if count > 1 { format!("[{}]", i + 1) } else { String::new() };
            let ip = e.attr("ip").and_then(|a| a.parse().ok());
            (format!("{dhcp_path}/host{n}"), ip, e.attr("mac").and_then(|m| m.parse().ok()))
        })
        .collect();
    for (path, address, mac) in &hosts {
        if let Some(address) = address.filter(|a| !net.contains(a)) {
            let message = format!("{address} is outside of {}, so it is never given out", net.trunc());
            check.add(Severity::Warning, &at(path, "@ip"), message, "");
        }
        if mac.is_some_and(Mac::is_multicast) {
            check.error(&at(path, "@mac"), "a guest cannot have a multicast MAC address", "");
        }
    }
    // dnsmasq does not start with the same address reserved twice.
    let addresses = hosts.into_iter().filter_map(|(path, address, _)| Some((at(&path, "@ip"), address?)));
    check.unique("a reserved address", addresses);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::check::show;

    fn of_network(inner: &str) -> String {
        show(&network(&NetworkDoc::parse(&format!("<network><name>n</name>\n{inner}\n</network>")).unwrap()))
    }

    #[test]
    fn good_documents_have_no_findings() {
        assert_eq!(of_network("<forward/><ip address='10.0.0.1' netmask='255.0.0.0'/>"), "");
        assert_eq!(of_network("<ip address='' netmask=''><dhcp><range start='' end=''/></dhcp></ip>"), "");
    }

    #[test]
    fn ranges_and_reservations_lie_in_their_subnet() {
        let text = "<ip address='10.0.0.0' prefix='24'>\n<dhcp>\n<range start='10.0.1.2' end='10.0.0.255'/>\n\
                    <range start='10.0.0.9' end='10.0.0.5'/>\n<host mac='53:00:00:00:00:01' ip='10.0.0.7'/>\n\
                    <host name='a' ip='10.0.0.7'/>\n<host name='b' ip='10.1.0.7'/>\n</dhcp>\n</ip>";
        insta::assert_snapshot!(of_network(text), @r#"
        warning /network/ip/@address (line 2, column 1): 10.0.0.0 is not the address of a host in 10.0.0.0/24; the first and the last address are the subnet's own
        error /network/ip/dhcp/range[1]/@start (line 4, column 1): 10.0.1.2 is outside of 10.0.0.0/24
        error /network/ip/dhcp/range[1]/@end (line 4, column 1): 10.0.0.255 is not the address of a host in 10.0.0.0/24; leave the subnet's first and last address out
        error /network/ip/dhcp/range[1] (line 4, column 1): the range begins at 10.0.1.2 and ends before it, at 10.0.0.255; exchange start and end
        error /network/ip/dhcp/range[2] (line 5, column 1): the range begins at 10.0.0.9 and ends before it, at 10.0.0.5; exchange start and end
        error /network/ip/dhcp/host[1]/@mac (line 6, column 1): a guest cannot have a multicast MAC address
        warning /network/ip/dhcp/host[3]/@ip (line 8, column 1): 10.1.0.7 is outside of 10.0.0.0/24, so it is never given out
        error /network/ip/dhcp/host[2]/@ip (line 7, column 1): a reserved address, '10.0.0.7', is given twice; first at /network/ip/dhcp/host[1]/@ip
        "#);
    }

    #[test]
    fn one_ip_of_each_family_has_dhcp() {
        let ip = |a: &str, more: &str| format!("<ip address='{a}' {more}><dhcp/></ip>\n");
        let six = ip("fd00::1", "family='ipv6' prefix='64'");
        insta::assert_snapshot!(of_network(&(ip("10.0.0.1", "") + &six + &ip("", ""))), @"error /network/ip[3]/dhcp (line 4, column 17): a second IPv4 <ip> has <dhcp>; one <ip> of each family may have it");
    }

    #[test]
    fn forward_modes_are_told_apart() {
        insta::assert_snapshot!(of_network("<forward mode='open' dev='eth0'/>"), @"error /network/forward/@dev (line 2, column 1): an open network does not name a device to forward through; leave dev out, or use mode='route'");
        insta::assert_snapshot!(of_network("<forward mode='bridge'/><bridge name='b'/><ip address='10.0.0.1'/>"), @r#"
        unsupported /network/forward/@mode (line 2, column 1): Warren does not run networks of forward mode 'bridge' yet; nat, route and open are known, and no <forward> at all is an isolated network
        error /network/ip (line 2, column 43): a network of forward mode 'bridge' has no <ip>: the host's network does that; leave it out
        "#);
    }
}
