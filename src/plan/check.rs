//! Judges whole definitions: what belongs together, what excludes each other, what cannot be run yet.
//!
//! Owns the rules that need more than one place of a document, or its meaning. Rules are libvirt's
//! unless said otherwise. Must never look at the host or at other documents.

mod host_devices;
mod storage;
mod storage_start;

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{
    Definition, Device, Doc, DomainDef, DomainDoc, Finding, ForwardMode, InterfaceDef, IpDef, Mac,
    NetworkDef, NetworkDoc, Severity,
};

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
    check.findings
}

/// Everything there is to say about a domain's document, with what was noticed while reading it.
pub fn domain(doc: &DomainDoc) -> Vec<Finding> {
    let mut check = Check::new(doc);
    let def = doc.def();
    // Else the cells say how much there is.
    let has_cells = doc.tree().find("/domain/cpu/numa").is_some();
    if def.memory.0 == 0 && !has_cells {
        check.error("/domain/memory", "the domain has no memory", "add <memory unit='MiB'>512</memory>");
    }
    if def.vcpus == 0 {
        check.error("/domain/vcpu", "the domain has no CPU", "give at least 1");
    }
    for (name, given) in [("initrd", def.os.initrd.is_some()), ("cmdline", def.os.cmdline.is_some())] {
        if given && def.os.kernel.is_none() {
            let message = format!("<{name}> is for a <kernel>, and there is none");
            check.add(Severity::Unsupported, &format!("/domain/os/{name}"), message, "add <kernel>");
        }
    }
    let nics: Vec<&InterfaceDef> = def.interfaces().collect();
    macs(&mut check, &nics);
    let taps = nics
        .iter()
        .filter(|n| n.kind.has_tap())
        .filter_map(|n| Some((at(&n.info.path, "target/@dev"), n.target.clone()?)));
    check.unique("the name of a TAP", taps);
    aliases(&mut check, &nics);
    storage::check(&mut check, def);
    storage_start::check(&mut check, def);
    host_devices::check(&mut check, def);
    boot(&mut check, doc);
    consoles_and_displays(&mut check, doc);
    check.findings
}

/// Findings on one document, each placed by its path.
struct Check<'a, D> {
    doc: &'a Doc<D>,
    findings: Vec<Finding>,
}

impl<'a, D: Definition> Check<'a, D> {
    fn new(doc: &'a Doc<D>) -> Self {
        Self { doc, findings: doc.findings().to_vec() }
    }

    fn add(&mut self, severity: Severity, path: &str, message: String, remedy: &str) {
        // What is missing is placed at the nearest element that is there.
        let tree = self.doc.tree();
        let mut place = path;
        let element = loop {
            match (tree.find(place), place.rsplit_once('/')) {
                (Some(element), _) => break element,
                (None, Some((parent, _))) => place = parent,
                (None, None) => break tree.root(),
            }
        };
        self.findings.push(Finding {
            severity,
            path: path.to_owned(),
            line: element.line(),
            column: element.column(),
            message,
            remedy: remedy.to_owned(),
        });
    }

    fn error(&mut self, path: &str, message: impl Into<String>, remedy: &str) {
        self.add(Severity::Error, path, message.into(), remedy);
    }

    fn unsupported(&mut self, path: &str, message: impl Into<String>, remedy: &str) {
        self.add(Severity::Unsupported, path, message.into(), remedy);
    }

    /// Every value may stand once; the error stands at the later place and names the first.
    fn unique<V: Eq + Hash + Display>(&mut self, what: &str, values: impl Iterator<Item = (String, V)>) {
        let mut seen: HashMap<V, String> = HashMap::new();
        for (path, value) in values {
            if let Some(first) = seen.get(&value) {
                self.error(&path, format!("{what}, '{value}', is given twice; first at {first}"), "");
            } else {
                seen.insert(value, path);
            }
        }
    }
}

