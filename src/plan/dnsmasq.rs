//! From a network to dnsmasq's configuration.
//!
//! Owns what dnsmasq offers to the guests: addresses, names, routes. Must never say how dnsmasq is run
//! (user, process), and never let a value of the document become a line or an option of its own: a name
//! that is not made of letters, digits, `.`, `-` and `_` is left out here. That the document is refused
//! for it is the check's part.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

use crate::model::{DhcpDef, DhcpHost, DhcpRange, NetworkDef};

/// The configuration for `def` on `bridge`, with leases kept in `leasefile`; `None` where there is nothing
/// to serve: no address, or neither DHCP, DNS nor router advertisements. With `upstream`, names that are
/// not the network's are asked only there; otherwise at the servers of the host.
pub fn plan(def: &NetworkDef, bridge: &str, leasefile: &Path, upstream: Option<IpAddr>) -> Option<String> {
    let subnets: Vec<Subnet<'_>> =
        def.ips.iter().filter_map(|ip| ip.net.map(|net| Subnet { net, dhcp: ip.dhcp.as_ref() })).collect();
    let useful = def.dns || subnets.iter().any(|s| s.net.addr().is_ipv6() || s.serves_dhcp());
    if subnets.is_empty() || !useful {
        return None;
    }
    let mut conf = Conf::default();
    conf.flag("strict-order");
    listen(&mut conf, bridge);
    names(&mut conf, def, upstream);
    for subnet in &subnets {
        addresses(&mut conf, subnet);
    }
    dhcp_options(&mut conf, def, &subnets, leasefile);
    advertisements(&mut conf, def, &subnets);
    Some(conf.0)
}

struct Subnet<'a> {
    net: IpNet,
    dhcp: Option<&'a DhcpDef>,
}

impl Subnet<'_> {
    fn ranges(&self) -> impl Iterator<Item = &DhcpRange> {
        // A range that is not chosen yet has nothing to offer.
        self.dhcp.into_iter().flat_map(|dhcp| dhcp.ranges.iter().flatten())
    }

    fn hosts(&self) -> impl Iterator<Item = &DhcpHost> {
        self.dhcp.into_iter().flat_map(|dhcp| &dhcp.hosts)
    }

    fn serves_dhcp(&self) -> bool {
        self.ranges().next().is_some() || self.hosts().next().is_some()
    }
}

/// Lines in the making.
#[derive(Default)]
struct Conf(String);

impl Conf {
    fn flag(&mut self, name: &str) {
        self.0.push_str(name);
        self.0.push('\n');
    }

    fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{name}={value}");
    }
}

/// Only on the bridge, as interfaces come and go, and never on an address of the host's.
fn listen(conf: &mut Conf, bridge: &str) {
    conf.set("except-interface", "lo");
    conf.flag("bind-dynamic");
    conf.set("interface", bridge);
    conf.set("pid-file", "");
    conf.set("log-facility", "-");
}

fn names(conf: &mut Conf, def: &NetworkDef, upstream: Option<IpAddr>) {
    if !def.dns {
        conf.set("port", 0);
    }
    let isolated = def.forward.is_none();
    if isolated || upstream.is_some() {
        conf.flag("no-resolv");
    }
    if let Some(server) = upstream.filter(|_| !isolated) {
        conf.set("server", server);
    }
    if let Some(domain) = &def.domain
        && is_name(&domain.name)
    {
        if domain.local_only {
            conf.set("local", format_args!("/{}/", domain.name));
        }
        conf.set("domain", &domain.name);
        conf.flag("expand-hosts");
    }
}

