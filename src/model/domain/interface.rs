//! `<interface>`. Owns libvirt's words and defaults for NICs, and those of 2007; must never know how a NIC
//! is made.

use std::net::IpAddr;
use std::path::PathBuf;

use super::DeviceInfo;
use crate::model::doc::{host_path, required};
use crate::model::{IfName, Mac, ObjectName};
use crate::xml::view::View;

/// `<interface>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@type` with what belongs to it.
    pub kind: InterfaceKind,
    /// `<mac address>`; absent until the definition is complete.
    pub mac: Option<Mac>,
    /// `<model type>`, default virtio.
    pub model: NicModel,
    /// `<target dev>`: the TAP's name.
    pub target: Option<IfName>,
    /// `<link state>`, default up.
    pub link_up: bool,
    /// `<teaming>`: this NIC may share its MAC with its partner.
    pub teaming: bool,
}

/// `<interface type>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceKind {
    /// A TAP on a network's bridge.
    Network {
        /// `<source network>`.
        network: String,
    },
    /// A TAP on a bridge of the host.
    Bridge {
        /// `<source bridge>`, or `<source dev>` as in 2007.
        bridge: IfName,
    },
    /// A TAP that the user's script sets up.
    Ethernet {
        /// `<script path>`; absent: the TAP is only made and set up.
        script: Option<PathBuf>,
        /// `<downscript path>`.
        downscript: Option<PathBuf>,
    },
    /// QEMU's own user-mode network (SLIRP).
    User,
    /// A TCP socket that waits for one client.
    Server(SocketAddress),
    /// A TCP connection to a server.
    Client(SocketAddress),
    /// A UDP multicast group, the format User-Mode Linux also speaks.
    Mcast(SocketAddress),
    /// A pair of UDP sockets.
    Udp {
        /// `<source address port>`: where frames are sent to.
        remote: SocketAddress,
        /// `<source><local address port>`: where they are taken.
        local: SocketAddress,
    },
}

impl InterfaceKind {
    /// The word in the document.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Network { .. } => "network",
            Self::Bridge { .. } => "bridge",
            Self::Ethernet { .. } => "ethernet",
            Self::User => "user",
            Self::Server(_) => "server",
            Self::Client(_) => "client",
            Self::Mcast(_) => "mcast",
            Self::Udp { .. } => "udp",
        }
    }

    /// Whether it has a TAP, which `<target dev>` then names.
    pub fn has_tap(&self) -> bool {
        matches!(self, Self::Network { .. } | Self::Bridge { .. } | Self::Ethernet { .. })
    }
}

/// `<source address port>` of a socket NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketAddress {
    /// An IP address or a host name; empty means what the type says: any local address for a server,
    /// 127.0.0.1 for a client and for udp, 239.0.0.1 for mcast.
    pub address: String,
    /// 1 to 65535.
    pub port: u16,
}

/// `<model type>` of a NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are QEMU's")]
pub enum NicModel {
    Virtio,
    E1000,
    E1000e,
    Rtl8139,
    Ne2kPci,
    Pcnet,
}

impl NicModel {
    /// The word in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::E1000 => "e1000",
            Self::E1000e => "e1000e",
            Self::Rtl8139 => "rtl8139",
            Self::Ne2kPci => "ne2k_pci",
            Self::Pcnet => "pcnet",
        }
    }
}

const MODELS: &[(&str, NicModel)] = &[
    ("virtio", NicModel::Virtio),
    ("e1000", NicModel::E1000),
    ("e1000e", NicModel::E1000e),
    ("rtl8139", NicModel::Rtl8139),
    ("ne2k_pci", NicModel::Ne2kPci),
    ("pcnet", NicModel::Pcnet),
];

const KNOWN_TYPES: &str = "known are network, bridge, ethernet, user, server, client, mcast and udp";

/// Types of libvirt that are kept in the document and not run yet.
const OTHER_TYPES: &[&str] = &["direct", "vhostuser", "vdpa", "hostdev", "internal", "null", "vds"];

/// The NIC, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<InterfaceDef> {
    // libvirt's default.
    let kind = view.filled("type").unwrap_or("user");
    if !matches!(kind, "network" | "bridge" | "ethernet" | "user" | "server" | "client" | "mcast" | "udp") {
        refuse(view, kind);
        return None;
    }
    let info = DeviceInfo::read(view);
    let source = view.child("source");
    let kind = match kind {
        "network" => network(view, source.as_ref()),
        "bridge" => bridge(view, source.as_ref()),
        "ethernet" => Some(InterfaceKind::Ethernet {
            script: view.child("script").and_then(|s| host_path(&s, Some("path"))),
            downscript: view.child("downscript").and_then(|s| host_path(&s, Some("path"))),
        }),
        "user" => Some(InterfaceKind::User),
        "server" => socket(view, source.as_ref()).map(InterfaceKind::Server),
        "client" => socket(view, source.as_ref()).map(InterfaceKind::Client),
        "mcast" => mcast(view, source.as_ref()),
        _ => udp(view, source.as_ref()),
    };
    if !matches!(kind, None | Some(InterfaceKind::Ethernet { .. })) {
        no_scripts(view);
    }
    let target = view.child("target").and_then(|t| target(&t, kind.as_ref()));
    let model = model(view);
    let mac = view.child("mac").and_then(|m| m.parsed("address"));
    let link_up = view.child("link").and_then(|l| l.one_of("state", &[("up", true), ("down", false)]));
    Some(InterfaceDef {
        info,
        mac,
        target,
        link_up: link_up.unwrap_or(true),
        teaming: view.child("teaming").is_some_and(|t| teaming(&t)),
        model: model?,
        kind: kind?,
    })
}

