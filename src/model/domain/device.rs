//! A child of `<devices>`, and what all of them share. Owns the list of devices and where each sits; must
//! never know how QEMU is told.

use super::{
    AudioDef, ChannelDef, CharSource, ConsoleDef, ControllerDef, CryptoDef, DiskDef, FilesystemDef,
    GraphicsDef, HostdevDef, HubDef, InputDef, InterfaceDef, IommuDef, LeaseDef, MemballoonDef,
    MemoryDeviceDef, NvramDef, PanicDef, ParallelDef, PstoreDef, RedirdevDef, RngBackend, RngDef, SerialDef,
    ShmemDef, SmartcardDef, SmartcardMode, SoundDef, TpmDef, VideoDef, VsockDef, WatchdogDef,
};
use crate::model::doc::required;
use crate::xml::view::View;

/// A child of `<devices>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// `<disk>`
    Disk(Box<DiskDef>),
    /// `<interface>`
    Interface(Box<InterfaceDef>),
    /// `<serial>`, or a `<console>` that stands for one where the document has no `<serial>`.
    Serial(SerialDef),
    /// `<graphics>`
    Graphics(GraphicsDef),
    /// `<video>`
    Video(VideoDef),
    /// `<controller>`
    Controller(ControllerDef),
    /// `<filesystem>`
    Filesystem(FilesystemDef),
    /// `<smartcard>`
    Smartcard(SmartcardDef),
    /// `<parallel>`
    Parallel(ParallelDef),
    /// `<channel>`
    Channel(ChannelDef),
    /// `<console>`
    Console(ConsoleDef),
    /// `<input>`
    Input(InputDef),
    /// `<sound>`
    Sound(SoundDef),
    /// `<audio>`
    Audio(AudioDef),
    /// `<watchdog>`
    Watchdog(WatchdogDef),
    /// `<memballoon>`
    Memballoon(MemballoonDef),
    /// `<rng>`
    Rng(RngDef),
    /// `<tpm>`
    Tpm(TpmDef),
    /// `<vsock>`
    Vsock(VsockDef),
    /// `<hostdev>`
    Hostdev(HostdevDef),
    /// `<redirdev>`
    Redirdev(RedirdevDef),
    /// `<shmem>`
    Shmem(ShmemDef),
    /// `<memory>`
    MemoryDevice(MemoryDeviceDef),
    /// `<panic>`
    Panic(PanicDef),
    /// `<hub>`
    Hub(HubDef),
    /// `<iommu>`
    Iommu(IommuDef),
    /// `<nvram>`
    Nvram(NvramDef),
    /// `<lease>`
    Lease(LeaseDef),
    /// `<crypto>`
    Crypto(CryptoDef),
    /// `<pstore>`
    Pstore(PstoreDef),
}

impl Device {
    /// What every device may say.
    pub fn info(&self) -> &DeviceInfo {
        match self {
            Self::Disk(d) => &d.info,
            Self::Interface(d) => &d.info,
            Self::Serial(d) => &d.info,
            Self::Graphics(d) => &d.info,
            Self::Video(d) => &d.info,
            Self::Controller(d) => &d.info,
            Self::Filesystem(d) => &d.info,
            Self::Smartcard(d) => &d.info,
            Self::Parallel(d) => &d.info,
            Self::Channel(d) => &d.info,
            Self::Console(d) => &d.info,
            Self::Input(d) => &d.info,
            Self::Sound(d) => &d.info,
            Self::Audio(d) => &d.info,
            Self::Watchdog(d) => &d.info,
            Self::Memballoon(d) => &d.info,
            Self::Rng(d) => &d.info,
            Self::Tpm(d) => &d.info,
            Self::Vsock(d) => &d.info,
            Self::Hostdev(d) => &d.info,
            Self::Redirdev(d) => &d.info,
            Self::Shmem(d) => &d.info,
            Self::MemoryDevice(d) => &d.info,
            Self::Panic(d) => &d.info,
            Self::Hub(d) => &d.info,
            Self::Iommu(d) => &d.info,
            Self::Nvram(d) => &d.info,
            Self::Lease(d) => &d.info,
            Self::Crypto(d) => &d.info,
            Self::Pstore(d) => &d.info,
        }
    }

    /// What the device is joined to on the host, where it is a character device or leans on one.
    pub fn char_source(&self) -> Option<&CharSource> {
        match self {
            Self::Serial(d) => Some(&d.source),
            Self::Parallel(d) => Some(&d.source),
            Self::Channel(d) => Some(&d.source),
            Self::Console(d) => Some(&d.source),
            Self::Redirdev(d) => Some(&d.source),
            Self::Smartcard(SmartcardDef { mode: SmartcardMode::Passthrough(source), .. }) => Some(source),
            Self::Rng(RngDef { backend: RngBackend::Egd(source), .. }) => Some(source),
            _ => None,
        }
    }

