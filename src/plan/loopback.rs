//! The rules of the host's loopback: who may connect to the displays of guests there, and what guests may reach.
//!
//! Owns the table `inet warren`. Its chain sees what the host sends to itself, by the uid of the sender. A display is
//! found by its address and port, a guest by its uid, which lies in a reserved range: what a packet costs does not grow
//! with the number of guests. Only what opens a connection is asked, so that nothing is cut off.
//!
//! Changes are scripts for `nft -f -`. Those for one guest fail where the table is not as Warren left it; then
//! [`whole`] is what makes it anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use crate::model::{
    CharBackend, DomainDef, Image, InterfaceKind, Location, NetworkSource, Protocol, Transport,
};

/// The table, of the family `inet`.
pub const TABLE: &str = "warren";

/// What the rules know of one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Its QEMU's uid.
    pub uid: u32,
    /// Who may connect to its displays, beside root.
    pub owner: u32,
    /// Where its displays listen. An unspecified address is all of its kind; `::` is all of both.
    pub displays: Vec<SocketAddr>,
    /// What it may connect to on this host.
    pub named: BTreeSet<Named>,
}

/// A server that a document names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// UDP rather than TCP.
    pub udp: bool,
    /// `None` for a name: any address of this host.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
}

/// The servers that QEMU connects to because the document names them, wherever they are. What `qemu:commandline` says
/// is not read.
pub fn named(def: &DomainDef) -> BTreeSet<Named> {
    let mut all = BTreeSet::new();
    let mut add = |udp: bool, host: &str, port: u16| {
        all.extend(addresses(host).into_iter().map(|address| Named { udp, address, port }));
    };
    for source in def.devices.iter().filter_map(|device| device.char_source()) {
        let (udp, at) = match &source.backend {
            CharBackend::Tcp { at, listen: false, .. } => (false, at),
            CharBackend::Udp { connect, .. } => (true, connect),
            _ => continue,
        };
        if let Ok(port) = at.service.parse() {
            add(udp, &at.host, port);
        }
    }
    for nic in def.interfaces() {
        match &nic.kind {
            InterfaceKind::Client(at) => add(false, &at.address, at.port),
            InterfaceKind::Udp { remote, .. } => add(true, &remote.address, remote.port),
            InterfaceKind::Mcast(at) if at.address.is_empty() => add(true, "239.0.0.1", at.port),
            InterfaceKind::Mcast(at) => add(true, &at.address, at.port),
            _ => {}
        }
    }
    for image in def.disks().flat_map(|disk| disk.source.iter().flat_map(Image::chain)) {
        if let Location::Network(source) = &image.location {
            servers(source, &mut add);
        }
    }
    all
}

/// What a host in a document stands for: an address, the local host, or a name, of which nothing is known.
fn addresses(host: &str) -> Vec<Option<IpAddr>> {
    let local = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    match host.parse::<IpAddr>() {
        // To connect to no address in particular is to connect to the local host.
        Ok(address) if address.is_unspecified() => local.map(Some).to_vec(),
        Ok(address) => vec![Some(address.to_canonical())],
        Err(_) if matches!(host, "" | "localhost") => local.map(Some).to_vec(),
        Err(_) => vec![None],
    }
}

fn servers(source: &NetworkSource, add: &mut impl FnMut(bool, &str, u16)) {
    let udp = source.protocol == Protocol::Tftp;
    let usual = source.protocol.port();
    if source.hosts.is_empty() {
        add(udp, "localhost", usual);
    }
    for host in source.hosts.iter().filter(|host| host.transport != Transport::Unix) {
        add(udp, &host.name, host.port.unwrap_or(usual));
    }
}

/// The table with these guests in it, whatever is there: one transaction. `guests` are the uids that guests have;
/// `resolvers` those servers for names that the host asks.
pub fn whole(guests: &Range<u32>, resolvers: &[IpAddr], all: &[&Reach]) -> String {
    let mut script = removal();
    script.push_str(&frame(guests, resolvers));
    for reach in all {
        script.push_str(&elements(guests, reach, "add"));
    }
    script
}

/// Adds one guest to a table that is there; fails if it is not.
pub fn addition(guests: &Range<u32>, reach: &Reach) -> String {
    // Even if the guest has no rules of its own, this fails where somebody else has flushed the rules.
    format!("flush chain inet {TABLE} output\n{}{}", hook(), elements(guests, reach, "add"))
}

