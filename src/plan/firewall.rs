//! From a network to its firewall rules.
//!
//! Owns the policy: what guests may reach, and what may reach them (`docs/firewall.md` specifies it), as
//! data that renders to one atomic nft script. Must never apply it, and never touch another table than the
//! network's own.

use std::fmt::{self, Display, Formatter};
use std::net::Ipv4Addr;

use ipnet::IpNet;

use crate::model::{ForwardMode, Nat, NetworkDef, Uuid};

/// All rules of one network: one table of the family `inet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// The table's name.
    pub table: String,
    /// Its chains.
    pub chains: Vec<Chain>,
}

/// One chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name in the table.
    pub name: &'static str,
    /// Where packets come from; a chain without a hook is jumped to.
    pub hook: Option<Hook>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// Where the kernel calls a chain. What no rule decides is accepted, in every chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// To the host.
    Input,
    /// From the host.
    Output,
    /// Through the host.
    Forward,
    /// After routing, where addresses are translated.
    Postrouting,
}

/// One rule: when all matches hold, the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What must hold; all of it.
    pub matches: Vec<Match>,
    /// What then happens.
    pub verdict: Verdict,
}

/// A property of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It came in by this interface.
    In(String),
    /// It goes out by this interface.
    Out(String),
    /// It goes out by another interface than this.
    NotOut(String),
    /// Its source lies in this subnet.
    From(IpNet),
    /// Its destination lies in this subnet.
    To(IpNet),
    /// Its destination lies outside this subnet.
    NotTo(IpNet),
    /// It is TCP.
    Tcp,
    /// It is UDP.
    Udp,
    /// It is UDP to one of these ports.
    UdpTo(&'static [u16]),
    /// It is TCP to one of these ports.
    TcpTo(&'static [u16]),
    /// It belongs to a connection that was let through before.
    Answer,
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes, as far as this table is asked.
    Accept,
    /// It is refused with an ICMP message.
    Reject,
    /// The chain has nothing more to say.
    Return,
    /// Another chain decides.
    Jump(&'static str),
    /// It gets the host's address, and a port of this range.
    Masquerade(Option<(u16, u16)>),
    /// It gets an address of this range, and a port of that one.
    Translate((Ipv4Addr, Ipv4Addr), Option<(u16, u16)>),
}

/// The table of the network with this UUID.
pub fn table_name(uuid: &Uuid) -> String {
    format!("warren_{uuid}").replace('-', "_")
}

/// The rules of `def` on `bridge`; `None` where Warren filters nothing: mode `open`, and modes in which
/// the bridge is the host's.
pub fn plan(def: &NetworkDef, uuid: &Uuid, bridge: &str) -> Option<Ruleset> {
    let mode = def.forward.as_ref().map(|f| f.mode);
    let nat = def.forward.as_ref().map_or_else(Nat::default, |f| f.nat);
    if !matches!(mode, None | Some(ForwardMode::Nat | ForwardMode::Route)) {
        return None;
    }
    let bridge = bridge.to_owned();
    let dev = def.forward.as_ref().and_then(|f| f.dev.as_ref()).map(|d| d.as_str().to_owned());
    let subnets: Vec<IpNet> = def.ips.iter().filter_map(|ip| ip.net).map(|net| net.trunc()).collect();

    let mut from_guests = Vec::new();
    let mut to_guests = Vec::new();
    for net in subnets.iter().filter(|_| mode.is_some()) {
        let out = dev.clone().map(Match::Out);
        from_guests.push(accept([Some(Match::From(*net)), out]));
        // IPv6 has addresses for all, so it is routed in a NAT network too, unless asked for.
        let translated = mode == Some(ForwardMode::Nat) && is_translated(net, nat);
        let back = dev.clone().map(Match::In);
        to_guests.push(accept([Some(Match::To(*net)), back, translated.then_some(Match::Answer)]));
    }
    for rules in [&mut from_guests, &mut to_guests] {
        rules.push(Rule { matches: Vec::new(), verdict: Verdict::Reject });
    }

    let mut chains = vec![
        hooked("input", Hook::Input, services(&Match::In(bridge.clone()), &[53, 67, 69, 547])),
        hooked("output", Hook::Output, services(&Match::Out(bridge.clone()), &[53, 68, 69, 546])),
        hooked("forward", Hook::Forward, forward(&bridge)),
        Chain { name: "from_guests", hook: None, rules: from_guests },
        Chain { name: "to_guests", hook: None, rules: to_guests },
    ];
    if mode == Some(ForwardMode::Nat) {
        let leaving = dev.map_or(Match::NotOut(bridge), Match::Out);
        let translated = subnets.iter().filter(|net| is_translated(net, nat));
        let rules = translated.flat_map(|net| translation(*net, nat, &leaving)).collect();
        chains.push(hooked("postrouting", Hook::Postrouting, rules));
    }
    Some(Ruleset { table: table_name(uuid), chains })
}

/// DHCP, DNS and TFTP between guests and host.
fn services(side: &Match, udp: &'static [u16]) -> Vec<Rule> {
    let dns: &[u16] = &[53];
    vec![
        accept([Some(side.clone()), Some(Match::UdpTo(udp))]),
        accept([Some(side.clone()), Some(Match::TcpTo(dns))]),
    ]
}

/// Guests among themselves, then each direction by its own chain.
fn forward(bridge: &str) -> Vec<Rule> {
    let (from, to) = (Match::In(bridge.to_owned()), Match::Out(bridge.to_owned()));
    vec![
        accept([Some(from.clone()), Some(to.clone())]),
        Rule { matches: vec![from], verdict: Verdict::Jump("from_guests") },
        Rule { matches: vec![to], verdict: Verdict::Jump("to_guests") },
    ]
}

fn is_translated(net: &IpNet, nat: Nat) -> bool {
    net.addr().is_ipv4() || nat.ipv6
}

/// Translation of one subnet, but for what never leaves a link.
fn translation(net: IpNet, nat: Nat, leaving: &Match) -> Vec<Rule> {
    let never_leaves = match net {
        IpNet::V4(_) => vec![
            IpNet::new_assert([224, 0, 0, 0].into(), 24),
            IpNet::new_assert([255, 255, 255, 255].into(), 32),
        ],
        IpNet::V6(_) => vec![IpNet::new_assert([0xff02, 0, 0, 0, 0, 0, 0, 0].into(), 16)],
    };
    let untranslated = |to| Rule { matches: vec![Match::From(net), Match::To(to)], verdict: Verdict::Return };
    let translate = |protocol: Option<Match>, ports| {
        let mut matches = vec![leaving.clone(), Match::From(net), Match::NotTo(net)];
        matches.extend(protocol);
        let verdict = match nat.addresses.filter(|_| net.addr().is_ipv4()) {
            Some(addresses) => Verdict::Translate(addresses, ports),
            None => Verdict::Masquerade(ports),
        };
        Rule { matches, verdict }
    };
    // Lower ports are trusted by some, as NFS. No range, or one that says nothing, means these.
    let (first, last) = nat.ports.filter(|ports| *ports != (0, 0)).unwrap_or((1024, 65535));
    let ports = Some((first.max(1), last));
    let mut rules: Vec<Rule> = never_leaves.into_iter().map(untranslated).collect();
    rules.extend(
        [(Some(Match::Tcp), ports), (Some(Match::Udp), ports), (None, None)].map(|(p, r)| translate(p, r)),
    );
    rules
}

fn accept<const N: usize>(matches: [Option<Match>; N]) -> Rule {
    Rule { matches: matches.into_iter().flatten().collect(), verdict: Verdict::Accept }
}

fn hooked(name: &'static str, hook: Hook, rules: Vec<Rule>) -> Chain {
    Chain { name, hook: Some(hook), rules }
}

impl Display for Ruleset {
    /// One script for `nft -f -`. It replaces the table whether or not it is there: the kernel takes the
    /// three steps as one transaction, so that no packet meets a state between.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        writeln!(f, "add table inet {table}\ndelete table inet {table}\ntable inet {table} {{")?;
        // A chain stands before those that jump to it.
        let (hooked, jumped_to): (Vec<_>, Vec<_>) = self.chains.iter().partition(|c| c.hook.is_some());
        for chain in jumped_to.into_iter().chain(hooked) {
            write!(f, "{chain}")?;
        }
        writeln!(f, "}}")
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(hook) = self.hook {
            writeln!(f, "\t\t{hook}")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (kind, name, priority) = match self {
            Self::Input => ("filter", "input", "filter"),
            Self::Output => ("filter", "output", "filter"),
            Self::Forward => ("filter", "forward", "filter"),
            Self::Postrouting => ("nat", "postrouting", "srcnat"),
        };
        write!(f, "type {kind} hook {name} priority {priority}; policy accept;")
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for each in &self.matches {
            write!(f, "{each} ")?;
        }
        write!(f, "{}", self.verdict)
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let family = |net: &IpNet| if net.addr().is_ipv4() { "ip" } else { "ip6" };
        let list = |ports: &[u16]| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::In(name) => write!(f, "iifname \"{name}\""),
            Self::Out(name) => write!(f, "oifname \"{name}\""),
            Self::NotOut(name) => write!(f, "oifname != \"{name}\""),
            Self::From(net) => write!(f, "{} saddr {net}", family(net)),
            Self::To(net) => write!(f, "{} daddr {net}", family(net)),
            Self::NotTo(net) => write!(f, "{} daddr != {net}", family(net)),
            Self::Tcp => write!(f, "meta l4proto tcp"),
            Self::Udp => write!(f, "meta l4proto udp"),
            Self::UdpTo(ports) => write!(f, "udp dport {{ {} }}", list(ports)),
            Self::TcpTo(ports) => write!(f, "tcp dport {{ {} }}", list(ports)),
            Self::Answer => write!(f, "ct state established,related"),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => write!(f, "accept"),
            Self::Reject => write!(f, "reject"),
            Self::Return => write!(f, "return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Masquerade(None) => write!(f, "masquerade"),
            Self::Masquerade(Some(ports)) => write!(f, "masquerade to :{}", span(ports)),
            Self::Translate(addresses, None) => write!(f, "snat ip to {}", span(addresses)),
            Self::Translate(addresses, Some(ports)) => {
                write!(f, "snat ip to {}:{}", span(addresses), span(ports))
            }
        }
    }
}

/// A range as nft writes it; one of a single value is that value.
fn span<T: Display + PartialEq>((first, last): &(T, T)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NetworkDoc;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn network(inner: &str) -> NetworkDef {
        let doc = NetworkDoc::parse(&format!("<network><name>n</name>{inner}</network>")).unwrap();
        doc.def().clone()
    }

    const V4: &str = "<ip address='192.168.5.1' prefix='24'/>";
    const V6: &str = "<ip family='ipv6' address='fd00:5::1' prefix='64'/>";

    /// The script, after the real nft has taken it twice in a namespace of its own.
    fn tested(def: &NetworkDef) -> String {
        let uuid = "d237ce44-8efa-452c-b8e6-1ae9cf53aeb1".parse().unwrap();
        let script = plan(def, &uuid, "wbr0").unwrap().to_string();
        for program in ["nft -c -f -", "nft -f -"] {
            let twice = format!("{script}{script}");
            let mut nft = Command::new("unshare")
                .args(["-n", "sh", "-c", program])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            nft.stdin.take().unwrap().write_all(twice.as_bytes()).unwrap();
            let run = nft.wait_with_output().unwrap();
            assert!(run.status.success(), "{}\n{script}", String::from_utf8_lossy(&run.stderr));
        }
        script
    }

    #[test]
    fn isolated() {
        insta::assert_snapshot!(tested(&network(V4)));
    }

    #[test]
    fn nat() {
        insta::assert_snapshot!(tested(&network(&format!("<forward/>{V4}{V6}"))));
    }

    #[test]
    fn nat_by_one_device() {
        insta::assert_snapshot!(tested(&network(&format!("<forward dev='eth0'/>{V4}"))));
    }

    #[test]
    fn nat_to_addresses_and_ports_and_of_ipv6() {
        let nat = |inner: &str| {
            let script =
                tested(&network(&format!("<forward><nat ipv6='yes'>{inner}</nat></forward>{V4}{V6}")));
            let chain = script.split("chain postrouting {").nth(1).unwrap();
            chain.split('}').next().unwrap().to_owned()
        };
        let all = "<address start='10.9.0.1' end='10.9.0.9'/><port start='500' end='1000'/>";
        insta::assert_snapshot!(nat(all), @r#"

        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 192.168.5.0/24 ip daddr 224.0.0.0/24 return
        ip saddr 192.168.5.0/24 ip daddr 255.255.255.255/32 return
        oifname != "wbr0" ip saddr 192.168.5.0/24 ip daddr != 192.168.5.0/24 meta l4proto tcp snat ip to 10.9.0.1-10.9.0.9:500-1000
        oifname != "wbr0" ip saddr 192.168.5.0/24 ip daddr != 192.168.5.0/24 meta l4proto udp snat ip to 10.9.0.1-10.9.0.9:500-1000
        oifname != "wbr0" ip saddr 192.168.5.0/24 ip daddr != 192.168.5.0/24 snat ip to 10.9.0.1-10.9.0.9
        ip6 saddr fd00:5::/64 ip6 daddr ff02::/16 return
        oifname != "wbr0" ip6 saddr fd00:5::/64 ip6 daddr != fd00:5::/64 meta l4proto tcp masquerade to :500-1000
        oifname != "wbr0" ip6 saddr fd00:5::/64 ip6 daddr != fd00:5::/64 meta l4proto udp masquerade to :500-1000
        oifname != "wbr0" ip6 saddr fd00:5::/64 ip6 daddr != fd00:5::/64 masquerade
        "#);
        let one = nat("<address start='10.9.0.1' end='10.9.0.1'/>");
        assert!(
            one.contains("snat ip to 10.9.0.1:1024-65535\n") && one.contains("snat ip to 10.9.0.1\n"),
            "{one}"
        );
        assert!(nat("<port start='0' end='0'/>").contains("masquerade to :1024-65535\n"));
        assert!(nat("<port start='0' end='7'/>").contains("masquerade to :1-7\n"));
        assert!(nat("<port start='7' end='7'/>").contains("masquerade to :7\n"));
    }

    #[test]
    fn route() {
        insta::assert_snapshot!(tested(&network(
            "<forward mode='route' dev='eth0'/><ip address='10.0.0.1'/>\
             <ip family='ipv6' address='fd00::1' prefix='64'/>"
        )));
    }

    #[test]
    fn nothing_is_filtered_where_the_mode_says_so() {
        for mode in ["open", "bridge"] {
            let def = network(&format!("<forward mode='{mode}'/><ip address='10.0.0.1'/>"));
            assert_eq!(plan(&def, &Uuid::nil(), "wbr0"), None);
        }
        let name = table_name(&"d237ce44-8efa-452c-b8e6-1ae9cf53aeb1".parse().unwrap());
        assert_eq!(name, "warren_d237ce44_8efa_452c_b8e6_1ae9cf53aeb1");
    }
}
