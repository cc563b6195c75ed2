//! The guest's buses: where each device sits.
//!
//! Owns libvirt's rules for that: what the document gives stands and is checked, the rest is chosen in
//! libvirt's order, but that interfaces come first, so that a guest numbers them as the document does.
//! Which devices want which place is told by their plans, which are made twice: once to hear what they
//! want, and once with the places. Must never add a device to the arguments.

mod controllers;
mod pci;
mod places;
mod usb;

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::machine::{Family, Machine};
use super::{Plan, controller, finding};
use crate::model::{
    Address, ControllerDef, ControllerKind, Device, DeviceInfo, DiskBus, DomainDef, DriveAddress, Finding,
    PciAddress, Severity,
};
pub(in crate::plan) use controllers::drive_of;
pub(super) use controllers::{on_board, target_number};
pub(in crate::plan) use places::{Places, places};

/// What devices want, in the order in which they said so.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pci: Vec<Wish>,
    usb: Vec<Wish>,
    ports: Vec<Wish>,
}

/// A device that wants a place.
#[derive(Debug, Clone)]
struct Wish {
    /// The device's element; of a device that has none, the one it is there for.
    path: String,
    /// QEMU's name for the device.
    driver: String,
    /// libvirt's order of giving places.
    turn: u8,
    given: Option<Address>,
}

/// Where everything sits.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    /// The controllers in the order of the command line, those of the document and those that are needed,
    /// each with index and model.
    pub(super) controllers: Vec<ControllerDef>,
    /// How many USB hubs there are besides those of the document, each with its place.
    pub(super) hubs: Vec<DeviceInfo>,
    pub(super) pci: HashMap<String, PciAddress>,
    multifunction: BTreeSet<(u32, u32)>,
    usb: HashMap<String, (u32, String)>,
    ports: HashMap<String, (u32, Option<u32>)>,
}

impl Layout {
    /// The controllers that there are whatever the devices want of PCI and USB.
    pub(super) fn begin(def: &DomainDef, machine: Machine<'_>) -> Self {
        Self { controllers: controllers::known(def, machine.family), ..Self::default() }
    }

    /// Everything in its place, and what cannot be.
    pub(super) fn finish(def: &DomainDef, machine: Machine<'_>, mut wishes: Wishes) -> (Self, Vec<Finding>) {
        let family = machine.family;
        let mut layout = Self::begin(def, machine);
        let mut findings = Vec::new();
        layout.ports(&wishes, &mut findings);
        usb::give(&mut layout, &wishes, &mut findings);
        wishes.pci.sort_by_key(|w| w.turn);
        let sits = pci::give(&layout.controllers, &wishes.pci, family);
        findings.extend(sits.findings);
        layout.controllers.extend(sits.added);
        controllers::sort(&mut layout.controllers);
        for ((bus, slot), functions) in sits.functions {
            if functions != 1 {
                layout.multifunction.insert((bus, slot));
            }
        }
        layout.pci = sits.places;
        (layout, findings)
    }

    /// Ports of virtio-serial: those that are given, then the next free ones from 1.
    fn ports(&mut self, wishes: &Wishes, findings: &mut Vec<Finding>) {
        let mut taken: BTreeSet<(u32, u32)> = BTreeSet::new();
        let serial: Vec<&Wish> = wishes.ports.iter().filter(|w| !w.driver.starts_with("ccid")).collect();
        for wish in &serial {
            let Some(Address::Port { controller, port, .. }) = wish.given else { continue };
            if let Some(port) = port
                && !taken.insert((controller, port))
            {
                let message = format!("port {port} of virtio-serial controller {controller} is taken");
                findings.push(finding(Severity::Error, &format!("{}/address", wish.path), message, ""));
            }
        }
        for wish in serial {
            let (controller, given) = match wish.given {
                Some(Address::Port { controller, port, .. }) => (controller, port),
                _ => (0, None),
            };
            // A console without a place takes the one that QEMU gives it.
            let place = match given {
                None if wish.driver == "virtconsole" && wish.given.is_none() => continue,
                None => (1..31).find(|port| taken.insert((controller, *port))),
                given => given,
            };
            self.ports.insert(wish.path.clone(), (controller, place));
        }
        for wish in wishes.ports.iter().filter(|w| w.driver.starts_with("ccid")) {
            let controller = match wish.given {
                Some(Address::Port { controller, .. }) => controller,
                _ => 0,
            };
            self.ports.insert(wish.path.clone(), (controller, None));
        }
    }

