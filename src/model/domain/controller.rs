//! `<controller>`: what other devices are plugged into. Owns libvirt's words for it; must never choose where
//! it sits or what model it is (see `plan::qemu`).

use super::DeviceInfo;
use super::memory;
use crate::model::MemorySize;
use crate::model::doc::required;
use crate::xml::view::View;

/// `<controller>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@type`.
    pub kind: ControllerKind,
    /// `@index`; absent means the next free one.
    pub index: Option<u32>,
    /// `@model`, in libvirt's words; absent means the machine's default.
    pub model: Option<String>,
    /// `<driver>`.
    pub driver: ControllerDriver,
    /// `@ports` of USB and virtio-serial.
    pub ports: Option<u32>,
    /// `@vectors` of virtio-serial.
    pub vectors: Option<u32>,
    /// `<master startport>`: the first port of the companion that this USB controller drives.
    pub master_startport: Option<u32>,
    /// `<pcihole64>`: room for large devices, of the root.
    pub pcihole64: Option<MemorySize>,
    /// `<model name>`: QEMU's device, where it has several.
    pub model_name: Option<String>,
    /// `<target>`.
    pub target: ControllerTarget,
}

/// `<controller type>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum ControllerKind {
    Ide,
    Fdc,
    Scsi,
    Sata,
    VirtioSerial,
    Ccid,
    Usb,
    Pci,
    Isa,
}

impl ControllerKind {
    /// libvirt's word for it.
    pub fn as_str(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

/// `<driver>` of a controller.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub struct ControllerDriver {
    pub queues: Option<u32>,
    pub cmd_per_lun: Option<u32>,
    pub max_sectors: Option<u32>,
    pub ioeventfd: Option<bool>,
    pub iothread: Option<u32>,
    pub event_idx: Option<bool>,
    pub iommu: Option<bool>,
    pub ats: Option<bool>,
    pub packed: Option<bool>,
    pub page_per_vq: Option<bool>,
}

/// `<target>` of a PCI controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ControllerTarget {
    /// `@chassisNr` of a bridge.
    pub chassis_nr: Option<u32>,
    /// `@chassis` of a port.
    pub chassis: Option<u32>,
    /// `@port` of a port.
    pub port: Option<u32>,
    /// `@busNr` of an expander.
    pub bus_nr: Option<u32>,
    /// `<node>` of an expander: the guest's NUMA cell.
    pub node: Option<u32>,
    /// `@hotplug`.
    pub hotplug: Option<bool>,
}

const KINDS: &[(&str, ControllerKind)] = &[
    ("ide", ControllerKind::Ide),
    ("fdc", ControllerKind::Fdc),
    ("scsi", ControllerKind::Scsi),
    ("sata", ControllerKind::Sata),
    ("virtio-serial", ControllerKind::VirtioSerial),
    ("ccid", ControllerKind::Ccid),
    ("usb", ControllerKind::Usb),
    ("pci", ControllerKind::Pci),
    ("isa", ControllerKind::Isa),
];

