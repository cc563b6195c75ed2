//! `<interface type>` and its `<source>`. Owns what each type needs to know; must never know how it is made.

use std::net::IpAddr;
use std::path::PathBuf;

use super::side::{self, NicAddress, NicRoute};
use crate::model::doc::{host_path, required};
use crate::model::{Address, IfName, ObjectName, PciAddress, Uuid};
use crate::xml::view::View;

/// `<interface type>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceKind {
    /// A TAP on a network's bridge.
    Network {
        /// `<source network>`.
        network: String,
        /// `<source portgroup>`; absent: the network's default.
        portgroup: Option<String>,
    },
    /// A TAP on a bridge of the host.
    Bridge {
        /// `<source bridge>`, or `<source dev>` as in 2007.
        bridge: IfName,
    },
    /// A TAP that the user's script sets up.
    Ethernet(Box<EthernetSide>),
    /// A macvtap device on an interface of the host.
    Direct {
        /// `<source dev>`.
        dev: IfName,
        /// `<source mode>`, default vepa.
        mode: DirectMode,
    },
    /// QEMU's own user-mode network (SLIRP), or passt's.
    User {
        /// `<source dev>`: the interface of the host whose addresses passt takes.
        dev: Option<IfName>,
    },
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
    /// A switch in another program, which reads and writes the guest's memory.
    VhostUser(VhostUserSource),
    /// A vDPA device of the host.
    Vdpa {
        /// `<source dev>`: its character device.
        dev: PathBuf,
    },
    /// A PCI device of the host, which is a network card's virtual function.
    Hostdev {
        /// `<source><address>`; absent: the address is of another kind than PCI.
        address: Option<PciAddress>,
        /// `@managed`: the host's driver lets go of it, and takes it again.
        managed: bool,
    },
    /// VirtualBox's network among guests, for which libvirt gives QEMU a user-mode network.
    Internal,
    /// No connection; VMware's.
    Null,
    /// VMware's distributed switch.
    Vds,
}

/// What `type='ethernet'` has on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EthernetSide {
    /// `<script path>`; absent: the TAP is only made and set up.
    pub script: Option<PathBuf>,
    /// `<downscript path>`.
    pub downscript: Option<PathBuf>,
    /// `<source><ip>`: addresses of the TAP.
    pub ips: Vec<NicAddress>,
    /// `<source><route>`: routes through the TAP.
    pub routes: Vec<NicRoute>,
}

/// Where a vhost-user switch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VhostUserSource {
    /// At a unix socket.
    Socket {
        /// `<source path>`.
        path: PathBuf,
        /// `<source mode='server'>`: QEMU waits for the switch, else it connects to it.
        listens: bool,
        /// `<reconnect>`: seconds between attempts, 0: none are made; absent: nothing is said.
        reconnect: Option<u32>,
    },
    /// passt, which Warren starts.
    Passt {
        /// `<source dev>`: the interface of the host whose addresses passt takes.
        dev: Option<IfName>,
    },
}

/// `<source mode>` of a macvtap device: what it does with frames for its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub enum DirectMode {
    Vepa,
    Private,
    Bridge,
    Passthrough,
}

impl InterfaceKind {
    /// The word in the document.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Network { .. } => "network",
            Self::Bridge { .. } => "bridge",
            Self::Ethernet(_) => "ethernet",
            Self::Direct { .. } => "direct",
            Self::User { .. } => "user",
            Self::Server(_) => "server",
            Self::Client(_) => "client",
            Self::Mcast(_) => "mcast",
            Self::Udp { .. } => "udp",
            Self::VhostUser(_) => "vhostuser",
            Self::Vdpa { .. } => "vdpa",
            Self::Hostdev { .. } => "hostdev",
            Self::Internal => "internal",
            Self::Null => "null",
            Self::Vds => "vds",
        }
    }

    /// Whether it has a TAP (or macvtap) device, which `<target dev>` then names.
    pub fn has_tap(&self) -> bool {
        matches!(
            self,
            Self::Network { .. } | Self::Bridge { .. } | Self::Ethernet { .. } | Self::Direct { .. }
        )
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

const TYPES: &[&str] = &[
    "network",
    "bridge",
    "ethernet",
    "user",
    "server",
    "client",
    "mcast",
    "udp",
    "direct",
    "vhostuser",
    "vdpa",
    "hostdev",
    "internal",
    "null",
    "vds",
];

/// Whether it is a type of libvirt's.
pub(super) fn is_known(kind: &str) -> bool {
    kind.is_empty() || TYPES.contains(&kind)
}

/// The type with its `<source>`; `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>, passt: bool) -> Option<InterfaceKind> {
    // libvirt's default.
    let kind = view.filled("type").unwrap_or("user");
    let source = view.child("source");
    let source = source.as_ref();
    if kind != "ethernet" {
        no_scripts(view, kind);
    }
    if kind != "hostdev" && view.attr("managed").is_some() {
        view.error_at("managed", "only an interface of type hostdev is managed", "leave managed out");
    }
    match kind {
        "network" => network(view, source),
        "bridge" => bridge(view, source),
        "ethernet" => Some(InterfaceKind::Ethernet(Box::new(EthernetSide {
            script: script(view, "script"),
            downscript: script(view, "downscript"),
            ips: source.map(side::addresses).unwrap_or_default(),
            routes: source.map(side::routes).unwrap_or_default(),
        }))),
        "direct" => direct(view, source),
        "user" => Some(InterfaceKind::User { dev: source.and_then(|s| s.parsed("dev")) }),
        "server" => socket(view, source).map(InterfaceKind::Server),
        "client" => socket(view, source).map(InterfaceKind::Client),
        "mcast" => mcast(view, source),
        "udp" => udp(view, source),
        "vhostuser" if passt => {
            let dev = source.and_then(|s| s.parsed("dev"));
            Some(InterfaceKind::VhostUser(VhostUserSource::Passt { dev }))
        }
        "vhostuser" => vhost_user(view, source),
        "vdpa" => vdpa(view, source),
        "hostdev" => hostdev(view, source),
        "internal" => {
            let remedy = "add <source name='intnet'/>";
            let source = source.or_else(|| missing_source(view, remedy))?;
            required(source.filled("name"), source, "name", remedy)?;
            Some(InterfaceKind::Internal)
        }
        "null" => Some(InterfaceKind::Null),
        "vds" => {
            view.accept_children("source");
            Some(InterfaceKind::Vds)
        }
        "tap" | "vde" => {
            let message = format!("the interface type '{kind}' is gone since 2007");
            view.error_at("type", message, "write type='ethernet', with a <script> if need be");
            None
        }
        _ => {
            let message = format!("'{kind}' is not a type of interface");
            view.error_at("type", message, format!("known are {}", TYPES.join(", ")));
            None
        }
    }
}

