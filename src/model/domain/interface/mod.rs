//! `<interface>`. Owns libvirt's words and defaults for NICs, and those of 2007; must never know how a NIC
//! is made.

mod driver;
mod kind;
mod passt;
mod side;

pub use driver::*;
pub use kind::*;
pub use passt::*;
pub use side::*;

use super::DeviceInfo;
use crate::model::doc::required;
use crate::model::shaping::{self, Bandwidth, VirtualPort, Vlan};
use crate::model::{IfName, Mac};
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
    /// `<model type>`; see [`InterfaceDef::model_on`] for what its absence means.
    pub model: Option<NicModel>,
    /// `<driver>`.
    pub driver: NicDriver,
    /// `<backend>`.
    pub backend: NicBackend,
    /// `<target dev>`: the TAP's name.
    pub target: Option<IfName>,
    /// `<target managed>`, default yes; no: the TAP is there before the guest and stays.
    pub managed_tap: bool,
    /// `<link state>`, default up.
    pub link_up: bool,
    /// `<mtu size>`, in bytes: of the TAP, and told to the guest.
    pub mtu: Option<u32>,
    /// `<rom>`.
    pub rom: Option<NicRom>,
    /// `<teaming>`: this NIC may share its MAC with its partner.
    pub teaming: Option<NicTeaming>,
    /// `<bandwidth>`.
    pub bandwidth: Option<Bandwidth>,
    /// `<vlan>`.
    pub vlan: Option<Vlan>,
    /// `<virtualport>`.
    pub virtual_port: Option<VirtualPort>,
    /// `<port isolated>`: isolated ports of a bridge do not reach each other; absent: as the network says.
    pub isolated: Option<bool>,
    /// `@trustGuestRxFilters`; absent: as the network says.
    pub trust_guest_rx_filters: Option<bool>,
    /// `<filterref filter>`: libvirt's packet filter of that name.
    pub filter: Option<String>,
    /// `<tune><sndbuf>`, in bytes: how much may wait in the TAP.
    pub sndbuf: Option<u64>,
    /// `<coalesce><rx><frames max>`: after how many frames the host is interrupted.
    pub coalesce: Option<u32>,
    /// `<ip>`: addresses of the guest's side.
    pub ips: Vec<NicAddress>,
    /// `<route>`: routes of the guest's side.
    pub routes: Vec<NicRoute>,
    /// `<portForward>`.
    pub port_forwards: Vec<PortForward>,
}

impl InterfaceDef {
    /// The model on a machine of this architecture. Without `<model>` it is libvirt's default: rtl8139 on a
    /// PC, virtio elsewhere and where only virtio can be; a device of the host has none.
    pub fn model_on(&self, arch: &str) -> Option<NicModel> {
        let default = match self.kind {
            InterfaceKind::Hostdev { .. } => return None,
            InterfaceKind::VhostUser(_) | InterfaceKind::Vdpa { .. } => NicModel::VIRTIO,
            _ if matches!(arch, "x86_64" | "i686" | "i386") => "rtl8139",
            _ => NicModel::VIRTIO,
        };
        Some(self.model.clone().unwrap_or_else(|| NicModel::named(default)))
    }

    /// Whether passt carries its traffic.
    pub fn has_passt(&self) -> bool {
        self.backend.passt.is_some()
    }
}

/// The NIC, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<InterfaceDef> {
    let backend = passt::backend(view);
    let kind = kind::read(view, backend.passt.is_some());
    if kind.is_none() && view.element().attr("type").is_some_and(|t| !kind::is_known(t)) {
        view.accept();
        return None;
    }
    let hostdev = matches!(kind, Some(InterfaceKind::Hostdev { .. }));
    let (target, managed_tap) = target(view);
    without_effect(view);
    let mut nic = InterfaceDef {
        info: DeviceInfo::read(view),
        mac: mac(view),
        model: view.child("model").and_then(|m| driver::model(&m)),
        driver: view.child("driver").map(|d| driver::read(&d, hostdev)).unwrap_or_default(),
        backend,
        target,
        managed_tap,
        link_up: view.child("link").and_then(|l| l.one_of("state", &[("up", true), ("down", false)]))
            != Some(false),
        mtu: view.child("mtu").and_then(|m| required(m.parsed("size"), &m, "size", "give it in bytes")),
        rom: view.child("rom").map(|r| driver::rom(&r)),
        teaming: view.child("teaming").and_then(|t| teaming(&t)),
        bandwidth: view.child("bandwidth").map(|b| shaping::bandwidth(&b)),
        vlan: view.child("vlan").and_then(|v| shaping::vlan(&v)),
        virtual_port: view.child("virtualport").map(|v| shaping::virtual_port(&v)),
        isolated: view.child("port").and_then(|p| p.yes_no("isolated")),
        trust_guest_rx_filters: view.yes_no("trustGuestRxFilters"),
        filter: view.child("filterref").and_then(|f| filter(&f)),
        sndbuf: sndbuf(view),
        coalesce: coalesce(view),
        ips: side::addresses(view),
        routes: side::routes(view),
        port_forwards: passt::forwards(view),
        kind: kind?,
    };
    // libvirt reads 0 as not said.
    nic.mtu = nic.mtu.filter(|size| *size > 0);
    Some(nic)
}

