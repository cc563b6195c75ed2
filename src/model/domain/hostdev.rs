//! `<hostdev>`: a device of the host that is given to the guest. Owns libvirt's words and defaults for it; must
//! never look for the device.

use std::path::PathBuf;

use super::device::{host_pci, number};
use super::disk_network::{NetworkHost, host};
use super::disk_secret::{Auth, auth};
use super::words::{ON_OFF, YES_NO, words};
use super::{DeviceInfo, PciAddress, Sgio};
use crate::model::Uuid;
use crate::model::doc::{host_path, required};
use crate::xml::view::View;

/// `<hostdev>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostdevDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@managed`: whether the device is taken from the host's driver and given back.
    pub managed: bool,
    /// `@type` with `<source>`.
    pub source: HostdevSource,
    /// `<driver>` of a PCI device.
    pub driver: HostdevDriver,
    /// `<rom>`.
    pub rom: Rom,
    /// `<teaming persistent>` of `type='transient'`: the alias of the NIC that it stands in for.
    pub teaming: Option<String>,
    /// `<readonly/>`, of SCSI.
    pub readonly: bool,
    /// `<shareable/>`, of SCSI.
    pub shareable: bool,
}

/// Which device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostdevSource {
    /// `type='usb'`.
    Usb(UsbSource),
    /// `type='pci'`.
    Pci {
        /// `<address>`.
        address: PciAddress,
        /// `@writeFiltering`, of Xen.
        write_filtering: Option<bool>,
    },
    /// `type='scsi'`.
    Scsi {
        /// Which unit.
        unit: ScsiUnit,
        /// `@sgio`.
        sgio: Option<Sgio>,
        /// `@rawio`.
        rawio: Option<bool>,
    },
    /// `type='scsi_host'`: an end of vhost-scsi.
    ScsiHost {
        /// `@wwpn`, as `naa.…`.
        wwpn: String,
        /// `@model`.
        model: Option<super::VirtioModel>,
    },
    /// `type='mdev'`: a mediated device.
    Mdev {
        /// `@model`.
        model: MdevModel,
        /// `@display`.
        display: Option<bool>,
        /// `@ramfb`.
        ramfb: Option<bool>,
        /// `<address uuid>`.
        uuid: Uuid,
    },
    /// `mode='capabilities'`: for containers.
    Capability(CapabilityKind),
}

/// A USB device, by what it is or by where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub struct UsbSource {
    pub vendor: Option<u16>,
    pub product: Option<u16>,
    pub bus: Option<u32>,
    pub device: Option<u32>,
    /// `<address port>`, as `1.2`.
    pub port: Option<String>,
    /// `@startupPolicy`, default mandatory.
    pub startup: super::StartupPolicy,
    pub guest_reset: Option<GuestReset>,
}

/// A SCSI unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScsiUnit {
    /// One of an adapter of the host.
    Host {
        /// `<adapter name>`, as `scsi_host0`.
        adapter: String,
        /// `<address>`: bus, target and unit.
        address: [u64; 3],
    },
    /// One on the network.
    Iscsi {
        /// `@name`, with the unit after a slash.
        name: String,
        /// `<host>`.
        host: Option<NetworkHost>,
        /// `<auth>`.
        auth: Option<Auth>,
        /// `<initiator><iqn name>`.
        initiator: Option<String>,
    },
}

words! {
    /// `<source guestReset>`: whether the guest can reset a USB device.
    GuestReset { Off = "off", Uninitialized = "uninitialized", On = "on" }
}

words! {
    /// `<hostdev model>` of a mediated device.
    MdevModel { VfioPci = "vfio-pci", VfioCcw = "vfio-ccw", VfioAp = "vfio-ap" }
}

words! {
    /// `<hostdev type>` of `mode='capabilities'`.
    CapabilityKind { Storage = "storage", Misc = "misc", Net = "net" }
}

words! {
    /// `<driver name>` of a PCI device.
    HostdevDriverName { Kvm = "kvm", Vfio = "vfio", Xen = "xen" }
}