    /// The controller of a kind with an index.
    pub(super) fn controller(&self, kind: ControllerKind, index: u32) -> Option<&ControllerDef> {
        self.controllers.iter().find(|c| c.kind == kind && c.index == Some(index))
    }
}

/// Whether a device is wanted on PCI Express where there is such a bus: by QEMU's name of it, since that is
/// what it is. What is not told here is conventional.
fn is_express(driver: &str) -> bool {
    if let Some(virtio) = driver.strip_prefix("virtio-").or_else(|| driver.strip_prefix("vhost-")) {
        return !virtio.ends_with("-transitional") || virtio.ends_with("-non-transitional");
    }
    let others =
        ["e1000e", "igb", "vmxnet3", "vfio-pci", "vfio-pci-nohotplug", "qemu-xhci", "nec-usb-xhci", "nvme"];
    others.contains(&driver)
}

/// Gives a device its place on PCI, or hears that it wants one.
pub(super) fn pci(plan: &mut Plan<'_>, info: &DeviceInfo, device: &mut Value) {
    let wish = plan.wish(info, device);
    if plan.listening {
        plan.wishes.pci.push(wish);
    } else if let Some(at) = plan.layout.pci.get(&info.path).copied() {
        write_pci(&plan.layout, plan.machine.family, at, device);
    }
}

/// `bus` and `addr` of a place.
pub(super) fn write_pci(layout: &Layout, family: Family, at: PciAddress, device: &mut Value) {
    device["bus"] = match layout.controller(ControllerKind::Pci, at.bus).filter(|_| at.bus > 0) {
        Some(bus) => controller::id(bus, family).into(),
        None => family.pci_bus().into(),
    };
    let shared = layout.multifunction.contains(&(at.bus, at.slot));
    if at.multifunction == Some(true) || (at.function == 0 && shared && at.multifunction.is_none()) {
        device["multifunction"] = true.into();
    }
    let (slot, function) = (at.slot, at.function);
    let address = if function == 0 { format!("{slot:#x}") } else { format!("{slot:#x}.{function:#x}") };
    device["addr"] = address.into();
}

/// Gives a device its port on USB, or hears that it wants one.
pub(super) fn usb(plan: &mut Plan<'_>, info: &DeviceInfo, device: &mut Value) {
    let mut wish = plan.wish(info, device);
    if plan.listening {
        wish.turn = usb::turn(&wish.driver);
        plan.wishes.usb.push(wish);
    } else if let Some((bus, port)) = plan.layout.usb.get(&info.path) {
        let bus =
            plan.layout.controller(ControllerKind::Usb, *bus).map(|c| controller::id(c, plan.machine.family));
        device["bus"] = format!("{}.0", bus.unwrap_or_else(|| "usb".into())).into();
        if !port.is_empty() {
            device["port"] = port.as_str().into();
        }
    }
}

/// Gives a port of virtio-serial or a smartcard its place, or hears that it wants one.
pub(super) fn port(plan: &mut Plan<'_>, info: &DeviceInfo, device: &mut Value) {
    let wish = plan.wish(info, device);
    if plan.listening {
        plan.wishes.ports.push(wish);
        return;
    }
    let Some((index, port)) = plan.layout.ports.get(&info.path).copied() else { return };
    let kind =
        if wish.driver.starts_with("ccid") { ControllerKind::Ccid } else { ControllerKind::VirtioSerial };
    let Some(controller) = plan.layout.controller(kind, index) else { return };
    device["bus"] = format!("{}.0", controller::id(controller, plan.machine.family)).into();
    if let Some(port) = port {
        device["nr"] = port.into();
    } else if kind == ControllerKind::VirtioSerial {
        plan.unsupported(&info.path, "the virtio-serial controller has no free port", "name another");
    }
}