/// The models of each type.
fn models(kind: ControllerKind) -> &'static [&'static str] {
    match kind {
        ControllerKind::Scsi => &[
            "auto",
            "buslogic",
            "lsilogic",
            "lsisas1068",
            "vmpvscsi",
            "ibmvscsi",
            "virtio-scsi",
            "lsisas1078",
            "virtio-transitional",
            "virtio-non-transitional",
            "am53c974",
            "dc390",
            "ncr53c90",
        ],
        ControllerKind::Usb => &[
            "piix3-uhci",
            "piix4-uhci",
            "ehci",
            "ich9-ehci1",
            "ich9-uhci1",
            "ich9-uhci2",
            "ich9-uhci3",
            "vt82c686b-uhci",
            "pci-ohci",
            "nec-xhci",
            "qusb1",
            "qusb2",
            "qemu-xhci",
            "none",
        ],
        ControllerKind::Ide => &["piix3", "piix4", "ich6"],
        ControllerKind::VirtioSerial => &["virtio", "virtio-transitional", "virtio-non-transitional"],
        ControllerKind::Pci => &[
            "pci-root",
            "pcie-root",
            "pci-bridge",
            "dmi-to-pci-bridge",
            "pcie-root-port",
            "pcie-switch-upstream-port",
            "pcie-switch-downstream-port",
            "pci-expander-bus",
            "pcie-expander-bus",
            "pcie-to-pci-bridge",
        ],
        _ => &[],
    }
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<ControllerDef> {
    if matches!(view.element().attr("type"), Some("xenbus" | "nvme")) {
        view.accept();
        let word = view.element().attr("type").unwrap_or_default();
        view.unsupported_at("type", format!("Warren has no controller of type '{word}'"), "leave it out");
        return None;
    }
    let kind = required(view.one_of("type", KINDS), view, "type", "give pci, usb, scsi, …");
    let info = DeviceInfo::read(view);
    let Some(kind) = kind else {
        view.accept();
        return None;
    };
    let model = view.filled("model").map(str::to_owned);
    if let Some(word) = &model
        && !models(kind).contains(&word.as_str())
    {
        let known = models(kind).join(", ");
        let remedy = if known.is_empty() { "leave it out".to_owned() } else { format!("known are {known}") };
        view.error_at(
            "model",
            format!("a {} controller of model '{word}' is not known", kind.as_str()),
            remedy,
        );
    }
    let of_model = |name: &str| -> Option<u32> {
        let value = view.parsed(name);
        if value.is_some() && !matches!(kind, ControllerKind::Usb | ControllerKind::VirtioSerial) {
            view.error_at(name, format!("a {} controller has no '{name}'", kind.as_str()), "leave it out");
        }
        value
    };
    let def = ControllerDef {
        kind,
        index: view.parsed("index"),
        ports: of_model("ports"),
        vectors: of_model("vectors"),
        driver: view.child("driver").map(|d| driver(&d)).unwrap_or_default(),
        master_startport: view.child("master").and_then(|m| m.parsed("startport")),
        pcihole64: view.child("pcihole64").and_then(|p| memory::amount(&p)),
        model_name: view.child("model").and_then(|m| m.filled("name")).map(str::to_owned),
        target: view.child("target").map(|t| target(&t)).unwrap_or_default(),
        model,
        info,
    };
    roots(view, &def);
    Some(def)
}

/// The root of a bus is built in: it is the first and sits nowhere.
fn roots(view: &View<'_>, def: &ControllerDef) {
    let is_root = matches!(def.model.as_deref(), Some("pci-root" | "pcie-root"));
    if is_root && def.index.is_some_and(|index| index != 0) {
        view.error_at("index", "the root of the PCI bus has the index 0", "leave it out");
    }
    if is_root && def.info.address.is_some() {
        view.error("the root of the PCI bus has no address", "leave <address> out");
    }
    if !is_root && def.kind == ControllerKind::Pci && def.model.is_some() && def.index == Some(0) {
        view.error_at("index", "the index 0 is the root's", "give a number from 1");
    }
    if !is_root && def.pcihole64.is_some() && def.index.unwrap_or(0) != 0 {
        view.error("<pcihole64> is for the root of the PCI bus", "leave it out");
    }
}

fn driver(view: &View<'_>) -> ControllerDriver {
    ControllerDriver {
        queues: view.parsed("queues"),
        cmd_per_lun: view.parsed("cmd_per_lun"),
        max_sectors: view.parsed("max_sectors"),
        ioeventfd: view.yes_no("ioeventfd"),
        iothread: view.parsed("iothread"),
        event_idx: view.yes_no("event_idx"),
        iommu: view.yes_no("iommu"),
        ats: view.yes_no("ats"),
        packed: view.yes_no("packed"),
        page_per_vq: view.yes_no("page_per_vq"),
    }
}

fn target(view: &View<'_>) -> ControllerTarget {
    let within = |name: &str, least: u32, most: u32| {
        let value = super::device::number(view, name)?;
        if !(least..=most).contains(&value) {
            view.error_at(name, format!("{value} is out of range"), format!("give {least} to {most}"));
        }
        Some(value)
    };
    if view.filled("index").is_some() {
        view.unsupported_at("index", "it is for machines of POWER", "leave it out");
    }
    let node = view.child("node").map(|n| (n.text().parse().ok(), n));
    if let Some((None, node)) = &node {
        node.error("<node> is not the number of a NUMA cell", "");
    }
    ControllerTarget {
        chassis_nr: within("chassisNr", 1, 255),
        chassis: within("chassis", 0, 255),
        port: within("port", 0, 255),
        bus_nr: within("busNr", 1, 254),
        node: node.and_then(|(number, _)| number),
        hotplug: view.yes_no("hotplug"),
    }
}
