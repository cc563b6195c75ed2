//! A network's definition. Owns what `<network>` means; must never know how a network is run.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Bandwidth, IfName, Mac, ObjectName, Uuid, VirtualPort, Vlan};

/// What a `<network>` document says, in the terms of libvirt's network format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDef {
    /// `<name>`: unique on the host.
    pub name: ObjectName,
    /// `<uuid>`; absent until the definition is complete.
    pub uuid: Option<Uuid>,
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
    /// `<dns enable>`, default true.
    pub dns: bool,
    /// `<ip>` elements in document order.
    pub ips: Vec<IpDef>,
    /// `<bandwidth>` of all ports together.
    pub bandwidth: Option<Bandwidth>,
    /// `<vlan>` of ports that say none themselves.
    pub vlan: Option<Vlan>,
    /// `<virtualport>`: the kind of switch that the ports are on.
    pub virtual_port: Option<VirtualPort>,
}

impl NetworkDef {
    /// The word for the forward mode on the bus: `isolated` without `<forward>`, else its mode.
    pub fn forward_mode(&self) -> &'static str {
        self.forward.as_ref().map_or("isolated", |f| f.mode.as_str())
    }
}

/// `<forward>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// `@mode`, default `nat`.
    pub mode: ForwardMode,
    /// `@dev`, or the `dev` of the first `<interface>`: the only way out.
    pub dev: Option<IfName>,
}

/// `<forward mode>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum ForwardMode {
    Nat,
    Route,
    Open,
    Bridge,
    Private,
    Vepa,
    Passthrough,
    Hostdev,
}

impl ForwardMode {
    /// The word in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Route => "route",
            Self::Open => "open",
            Self::Bridge => "bridge",
            Self::Private => "private",
            Self::Vepa => "vepa",
            Self::Passthrough => "passthrough",
            Self::Hostdev => "hostdev",
        }
    }

    /// Whether Warren makes the bridge itself (else the document names something of the host).
    pub fn owns_bridge(self) -> bool {
        matches!(self, Self::Nat | Self::Route | Self::Open)
    }
}

/// `<bridge>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeDef {
    /// `@name`; absent means chosen at start (`wbr%d`).
    pub name: Option<IfName>,
    /// `@stp`, default true.
    pub stp: bool,
    /// `@delay` in seconds, default 0.
    pub delay: u32,
}

/// `<domain name localOnly>` of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsDomain {
    /// `@name`.
    pub name: String,
    /// `@localOnly`: never asked upstream.
    pub local_only: bool,
}

/// One `<ip>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpDef {
    /// Path of the element, for findings.
    pub path: String,
    /// The host's address with its prefix length; `None` where `address` is empty: Warren chooses.
    pub net: Option<IpNet>,
    /// `<dhcp>`.
    pub dhcp: Option<DhcpDef>,
}

/// `<dhcp>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DhcpDef {
    /// `<range>` elements; `None` where start and end are empty: Warren chooses.
    pub ranges: Vec<Option<DhcpRange>>,
    /// `<host>` elements.
    pub hosts: Vec<DhcpHost>,
}

/// `<range start end>`, both inside the subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhcpRange {
    /// First address.
    pub start: IpAddr,
    /// Last address.
    pub end: IpAddr,
}

/// `<host mac name ip>`: a reservation. One of `mac` and `name` is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpHost {
    /// `@mac`.
    pub mac: Option<Mac>,
    /// `@name`.
    pub name: Option<String>,
    /// `@ip`.
    pub ip: Option<IpAddr>,
}