    /// What every device may say, to be changed.
    pub fn info_mut(&mut self) -> &mut DeviceInfo {
        match self {
            Self::Disk(d) => &mut d.info,
            Self::Interface(d) => &mut d.info,
            Self::Serial(d) => &mut d.info,
            Self::Graphics(d) => &mut d.info,
            Self::Video(d) => &mut d.info,
            Self::Controller(d) => &mut d.info,
            Self::Filesystem(d) => &mut d.info,
            Self::Smartcard(d) => &mut d.info,
            Self::Parallel(d) => &mut d.info,
            Self::Channel(d) => &mut d.info,
            Self::Console(d) => &mut d.info,
            Self::Input(d) => &mut d.info,
            Self::Sound(d) => &mut d.info,
            Self::Audio(d) => &mut d.info,
            Self::Watchdog(d) => &mut d.info,
            Self::Memballoon(d) => &mut d.info,
            Self::Rng(d) => &mut d.info,
            Self::Tpm(d) => &mut d.info,
            Self::Vsock(d) => &mut d.info,
            Self::Hostdev(d) => &mut d.info,
            Self::Redirdev(d) => &mut d.info,
            Self::Shmem(d) => &mut d.info,
            Self::MemoryDevice(d) => &mut d.info,
            Self::Panic(d) => &mut d.info,
            Self::Hub(d) => &mut d.info,
            Self::Iommu(d) => &mut d.info,
            Self::Nvram(d) => &mut d.info,
            Self::Lease(d) => &mut d.info,
            Self::Crypto(d) => &mut d.info,
            Self::Pstore(d) => &mut d.info,
        }
    }
}

/// What every device may say of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceInfo {
    /// Path of the element, for findings; it also tells one device from another.
    pub path: String,
    /// `<alias name>` where the user has chosen it (`ua-…`): the name of the device in QEMU. Other names are
    /// what libvirt assigned to a guest that ran, and say nothing.
    pub alias: Option<String>,
    /// `<address>`: where the device sits; absent, or of a type alone, means Warren's choice.
    pub address: Option<Address>,
    /// `<boot order>`, from 1.
    pub boot_order: Option<u32>,
    /// `<boot loadparm>` of s390.
    pub loadparm: Option<String>,
    /// `<acpi index>`: a number by which guests name a NIC.
    pub acpi_index: Option<u32>,
}

/// `<address>` of a device, by its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `type='pci'`.
    Pci(PciAddress),
    /// `type='drive'`: a place of a disk controller.
    Drive(DriveAddress),
    /// `type='virtio-serial'` or `type='ccid'`: a port of a controller.
    Port {
        /// `@controller`.
        controller: u32,
        /// `@bus`.
        bus: u32,
        /// `@port` or `@slot`; absent means chosen.
        port: Option<u32>,
    },
    /// `type='usb'`.
    Usb {
        /// `@bus`.
        bus: u32,
        /// `@port`, as `1` or `1.2` behind hubs; empty means chosen.
        port: String,
    },
    /// `type='isa'`.
    Isa {
        /// `@iobase`.
        iobase: Option<u32>,
        /// `@irq`.
        irq: Option<u32>,
    },
    /// `type='dimm'`.
    Dimm {
        /// `@slot`.
        slot: Option<u32>,
        /// `@base`, in bytes.
        base: Option<u64>,
    },
    /// Another type, of which only the word is kept: `spapr-vio`, `ccw`, `virtio-mmio`, `unassigned` …
    Other(String),
}

/// `<address type='pci' domain bus slot function multifunction>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// `@domain`, always 0 in a PC.
    pub domain: u32,
    /// `@bus`: the index of the PCI controller.
    pub bus: u32,
    /// `@slot`, 0 to 31.
    pub slot: u32,
    /// `@function`, 0 to 7.
    pub function: u32,
    /// `@multifunction`, where it is said.
    pub multifunction: Option<bool>,
}

/// `<address type='drive' controller bus target unit>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub struct DriveAddress {
    pub controller: u32,
    pub bus: u32,
    pub target: u32,
    pub unit: u32,
}

impl DeviceInfo {
    /// Reads `<alias>`, `<address>`, `<boot>` and `<acpi>` of a device.
    pub(super) fn read(view: &View<'_>) -> Self {
        let boot = view.child("boot");
        Self {
            path: view.path().to_owned(),
            alias: view.child("alias").and_then(|a| alias(&a)),
            address: view.child("address").and_then(|a| address(&a)),
            loadparm: boot.as_ref().and_then(|b| b.filled("loadparm")).map(str::to_owned),
            boot_order: boot.and_then(|b| boot_order(&b)),
            acpi_index: view.child("acpi").and_then(|a| a.parsed("index")),
        }
    }

