//! Reads `<network>` documents. Owns libvirt's words and defaults for networks; must never judge what
//! belongs together (see `plan::check`).

use std::net::IpAddr;

use ipnet::IpNet;

use super::doc::{Definition, accept_notes, required, text_of};
use super::shaping::{bandwidth, virtual_port, vlan};
use super::{
    BridgeDef, DhcpDef, DhcpHost, DhcpRange, DnsDomain, Forward, ForwardMode, IfName, IpDef, NetworkDef,
};
use crate::xml::view::View;

/// The words of `<forward mode>`; `none` means as much as no `<forward>`.
const FORWARD_MODES: &[(&str, Option<ForwardMode>)] = &[
    ("nat", Some(ForwardMode::Nat)),
    ("route", Some(ForwardMode::Route)),
    ("open", Some(ForwardMode::Open)),
    ("none", None),
    ("bridge", Some(ForwardMode::Bridge)),
    ("private", Some(ForwardMode::Private)),
    ("vepa", Some(ForwardMode::Vepa)),
    ("passthrough", Some(ForwardMode::Passthrough)),
    ("hostdev", Some(ForwardMode::Hostdev)),
];

impl Definition for NetworkDef {
    const ROOT: &'static str = "network";

    fn read(root: &View<'_>) -> Option<Self> {
        accept_notes(root);
        // Run-time count of ports, which libvirt writes and does not read.
        root.attr("connections");
        let name = text_of(root, "name");
        if name.is_none() && root.element().child("name").is_none_or(|n| n.text().trim().is_empty()) {
            root.error("the network has no name", "add <name>");
        }
        Some(Self {
            uuid: text_of(root, "uuid"),
            forward: root.child("forward").and_then(|f| forward(&f)),
            bridge: root.child("bridge").map_or_else(no_bridge, |b| bridge(&b)),
            mac: root.child("mac").and_then(|m| m.parsed("address")),
            mtu: root.child("mtu").and_then(|m| mtu(&m)),
            domain: root.child("domain").and_then(|d| domain(&d)),
            dns: root.child("dns").and_then(|d| d.yes_no("enable")).unwrap_or(true),
            ips: root.children("ip").iter().map(ip).collect(),
            bandwidth: root.child("bandwidth").map(|b| bandwidth(&b)),
            vlan: root.child("vlan").and_then(|v| vlan(&v)),
            virtual_port: root.child("virtualport").map(|v| virtual_port(&v)),
            name: name?,
        })
    }
}

fn forward(view: &View<'_>) -> Option<Forward> {
    let mode = view.one_of("mode", FORWARD_MODES).unwrap_or(Some(ForwardMode::Nat));
    let dev: Option<IfName> = view.parsed("dev");
    let listed = view.child("interface").and_then(|i| {
        i.attr("connections");
        required(i.parsed::<IfName>("dev"), &i, "dev", "name an interface of the host")
    });
    if let (Some(dev), Some(listed)) = (&dev, &listed)
        && dev != listed
    {
        let remedy = "make them equal or leave one out";
        view.error_at("dev", format!("dev is '{dev}', but the first <interface> is '{listed}'"), remedy);
    }
    if let Some(nat) = view.child("nat") {
        forward_nat(&nat);
    }
    Some(Forward { mode: mode?, dev: dev.or(listed) })
}

/// `<nat>`: the port range that libvirt writes by default is what the kernel does anyway.
fn forward_nat(nat: &View<'_>) {
    if let Some(port) = nat.child("port") {
        let range = (port.attr("start"), port.attr("end"));
        if range != (Some("1024"), Some("65535")) {
            port.unsupported("Warren does not choose source ports for NAT yet", "leave <port> out");
        }
    }
}

fn no_bridge() -> BridgeDef {
    BridgeDef { name: None, stp: true, delay: 0 }
}

fn bridge(view: &View<'_>) -> BridgeDef {
    let template = view.element().attr("name").is_some_and(|n| n.contains("%d"));
    let name = if template {
        view.attr("name");
        view.warning_at("name", "a template has no effect: Warren numbers its bridges itself", "");
        None
    } else {
        view.parsed("name")
    };
    if view.element().attr("macTableManager") == Some("kernel") {
        view.attr("macTableManager");
    }
    BridgeDef { name, stp: view.yes_no("stp").unwrap_or(true), delay: view.parsed("delay").unwrap_or(0) }
}

fn mtu(view: &View<'_>) -> Option<u32> {
    let size = required(view.parsed::<u32>("size"), view, "size", "give a number of bytes")?;
    if !(68..=65535).contains(&size) {
        view.error_at("size", format!("an MTU of {size} bytes is not possible"), "give 68 to 65535");
        return None;
    }
    Some(size)
}

