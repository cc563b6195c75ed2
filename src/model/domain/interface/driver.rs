//! `<model>`, `<driver>` and `<rom>` of a NIC: how it looks to the guest. Owns their words; must never know
//! what QEMU calls them.

use std::path::PathBuf;

use crate::model::doc::host_path;
use crate::xml::view::View;

/// `<model type>` of a NIC: libvirt's word where it has one, else QEMU's name of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicModel(String);

/// The words that libvirt knows, in whatever case they are written.
const MODELS: &[&str] = &[
    "netfront",
    "rtl8139",
    "virtio",
    "e1000",
    "e1000e",
    "igb",
    "virtio-transitional",
    "virtio-non-transitional",
    "usb-net",
    "spapr-vlan",
    "lan9118",
    "smc91c111",
    "vlance",
    "vmxnet",
    "vmxnet2",
    "vmxnet3",
    "Am79C970A",
    "Am79C973",
    "82540EM",
    "82545EM",
    "82543GC",
];

impl NicModel {
    /// The model that is fastest, and whose driver every Linux has.
    pub const VIRTIO: &'static str = "virtio";

    /// The model of that name; its characters are those that libvirt allows.
    pub fn named(name: &str) -> Self {
        let known = MODELS.iter().find(|word| word.eq_ignore_ascii_case(name));
        Self((*known.unwrap_or(&name)).to_owned())
    }

    /// The word, as libvirt writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one of virtio's, which `<driver>` is for.
    pub fn is_virtio(&self) -> bool {
        matches!(self.as_str(), "virtio" | "virtio-transitional" | "virtio-non-transitional")
    }
}

pub(super) fn model(view: &View<'_>) -> Option<NicModel> {
    let name = view.filled("type")?;
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
        let message = format!("'{}' is not the name of a NIC's model", name.escape_debug());
        view.error_at("type", message, "letters, digits, '-' and '_' may stand in it");
        return None;
    }
    Some(NicModel::named(name))
}

/// `<driver>`: settings of a virtio NIC, each as the machine has it where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NicDriver {
    /// Whether there was a `<driver>` with anything for a virtio NIC in it.
    pub given: bool,
    /// `@name`: who moves the frames of a TAP.
    pub name: Option<NicBackendDriver>,
    /// `@txmode`.
    pub txmode: Option<TxMode>,
    /// `@queues`: how many CPUs of the guest can send at once.
    pub queues: Option<u32>,
    /// `@rx_queue_size`: frames that wait for the guest, a power of two.
    pub rx_queue_size: Option<u32>,
    /// `@tx_queue_size`: frames that wait for the host, a power of two.
    pub tx_queue_size: Option<u32>,
    /// What is switched on or off, as the attribute's name and its value: `ioeventfd`, `event_idx`, `rss`,
    /// `rss_hash_report`, `iommu`, `ats`, `packed` and `page_per_vq`.
    pub switches: Vec<(&'static str, bool)>,
    /// `<host>`: what the host may leave to the guest: `csum`, `gso`, `tso4`, `tso6`, `ecn`, `ufo`, `mrg_rxbuf`.
    pub host: Vec<(&'static str, bool)>,
    /// `<guest>`: what the guest may leave to the host: `csum`, `tso4`, `tso6`, `ecn`, `ufo`.
    pub guest: Vec<(&'static str, bool)>,
}

/// `<driver name>` of a virtio NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicBackendDriver {
    /// QEMU itself.
    Qemu,
    /// The host's kernel.
    Vhost,
}

/// `<driver txmode>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxMode {
    /// `iothread`: at once.
    Iothread,
    /// `timer`: after a while, many at once.
    Timer,
}

const SWITCHES: &[&str] =
    &["ioeventfd", "event_idx", "rss", "rss_hash_report", "iommu", "ats", "packed", "page_per_vq"];
const HOST: &[&str] = &["csum", "gso", "tso4", "tso6", "ecn", "ufo", "mrg_rxbuf"];
const GUEST: &[&str] = &["csum", "tso4", "tso6", "ecn", "ufo"];

impl NicDriver {
    /// What a switch says, where it says something.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.switches.iter().find(|(n, _)| *n == name).map(|(_, on)| *on)
    }
}

pub(super) fn read(view: &View<'_>, hostdev: bool) -> NicDriver {
    if hostdev {
        // How the host's device is handed over: by VFIO, or by the kernel module of VFIO that is named.
        match view.filled("name") {
            None | Some("vfio") => {}
            Some(name @ ("kvm" | "xen")) => {
                view.unsupported_at(
                    "name",
                    format!("QEMU does not assign devices by '{name}'"),
                    "write vfio",
                );
            }
            Some(name) => {
                view.error_at("name", format!("'{name}' is not known"), "known are vfio, kvm, xen");
            }
        }
        if view.filled("model").is_some() {
            view.unsupported_at("model", "Warren does not choose the host's VFIO driver", "leave model out");
        }
        return NicDriver::default();
    }
    let switches = |view: &View<'_>, names: &[&'static str]| -> Vec<(&'static str, bool)> {
        names.iter().filter_map(|name| Some((*name, view.yes_no(name)?))).collect()
    };
    let part = |name: &str, names: &[&'static str]| {
        view.child(name).map(|part| switches(&part, names)).unwrap_or_default()
    };
    let names = [("qemu", NicBackendDriver::Qemu), ("vhost", NicBackendDriver::Vhost)];
    let mut driver = NicDriver {
        given: false,
        name: view.one_of("name", &names),
        txmode: view.one_of("txmode", &[("iothread", TxMode::Iothread), ("timer", TxMode::Timer)]),
        queues: view.parsed("queues"),
        rx_queue_size: view.parsed("rx_queue_size"),
        tx_queue_size: view.parsed("tx_queue_size"),
        switches: switches(view, SWITCHES),
        host: part("host", HOST),
        guest: part("guest", GUEST),
    };
    driver.given = driver != NicDriver::default();
    driver
}

/// `<rom>`: what the guest's firmware finds on the device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NicRom {
    /// `@enabled`; no: nothing at all.
    pub enabled: Option<bool>,
    /// `@bar`: whether the guest sees it.
    pub bar: Option<bool>,
    /// `@file`: what is on it in place of QEMU's own.
    pub file: Option<PathBuf>,
}

pub(super) fn rom(view: &View<'_>) -> NicRom {
    let rom = NicRom {
        enabled: view.yes_no("enabled"),
        bar: view.yes_no("bar"),
        file: host_path(view, Some("file")),
    };
    if rom.enabled == Some(false) && (rom.bar.is_some() || view.filled("file").is_some()) {
        view.error("a <rom> that is not enabled has neither bar nor file", "leave them out");
    }
    rom
}