fn network(view: &View<'_>, source: Option<&View<'_>>) -> Option<InterfaceKind> {
    let remedy = "add <source network='default'/>";
    let source = source.or_else(|| missing_source(view, remedy))?;
    // What libvirt adds to a running guest's document.
    source.parsed::<Uuid>("portid");
    for name in ["bridge", "dev", "mode"] {
        source.attr(name);
    }
    let name: Option<ObjectName> = required(source.parsed("network"), source, "network", remedy);
    let portgroup = source.filled("portgroup").map(str::to_owned);
    Some(InterfaceKind::Network { network: name?.as_str().to_owned(), portgroup })
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

fn direct(view: &View<'_>, source: Option<&View<'_>>) -> Option<InterfaceKind> {
    let remedy = "add <source dev='eth0' mode='bridge'/>";
    let source = source.or_else(|| missing_source(view, remedy))?;
    let modes = [
        ("vepa", DirectMode::Vepa),
        ("private", DirectMode::Private),
        ("bridge", DirectMode::Bridge),
        ("passthrough", DirectMode::Passthrough),
    ];
    let mode = source.one_of("mode", &modes).unwrap_or(DirectMode::Vepa);
    let dev = required(source.parsed("dev"), source, "dev", remedy)?;
    // libvirt looks for it only where the source is a network.
    source.attr("portgroup");
    Some(InterfaceKind::Direct { dev, mode })
}

fn vhost_user(view: &View<'_>, source: Option<&View<'_>>) -> Option<InterfaceKind> {
    let remedy = "add <source type='unix' path='/run/switch.sock' mode='client'/>";
    let source = source.or_else(|| missing_source(view, remedy))?;
    required(source.one_of("type", &[("unix", ())]), source, "type", remedy);
    let listens =
        required(source.one_of("mode", &[("server", true), ("client", false)]), source, "mode", remedy);
    let path = required(host_path(source, Some("path")), source, "path", remedy);
    let reconnect = source.child("reconnect").and_then(|r| {
        if listens == Some(true) {
            r.error(
                "who waits for the switch does not connect again",
                "leave <reconnect> out, or write mode='client'",
            );
        }
        let timeout = r.parsed("timeout");
        match required(r.yes_no("enabled"), &r, "enabled", "give yes or no")? {
            true => Some(timeout.unwrap_or(0)),
            false => Some(0),
        }
    });
    Some(InterfaceKind::VhostUser(VhostUserSource::Socket { path: path?, listens: listens?, reconnect }))
}

fn vdpa(view: &View<'_>, source: Option<&View<'_>>) -> Option<InterfaceKind> {
    let remedy = "add <source dev='/dev/vhost-vdpa-0'/>";
    let source = source.or_else(|| missing_source(view, remedy))?;
    let dev = required(host_path(source, Some("dev")), source, "dev", remedy)?;
    Some(InterfaceKind::Vdpa { dev })
}

fn hostdev(view: &View<'_>, source: Option<&View<'_>>) -> Option<InterfaceKind> {
    let remedy = "add <source><address type='pci' bus='0x03' slot='0x07' function='0x1'/></source>";
    let source = source.or_else(|| missing_source(view, remedy))?;
    let Some(place) = source.child("address") else {
        source.error("the device of the host is not named", remedy);
        return None;
    };
    let address = match super::super::device::address(&place) {
        Some(Address::Pci(pci)) => Some(pci),
        None if place.filled("type") == Some("pci") => {
            place.error("the address of the host's device is missing", remedy);
            return None;
        }
        _ => None,
    };
    Some(InterfaceKind::Hostdev { address, managed: view.yes_no("managed") == Some(true) })
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

/// `<script>` or `<downscript>`. libvirt lets the shell look for one without a whole path.
fn script(view: &View<'_>, name: &str) -> Option<PathBuf> {
    let view = view.child(name)?;
    let path = view.filled("path")?;
    if !path.starts_with('/') {
        let message = format!("the path '{}' is not absolute", path.escape_debug());
        view.unsupported_at("path", message, "write the whole path, from /");
        return None;
    }
    Some(PathBuf::from(path))
}

fn no_scripts(view: &View<'_>, kind: &str) {
    for name in ["script", "downscript"] {
        if let Some(script) = view.child(name) {
            script.accept();
            let message =
                format!("<{name}> stands only in an interface of type ethernet, not of type {kind}");
            script.error(message, "leave it out");
        }
    }
}
