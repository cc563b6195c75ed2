//! Fills in what a document leaves to Warren: UUIDs, MAC addresses, subnets and ranges, the addresses of socket
//! NICs, and the places of a guest's devices.
//!
//! Owns the rules of choosing and where the choice is written. Every choice goes into the tree, so it
//! is kept with the definition; completing twice changes nothing. Must never replace what somebody
//! wrote, and never look at the host: what is taken there is passed in.

mod places;
mod sockets;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use rand::Rng;

use crate::model::{DocError, DomainDef, DomainDoc, IpDef, Mac, NetworkDef, NetworkDoc, Uuid};
use crate::xml::{Document, Element};

/// Why a document cannot be completed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompleteError {
    /// Every /24 in 192.168.0.0/16 overlaps something.
    #[error(
        "no /24 subnet in 192.168.0.0/16 is free of the host's routes and other networks; give <ip address>"
    )]
    NoFreeSubnet,
    /// The subnet has no address beside the host's.
    #[error("{path}: there is no room for a DHCP range in {net}; give a wider subnet or leave <dhcp> out")]
    NoRoomForRange {
        /// Path of the `<ip>`.
        path: String,
        /// The host's address and its subnet.
        net: IpNet,
    },
    /// Random MAC addresses were all taken.
    #[error("no free MAC address was found among 52:54:00:*; give <mac address>")]
    NoFreeMac,
    /// The completed document cannot be read.
    #[error("the completed document is not valid")]
    Doc(#[from] DocError),
}

/// What of the world bears on a network's completion.
#[derive(Debug, Clone, Copy)]
pub struct NetworkFacts<'a> {
    /// UUID of the definition that is replaced.
    pub uuid: Option<Uuid>,
    /// Routes and addresses of the host, and subnets of other networks.
    pub used: &'a [IpNet],
}

/// What of the world bears on a domain's completion.
#[derive(Debug, Clone, Copy)]
pub struct DomainFacts<'a> {
    /// UUID of the definition that is replaced.
    pub uuid: Option<Uuid>,
    /// MACs of the replaced definition's NICs in order (see [`interface_macs`]): kept where the new
    /// document gives none.
    pub macs: &'a [Option<Mac>],
    /// MACs that other domains have.
    pub taken: &'a HashSet<Mac>,
    /// The definition that is replaced: its devices keep their places where the new document gives none.
    pub old: Option<&'a DomainDef>,
}

/// Gives a network its UUID, its bridge's MAC, and what its empty `<ip>` and `<range>` stand for: a
/// free /24 in 192.168.0.0/16 (192.168.122.0/24 first, then upward), the host at .1, and every
/// address after the host's for guests.
pub fn network(
    doc: &mut NetworkDoc,
    facts: &NetworkFacts<'_>,
    rng: &mut impl Rng,
) -> Result<(), CompleteError> {
    let def = doc.def();
    let uuid = missing_uuid(def.uuid, facts.uuid, rng);
    let mac = match def.mac {
        None if def.owns_bridge() => Some(free_mac(|_| true, rng)?),
        _ => None,
    };
    let ips = choose_ips(def, facts.used)?;
    if uuid.is_none() && mac.is_none() && ips.iter().all(IpChoice::is_nothing) {
        return Ok(());
    }
    doc.edit(|tree| {
        write_uuid(tree, uuid);
        if let Some(mac) = mac {
            write_bridge_mac(tree.root_mut(), mac);
        }
        let elements = tree.root_mut().children_mut().filter(|e| e.name() == "ip");
        elements.zip(&ips).for_each(|(element, choice)| choice.write(element));
    })?;
    Ok(())
}

