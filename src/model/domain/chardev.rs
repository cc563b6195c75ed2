//! `<serial>`, `<parallel>`, `<console>` and `<channel>`. Owns libvirt's words and defaults for what the guest
//! sees of them; what they are joined to is `CharSource`. Must never open what they name.

use std::net::Ipv4Addr;

use super::charsource::{self, Reader};
use super::{Address, CharBackend, CharSource, DeviceInfo};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<serial>`, or the `<console>` that stands for one where the document has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// What it is joined to.
    pub source: CharSource,
    /// `<target port>`, else the one after the highest so far, from 0.
    pub port: u32,
    /// `<target type>`; where absent, what the address asks for.
    pub target: SerialTarget,
    /// `<target><model name>` where it is given.
    pub model: Option<String>,
}

/// `<serial><target type>`: the bus that the port sits on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum SerialTarget {
    Isa,
    Usb,
    Pci,
    IsaDebug,
    SpaprVio,
    System,
    Sclp,
}

/// `<parallel>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParallelDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// What it is joined to.
    pub source: CharSource,
    /// `<target port>`, else the one after the highest so far, from 0.
    pub port: u32,
}

/// `<channel>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// What it is joined to.
    pub source: CharSource,
    /// `<target type>`.
    pub target: ChannelTarget,
}

/// `<channel><target type>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelTarget {
    /// `guestfwd`: a TCP port of the guest's user network.
    Guestfwd {
        /// `@address`.
        address: Ipv4Addr,
        /// `@port`.
        port: u16,
    },
    /// `virtio`, with the name by which the guest finds it.
    Virtio(Option<String>),
    /// `xen`, which QEMU does not have.
    Xen,
}

/// `<console>` that is no serial port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// What it is joined to.
    pub source: CharSource,
    /// `<target type>`.
    pub target: ConsoleTarget,
}

/// `<console><target type>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum ConsoleTarget {
    Virtio,
    Sclp,
    SclpLm,
    /// `xen`, `uml`, `lxc` and `openvz`, which QEMU does not have.
    Other,
}

/// What the reading of one character device tells the next.
#[derive(Debug, Default)]
pub(super) struct Ports {
    next_serial: u32,
    next_parallel: u32,
    /// The `<console>` that were read.
    consoles: u32,
}

const SERIALS: [(&str, SerialTarget); 7] = [
    ("isa-serial", SerialTarget::Isa),
    ("usb-serial", SerialTarget::Usb),
    ("pci-serial", SerialTarget::Pci),
    ("isa-debug", SerialTarget::IsaDebug),
    ("spapr-vio-serial", SerialTarget::SpaprVio),
    ("system-serial", SerialTarget::System),
    ("sclp-serial", SerialTarget::Sclp),
];

/// libvirt's models of serial ports, each with the targets that it is for.
const MODELS: [(&str, SerialTarget); 9] = [
    ("isa-serial", SerialTarget::Isa),
    ("usb-serial", SerialTarget::Usb),
    ("pci-serial", SerialTarget::Pci),
    ("isa-debugcon", SerialTarget::IsaDebug),
    ("spapr-vty", SerialTarget::SpaprVio),
    ("pl011", SerialTarget::System),
    ("16550a", SerialTarget::System),
    ("sclpconsole", SerialTarget::Sclp),
    ("sclplmconsole", SerialTarget::Sclp),
];

/// A `<serial>`.
pub(super) fn serial(view: &View<'_>, ports: &mut Ports) -> Option<SerialDef> {
    let source = charsource::read(view, Reader::Device);
    let info = DeviceInfo::read(view);
    let target = view.child("target");
    let port = port(target.as_ref(), &mut ports.next_serial);
    let by_address = match info.address {
        Some(Address::Usb { .. }) => SerialTarget::Usb,
        Some(Address::Pci(_)) => SerialTarget::Pci,
        _ => SerialTarget::Isa,
    };
    let kind = target.as_ref().and_then(|t| t.one_of("type", &SERIALS)).unwrap_or(by_address);
    let model = target.as_ref().and_then(|t| t.child("model"));
    let of = model.as_ref().and_then(|m| m.one_of("name", &MODELS));
    if let (Some(model), Some(of)) = (&model, of)
        && of != kind
    {
        model.error_at("name", "this model is for another type of target", "leave <model> out");
    }
    let model = model.and_then(|m| m.filled("name").map(str::to_owned));
    not_spice(&source?, view).map(|source| SerialDef { info, source, port, target: kind, model })
}

/// A `<parallel>`.
pub(super) fn parallel(view: &View<'_>, ports: &mut Ports) -> Option<ParallelDef> {
    let source = charsource::read(view, Reader::Device);
    let info = DeviceInfo::read(view);
    let target = view.child("target");
    if let Some(target) = &target {
        // libvirt reads it for the other three alone.
        target.attr("type");
    }
    let port = port(target.as_ref(), &mut ports.next_parallel);
    not_spice(&source?, view).map(|source| ParallelDef { info, source, port })
}