fn domain(view: &View<'_>) -> Option<DnsDomain> {
    let name = required(view.filled("name"), view, "name", "give a DNS domain like 'lab.example'");
    let local_only = view.yes_no("localOnly").unwrap_or(false);
    let name = name?;
    if !is_dns_name(name) {
        view.error_at("name", format!("'{}' is not a DNS name", name.escape_debug()), "");
        return None;
    }
    Some(DnsDomain { name: name.to_owned(), local_only })
}

/// Labels of letters, digits, `-` and `_`, with dots between: nothing that a line of dnsmasq's
/// configuration could take for something else.
fn is_dns_name(name: &str) -> bool {
    let label = |l: &str| {
        let ok = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && l.chars().all(ok)
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn ip(view: &View<'_>) -> IpDef {
    let family = view.one_of("family", &[("ipv4", 4), ("ipv6", 6)]);
    let address: Option<IpAddr> = view.parsed("address");
    let net = match address {
        Some(address) => ip_net(view, address, family),
        None => {
            free_net(view, family);
            None
        }
    };
    IpDef { path: view.path().to_owned(), net, dhcp: view.child("dhcp").map(|d| dhcp(&d)) }
}

/// What may stand beside an address that Warren chooses: it chooses an IPv4 /24.
fn free_net(view: &View<'_>, family: Option<u8>) {
    let remedy = "give the address, or leave family, netmask and prefix out";
    if family == Some(6) {
        view.error_at("address", "an IPv6 address is not chosen by Warren", remedy);
    }
    for (attr, only) in [("netmask", "255.255.255.0"), ("prefix", "24")] {
        if view.filled(attr).is_some_and(|v| v != only) {
            view.error_at(attr, "where Warren chooses the address, the subnet is a /24", remedy);
        }
    }
}

fn ip_net(view: &View<'_>, address: IpAddr, family: Option<u8>) -> Option<IpNet> {
    match (address, family) {
        (IpAddr::V4(_), Some(6)) => {
            view.error_at("family", format!("{address} is not an IPv6 address"), "");
        }
        (IpAddr::V6(_), Some(4)) => {
            view.error_at("family", format!("{address} is not an IPv4 address"), "");
        }
        // libvirt's rule: without a family it is IPv4.
        (IpAddr::V6(_), None) => {
            view.error_at("family", format!("{address} is an IPv6 address"), "add family='ipv6'");
        }
        _ => {}
    }
    let netmask: Option<IpAddr> = view.parsed("netmask");
    let prefix: Option<u8> = view.parsed("prefix");
    if netmask.is_some() && prefix.is_some() {
        view.error_at("netmask", "both netmask and prefix are given", "leave one out");
        return None;
    }
    if let Some(mask) = netmask {
        let net = IpNet::with_netmask(address, mask).ok().filter(|_| address.is_ipv4());
        if net.is_none() {
            let remedy = if address.is_ipv4() { "write it like 255.255.255.0" } else { "give a prefix" };
            view.error_at("netmask", format!("{mask} is not a netmask for {address}"), remedy);
        }
        return net;
    }
    if view.filled("netmask").is_some() || (prefix.is_none() && view.filled("prefix").is_some()) {
        return None;
    }
    let prefix = prefix.unwrap_or_else(|| default_prefix(address));
    let net = IpNet::new(address, prefix).ok();
    if net.is_none() {
        view.error_at("prefix", format!("{address} cannot have a prefix of {prefix} bits"), "");
    }
    net
}

/// libvirt's rule: the address class of old, and 64 bits in IPv6.
fn default_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(a) if a.octets()[0] < 128 => 8,
        IpAddr::V4(a) if a.octets()[0] < 192 => 16,
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 64,
    }
}

fn dhcp(view: &View<'_>) -> DhcpDef {
    DhcpDef {
        ranges: view.children("range").iter().filter_map(range).collect(),
        hosts: view.children("host").iter().filter_map(host).collect(),
    }
}

/// The outer `Option` is whether it can be read, the inner one whether it is given.
fn range(view: &View<'_>) -> Option<Option<DhcpRange>> {
    let remedy = "give both start and end, or neither to let Warren choose";
    match (view.filled("start"), view.filled("end")) {
        (None, None) => Some(None),
        (Some(_), Some(_)) => {
            let (start, end) = (view.parsed("start"), view.parsed("end"));
            Some(Some(DhcpRange { start: start?, end: end? }))
        }
        (start, _) => {
            let attr = if start.is_some() { "end" } else { "start" };
            view.error_at(attr, format!("the range has no {attr}"), remedy);
            None
        }
    }
}

fn host(view: &View<'_>) -> Option<DhcpHost> {
    let host = DhcpHost {
        mac: view.parsed("mac"),
        name: view.filled("name").map(str::to_owned),
        ip: view.parsed("ip"),
    };
    if let Some(name) = host.name.as_deref().filter(|n| !is_dns_name(n)) {
        view.error_at("name", format!("'{}' is not a host name", name.escape_debug()), "");
    }
    let by = [view.filled("mac"), view.filled("name"), view.element().attr("id")];
    if by.iter().all(Option::is_none) {
        view.error("the reservation names no host", "add mac or name");
    }
    // A client identifier alone: kept in the document, and reported as not known.
    (host.mac.is_some() || host.name.is_some()).then_some(host)
}