/// Gives a domain its UUID, each of its NICs a MAC, as the first child of `<interface>`, and what an empty
/// address of a socket NIC stands for; then every device its place, where all have one, and the controllers that
/// are needed for that.
pub fn domain(doc: &mut DomainDoc, facts: &DomainFacts<'_>, rng: &mut impl Rng) -> Result<(), CompleteError> {
    let uuid = missing_uuid(doc.def().uuid, facts.uuid, rng);
    let written = interface_macs(doc);
    let mut taken: HashSet<Mac> = written.iter().flatten().copied().collect();
    let mut macs = Vec::new();
    for (i, written) in written.iter().enumerate() {
        let kept = facts.macs.get(i).copied().flatten().filter(|m| !taken.contains(m));
        let chosen = match (written, kept) {
            (Some(_), _) => None,
            (None, Some(kept)) => Some(kept),
            (None, None) => Some(free_mac(|m| !taken.contains(m) && !facts.taken.contains(m), rng)?),
        };
        taken.extend(chosen);
        macs.push(chosen);
    }
    if uuid.is_some() || macs.iter().any(Option::is_some) || sockets::has_empty(doc.tree()) {
        doc.edit(|tree| {
            write_uuid(tree, uuid);
            for (nic, mac) in interfaces_mut(tree).zip(macs) {
                if let Some(mac) = mac {
                    write_mac(nic, 0, mac);
                }
            }
            interfaces_mut(tree).for_each(sockets::fill);
        })?;
    }
    places::give(doc, facts.old);
    Ok(())
}

fn interfaces_mut(tree: &mut Document) -> impl Iterator<Item = &mut Element> {
    let devices = tree.root_mut().child_mut("devices");
    devices.into_iter().flat_map(Element::children_mut).filter(|e| e.name() == "interface")
}

/// The MACs that a document gives its `<interface>` elements, in order, also those of types that
/// Warren does not run.
pub fn interface_macs(doc: &DomainDoc) -> Vec<Option<Mac>> {
    let devices = doc.tree().root().child("devices");
    let nics = devices.into_iter().flat_map(|d| d.children_named("interface"));
    nics.map(|nic| nic.child("mac")?.attr("address")?.parse().ok()).collect()
}

/// The UUID to be written, if one is to be.
fn missing_uuid(written: Option<Uuid>, replaced: Option<Uuid>, rng: &mut impl Rng) -> Option<Uuid> {
    if written.is_some() {
        return None;
    }
    Some(replaced.unwrap_or_else(|| {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }))
}

fn free_mac(is_free: impl Fn(&Mac) -> bool, rng: &mut impl Rng) -> Result<Mac, CompleteError> {
    // Of 2^24 addresses, a host has thousands: even the second try is rare.
    for _ in 0..1000 {
        let mut tail = [0; 3];
        rng.fill_bytes(&mut tail);
        let mac = Mac::for_guest(tail);
        if is_free(&mac) {
            return Ok(mac);
        }
    }
    Err(CompleteError::NoFreeMac)
}

fn write_uuid(tree: &mut Document, uuid: Option<Uuid>) {
    let Some(uuid) = uuid.map(|u| u.to_string()) else { return };
    let root = tree.root_mut();
    match root.child_mut("uuid") {
        Some(empty) => empty.set_text(&uuid),
        None => {
            let at = root.child_index("name").map_or(0, |i| i + 1);
            root.insert(at, Element::new("uuid").with_text(&uuid));
        }
    }
}

fn write_mac(parent: &mut Element, index: usize, mac: Mac) {
    match parent.child_mut("mac") {
        Some(empty) => empty.set_attr("address", &mac.to_string()),
        None => parent.insert(index, Element::new("mac").with_attr("address", &mac.to_string())),
    }
}

/// After `<bridge>` if there is one, where libvirt writes it.
fn write_bridge_mac(root: &mut Element, mac: Mac) {
    let after = ["bridge", "forward", "uuid", "name"].iter().find_map(|n| root.child_index(n));
    write_mac(root, after.map_or(0, |i| i + 1), mac);
}

/// What is to be written into one `<ip>`.
struct IpChoice {
    net: Option<IpNet>,
    /// For each `<range>` in order.
    ranges: Vec<Option<(IpAddr, IpAddr)>>,
}

impl IpChoice {
    fn is_nothing(&self) -> bool {
        self.net.is_none() && self.ranges.iter().all(Option::is_none)
    }