/// What a `<console>` turns out to be.
pub(super) enum Console {
    /// The serial port that it stands for, since there is no `<serial>`.
    Serial(SerialDef),
    /// A console of its own.
    Own(ConsoleDef),
    /// The first serial port once more.
    Twin,
}

/// A `<console>`: the first one of target `serial`, which is the default, is the first serial port.
pub(super) fn console(view: &View<'_>, has_serial: bool, ports: &mut Ports) -> Option<Console> {
    let first = ports.consoles == 0;
    ports.consoles += 1;
    let target = view.child("target");
    let words = [
        ("serial", None),
        ("virtio", Some(ConsoleTarget::Virtio)),
        ("sclp", Some(ConsoleTarget::Sclp)),
        ("sclplm", Some(ConsoleTarget::SclpLm)),
        ("xen", Some(ConsoleTarget::Other)),
        ("uml", Some(ConsoleTarget::Other)),
        ("lxc", Some(ConsoleTarget::Other)),
        ("openvz", Some(ConsoleTarget::Other)),
    ];
    let kind = target.as_ref().and_then(|t| t.one_of("type", &words)).flatten();
    // libvirt counts consoles by their order.
    target.as_ref().and_then(|t| t.parsed::<u32>("port"));
    let Some(target) = kind else {
        if !first {
            let remedy = "leave it out, or write <target type='virtio'/>";
            view.error("only the first <console> can be the serial port", remedy);
        }
        if has_serial {
            twin(view);
            return Some(Console::Twin);
        }
        let source = not_spice(&charsource::read(view, Reader::Device)?, view)?;
        let info = DeviceInfo::read(view);
        let target = SerialTarget::Isa;
        return Some(Console::Serial(SerialDef { info, source, port: 0, target, model: None }));
    };
    let source = charsource::read(view, Reader::Device);
    let info = DeviceInfo::read(view);
    not_spice(&source?, view).map(|source| Console::Own(ConsoleDef { info, source, target }))
}

/// libvirt overwrites the console by the serial port, whatever it says.
fn twin(view: &View<'_>) {
    view.accept();
    view.one_of("type", charsource::TYPES);
    let element = view.element();
    if element.attr("type").is_some_and(|t| t != "pty") && element.child("source").is_some() {
        view.warning("the console is the first serial port, and what that one says counts", "");
    }
}

/// A `<channel>`.
pub(super) fn channel(view: &View<'_>) -> Option<ChannelDef> {
    let target = view.child("target");
    let Some(target) = target.filter(|t| t.filled("type").is_some()) else {
        view.error("the channel has no type of target", "add <target type='virtio' name='…'/>");
        return None;
    };
    let source;
    let kind = match target.one_of("type", &[("guestfwd", 0), ("virtio", 1), ("xen", 2)])? {
        0 => {
            source = charsource::read(view, Reader::Device);
            let address = required(target.filled("address"), &target, "address", "give an IPv4 address");
            let port = required(target.parsed("port"), &target, "port", "give the port");
            let address = address.and_then(|a| {
                let wrong = |_| target.error_at("address", format!("'{a}' is no IPv4 address"), "");
                a.parse().map_err(wrong).ok()
            });
            ChannelTarget::Guestfwd { address: address?, port: port? }
        }
        kind => {
            source = charsource::read(view, Reader::Channel);
            // What a running guest had joined.
            target.attr("state");
            let name = target.filled("name").map(str::to_owned);
            let agent = source.as_ref().is_some_and(|s| {
                matches!(s.backend, CharBackend::SpiceVmc | CharBackend::QemuVdagent { .. })
            });
            let name = name.or_else(|| agent.then(|| "com.redhat.spice.0".to_owned()));
            if kind == 1 { ChannelTarget::Virtio(name) } else { ChannelTarget::Xen }
        }
    };
    let info = DeviceInfo::read(view);
    let source = source?;
    if !matches!(kind, ChannelTarget::Virtio(_)) {
        not_spice(&source, view)?;
    }
    Some(ChannelDef { info, source, target: kind })
}

/// `spicevmc` and QEMU's agent are for channels of virtio only.
fn not_spice(source: &CharSource, view: &View<'_>) -> Option<CharSource> {
    if matches!(source.backend, CharBackend::SpiceVmc) {
        view.error_at("type", "'spicevmc' is for channels of target virtio", "");
        return None;
    }
    Some(source.clone())
}

fn port(target: Option<&View<'_>>, next: &mut u32) -> u32 {
    let port = target.and_then(|t| t.parsed("port")).unwrap_or(*next);
    *next = port.saturating_add(1).max(*next);
    port
}