/// `<mac address type check>`: type and check are VMware's.
fn mac(view: &View<'_>) -> Option<Mac> {
    let view = view.child("mac")?;
    // What the guest had made of it while it ran.
    view.attr("currentAddress");
    view.one_of("type", &[("generated", ()), ("static", ())]);
    view.yes_no("check");
    view.parsed("address")
}

fn target(view: &View<'_>) -> (Option<IfName>, bool) {
    let Some(view) = view.child("target") else { return (None, true) };
    let managed = view.yes_no("managed") != Some(false);
    match view.filled("dev") {
        // What libvirt and Warren generate themselves.
        Some("vnet%d" | "wtap%d") => (None, managed),
        Some(dev) if dev.contains('%') => {
            let message = format!("'{}' is a pattern, and Warren takes whole names", dev.escape_debug());
            view.unsupported_at("dev", message, "leave it out and Warren chooses one");
            (None, managed)
        }
        _ => (view.parsed("dev"), managed),
    }
}

/// What libvirt keeps for containers and for Xen, and never tells QEMU.
fn without_effect(view: &View<'_>) {
    if let Some(guest) = view.child("guest") {
        guest.attr("dev");
        guest.attr("actual");
        guest.warning("QEMU does not name the interfaces of its guests", "leave <guest> out");
    }
    if let Some(domain) = view.child("backenddomain") {
        domain.attr("name");
        domain.warning("only Xen has driver domains", "leave <backenddomain> out");
    }
}

/// `<teaming>`: one of a pair of NICs that look like one to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NicTeaming {
    /// `type='persistent'`: the virtio NIC that stays.
    Persistent,
    /// `type='transient'`: the device of the host that may be taken away.
    Transient {
        /// `@persistent`: the alias of the one that stays.
        partner: String,
    },
}

fn teaming(view: &View<'_>) -> Option<NicTeaming> {
    let partner = view.filled("persistent");
    let remedy = "give persistent or transient";
    let transient = view.one_of("type", &[("persistent", false), ("transient", true)]);
    match (required(transient, view, "type", remedy)?, partner) {
        (true, Some(partner)) => Some(NicTeaming::Transient { partner: partner.to_owned() }),
        (true, None) => {
            let message = "<teaming type='transient'> needs the alias of its partner";
            view.error_at("persistent", message, "as persistent='ua-backup0'");
            None
        }
        (false, None) => Some(NicTeaming::Persistent),
        (false, Some(_)) => {
            let message = "only the transient NIC of a pair names its partner";
            view.error_at("persistent", message, "leave persistent out");
            None
        }
    }
}

fn filter(view: &View<'_>) -> Option<String> {
    for parameter in view.children("parameter") {
        for attr in ["name", "value"] {
            required(parameter.filled(attr), &parameter, attr, "a parameter has a name and a value");
        }
    }
    required(view.filled("filter"), view, "filter", "name the filter").map(str::to_owned)
}

fn sndbuf(view: &View<'_>) -> Option<u64> {
    let tune = view.child("tune")?;
    let sndbuf = tune.child("sndbuf")?;
    let text = sndbuf.text();
    let parsed = text.parse();
    if parsed.is_err() {
        sndbuf.error(format!("'{text}' is not a number of bytes"), "as <sndbuf>1600</sndbuf>");
    }
    parsed.ok()
}

fn coalesce(view: &View<'_>) -> Option<u32> {
    let frames = view.child("coalesce")?.child("rx")?.child("frames")?;
    frames.parsed("max")
}

#[cfg(test)]
mod tests;