    fn write(&self, element: &mut Element) {
        if let Some(net) = self.net {
            element.set_attr("address", &net.addr().to_string());
            if element.attr("prefix").is_some() && element.attr("netmask").is_none_or(str::is_empty) {
                element.set_attr("prefix", &net.prefix_len().to_string());
                element.remove_attr("netmask");
            } else {
                element.set_attr("netmask", &net.netmask().to_string());
            }
        }
        let dhcp = element.child_mut("dhcp");
        let elements = dhcp.into_iter().flat_map(Element::children_mut).filter(|e| e.name() == "range");
        for (range, chosen) in elements.zip(&self.ranges) {
            if let Some((start, end)) = chosen {
                range.set_attr("start", &start.to_string());
                range.set_attr("end", &end.to_string());
            }
        }
    }
}

fn choose_ips(def: &NetworkDef, used: &[IpNet]) -> Result<Vec<IpChoice>, CompleteError> {
    let mut used: Vec<IpNet> =
        used.iter().chain(def.ips.iter().filter_map(|ip| ip.net.as_ref())).copied().collect();
    let mut choices = Vec::new();
    for ip in &def.ips {
        let chosen = match ip.net {
            Some(_) => None,
            None => Some(free_subnet(&used)?),
        };
        used.extend(chosen);
        choices.push(IpChoice { net: chosen, ranges: choose_ranges(ip, chosen.or(ip.net))? });
    }
    Ok(choices)
}

fn choose_ranges(ip: &IpDef, net: Option<IpNet>) -> Result<Vec<Option<(IpAddr, IpAddr)>>, CompleteError> {
    let (Some(dhcp), Some(net)) = (&ip.dhcp, net) else { return Ok(Vec::new()) };
    let choose = |given: &Option<_>| match given {
        Some(_) => Ok(None),
        None => match guest_range(net) {
            Some(range) => Ok(Some(range)),
            None => Err(CompleteError::NoRoomForRange { path: ip.path.clone(), net }),
        },
    };
    dhcp.ranges.iter().map(choose).collect()
}

/// A /24 that overlaps nothing of `used`, with the host at .1. A default route, also one in two
/// halves as VPNs write it, leads everywhere and takes nothing.
fn free_subnet(used: &[IpNet]) -> Result<IpNet, CompleteError> {
    let overlaps = |net: &IpNet| {
        let hit =
            |u: &&IpNet| u.prefix_len() > 1 && (u.contains(&net.network()) || net.contains(&u.network()));
        used.iter().find(hit).is_some()
    };
    (122..=255u8)
        .chain(0..122)
        .filter_map(|third| Ipv4Net::new(Ipv4Addr::new(192, 168, third, 1), 24).ok())
        .map(IpNet::V4)
        .find(|net| !overlaps(net))
        .ok_or(CompleteError::NoFreeSubnet)
}

/// The addresses for guests in the subnet of `net`, whose address is the host's: from the next one to
/// the last, or where the host has the last one, from the first to the one before. In IPv6, where a
/// subnet is endless, 254 of them; never more than what differs in the last 16 bits, libvirt's measure.
fn guest_range(net: IpNet) -> Option<(IpAddr, IpAddr)> {
    match net {
        IpNet::V4(net) => {
            let (network, broadcast) = (u32::from(net.network()), u32::from(net.broadcast()));
            let (start, end) = beside(u32::from(net.addr()).into(), network.into(), broadcast.into())?;
            let end = end.min(start | 0xffff);
            let v4 = |n: u128| u32::try_from(n).ok().map(|n| IpAddr::V4(Ipv4Addr::from(n)));
            Some((v4(start)?, v4(end)?))
        }
        IpNet::V6(net) => {
            let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
            let (start, end) = beside(u128::from(net.addr()), first, last)?;
            let v6 = |n: u128| IpAddr::V6(Ipv6Addr::from(n));
            Some((v6(start), v6(end.min(start.saturating_add(253)).min(start | 0xffff))))
        }
    }
}