/// Removes one guest from a table that is there; fails if it is not in it. `last`: the owner has no other guest.
pub fn subtraction(guests: &Range<u32>, reach: &Reach, last: bool) -> String {
    let mut script = elements(guests, reach, "delete");
    if last && !reach.displays.is_empty() {
        script.push_str(&format!("delete chain inet {TABLE} owner_{}\n", reach.owner));
    }
    script
}

/// Removes the table, if it is there.
pub fn removal() -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")
}

fn hook() -> String {
    format!("add rule inet {TABLE} output oifname \"lo\" jump loopback\n")
}

/// The table without guests.
fn frame(guests: &Range<u32>, resolvers: &[IpAddr]) -> String {
    let resolvers = |v4: bool, loopback: &str| {
        let named = resolvers.iter().filter(|a| a.is_ipv4() == v4 && !a.is_loopback());
        let all: BTreeSet<String> = named.map(ToString::to_string).chain([loopback.to_owned()]).collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    };
    format!(
        "table inet {TABLE} {{
	map displays4 {{ type ipv4_addr . inet_service : verdict; }}
	map displays6 {{ type ipv6_addr . inet_service : verdict; }}
	map displays_any4 {{ type inet_service : verdict; }}
	map displays_any6 {{ type inet_service : verdict; }}
	set older {{ typeof meta skuid; }}
	set named4 {{ typeof meta skuid . meta l4proto . ip daddr . th dport; }}
	set named6 {{ typeof meta skuid . meta l4proto . ip6 daddr . th dport; }}
	set named_any {{ typeof meta skuid . meta l4proto . th dport; }}
	chain guests {{
		ct state established,related accept
		ip daddr {{ {v4} }} meta l4proto {{ tcp, udp }} th dport 53 accept
		ip6 daddr {{ {v6} }} meta l4proto {{ tcp, udp }} th dport 53 accept
		meta skuid . meta l4proto . ip daddr . th dport @named4 accept
		meta skuid . meta l4proto . ip6 daddr . th dport @named6 accept
		meta skuid . meta l4proto . th dport @named_any accept
		meta l4proto tcp reject with tcp reset
		reject
	}}
	chain loopback {{
		tcp flags & (syn | ack) != syn accept
		ip daddr . tcp dport vmap @displays4
		ip6 daddr . tcp dport vmap @displays6
		meta nfproto ipv4 tcp dport vmap @displays_any4
		meta nfproto ipv6 tcp dport vmap @displays_any6
		meta skuid {first}-{last} goto guests
		meta skuid @older goto guests
	}}
	chain output {{
		type filter hook output priority filter; policy accept;
	}}
}}
{hook}",
        v4 = resolvers(true, "127.0.0.0/8"),
        v6 = resolvers(false, "::1"),
        first = guests.start,
        last = guests.end.saturating_sub(1),
        hook = hook(),
    )
}