fn refuse(view: &View<'_>, kind: &str) {
    view.accept();
    match kind {
        "tap" | "vde" => {
            let message = format!("the interface type '{kind}' is gone since 2007");
            view.error_at("type", message, "write type='ethernet', with a <script> if need be");
        }
        _ if OTHER_TYPES.contains(&kind) => {
            let message = format!("Warren does not run interfaces of type '{kind}' yet");
            view.unsupported_at("type", message, KNOWN_TYPES);
        }
        _ => view.error_at("type", format!("'{kind}' is not a type of interface"), KNOWN_TYPES),
    }
}

fn network(view: &View<'_>, source: Option<&View<'_>>) -> Option<InterfaceKind> {
    let remedy = "add <source network='default'/>";
    let source = source.or_else(|| missing_source(view, remedy))?;
    // What libvirt adds to a running guest's document.
    source.attr("portid");
    source.attr("bridge");
    let name: Option<ObjectName> = required(source.parsed("network"), source, "network", remedy);
    Some(InterfaceKind::Network { network: name?.as_str().to_owned() })
}

fn bridge(view: &View<'_>, source: Option<&View<'_>>) -> Option<InterfaceKind> {
    let remedy = "add <source bridge='br0'/>";
    let source = source.or_else(|| missing_source(view, remedy))?;
    let (bridge, dev): (Option<IfName>, Option<IfName>) = (source.parsed("bridge"), source.parsed("dev"));
    if let (Some(bridge), Some(dev)) = (&bridge, &dev)
        && bridge != dev
    {
        let message = format!("bridge is '{bridge}' and dev is '{dev}', which mean the same");
        source.error_at("dev", message, "leave dev out");
    }
    if bridge.is_none() && source.filled("dev").is_none() {
        required(None::<()>, source, "bridge", remedy);
    }
    Some(InterfaceKind::Bridge { bridge: bridge.or(dev)? })
}

fn missing_source<T>(view: &View<'_>, remedy: &str) -> Option<T> {
    view.error("the interface has no <source>", remedy);
    None
}

/// `address` and `port` of a `<source>` or `<local>`; the address may be empty or absent.
fn address(view: &View<'_>) -> Option<SocketAddress> {
    let text = view.filled("address").unwrap_or("").to_owned();
    let host_name = |t: &str| {
        t.len() <= 253
            && !t.starts_with('-')
            && t.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    if text.parse::<IpAddr>().is_err() && !host_name(&text) {
        let message = format!("'{}' is neither an IP address nor a host name", text.escape_debug());
        view.error_at("address", message, "");
        return None;
    }
    let port = required(view.filled("port"), view, "port", "give a port, 1 to 65535")?;
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Some(SocketAddress { address: text, port }),
        _ => {
            view.error_at("port", format!("'{port}' is not a port"), "give 1 to 65535");
            None
        }
    }
}

fn socket(view: &View<'_>, source: Option<&View<'_>>) -> Option<SocketAddress> {
    let source = source.or_else(|| missing_source(view, "add <source address='' port='5555'/>"))?;
    address(source)
}

fn mcast(view: &View<'_>, source: Option<&View<'_>>) -> Option<InterfaceKind> {
    let group = socket(view, source)?;
    let multicast = group.address.parse::<IpAddr>().is_ok_and(|a| a.is_ipv4() && a.is_multicast());
    if !group.address.is_empty() && !multicast {
        let message = format!("'{}' is not an IPv4 multicast address", group.address);
        source?.unsupported_at("address", message, "give one from 224.0.0.0 to 239.255.255.255");
    }
    Some(InterfaceKind::Mcast(group))
}

fn udp(view: &View<'_>, source: Option<&View<'_>>) -> Option<InterfaceKind> {
    let remedy =
        "add <source address='127.0.0.1' port='5555'><local address='127.0.0.1' port='5556'/></source>";
    let source = source.or_else(|| missing_source(view, remedy))?;
    let remote = address(source);
    let local = source.child("local");
    if local.is_none() {
        source.error(
            "type udp needs the address where frames are taken",
            "add <local address='' port='5556'/>",
        );
    }
    let local = address(&local?);
    Some(InterfaceKind::Udp { remote: remote?, local: local? })
}

fn no_scripts(view: &View<'_>) {
    for name in ["script", "downscript"] {
        if let Some(script) = view.child(name) {
            script.accept();
            script.error(format!("<{name}> stands only in an interface of type ethernet"), "leave it out");
        }
    }
}

fn target(view: &View<'_>, kind: Option<&InterfaceKind>) -> Option<IfName> {
    let name = view.parsed("dev")?;
    if let Some(kind) = kind.filter(|k| !k.has_tap()) {
        let message = format!("an interface of type {} has no TAP; the name is kept", kind.as_str());
        view.warning_at("dev", message, "");
    }
    Some(name)
}

fn model(view: &View<'_>) -> Option<NicModel> {
    let Some(model) = view.child("model") else { return Some(NicModel::Virtio) };
    let Some(name) = model.filled("type") else { return Some(NicModel::Virtio) };
    let found = MODELS.iter().find(|(word, _)| *word == name).map(|(_, m)| *m);
    if found.is_none() {
        let words: Vec<_> = MODELS.iter().map(|(word, _)| *word).collect();
        let remedy = format!("known are {}", words.join(", "));
        model.unsupported_at("type", format!("Warren does not have the NIC model '{name}'"), remedy);
    }
    found
}

fn teaming(view: &View<'_>) -> bool {
    view.one_of("type", &[("persistent", ()), ("transient", ())]);
    view.attr("persistent");
    view.unsupported("Warren does not join NICs into a failover pair yet", "");
    true
}