/// The range between `network` and `broadcast`, both exclusive, that lies beside `host`.
fn beside(host: u128, network: u128, broadcast: u128) -> Option<(u128, u128)> {
    let (first, last) = (network.checked_add(1)?, broadcast.checked_sub(1)?);
    let after = (host.checked_add(1)?.max(first), last);
    let before = (first, host.checked_sub(1)?.min(last));
    [after, before].into_iter().find(|(start, end)| start <= end)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const NOTHING: NetworkFacts<'_> = NetworkFacts { uuid: None, used: &[] };

    fn completed_network(text: &str, used: &[&str]) -> Result<String, CompleteError> {
        let used: Vec<IpNet> = used.iter().map(|u| u.parse().unwrap()).collect();
        let mut doc = NetworkDoc::parse(text).unwrap();
        let facts = NetworkFacts { used: &used, ..NOTHING };
        network(&mut doc, &facts, &mut StdRng::seed_from_u64(1))?;
        let once = doc.to_xml();
        network(&mut doc, &facts, &mut StdRng::seed_from_u64(2))?;
        assert_eq!(doc.to_xml(), once, "completing twice changes nothing");
        Ok(once)
    }

    fn ip_of(text: &str, used: &[&str]) -> String {
        let all = completed_network(&format!("<network><name>n</name>{text}</network>"), used).unwrap();
        all[all.find("<ip").unwrap()..].trim_end_matches("</network>").to_owned()
    }

    #[test]
    fn a_network_of_2007_is_completed_in_its_own_style() {
        let text = "<network>\n  <name>private</name>\n  <bridge name=\"br7\" />\n  <ip address=\"\" netmask=\"\">\n    \
                    <dhcp>\n      <range start=\"\" end=\"\" />\n    </dhcp>\n  </ip>\n</network>\n";
        insta::assert_snapshot!(completed_network(text, &["192.168.122.0/23", "0.0.0.0/0"]).unwrap(), @r#"
        <network>
          <name>private</name>
          <uuid>611830d3-641a-48f9-8a69-0dcc25d1f4b0</uuid>
          <bridge name="br7" />
          <mac address='52:54:00:da:c9:48'/>
          <ip address="192.168.124.1" netmask="255.255.255.0">
            <dhcp>
              <range start="192.168.124.2" end="192.168.124.254" />
            </dhcp>
          </ip>
        </network>
        "#);
    }

    #[test]
    fn subnets_are_free_and_wrap() {
        let empty = "<ip address='' prefix=''/>";
        assert_eq!(ip_of(empty, &[]), "<ip address='192.168.122.1' prefix='24'/>");
        assert_eq!(
            ip_of("<ip/>", &["192.168.122.7/32"]),
            "<ip address='192.168.123.1' netmask='255.255.255.0'/>"
        );
        assert_eq!(
            ip_of("<ip/>", &["192.168.128.0/17", "192.168.120.0/21"]),
            "<ip address='192.168.0.1' netmask='255.255.255.0'/>"
        );
        assert_eq!(
            ip_of("<ip address='192.168.122.1'/><ip/>", &[]),
            "<ip address='192.168.122.1'/><ip address='192.168.123.1' netmask='255.255.255.0'/>"
        );
        let full = completed_network("<network><name>n</name><ip/></network>", &["192.168.0.0/16"]);
        assert_eq!(full.unwrap_err(), CompleteError::NoFreeSubnet);
    }

    #[test]
    fn ranges_lie_beside_the_host() {
        let range = |net: &str| guest_range(net.parse().unwrap()).map(|(a, b)| format!("{a}-{b}"));
        assert_eq!(range("10.0.0.1/24").as_deref(), Some("10.0.0.2-10.0.0.254"));
        assert_eq!(range("10.0.0.100/24").as_deref(), Some("10.0.0.101-10.0.0.254"));
        assert_eq!(range("10.0.0.254/24").as_deref(), Some("10.0.0.1-10.0.0.253"));
        assert_eq!(range("10.0.0.1/8").as_deref(), Some("10.0.0.2-10.0.255.255"));
        assert_eq!(range("fd00::ff80/64").as_deref(), Some("fd00::ff81-fd00::ffff"));
        assert_eq!(range("10.0.0.1/30").as_deref(), Some("10.0.0.2-10.0.0.2"));
        assert_eq!(range("10.0.0.1/31"), None);
        assert_eq!(range("10.0.0.1/32"), None);
        assert_eq!(range("fd00::1/64").as_deref(), Some("fd00::2-fd00::ff"));
    }

    #[test]
    fn nothing_that_is_written_changes() {
        let text = "<network><name>n</name><uuid>d237ce44-8efa-452c-b8e6-1ae9cf53aeb1</uuid>\
                    <mac address='52:54:00:00:00:01'/><ip address='10.0.0.1' prefix='24'/></network>";
        assert_eq!(completed_network(text, &["10.0.0.0/8"]).unwrap(), text);
        let bridge = completed_network(
            "<network><name>n</name><forward mode='bridge'/><bridge name='b'/></network>",
            &[],
        );
        assert!(!bridge.unwrap().contains("<mac"));
    }

    fn completed_domain(nics: &str, macs: &[Option<Mac>], taken: &HashSet<Mac>) -> DomainDoc {
        let text = format!(
            "<domain type='qemu'>\n  <name>n</name>\n  <memory>1</memory>\n  <os>\n    <type>hvm</type>\n  </os>\n  \
             <devices>\n{nics}  </devices>\n</domain>"
        );
        let mut doc = DomainDoc::parse(&text).unwrap();
        let facts = DomainFacts { uuid: None, macs, taken, old: None };
        domain(&mut doc, &facts, &mut StdRng::seed_from_u64(1)).unwrap();
        let once = doc.to_xml();
        domain(&mut doc, &facts, &mut StdRng::seed_from_u64(2)).unwrap();
        assert_eq!(doc.to_xml(), once);
        doc
    }

    #[test]
    fn a_domain_gets_uuid_and_macs() {
        let nics = "    <interface type='user'/>\n    <interface type='network'>\n      <source network='d'/>\n    \
                    </interface>\n    <interface type='user'>\n      <mac address=''/>\n    </interface>\n    \
                    <interface type='user'>\n      <mac address='52:54:00:00:00:07'/>\n    </interface>\n";
        let doc = completed_domain(nics, &[], &HashSet::new());
        insta::assert_snapshot!(doc.to_xml(), @"
        <domain type='qemu'>
          <name>n</name>
          <uuid>611830d3-641a-48f9-8a69-0dcc25d1f4b0</uuid>
          <memory>1</memory>
          <os>
            <type>hvm</type>
          </os>
          <devices>
            <interface type='user'>
              <mac address='52:54:00:da:c9:48'/>
              <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
            </interface>
            <interface type='network'>
              <mac address='52:54:00:5a:c1:8f'/>
              <source network='d'/>
              <address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/>
            </interface>
            <interface type='user'>
              <mac address='52:54:00:d3:25:64'/>
              <address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>
            </interface>
            <interface type='user'>
              <mac address='52:54:00:00:00:07'/>
              <address type='pci' domain='0x0000' bus='0x00' slot='0x06' function='0x0'/>
            </interface>
            <controller type='pci' index='0' model='pci-root'/>
            <controller type='usb' index='0' model='piix3-uhci'>
              <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x2'/>
            </controller>
            <memballoon model='virtio'>
              <address type='pci' domain='0x0000' bus='0x00' slot='0x07' function='0x0'/>
            </memballoon>
          </devices>
        </domain>
        ");
    }

    #[test]
    fn macs_are_kept_and_unique() {
        let (a, b) = (Mac::for_guest([0, 0, 1]), Mac::for_guest([0, 0, 2]));
        let two = "<interface type='user'/><interface type='user'/>";
        let kept = completed_domain(two, &[Some(a), Some(b)], &HashSet::new());
        assert_eq!(interface_macs(&kept), [Some(a), Some(b)]);
        // Who moved the first NIC's MAC to the second must not get it twice.
        let moved =
            format!("<interface type='user'/><interface type='user'><mac address='{a}'/></interface>");
        let moved = interface_macs(&completed_domain(&moved, &[Some(a), Some(b)], &HashSet::new()));
        assert_eq!(moved[1], Some(a));
        assert_ne!(moved[0], Some(a));
        let first = interface_macs(&completed_domain(two, &[], &HashSet::new()));
        let taken: HashSet<Mac> = first.iter().flatten().copied().collect();
        let second = interface_macs(&completed_domain(two, &[], &taken));
        assert!(second.iter().flatten().all(|m| !taken.contains(m)));
    }
}