fn at(path: &str, step: &str) -> String {
    format!("{path}/{step}")
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

fn macs(check: &mut Check<'_, DomainDef>, nics: &[&InterfaceDef]) {
    let mut seen: HashMap<Mac, &InterfaceDef> = HashMap::new();
    for nic in nics {
        let Some(mac) = nic.mac else { continue };
        let path = at(&nic.info.path, "mac/@address");
        if mac.is_multicast() {
            let remedy = "the second digit of a NIC's address is even";
            check.error(&path, format!("{mac} is a multicast address"), remedy);
        }
        match seen.get(&mac) {
            Some(first) if !(first.teaming && nic.teaming) => {
                let message = format!("the MAC address {mac} is given twice; first at {}", first.info.path);
                check.error(&path, message, "leave one out and Warren chooses another");
            }
            Some(_) => {}
            None => {
                seen.insert(mac, nic);
            }
        }
    }
}

/// Aliases name devices in QEMU: those that are given and those that Warren makes, `net0`, `net1` ….
fn aliases(check: &mut Check<'_, DomainDef>, nics: &[&InterfaceDef]) {
    let named = nics.iter().enumerate().map(|(i, nic)| {
        let alias = nic.info.alias.clone().unwrap_or_else(|| format!("net{i}"));
        (at(&nic.info.path, "alias/@name"), alias)
    });
    check.unique("the alias of an interface", named);
}

fn boot(check: &mut Check<'_, DomainDef>, doc: &DomainDoc) {
    let def = doc.def();
    let orders = def.devices.iter().filter_map(|d| match d {
        Device::Disk(disk) => Some((at(&disk.info.path, "boot/@order"), disk.info.boot_order?)),
        Device::Interface(nic) => Some((at(&nic.info.path, "boot/@order"), nic.info.boot_order?)),
        _ => None,
    });
    let orders: Vec<(String, u32)> = orders.collect();
    if let Some((path, _)) = orders.first()
        && !def.os.boot.is_empty()
    {
        let message = "<boot order> of a device and <os><boot> exclude each other";
        check.error(path, message, "leave <os><boot> out");
    }
    check.unique("a place in the boot order", orders.into_iter());
}

fn consoles_and_displays(check: &mut Check<'_, DomainDef>, doc: &DomainDoc) {
    let serials = doc.def().devices.iter().filter_map(|d| match d {
        Device::Serial(s) => Some((at(&s.info.path, "target/@port"), s.port)),
        _ => None,
    });
    let serials: Vec<_> = serials.collect();
    if let Some((path, port)) = serials.iter().find(|(_, port)| *port > 3) {
        let message = format!("there is no serial port {port}");
        check.add(Severity::Unsupported, path, message, "a PC has the ports 0 to 3");
    }
    check.unique("the port of a serial device", serials.into_iter());
    let mut displays = doc.def().devices.iter().filter_map(|d| match d {
        Device::Graphics(g) => Some(&g.info.path),
        _ => None,
    });
    if let Some(second) = displays.nth(1) {
        check.error(second, "a second display of type vnc is given", "a domain has one");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(findings: &[Finding]) -> String {
        let line = |f: &Finding| format!("{} {f}", f.severity.as_str());
        findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn of_network(inner: &str) -> String {
        show(&network(&NetworkDoc::parse(&format!("<network><name>n</name>\n{inner}\n</network>")).unwrap()))
    }

    fn of_domain(outer: &str, devices: &str) -> String {
        let text =
            format!("<domain type='qemu'><name>n</name>{outer}\n<devices>\n{devices}\n</devices>\n</domain>");
        show(&domain(&DomainDoc::parse(&text).unwrap()))
    }

    const OUTER: &str = "<memory>65536</memory><os><type>hvm</type></os>";

    #[test]
    fn good_documents_have_no_findings() {
        assert_eq!(of_network("<forward/><ip address='10.0.0.1' netmask='255.0.0.0'/>"), "");
        assert_eq!(of_network("<ip address='' netmask=''><dhcp><range start='' end=''/></dhcp></ip>"), "");
        assert_eq!(of_domain(OUTER, "<interface type='user'/><graphics type='vnc' port='-1'/>"), "");
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

    #[test]
    fn what_must_be_unique_in_a_domain() {
        let devices = "<interface type='user'><mac address='52:54:00:00:00:01'/></interface>\n\
            <interface type='bridge'><mac address='52:54:00:00:00:01'/><source dev='b'/><target dev='t'/><alias name='ua-n'/></interface>\n\
            <interface type='ethernet'><mac address='53:54:00:00:00:01'/><target dev='t'/><alias name='ua-n'/></interface>\n\
            <disk><source file='/a'/><target dev='vda'/><boot order='1'/></disk>\n\
            <disk><source file='/b'/><target dev='vda'/><boot order='1'/></disk>\n\
            <serial type='pty'><target port='1'/></serial><serial type='pty'/><serial type='pty'><target port='9'/></serial>\n\
            <graphics type='vnc'/><graphics type='vnc'/>";
        let outer = "<memory>1</memory><os><type>hvm</type><boot dev='hd'/></os>";
        insta::assert_snapshot!(of_domain(outer, devices), @"
        error /domain/devices/interface[2]/mac/@address (line 4, column 26): the MAC address 52:54:00:00:00:01 is given twice; first at /domain/devices/interface[1]; leave one out and Warren chooses another
        error /domain/devices/interface[3]/mac/@address (line 5, column 28): 53:54:00:00:00:01 is a multicast address; the second digit of a NIC's address is even
        error /domain/devices/interface[3]/target/@dev (line 5, column 62): the name of a TAP, 't', is given twice; first at /domain/devices/interface[2]/target/@dev
        error /domain/devices/interface[3]/alias/@name (line 5, column 79): the alias of an interface, 'ua-n', is given twice; first at /domain/devices/interface[2]/alias/@name
        error /domain/devices/disk[2]/target/@dev (line 7, column 26): the target of a disk, 'vda', is given twice; first at /domain/devices/disk[1]/target/@dev
        error /domain/devices/disk[1]/boot/@order (line 6, column 45): <boot order> of a device and <os><boot> exclude each other; leave <os><boot> out
        error /domain/devices/disk[2]/boot/@order (line 7, column 45): a place in the boot order, '1', is given twice; first at /domain/devices/disk[1]/boot/@order
        unsupported /domain/devices/serial[3]/target/@port (line 8, column 86): there is no serial port 9; a PC has the ports 0 to 3
        error /domain/devices/graphics[2] (line 9, column 23): a second display of type vnc is given; a domain has one
        ");
    }

    #[test]
    fn a_guest_needs_memory_and_a_cpu() {
        let outer = "<vcpu>0</vcpu><os><type>hvm</type><initrd>/i</initrd><cmdline>quiet</cmdline></os>";
        insta::assert_snapshot!(of_domain(outer, ""), @r#"
        error /domain/memory (line 1, column 1): the domain has no memory; add <memory unit='MiB'>512</memory>
        error /domain/vcpu (line 1, column 35): the domain has no CPU; give at least 1
        unsupported /domain/os/initrd (line 1, column 69): <initrd> is for a <kernel>, and there is none; add <kernel>
        unsupported /domain/os/cmdline (line 1, column 88): <cmdline> is for a <kernel>, and there is none; add <kernel>
        "#);
    }

    #[test]
    fn a_teaming_pair_shares_its_mac() {
        let nic = "<interface type='user'><mac address='52:54:00:00:00:01'/><teaming type='persistent'/></interface>";
        assert!(!of_domain(OUTER, &nic.repeat(2)).contains("twice"));
    }
}
