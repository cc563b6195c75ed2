//! What a NIC may be on a network that is not its owner's.
//!
//! Owns the rule that a port changes nothing of the network: neither its MTU nor who is kept from whom. Must never
//! look at a domain's other devices.

use crate::model::{Finding, InterfaceDef, Mac, NetworkDef, Severity};

/// What the kernel gives a bridge where nothing is said.
pub const DEFAULT_MTU: u32 = 1500;

/// The least that IPv6 works with: below it the kernel gives an interface no IPv6.
const LEAST_IPV6: u32 = 1280;

/// The least that the kernel takes.
const LEAST: u32 = 68;

/// What a network says of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortRules {
    /// The network's MTU.
    pub mtu: u32,
    /// Whether there is IPv6 on it.
    pub ipv6: bool,
    /// Whether it keeps its guests from each other.
    pub isolated: bool,
    /// Whose network it is.
    pub owner: u32,
    /// The bridge's own address, where the definition has it.
    pub mac: Option<Mac>,
}

/// What a NIC asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortWish {
    /// `<mtu size>`.
    pub mtu: Option<u32>,
    /// `<port isolated>`.
    pub isolated: Option<bool>,
    /// Whose domain it is.
    pub owner: u32,
    /// `<mac address>`.
    pub mac: Option<Mac>,
}

impl PortWish {
    /// What this NIC of a domain of `owner` asks for.
    pub fn of(nic: &InterfaceDef, owner: u32) -> Self {
        Self { mtu: nic.mtu, isolated: nic.isolated, owner, mac: nic.mac }
    }
}

impl PortRules {
    /// The rules of a network of `owner`.
    pub fn of(def: &NetworkDef, owner: u32) -> Self {
        let ipv6 = def.ipv6 || def.ips.iter().filter_map(|ip| ip.net).any(|net| net.addr().is_ipv6());
        let isolated = def.isolated_ports == Some(true);
        Self { mtu: def.mtu.unwrap_or(DEFAULT_MTU), ipv6, isolated, owner, mac: def.mac }
    }

    /// Whether a port reaches no other port like it. Who must not lift that does not, though the guest may have been
    /// started before the network had this rule.
    pub fn isolates(&self, wish: PortWish) -> bool {
        match wish.isolated {
            Some(false) => self.isolated && !self.is_of(wish),
            asked => asked.unwrap_or(self.isolated),
        }
    }

    /// Whether the network is of who asks, or root asks.
    fn is_of(&self, wish: PortWish) -> bool {
        wish.owner == 0 || wish.owner == self.owner
    }

    /// Why a NIC cannot be on this network; `path` is the NIC's, `network` the name.
    pub fn objections(&self, wish: PortWish, path: &str, network: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut object = |place: &str, message: String, remedy: String| {
            let path = format!("{path}/{place}");
            findings.push(Finding { severity: Severity::Error, path, line: 0, column: 0, message, remedy });
        };
        let least = if self.ipv6 { LEAST_IPV6 } else { LEAST };
        if let Some(mtu) = wish.mtu.filter(|mtu| !(least..=self.mtu).contains(mtu)) {
            let why = if mtu > self.mtu {
                format!("an MTU of {mtu} bytes is more than the {} of the network '{network}'", self.mtu)
            } else if self.ipv6 {
                format!("an MTU of {mtu} bytes is too small for IPv6, which the network '{network}' has")
            } else {
                format!("an MTU of {mtu} bytes is not possible")
            };
            object("mtu/@size", why, format!("give {least} to {}, or leave <mtu> out", self.mtu));
        }
        let remedy = "give another, or leave it out and Warren chooses one";
        if wish.mac.is_some_and(Mac::is_zero) {
            object(
                "mac/@address",
                "00:00:00:00:00:00 is the address of no NIC".to_owned(),
                remedy.to_owned(),
            );
        } else if let Some(mac) = wish.mac.filter(|_| wish.mac == self.mac) {
            let why = format!("{mac} is the address of the network '{network}' itself");
            object("mac/@address", why, remedy.to_owned());
        }
        if self.isolated && wish.isolated == Some(false) && !self.is_of(wish) {
            let why = format!("the network '{network}' keeps its guests from each other");
            object("port/@isolated", why, "leave <port> out; only the network's owner can lift that".into());
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NetworkDoc;

    #[test]
    fn a_nic_keeps_to_the_rules_of_its_network() {
        let rules = |inner: &str| {
            let doc = NetworkDoc::parse(&format!("<network><name>n</name>{inner}</network>")).unwrap();
            PortRules::of(doc.def(), 0)
        };
        let v6 = "<ip family='ipv6' address='fd00::1' prefix='64'/>";
        let refused = |inner: &str, mtu: u32| {
            let wish = PortWish { mtu: Some(mtu), ..PortWish::default() };
            let found = rules(inner).objections(wish, "/d", "n");
            found.first().map(ToString::to_string).unwrap_or_default()
        };
        for (inner, mtu) in [("", 1500), ("", 68), (v6, 1280), ("<mtu size='9000'/>", 9000)] {
            assert_eq!(refused(inner, mtu), "", "{inner} {mtu}");
        }
        insta::assert_snapshot!(refused("", 1501), @"/d/mtu/@size: an MTU of 1501 bytes is more than the 1500 of the network 'n'; give 68 to 1500, or leave <mtu> out");
        insta::assert_snapshot!(refused("", 67), @"/d/mtu/@size: an MTU of 67 bytes is not possible; give 68 to 1500, or leave <mtu> out");
        insta::assert_snapshot!(refused(v6, 1279), @"/d/mtu/@size: an MTU of 1279 bytes is too small for IPv6, which the network 'n' has; give 1280 to 1500, or leave <mtu> out");
        assert!(!refused("<mtu size='1400'/>", 1401).is_empty());

        let isolating = rules("<port isolated='yes'/>");
        let wish = |owner| PortWish { isolated: Some(false), owner, ..PortWish::default() };
        assert_eq!(isolating.objections(wish(0), "/d", "n"), []);
        assert!(!isolating.isolates(wish(0)) && isolating.isolates(PortWish::default()));
        assert!(isolating.isolates(wish(1000)) && !rules("").isolates(wish(1000)));
        let found = isolating.objections(wish(1000), "/d", "n");
        assert_eq!(found[0].path, "/d/port/@isolated");
        assert_eq!(rules("").objections(wish(1000), "/d", "n"), []);

        let of_mac = |mac: &str| {
            let wish = PortWish { mac: Some(mac.parse().unwrap()), ..PortWish::default() };
            let found = rules("<mac address='52:54:00:00:00:01'/>").objections(wish, "/d", "n");
            found.first().map(ToString::to_string).unwrap_or_default()
        };
        assert_eq!(of_mac("52:54:00:00:00:02"), "");
        insta::assert_snapshot!(of_mac("52:54:00:00:00:01"), @"/d/mac/@address: 52:54:00:00:00:01 is the address of the network 'n' itself; give another, or leave it out and Warren chooses one");
        insta::assert_snapshot!(of_mac("00:00:00:00:00:00"), @"/d/mac/@address: 00:00:00:00:00:00 is the address of no NIC; give another, or leave it out and Warren chooses one");
    }
}
