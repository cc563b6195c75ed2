//! Where a drive sits, and what it is called after its place.

use serde_json::{Value, json};

use super::machine::Family;
use super::{ImageFd, Plan};
use crate::model::{Address, DiskBus, DiskDef, DriveAddress};

/// The position that a target's letters stand for: `hda` is 0, `sdb` 1, `vdaa` 26.
pub(super) fn number(target: &str) -> Option<u32> {
    let prefixes = ["hd", "sd", "vd", "fd", "xvd", "ubd"];
    let letters = prefixes.iter().find_map(|p| target.strip_prefix(p))?;
    let letters = letters.trim_end_matches(|c: char| c.is_ascii_digit());
    if letters.is_empty() || letters.len() > 6 || !letters.bytes().all(|b| b.is_ascii_lowercase()) {
        return None;
    }
    letters.bytes().try_fold(0u32, |n, b| Some(n * 26 + u32::from(b - b'a') + 1)).map(|n| n - 1)
}

/// The place on a disk controller: the one that the document gives, else the one that the target stands for.
pub(super) fn address(disk: &DiskDef, number: u32) -> DriveAddress {
    if let Some(Address::Drive(given)) = disk.info.address {
        return given;
    }
    let at = |controller, bus, unit| DriveAddress { controller, bus, target: 0, unit };
    match disk.bus {
        DiskBus::Ide => at(number / 4, number % 4 / 2, number % 2),
        DiskBus::Sata => at(number / 6, 0, number % 6),
        DiskBus::Fdc => at(number / 2, 0, number % 2),
        // libvirt counts with a narrow bus, whose eighth unit is the controller itself.
        DiskBus::Scsi => at(number / 7, 0, number % 7),
        _ => at(0, 0, number),
    }
}

/// Gives the drive its place, and answers its name.
pub(super) fn place(plan: &mut Plan<'_>, disk: &DiskDef, number: u32, device: &mut Value) -> String {
    let at = address(disk, number);
    let DriveAddress { controller, bus, target, unit } = at;
    let id = match disk.bus {
        DiskBus::Virtio => {
            plan.place(&disk.info, device);
            format!("virtio-disk{number}")
        }
        DiskBus::Usb => {
            usb(plan, disk, device);
            format!("usb-disk{number}")
        }
        DiskBus::Nvme => {
            device["bus"] = format!("nvme{controller}").into();
            format!("nvme{controller}-{bus}-{unit}")
        }
        _ => {
            on_controller(plan, disk, at, device);
            let bus_name = disk.bus.as_str();
            if disk.bus == DiskBus::Scsi && device.get("lun").is_some() {
                format!("scsi{controller}-{bus}-{target}-{unit}")
            } else {
                format!("{bus_name}{controller}-{bus}-{unit}")
            }
        }
    };
    disk.info.alias.clone().unwrap_or(id)
}

/// The place of a drive on a disk controller, which is made where there is none yet.
fn on_controller(plan: &mut Plan<'_>, disk: &DiskDef, at: DriveAddress, device: &mut Value) {
    let bus_path = format!("{}/target/@bus", disk.info.path);
    let DriveAddress { controller, bus, target, unit } = at;
    let full = match (disk.bus, plan.machine.family) {
        (DiskBus::Ide, Family::Q35) => {
            let message = "the machine q35 has no IDE bus";
            plan.unsupported(&bus_path, message, "write bus='sata', or machine='pc'");
            return;
        }
        (DiskBus::Ide, Family::I440fx) => {
            device["bus"] = format!("ide.{bus}").into();
            device["unit"] = unit.into();
            controller > 0 || bus > 1 || unit > 1
        }
        (DiskBus::Sata, family) => {
            // q35 has the controller built in, and its ports are named as IDE buses.
            let on_board = family == Family::Q35 && controller == 0;
            let name = if on_board { "ide".to_owned() } else { format!("sata{controller}") };
            if !on_board {
                self::controller(plan, disk, "ich9-ahci", &name);
            }
            device["bus"] = format!("{name}.{unit}").into();
            unit > 5
        }
        (DiskBus::Fdc, _) => {
            device["unit"] = unit.into();
            controller > 0 || unit > 1
        }
        _ => {
            let name = format!("scsi{controller}");
            self::controller(plan, disk, "virtio-scsi-pci", &name);
            device["bus"] = format!("{name}.0").into();
            device["channel"] = bus.into();
            device["scsi-id"] = target.into();
            device["lun"] = unit.into();
            target > 255 || unit > 16_383
        }
    };
    if full {
        let message = format!("there is no place for '{}' on its bus", disk.target);
        let remedy = "IDE has hda to hdd, a SATA controller six ports, a floppy controller two drives";
        plan.unsupported(&format!("{}/target/@dev", disk.info.path), message, remedy);
    }
}

/// The controller of a bus, before the first disk that sits on it.
fn controller(plan: &mut Plan<'_>, disk: &DiskDef, driver: &str, id: &str) {
    if plan.slots.take_id(id) {
        let mut device = json!({ "driver": driver, "id": id });
        plan.place(&disk.info, &mut device);
        plan.device(&disk.info.path, &device);
    }
}

/// The place on a USB bus, which is made where there is none yet.
pub(super) fn usb(plan: &mut Plan<'_>, disk: &DiskDef, device: &mut Value) {
    usb_place(plan, &disk.info, device);
}

/// Gives a USB device its bus, and its port where the document gives one.
pub(super) fn usb_place(plan: &mut Plan<'_>, info: &crate::model::DeviceInfo, device: &mut Value) {
    if plan.slots.take_id("usb") {
        let mut controller = json!({ "driver": "piix3-usb-uhci", "id": "usb" });
        plan.place(info, &mut controller);
        plan.device(&info.path, &controller);
    }
    device["bus"] = "usb.0".into();
    if let Some(Address::Usb { bus, port }) = &info.address {
        device["bus"] = if *bus == 0 { "usb.0".into() } else { format!("usb{bus}.0").into() };
        if !port.is_empty() {
            device["port"] = port.as_str().into();
        }
    }
}

/// A memory card, which QEMU takes by the older syntax only.
pub(super) fn memory_card(plan: &mut Plan<'_>, disk: &DiskDef, number: u32, handed: &[ImageFd]) {
    if let (Some(image), Some(source)) = (handed.first(), &disk.source) {
        plan.args.pair("-add-fd", format!("fd={},set={}", image.fd, image.set));
        let format = source.format.as_str();
        let drive = format!("file=/dev/fdset/{},format={format},if=sd,index={number}", image.set);
        plan.args.pair("-drive", drive);
    }
    let message = "a PC has no slot for memory cards";
    plan.unsupported(&format!("{}/target/@bus", disk.info.path), message, "write bus='usb'");
}