/// Ranges and reservations of one subnet.
fn addresses(conf: &mut Conf, subnet: &Subnet<'_>) {
    let net = subnet.net;
    // dnsmasq takes a netmask for IPv4 and a prefix length for IPv6.
    let mask = match net {
        IpNet::V4(v4) => v4.netmask().to_string(),
        IpNet::V6(v6) => v6.prefix_len().to_string(),
    };
    for range in subnet.ranges() {
        conf.set("dhcp-range", format_args!("{},{},{mask}", range.start, range.end));
    }
    if subnet.ranges().next().is_none() && subnet.hosts().next().is_some() {
        conf.set("dhcp-range", format_args!("{},static,{mask}", net.addr()));
    }
    for host in subnet.hosts() {
        let mac = host.mac.map(|mac| mac.to_string());
        let name = host.name.clone().filter(|name| is_name(name));
        let address = host.ip.map(|ip| match ip {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        });
        // A name before the address identifies the client, after it is given to the client.
        let parts = if mac.is_some() { [mac, address, name] } else { [name, address, None] };
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.len() > 1 {
            conf.set("dhcp-host", parts.join(","));
        }
    }
}

fn dhcp_options(conf: &mut Conf, def: &NetworkDef, subnets: &[Subnet<'_>], leasefile: &Path) {
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
    conf.flag("dhcp-no-override");
    conf.flag("dhcp-authoritative");
    let leases: u128 = subnets.iter().flat_map(Subnet::ranges).map(range_size).sum();
    if leases > 0 {
        conf.set("dhcp-lease-max", leases.min(i32::MAX as u128));
    }
    conf.set("dhcp-leasefile", quoted(leasefile));
}

/// Guests learn IPv6 prefixes from router advertisements: with DHCPv6 where any subnet has it, else alone.
fn advertisements(conf: &mut Conf, def: &NetworkDef, subnets: &[Subnet<'_>]) {
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

fn range_size(range: &DhcpRange) -> u128 {
    match (range.start, range.end) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(b.to_bits().saturating_sub(a.to_bits())) + 1,
        (IpAddr::V6(a), IpAddr::V6(b)) => b.to_bits().saturating_sub(a.to_bits()).saturating_add(1),
        _ => 0,
    }
}

fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !name.is_empty() && name.len() <= 253 && !name.starts_with('-') && name.bytes().all(good)
}

/// A path as one value: quoted, so that neither spaces nor `#` end it.
fn quoted(path: &Path) -> String {
    let mut text = String::from("\"");
    for c in path.display().to_string().chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            // No directory of Warren's has one; a second line must not come of it all the same.
            c if c.is_control() => text.push('?'),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BridgeDef, DnsDomain, Forward, ForwardMode, IpDef};
    use std::io::Write as _;
    use std::process::Command;

    fn network(mode: Option<ForwardMode>, ips: Vec<IpDef>) -> NetworkDef {
        NetworkDef {
            name: "n".parse().unwrap(),
            uuid: None,
            forward: mode.map(|mode| Forward { mode, dev: None }),
            bridge: BridgeDef { name: None, stp: true, delay: 0 },
            mac: None,
            mtu: None,
            domain: None,
            dns: true,
            ips,
            bandwidth: None,
            vlan: None,
            virtual_port: None,
        }
    }

    fn ip(net: &str, ranges: &[(&str, &str)], hosts: Vec<DhcpHost>) -> IpDef {
        let ranges = ranges
            .iter()
            .map(|(a, b)| Some(DhcpRange { start: a.parse().unwrap(), end: b.parse().unwrap() }))
            .collect();
        let dhcp = Some(DhcpDef { ranges, hosts });
        IpDef { path: String::new(), net: Some(net.parse().unwrap()), dhcp }
    }

    fn host(mac: Option<&str>, name: Option<&str>, ip: Option<&str>) -> DhcpHost {
        DhcpHost {
            mac: mac.map(|m| m.parse().unwrap()),
            name: name.map(str::to_owned),
            ip: ip.map(|i| i.parse().unwrap()),
        }
    }

    /// The plan, after the real dnsmasq has found nothing wrong with it.
    fn tested(def: &NetworkDef, upstream: Option<IpAddr>) -> String {
        let conf = plan(def, "wbr0", Path::new("/run/w n/leases"), upstream).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(conf.as_bytes()).unwrap();
        let mut option = std::ffi::OsString::from("--conf-file=");
        option.push(file.path());
        let run = Command::new("dnsmasq").arg("--test").arg(option).output().unwrap();
        assert!(run.status.success(), "{}\n{conf}", String::from_utf8_lossy(&run.stderr));
        conf
    }

    fn v4() -> IpDef {
        let hosts = vec![
            host(Some("52:54:00:00:00:01"), Some("one"), Some("192.168.5.10")),
            host(None, Some("two"), Some("192.168.5.11")),
            host(Some("52:54:00:00:00:03"), None, Some("192.168.5.12")),
        ];
        ip("192.168.5.1/24", &[("192.168.5.2", "192.168.5.254")], hosts)
    }

    #[test]
    fn isolated_network() {
        insta::assert_snapshot!(tested(
            &network(None, vec![v4(), ip("fd00:5::1/64", &[], Vec::new())]),
            None
        ));
    }

    #[test]
    fn nat_network_asks_the_host_or_the_uplink() {
        let mut def = network(Some(ForwardMode::Nat), vec![v4()]);
        def.mtu = Some(9000);
        def.domain = Some(DnsDomain { name: "example.com".into(), local_only: true });
        insta::assert_snapshot!(tested(&def, None));
        let through_uplink = tested(&def, Some("169.254.1.1".parse().unwrap()));
        assert!(through_uplink.contains("\nno-resolv\nserver=169.254.1.1\n"));
    }

    #[test]
    fn ipv6_with_and_without_dhcp() {
        let mut slaac = ip("fd00:5::1/64", &[], Vec::new());
        slaac.dhcp = None;
        let advertised = tested(&network(Some(ForwardMode::Nat), vec![v4(), slaac.clone()]), None);
        assert!(advertised.contains("\ndhcp-range=fd00:5::1,ra-only\n"), "{advertised}");
        let hosts = vec![host(None, Some("paul"), Some("fd00:6::20"))];
        let stateful = ip("fd00:6::1/64", &[("fd00:6::100", "fd00:6::1ff")], hosts);
        insta::assert_snapshot!(tested(&network(Some(ForwardMode::Route), vec![stateful, slaac]), None));
    }

    #[test]
    fn reservations_without_a_range_and_dns_off() {
        let only = ip("10.0.0.1/8", &[], vec![host(Some("52:54:00:00:00:01"), None, Some("10.0.0.5"))]);
        let mut def = network(Some(ForwardMode::Nat), vec![only]);
        def.dns = false;
        let conf = tested(&def, None);
        assert!(conf.contains("\nport=0\n") && conf.contains("\ndhcp-range=10.0.0.1,static,255.0.0.0\n"));
        def.ips[0].dhcp = None;
        assert_eq!(plan(&def, "wbr0", Path::new("/x"), None), None);
        def.ips.clear();
        def.dns = true;
        assert_eq!(plan(&def, "wbr0", Path::new("/x"), None), None);
    }

    #[test]
    fn no_value_becomes_a_line() {
        let evil = "x\ndhcp-script=/bin/sh #";
        let hosts = vec![
            host(Some("52:54:00:00:00:01"), Some(evil), Some("10.0.0.5")),
            host(None, Some("a,set:b"), Some("10.0.0.6")),
        ];
        let mut def = network(Some(ForwardMode::Nat), vec![ip("10.0.0.1/8", &[], hosts)]);
        def.domain = Some(DnsDomain { name: evil.into(), local_only: true });
        let conf = tested(&def, None);
        assert!(!conf.contains("script") && !conf.contains("set:"), "{conf}");
        assert_eq!(quoted(Path::new("/a\nb\"#")), "\"/a?b\\\"#\"");
    }
}