/// What belongs to one guest, to be added or deleted.
fn elements(guests: &Range<u32>, reach: &Reach, verb: &str) -> String {
    let mut script = String::new();
    let owner = format!("owner_{}", reach.owner);
    if verb == "add" && !reach.displays.is_empty() {
        let who = if reach.owner == 0 { "0".to_owned() } else { format!("{{ 0, {} }}", reach.owner) };
        let _ = write!(
            script,
            "add chain inet {TABLE} {owner}\nflush chain inet {TABLE} {owner}\n\
             add rule inet {TABLE} {owner} meta skuid {who} accept\n\
             add rule inet {TABLE} {owner} meta l4proto tcp reject with tcp reset\n"
        );
    }
    let mut element = |set: &str, key: String, value: &str| {
        let value = if verb == "add" { value } else { "" };
        let _ = writeln!(script, "{verb} element inet {TABLE} {set} {{ {key}{value} }}");
    };
    let goto = format!(" : goto {owner}");
    for display in reach.displays.iter().map(|d| SocketAddr::new(d.ip().to_canonical(), d.port())) {
        let port = display.port();
        match display.ip() {
            IpAddr::V4(address) if address.is_unspecified() => {
                element("displays_any4", port.to_string(), &goto);
            }
            IpAddr::V6(address) if address.is_unspecified() => {
                element("displays_any4", port.to_string(), &goto);
                element("displays_any6", port.to_string(), &goto);
            }
            IpAddr::V4(address) => element("displays4", format!("{address} . {port}"), &goto),
            IpAddr::V6(address) => element("displays6", format!("{address} . {port}"), &goto),
        }
    }
    if !guests.contains(&reach.uid) {
        element("older", reach.uid.to_string(), "");
    }
    for Named { udp, address, port } in &reach.named {
        let begin = format!("{} . {}", reach.uid, if *udp { "udp" } else { "tcp" });
        match address {
            Some(IpAddr::V4(address)) => element("named4", format!("{begin} . {address} . {port}"), ""),
            Some(IpAddr::V6(address)) => element("named6", format!("{begin} . {address} . {port}"), ""),
            None => element("named_any", format!("{begin} . {port}"), ""),
        }
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DomainDoc;
    use std::io::Write;
    use std::process::{Command, Stdio};

    const UIDS: Range<u32> = 1_900_004_096..1_900_065_536;

    fn reach(uid: u32, owner: u32, displays: &[&str], devices: &str) -> Reach {
        let text = format!(
            "<domain type='qemu'><name>n</name><memory>65536</memory><os><type>hvm</type></os>\
             <devices>{devices}</devices></domain>"
        );
        let named = named(DomainDoc::parse(&text).unwrap().def());
        Reach { uid, owner, displays: displays.iter().map(|d| d.parse().unwrap()).collect(), named }
    }

    /// What the real nft lists after it has taken these scripts, one after the other, in a namespace of its own.
    fn taken(scripts: &[String]) -> Result<String, String> {
        let each = "while IFS= read -r -d '' script; do nft -f - <<<\"$script\"; done; nft list ruleset";
        let mut nft = Command::new("unshare")
            .args(["-n", "bash", "-ec", each])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let all: String = scripts.iter().map(|script| format!("{script}\0")).collect();
        nft.stdin.take().unwrap().write_all(all.as_bytes()).unwrap();
        let run = nft.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if run.status.success() { Ok(text(&run.stdout)) } else { Err(text(&run.stderr)) }
    }

    fn table(all: &[&Reach]) -> String {
        whole(&UIDS, &["127.0.0.53".parse().unwrap(), "192.0.2.53".parse().unwrap()], all)
    }

    #[test]
    fn all_that_a_guest_may_have() {
        let devices = "<interface type='udp'><source address='192.168.1.2' port='1'><local address='' port='2'/></source></interface>\
            <interface type='mcast'><source address='' port='3'/></interface>\
            <interface type='client'><source address='' port='4'/></interface>\
            <interface type='server'><source address='' port='5'/></interface>\
            <serial type='tcp'><source mode='connect' host='localhost' service='6'/></serial>\
            <serial type='tcp'><source mode='bind' host='127.0.0.1' service='7'/></serial>\
            <disk type='network'><source protocol='nbd' name='x'><host name='store' port='8'/></source><target dev='vda'/></disk>\
            <disk type='network'><source protocol='nbd' name='x'/><target dev='vdb'/></disk>\
            <disk type='network'><source protocol='nbd'><host transport='unix' socket='/s'/></source><target dev='vdc'/></disk>";
        let one =
            reach(UIDS.start, 1000, &["127.0.0.1:5900", "[::1]:5901", "0.0.0.0:5902", "[::]:5903"], devices);
        let two = reach(1_900_000_001, 0, &["[::ffff:127.0.0.1]:5904"], "");
        insta::assert_snapshot!(taken(&[table(&[&one, &two])]).unwrap());
    }

    #[test]
    fn guests_come_and_go_one_by_one() {
        let one = reach(
            UIDS.start,
            1000,
            &["127.0.0.1:5900"],
            "<serial type='tcp'><source mode='connect' host='::1' service='6'/></serial>",
        );
        let two = reach(UIDS.start + 1, 1000, &["[::]:5901"], "");
        let plain = reach(1_900_000_001, 1001, &[], "");
        let empty = taken(&[table(&[])]).unwrap();
        let add = |reach| addition(&UIDS, reach);
        let remove = |reach, last| subtraction(&UIDS, reach, last);
        let come = [table(&[]), add(&one), add(&two), add(&plain)];
        assert_eq!(taken(&come).unwrap(), taken(&[table(&[&one, &two, &plain])]).unwrap());
        let gone = [&come[..], &[remove(&two, false), remove(&plain, true), remove(&one, true)]].concat();
        assert_eq!(taken(&gone).unwrap(), empty);
        assert_eq!(taken(&[&gone[..], &[removal(), removal()]].concat()).unwrap(), "");
        // What is not as it was left is noticed.
        for script in [add(&one), add(&plain), remove(&one, true)] {
            taken(&[script]).unwrap_err();
        }
        taken(&[table(&[]), remove(&one, true)]).unwrap_err();
        taken(&[table(&[&one]), add(&reach(UIDS.start, 1001, &["127.0.0.1:5900"], ""))]).unwrap_err();
    }
}
