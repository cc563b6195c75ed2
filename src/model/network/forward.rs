//! Reads `<forward>`: modes, ways out, pools of devices, address translation. Owns its words; must never
//! know how packets are forwarded.

use std::fmt;
use std::net::Ipv4Addr;

use super::super::IfName;
use super::super::doc::required;
use super::super::shaping::number;
use super::YES_NO;
use crate::xml::view::View;

/// `<forward>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// `@mode`, default `nat`.
    pub mode: ForwardMode,
    /// `@dev`, or the `dev` of the first `<interface>`: the only way out.
    pub dev: Option<IfName>,
    /// `<interface dev>`s: the pool that ports are taken from; `@dev` alone is a pool of one.
    pub interfaces: Vec<IfName>,
    /// `<pf dev>`: the pool is all virtual functions of this device.
    pub pf: Option<IfName>,
    /// `<address type='pci'>`s: a pool of devices.
    pub addresses: Vec<HostPciAddress>,
    /// `@managed`: devices are taken from the host's driver and given back.
    pub managed: bool,
    /// `<driver>` that devices are handed to.
    pub driver: PciDriver,
    /// `<nat>`.
    pub nat: Nat,
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

/// The words of `<forward mode>`; `none` means as much as no `<forward>`.
const MODES: &[(&str, Option<ForwardMode>)] = &[
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

impl ForwardMode {
    /// The word in the document.
    pub fn as_str(self) -> &'static str {
        MODES.iter().find(|(_, mode)| *mode == Some(self)).map_or("", |(word, _)| word)
    }

    /// Whether Warren makes the bridge itself (else the document names something of the host).
    pub fn owns_bridge(self) -> bool {
        matches!(self, Self::Nat | Self::Route | Self::Open)
    }
}

/// `<nat>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nat {
    /// `@ipv6`: IPv6 is translated too, instead of routed.
    pub ipv6: bool,
    /// `<address start end>`: what IPv4 guests appear as; the host's address where absent.
    pub addresses: Option<(Ipv4Addr, Ipv4Addr)>,
    /// `<port start end>`: the ports of TCP and UDP; 1024 to 65535 where absent.
    pub ports: Option<(u16, u16)>,
}

/// A PCI device of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are PCI's")]
pub struct HostPciAddress {
    pub domain: u32,
    pub bus: u32,
    pub slot: u32,
    pub function: u32,
}

impl fmt::Display for HostPciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.slot, self.function)
    }
}

/// `<driver name model>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PciDriver {
    /// `@name`: `vfio`, `kvm` or `xen`.
    pub name: Option<String>,
    /// `@model`: a kernel driver of the vfio kind for a certain device.
    pub model: Option<String>,
}

/// `<forward>`; `None` where it says that there is none.
pub(super) fn forward(view: &View<'_>) -> Option<Forward> {
    let mode = view.one_of("mode", MODES).unwrap_or(Some(ForwardMode::Nat));
    let dev: Option<IfName> = view.parsed("dev");
    let mut interfaces: Vec<IfName> = view.children("interface").iter().filter_map(interface).collect();
    if let (Some(dev), Some(first)) = (&dev, interfaces.first())
        && dev != first
    {
        let remedy = "make them equal or leave one out";
        view.error_at("dev", format!("dev is '{dev}', but the first <interface> is '{first}'"), remedy);
    }
    if interfaces.is_empty() {
        interfaces.extend(dev.clone());
    }
    let addresses = view.children("address");
    if view.filled("dev").is_some() && (!addresses.is_empty() || view.element().child("pf").is_some()) {
        let message = "dev cannot stand beside a pool of <address> or <pf>";
        view.error_at("dev", message, "leave dev out");
    }
    if let Some(second) = view.children("pf").get(1) {
        second.error("a second <pf> is given", "a network has one");
    }
    let pf = view.child("pf").and_then(|p| interface(&p));
    let forward = Forward {
        mode: mode.unwrap_or(ForwardMode::Nat),
        dev: interfaces.first().cloned(),
        interfaces,
        pf,
        addresses: addresses.iter().filter_map(pci_address).collect(),
        managed: view.attr("managed").is_some_and(|m| m.eq_ignore_ascii_case("yes")),
        driver: view.child("driver").map_or_else(PciDriver::default, |d| driver(&d)),
        nat: nat(view, mode),
    };
    if mode.is_none() && (view.element().children().next().is_some() || view.filled("dev").is_some()) {
        view.warning(
            "a network that does not forward takes nothing from <forward>",
            "leave all but mode out",
        );
    }
    mode.map(|_| forward)
}

/// `<interface dev>` or `<pf dev>`.
fn interface(view: &View<'_>) -> Option<IfName> {
    view.attr("connections");
    required(view.parsed("dev"), view, "dev", "name an interface of the host")
}

fn pci_address(view: &View<'_>) -> Option<HostPciAddress> {
    view.attr("connections");
    required(view.one_of("type", &[("pci", ())]), view, "type", "write type='pci'");
    let part = |attr, max| number(view, attr, max).or(view.filled(attr).is_none().then_some(0));
    let address = HostPciAddress {
        domain: part("domain", 0xffff)?,
        bus: part("bus", 0xff)?,
        slot: part("slot", 0x1f)?,
        function: part("function", 7)?,
    };
    if (address.domain, address.bus, address.slot) == (0, 0, 0) {
        view.error(format!("{address} is not a device"), "at least one of domain, bus and slot is not 0");
    }
    Some(address)
}

fn driver(view: &View<'_>) -> PciDriver {
    let names = [("vfio", "vfio"), ("kvm", "kvm"), ("xen", "xen")];
    PciDriver {
        name: view.one_of("name", &names).map(str::to_owned),
        model: view.filled("model").map(str::to_owned),
    }
}

fn nat(forward: &View<'_>, mode: Option<ForwardMode>) -> Nat {
    let Some(view) = forward.child("nat") else { return Nat::default() };
    if let Some(second) = forward.children("nat").get(1) {
        second.error("a second <nat> is given", "leave one out");
    }
    if mode != Some(ForwardMode::Nat) {
        let message = "<nat> belongs to the forward mode 'nat'";
        view.error(message, "leave it out, or write mode='nat'");
    }
    for name in ["address", "port"] {
        if let Some(second) = view.children(name).get(1) {
            second.error(format!("a second <{name}> is given"), "leave one out");
        }
    }
    Nat {
        ipv6: view.one_of("ipv6", YES_NO).unwrap_or(false),
        addresses: view.child("address").and_then(|a| span(&a, "give an IPv4 address")),
        ports: view.child("port").and_then(|p| span(&p, "give 0 to 65535")),
    }
}

/// `start` and `end`, the latter not before the former.
fn span<T>(view: &View<'_>, remedy: &str) -> Option<(T, T)>
where
    T: std::str::FromStr<Err: fmt::Display> + PartialOrd + fmt::Display,
{
    let start = required(view.parsed::<T>("start"), view, "start", remedy);
    let end = required(view.parsed::<T>("end"), view, "end", remedy);
    let (start, end) = (start?, end?);
    if end < start {
        let message = format!("the range begins at {start} and ends before it, at {end}");
        view.error_at("end", message, "exchange start and end");
    }
    Some((start, end))
}
