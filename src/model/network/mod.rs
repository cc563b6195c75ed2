//! A network's definition and its reader. Owns what `<network>` means, in libvirt's words and with its
//! defaults; must never judge what belongs together (see `plan::check`), nor know how a network is run.

mod bridge;
mod dhcp;
mod dns;
mod forward;
mod ip;
mod options;
mod portgroup;
#[cfg(test)]
mod tests;

use super::doc::{Definition, accept_notes, required, text_of};
use super::shaping::{bandwidth, virtual_port, vlan};
use super::{Bandwidth, Mac, ObjectName, Uuid, VirtualPort, Vlan};
use crate::xml::view::View;

pub use bridge::{BridgeDef, MacTableManager};
pub use dhcp::{Bootp, DhcpDef, DhcpHost, DhcpRange, LeaseTime, LeaseUnit};
pub use dns::{Dns, DnsDomain, DnsForwarder, DnsHost, SrvRecord, TxtRecord, is_dns_name};
pub use forward::{Forward, ForwardMode, HostPciAddress, Nat, PciDriver};
pub use ip::{IpDef, RouteDef};
pub use portgroup::Portgroup;

/// The words of a switch; libvirt takes no others.
const YES_NO: &[(&str, bool)] = &[("yes", true), ("no", false)];

/// What a `<network>` document says, in the terms of libvirt's network format. `<metadata>` is in the
/// document alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDef {
    /// `<name>`: unique on the host.
    pub name: ObjectName,
    /// `<uuid>`; absent until the definition is complete.
    pub uuid: Option<Uuid>,
    /// `<title>`: a short description, one line.
    pub title: Option<String>,
    /// `<description>`.
    pub description: Option<String>,
    /// `@ipv6`: guests may speak IPv6 among themselves although the host has no IPv6 address.
    pub ipv6: bool,
    /// `@trustGuestRxFilters`: for NICs that do not say it themselves.
    pub trust_guest_rx_filters: Option<bool>,
    /// `<forward>`; absent means isolated.
    pub forward: Option<Forward>,
    /// `<bridge>`, with libvirt's defaults where it is absent.
    pub bridge: BridgeDef,
    /// `<mac address>`: of the bridge.
    pub mac: Option<Mac>,
    /// `<mtu size>` in bytes.
    pub mtu: Option<u32>,
    /// `<domain>`: the DNS domain of the guests.
    pub domain: Option<DnsDomain>,
    /// `<dns>`.
    pub dns: Dns,
    /// `<ip>` elements in document order.
    pub ips: Vec<IpDef>,
    /// `<route>` elements in document order.
    pub routes: Vec<RouteDef>,
    /// `<portgroup>` elements in document order.
    pub portgroups: Vec<Portgroup>,
    /// `<port isolated>`: guests do not reach each other.
    pub isolated_ports: Option<bool>,
    /// `<bandwidth>` of all ports together.
    pub bandwidth: Option<Bandwidth>,
    /// `<vlan>` of ports that say none themselves.
    pub vlan: Option<Vlan>,
    /// `<virtualport>`: the kind of switch that the ports are on.
    pub virtual_port: Option<VirtualPort>,
    /// The raw lines of `<dnsmasq:options>`.
    pub dnsmasq_options: Vec<String>,
}

impl NetworkDef {
    /// The word for the forward mode on the bus: `isolated` without `<forward>`, else its mode.
    pub fn forward_mode(&self) -> &'static str {
        self.forward.as_ref().map_or("isolated", |f| f.mode.as_str())
    }

    /// Whether Warren makes the bridge itself (else the document names something of the host).
    pub fn owns_bridge(&self) -> bool {
        self.forward.as_ref().is_none_or(|f| f.mode.owns_bridge())
    }
}

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
            title: title(root),
            description: note(root, "description"),
            ipv6: root.one_of("ipv6", YES_NO).unwrap_or(false),
            trust_guest_rx_filters: root.one_of("trustGuestRxFilters", YES_NO),
            forward: root.child("forward").and_then(|f| forward::forward(&f)),
            bridge: root.child("bridge").map_or_else(BridgeDef::default, |b| bridge::bridge(&b)),
            mac: root.child("mac").and_then(|m| m.parsed("address")),
            mtu: root.child("mtu").and_then(|m| mtu(&m)),
            domain: root.child("domain").and_then(|d| dns::domain(&d)),
            dns: root.child("dns").map_or_else(Dns::default, |d| dns::dns(&d)),
            ips: root.children("ip").iter().map(ip::ip).collect(),
            routes: root.children("route").iter().filter_map(ip::route).collect(),
            portgroups: root.children("portgroup").iter().filter_map(portgroup::portgroup).collect(),
            isolated_ports: root.child("port").and_then(|p| p.one_of("isolated", YES_NO)),
            bandwidth: root.child("bandwidth").map(|b| bandwidth_without_floor(&b)),
            vlan: root.child("vlan").and_then(|v| vlan(&v)),
            virtual_port: root.child("virtualport").map(|v| typed_virtual_port(&v)),
            dnsmasq_options: options::dnsmasq_options(root),
            name: name?,
        })
    }
}

fn note(root: &View<'_>, name: &str) -> Option<String> {
    let text = root.element().child(name)?.text().into_owned();
    (!text.is_empty()).then_some(text)
}

fn title(root: &View<'_>) -> Option<String> {
    let title = note(root, "title")?;
    if title.contains('\n')
        && let Some(view) = root.child("title")
    {
        view.error("the title has more than one line", "put the rest into <description>");
    }
    Some(title)
}

/// What Linux makes an interface with; libvirt asks nobody before the start.
fn mtu(view: &View<'_>) -> Option<u32> {
    let size = required(view.parsed::<u32>("size"), view, "size", "give a number of bytes")?;
    if size == 0 {
        view.warning_at("size", "an MTU of 0 is none at all", "leave <mtu> out");
        return None;
    }
    if !(68..=65535).contains(&size) {
        view.unsupported_at("size", format!("an MTU of {size} bytes is not possible"), "give 68 to 65535");
    }
    Some(size)
}

/// A floor is promised to one NIC, and there is none here.
fn bandwidth_without_floor(view: &View<'_>) -> Bandwidth {
    let read = bandwidth(view);
    if read.inbound.as_ref().is_some_and(|rate| rate.floor.is_some_and(|floor| floor > 0))
        && let Some(inbound) = view.child("inbound")
    {
        let remedy = "give it to the domain's <interface type='network'>";
        inbound.error_at("floor", "a network has no floor, only a NIC has", remedy);
    }
    read
}

fn typed_virtual_port(view: &View<'_>) -> VirtualPort {
    let port = virtual_port(view);
    if view.filled("type").is_none() {
        view.error_at("type", "the virtual port has no type", "write type='openvswitch', or what it is");
    }
    port
}