/// Gives a drive its place on its controller; the place itself is told by [`drive_of`].
pub(super) fn drive(plan: &mut Plan<'_>, info: &DeviceInfo, device: &mut Value) {
    let disk = plan.def.disks().find(|d| d.info.path == info.path);
    let at = match (disk, &info.address) {
        (_, Some(Address::Drive(at))) => *at,
        (Some(disk), _) => match drive_of(disk) {
            Some(at) => at,
            None => return,
        },
        (None, _) => DriveAddress { controller: 0, bus: 0, target: 0, unit: 0 },
    };
    let driver = device["driver"].as_str().unwrap_or_default().to_owned();
    let bus = disk.map(|d| d.bus);
    let path = format!("{}/target/@dev", info.path);
    let full = if driver == "floppy" {
        device["unit"] = at.unit.into();
        at.controller > 0 || at.unit > 1
    } else if bus == Some(DiskBus::Ide) {
        device["bus"] = format!("ide.{}", at.bus).into();
        device["unit"] = at.unit.into();
        if plan.machine.family == Family::Q35 {
            let bus_path = format!("{}/target/@bus", info.path);
            let message = "the machine q35 has no IDE bus";
            plan.unsupported(&bus_path, message, "write bus='sata', or machine='pc'");
        }
        // A unit that an IDE bus does not have is libvirt's to plan and QEMU's to refuse.
        at.controller > 0 || at.bus > 1 || at.unit > 1
    } else if bus == Some(DiskBus::Sata) {
        let built_in = plan.machine.family == Family::Q35 && at.controller == 0;
        let named = plan.layout.controller(ControllerKind::Sata, at.controller);
        let name = match named {
            Some(named) if !built_in => controller::id(named, plan.machine.family),
            _ => "ide".to_owned(),
        };
        device["bus"] = format!("{name}.{}", at.unit).into();
        at.unit > 5
    } else {
        scsi(plan, at, device)
    };
    if full {
        let remedy = "IDE has hda to hdd, a SATA controller six ports, a SCSI bus of lsilogic seven";
        plan.unsupported(&path, "there is no place for the drive on its bus", remedy);
    }
}

/// A place on a SCSI bus; true when there is no such place.
fn scsi(plan: &Plan<'_>, at: DriveAddress, device: &mut Value) -> bool {
    let controller = plan.layout.controller(ControllerKind::Scsi, at.controller);
    let name = controller.map(|c| controller::id(c, plan.machine.family));
    device["bus"] = format!("{}.0", name.unwrap_or_else(|| format!("scsi{}", at.controller))).into();
    let narrow = controller.is_some_and(|c| c.model.as_deref() == Some("lsilogic"));
    if narrow {
        device["scsi-id"] = at.unit.into();
        return at.bus > 0 || at.target > 0 || at.unit > 7;
    }
    device["channel"] = at.bus.into();
    device["scsi-id"] = at.target.into();
    device["lun"] = at.unit.into();
    at.bus > 0 || at.target > 255 || at.unit > 16_383
}

/// The turn of interfaces.
const NIC: u8 = 0;

/// The turn of displays, the first of which has a slot of its own.
pub(super) const DISPLAY: u8 = 9;

/// libvirt's order of giving places on PCI, but that interfaces come first.
pub(super) fn turn(device: &Device) -> u8 {
    match device {
        Device::Interface(_) => NIC,
        Device::Filesystem(_) => 1,
        Device::Sound(_) => 2,
        Device::Controller(_) => 3,
        Device::Disk(_) => 4,
        Device::Hostdev(_) => 5,
        Device::Memballoon(_) => 6,
        Device::Rng(_) => 7,
        Device::Watchdog(_) => 8,
        Device::Video(_) | Device::Graphics(_) => DISPLAY,
        Device::Shmem(_) => 10,
        Device::Input(_) => 11,
        Device::Serial(_) => 12,
        Device::Vsock(_) => 13,
        Device::MemoryDevice(_) => 14,
        Device::Crypto(_) => 15,
        _ => 16,
    }
}

impl Plan<'_> {
    fn wish(&self, info: &DeviceInfo, device: &Value) -> Wish {
        Wish {
            path: info.path.clone(),
            driver: device["driver"].as_str().unwrap_or_default().to_owned(),
            turn: self.turn,
            given: info.address.clone(),
        }
    }
}