    /// The PCI address that the document gives.
    pub fn pci(&self) -> Option<PciAddress> {
        match self.address {
            Some(Address::Pci(pci)) => Some(pci),
            _ => None,
        }
    }
}

/// libvirt's rule: names beginning with `ua-` are the user's, others are its own and may be left out.
fn alias(view: &View<'_>) -> Option<String> {
    let name = view.filled("name").filter(|n| n.starts_with("ua-"))?;
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.chars().all(inner) || name.len() > 64 {
        let message = format!("'{}' is not an alias", name.escape_debug());
        view.error_at("name", message, "after 'ua-', letters, digits, '-' and '_' may stand, 64 at most");
        return None;
    }
    Some(name.to_owned())
}

fn boot_order(boot: &View<'_>) -> Option<u32> {
    let order: Option<u32> = required(boot.parsed("order"), boot, "order", "give a number from 1");
    if order == Some(0) {
        boot.error_at("order", "the boot order is 0", "give a number from 1");
        return None;
    }
    order
}

pub(super) fn address(view: &View<'_>) -> Option<Address> {
    let number = |name: &str| number(view, name);
    let Some(kind) = view.filled("type") else {
        view.error_at("type", "the address has no type", "give pci, drive, usb, virtio-serial, …");
        return None;
    };
    match kind {
        "pci" => pci(view).map(Address::Pci),
        "drive" => Some(Address::Drive(DriveAddress {
            controller: number("controller").unwrap_or(0),
            bus: number("bus").unwrap_or(0),
            target: number("target").unwrap_or(0),
            unit: number("unit").unwrap_or(0),
        })),
        "virtio-serial" | "ccid" => {
            let port = if kind == "ccid" { "slot" } else { "port" };
            Some(Address::Port {
                controller: number("controller").unwrap_or(0),
                bus: number("bus").unwrap_or(0),
                port: number(port),
            })
        }
        "usb" => Some(Address::Usb {
            bus: number("bus").unwrap_or(0),
            port: view.filled("port").unwrap_or_default().to_owned(),
        }),
        "isa" => Some(Address::Isa { iobase: number("iobase"), irq: number("irq") }),
        "dimm" => Some(Address::Dimm { slot: number("slot"), base: hex(view, "base") }),
        other => {
            view.accept();
            Some(Address::Other(other.to_owned()))
        }
    }
}

/// An address without bus, slot and function is the wish for a PCI address, wherever.
fn pci(view: &View<'_>) -> Option<PciAddress> {
    let number = |name: &str| number(view, name);
    let (domain, bus, slot, function) = (number("domain"), number("bus"), number("slot"), number("function"));
    let multifunction = view.yes_no("multifunction");
    if [domain, bus, slot, function].iter().all(Option::is_none) {
        return None;
    }
    let address = PciAddress {
        domain: domain.unwrap_or(0),
        bus: bus.unwrap_or(0),
        slot: slot.unwrap_or(0),
        function: function.unwrap_or(0),
        multifunction,
    };
    for (name, value, most) in
        [("slot", address.slot, 31), ("function", address.function, 7), ("bus", address.bus, 255)]
    {
        if value > most {
            view.error_at(name, format!("{value} is not a {name} of PCI"), format!("give 0 to {most}"));
            return None;
        }
    }
    Some(address)
}

/// A number in hexadecimal, with or without `0x`.
pub(super) fn hex(view: &View<'_>, name: &str) -> Option<u64> {
    let text = view.filled(name)?;
    let parsed = u64::from_str_radix(text.trim_start_matches("0x"), 16);
    parsed.map_err(|_| view.error_at(name, format!("'{text}' is not a number"), "as 0x100000000")).ok()
}

/// The PCI address of a device of the host; an error where there is none.
pub(super) fn host_pci(view: &View<'_>) -> Option<PciAddress> {
    view.one_of("type", &[("pci", ())]);
    let given = ["domain", "bus", "slot", "function"].iter().any(|name| view.filled(name).is_some());
    if !given {
        view.error("the address of the host's device is empty", "as bus='0x03' slot='0x00' function='0x0'");
    }
    pci(view)
}

/// A number in decimal, or in hexadecimal after `0x`.
pub(super) fn number(view: &View<'_>, name: &str) -> Option<u32> {
    let text = view.filled(name)?;
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| view.error_at(name, format!("'{text}' is not a number"), "as 3 or 0x03")).ok()
}