/// `<driver>` of a PCI device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are libvirt's attributes")]
pub struct HostdevDriver {
    pub name: Option<HostdevDriverName>,
    /// `@model`: the host's driver, as `vfio-pci`.
    pub model: Option<String>,
    pub iommufd: Option<bool>,
}

/// `<rom>` of a PCI device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are libvirt's attributes")]
pub struct Rom {
    pub enabled: Option<bool>,
    pub bar: Option<bool>,
    pub file: Option<PathBuf>,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<HostdevDef> {
    let mode = view.one_of("mode", &[("subsystem", false), ("capabilities", true)]);
    if mode.is_none() && view.filled("mode").is_some() {
        view.accept();
        return None;
    }
    let source = view.child("source");
    if source.is_none() {
        view.error("the device has no <source>", "say which device of the host it is");
    }
    let Some(source) = (match mode {
        Some(true) => capability(view, &source?),
        _ => subsystem(view, &source?),
    }) else {
        view.accept();
        return None;
    };
    let driver = view.child("driver");
    let teaming = view.child("teaming");
    Some(HostdevDef {
        info: DeviceInfo::read(view),
        managed: view.one_of("managed", YES_NO).unwrap_or(false),
        driver: HostdevDriver {
            name: driver.as_ref().and_then(|d| d.one_of("name", HostdevDriverName::WORDS)),
            model: driver.as_ref().and_then(|d| d.filled("model")).map(str::to_owned),
            iommufd: driver.as_ref().and_then(|d| d.one_of("iommufd", YES_NO)),
        },
        rom: view.child("rom").map(|r| rom(&r)).unwrap_or_default(),
        teaming: teaming.and_then(|t| self::teaming(&t)),
        readonly: view.child("readonly").is_some(),
        shareable: view.child("shareable").is_some(),
        source,
    })
}

fn rom(view: &View<'_>) -> Rom {
    Rom {
        enabled: view.one_of("enabled", YES_NO),
        bar: view.one_of("bar", ON_OFF),
        file: host_path(view, Some("file")),
    }
}

fn teaming(view: &View<'_>) -> Option<String> {
    required(
        view.one_of("type", &[("transient", ())]),
        view,
        "type",
        "a host's device is the transient one",
    )?;
    let remedy = "name the alias of the persistent NIC";
    required(view.filled("persistent"), view, "persistent", remedy).map(str::to_owned)
}

fn capability(view: &View<'_>, source: &View<'_>) -> Option<HostdevSource> {
    source.accept();
    let kind = required(view.one_of("type", CapabilityKind::WORDS), view, "type", "storage, misc or net");
    kind.map(HostdevSource::Capability)
}

fn subsystem(view: &View<'_>, source: &View<'_>) -> Option<HostdevSource> {
    let kinds = &[("usb", 0), ("pci", 1), ("scsi", 2), ("scsi_host", 3), ("mdev", 4)];
    let kind = required(view.one_of("type", kinds), view, "type", "usb, pci, scsi, scsi_host or mdev")?;
    let address = source.child("address");
    match kind {
        0 => Some(HostdevSource::Usb(usb(source, address.as_ref()))),
        1 => {
            if address.is_none() {
                source.error("the device has no <address>", "give its PCI address on the host");
            }
            let write_filtering = source.one_of("writeFiltering", YES_NO);
            Some(HostdevSource::Pci { address: host_pci(&address?)?, write_filtering })
        }
        2 => Some(HostdevSource::Scsi {
            unit: scsi(source, address.as_ref())?,
            sgio: view.one_of("sgio", Sgio::WORDS),
            rawio: view.one_of("rawio", YES_NO),
        }),
        3 => scsi_host(view, source),
        _ => mdev(view, source, address.as_ref()),
    }
}

fn usb(source: &View<'_>, address: Option<&View<'_>>) -> UsbSource {
    let id = |name: &str| {
        let child = source.child(name)?;
        let number = required(number(&child, "id"), &child, "id", "as 0x1234");
        number.and_then(|n| {
            let small = u16::try_from(n).ok();
            if small.is_none() {
                child.error_at("id", format!("{n:#x} is not an id of USB"), "as 0x1234");
            }
            small
        })
    };
    let (vendor, product) = (id("vendor"), id("product"));
    let at = |name: &str| address.and_then(|a| number(a, name));
    let port = address.and_then(|a| a.filled("port")).map(str::to_owned);
    let usb = UsbSource {
        vendor,
        product,
        bus: at("bus"),
        device: at("device"),
        port,
        startup: source
            .one_of("startupPolicy", super::StartupPolicy::WORDS)
            .unwrap_or(super::StartupPolicy::Mandatory),
        guest_reset: source.one_of("guestReset", GuestReset::WORDS),
    };
    if vendor == Some(0) || (vendor.is_some() && source.child("product").is_none()) {
        source.error("a USB device is told by its vendor and its product", "give both ids");
    } else if vendor.is_none() && product.is_some() {
        source.error("the USB device has no vendor", "add <vendor id='0x…'/>");
    } else if vendor.is_none() && address.is_none() {
        source.error("the USB device is not told", "give <vendor> and <product>, or an <address>");
    } else if address.is_some() && (usb.bus.is_none() || (usb.device.is_none() && usb.port.is_none())) {
        source
            .error("the address of the USB device is not whole", "give its bus, and its device or its port");
    }
    usb
}

fn scsi(source: &View<'_>, address: Option<&View<'_>>) -> Option<ScsiUnit> {
    if source.one_of("protocol", &[("adapter", false), ("iscsi", true)]).unwrap_or(false) {
        let name = required(source.filled("name"), source, "name", "give the target's IQN");
        let iqn = source.child("initiator").and_then(|i| i.child("iqn"));
        return Some(ScsiUnit::Iscsi {
            name: name?.to_owned(),
            host: source.child("host").and_then(|h| host(&h)),
            auth: source.child("auth").and_then(|a| auth(&a)),
            initiator: iqn.and_then(|i| i.filled("name").map(str::to_owned)),
        });
    }
    let adapter = source.child("adapter");
    let (Some(adapter), Some(address)) = (adapter, address) else {
        source.error("a SCSI unit is told by <adapter> and <address>", "as <adapter name='scsi_host0'/>");
        return None;
    };
    let name = required(adapter.filled("name"), &adapter, "name", "as scsi_host0");
    let number = |n: &str| required(address.parsed(n), address, n, "give a number");
    let at = [number("bus")?, number("target")?, number("unit")?];
    Some(ScsiUnit::Host { adapter: name?.to_owned(), address: at })
}

fn scsi_host(view: &View<'_>, source: &View<'_>) -> Option<HostdevSource> {
    required(source.one_of("protocol", &[("vhost", ())]), source, "protocol", "write vhost")?;
    let wwpn = required(source.filled("wwpn"), source, "wwpn", "as naa.5123456789abcde0")?;
    let digits = wwpn.strip_prefix("naa.").unwrap_or("");
    if digits.len() != 16 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        source.error_at("wwpn", format!("'{wwpn}' is not a WWPN"), "write naa. and 16 hexadecimal digits");
        return None;
    }
    let model = view.one_of("model", super::VirtioModel::WORDS);
    Some(HostdevSource::ScsiHost { wwpn: wwpn.to_owned(), model })
}

fn mdev(view: &View<'_>, source: &View<'_>, address: Option<&View<'_>>) -> Option<HostdevSource> {
    let model = required(view.one_of("model", MdevModel::WORDS), view, "model", "write vfio-pci");
    if address.is_none() {
        source.error("the mediated device has no <address>", "give its uuid");
    }
    let uuid: Option<Uuid> = required(address?.parsed("uuid"), address?, "uuid", "give the device's uuid");
    let display = view.one_of("display", ON_OFF);
    let ramfb = view.one_of("ramfb", ON_OFF);
    Some(HostdevSource::Mdev { model: model?, display, ramfb, uuid: uuid? })
}