#[cfg(test)]
mod tests {
    use crate::model::{DocError, ForwardMode, NetworkDoc};

    #[test]
    fn the_words_of_2007_are_read() {
        let text = "<network>\n<name>private</name>\n<bridge name=\"br0\" />\n<ip address=\"\" netmask=\"\">\n\
                    <dhcp><range start=\"\" end=\"\" /></dhcp>\n</ip>\n</network>";
        let doc = NetworkDoc::parse(text).unwrap();
        assert_eq!(doc.def().forward_mode(), "isolated");
        assert_eq!(doc.def().ips[0].net, None);
        assert_eq!(doc.def().ips[0].dhcp.as_ref().unwrap().ranges, [None]);
        assert!(doc.findings().is_empty());
        assert_eq!(doc.to_xml(), text);
    }

    #[test]
    fn what_libvirt_writes_for_its_default_network_has_no_findings() {
        let text = "<network connections='2'><name>default</name><uuid>d237ce44-8efa-452c-b8e6-1ae9cf53aeb1</uuid>\
            <forward mode='nat'><nat><port start='1024' end='65535'/></nat></forward>\
            <bridge name='br0' stp='on' delay='0'/><mac address='52:54:00:00:00:01'/>\
            <ip address='192.168.122.1' netmask='255.255.255.0'>\
            <dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>";
        let doc = NetworkDoc::parse(text).unwrap();
        assert_eq!(doc.findings(), []);
        assert_eq!(doc.def().forward.as_ref().unwrap().mode, ForwardMode::Nat);
        assert_eq!(doc.def().ips[0].net.unwrap().to_string(), "192.168.122.1/24");
    }

    #[test]
    fn all_errors_are_in_one_answer() {
        let text = "<network>\n<name>../x</name>\n<uuid>7</uuid>\n<forward mode='nut' dev='an-interface-name'/>\n\
            <bridge stp='perhaps' delay='-1'/>\n<mac address='1:2'/>\n<mtu size='9'/>\n<domain name='a b'/>\n\
            <ip address='10.0.0.1' netmask='255.0.255.0'/>\n<ip address='10.0.0.1' prefix='33'/>\n\
            <ip address='fd00::1'/>\n<ip netmask='255.0.0.0'/>\n<ip address='10.0.0.1' prefix='8'>\n<dhcp>\n\
            <range start='10.0.0.2'/>\n<host ip='10.0.0.9'/>\n<host name='a,b'/>\n</dhcp></ip>\n</network>";
        let Err(DocError::Config(errors)) = NetworkDoc::parse(text) else { panic!("it is wrong") };
        let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        /network/name (line 2, column 1): '../x' cannot stand in <name>: '/' cannot stand in a name
        /network/uuid (line 3, column 1): '7' cannot stand in <uuid>: invalid length: found 1
        /network/forward/@mode (line 4, column 1): 'nut' is not known; known are nat, route, open, none, bridge, private, vepa, passthrough, hostdev
        /network/forward/@dev (line 4, column 1): 'an-interface-name' has 17 bytes, an interface name has 1 to 15
        /network/bridge/@stp (line 5, column 1): 'perhaps' is neither yes nor no
        /network/bridge/@delay (line 5, column 1): '-1' cannot stand here: invalid digit found in string
        /network/mac/@address (line 6, column 1): '1:2' is not a MAC address like 52:54:00:12:34:56
        /network/mtu/@size (line 7, column 1): an MTU of 9 bytes is not possible; give 68 to 65535
        /network/domain/@name (line 8, column 1): 'a b' is not a DNS name
        /network/ip[1]/@netmask (line 9, column 1): 255.0.255.0 is not a netmask for 10.0.0.1; write it like 255.255.255.0
        /network/ip[2]/@prefix (line 10, column 1): 10.0.0.1 cannot have a prefix of 33 bits
        /network/ip[3]/@family (line 11, column 1): fd00::1 is an IPv6 address; add family='ipv6'
        /network/ip[4]/@netmask (line 12, column 1): where Warren chooses the address, the subnet is a /24; give the address, or leave family, netmask and prefix out
        /network/ip[5]/dhcp/range/@end (line 15, column 1): the range has no end; give both start and end, or neither to let Warren choose
        /network/ip[5]/dhcp/host[1] (line 16, column 1): the reservation names no host; add mac or name
        /network/ip[5]/dhcp/host[2]/@name (line 17, column 1): 'a,b' is not a host name
        "#);
    }

    #[test]
    fn another_root_is_not_a_network() {
        let Err(DocError::Xml(e)) = NetworkDoc::parse("<domain/>") else { panic!("it is wrong") };
        insta::assert_snapshot!(e, @"/domain (line 1, column 1): the root element is <domain>; here it must be <network>");
    }
}
