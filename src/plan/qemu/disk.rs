//! Disks: the images as descriptor sets with an explicit chain, then the drive.

use serde_json::{Value, json};

use super::machine::Family;
use super::{ImageFd, Plan};
use crate::model::{DiskBus, DiskDef, DiskDevice, DiskFormat};

pub(super) fn add(plan: &mut Plan<'_>, disk: &DiskDef, index: usize, handed: Option<&[ImageFd]>) {
    let Some(chain) = handed.filter(|chain| chain.is_empty() == disk.source.is_none()) else {
        plan.error(&disk.info.path, "the disk's image was not opened", "");
        return;
    };
    if chain.is_empty() && disk.device != DiskDevice::Cdrom {
        plan.error(&disk.info.path, "the disk has no <source>", "only a CD-ROM drive can be empty");
        return;
    }
    let Some(number) = target_number(&disk.target) else {
        let message = format!("'{}' is not a disk's name", disk.target.escape_debug());
        plan.error(&format!("{}/target/@dev", disk.info.path), message, "write hda, sdb, vdc or the like");
        return;
    };
    let Some(mut device) = drive(plan, disk, number) else {
        return;
    };
    let id = device["id"].as_str().unwrap_or_default().to_owned();
    if !plan.slots.take_id(&id) {
        let message = format!("the place of '{}' is taken by another disk", disk.target);
        plan.error(&format!("{}/target/@dev", disk.info.path), message, "give each disk its own target");
    }
    if let Some(node) = images(plan, disk, index, chain) {
        device["drive"] = node.into();
    }
    if let Some(order) = plan.boot.disks[index] {
        device["bootindex"] = order.into();
    }
    plan.device(&disk.info.path, &device);
}

/// The position that a target's letters stand for: `hda` is 0, `sdb` 1, `vdaa` 26.
fn target_number(target: &str) -> Option<u32> {
    let letters = ["hd", "sd", "vd"].iter().find_map(|p| target.strip_prefix(p))?;
    if letters.is_empty() || letters.len() > 2 || !letters.bytes().all(|b| b.is_ascii_lowercase()) {
        return None;
    }
    letters.bytes().try_fold(0u32, |n, b| Some(n * 26 + u32::from(b - b'a') + 1)).map(|n| n - 1)
}

/// The drive without its medium, on the bus and at the place that the target says.
fn drive(plan: &mut Plan<'_>, disk: &DiskDef, number: u32) -> Option<Value> {
    let bus_path = format!("{}/target/@bus", disk.info.path);
    let target_path = format!("{}/target/@dev", disk.info.path);
    let cdrom = disk.device == DiskDevice::Cdrom;
    let ide = if cdrom { "ide-cd" } else { "ide-hd" };
    match (disk.bus, plan.machine.family) {
        (DiskBus::Ide, Family::Q35) => {
            plan.unsupported(
                &bus_path,
                "the machine q35 has no IDE bus",
                "write bus='sata', or machine='pc'",
            );
            None
        }
        (DiskBus::Ide, Family::I440fx) if number < 4 => {
            let (bus, unit) = (number / 2, number % 2);
            let id = format!("ide0-{bus}-{unit}");
            Some(json!({ "driver": ide, "bus": format!("ide.{bus}"), "unit": unit, "id": id }))
        }
        (DiskBus::Sata, family) if number < 6 => {
            // q35 has the controller built in, and its ports are named as IDE buses.
            let bus = if family == Family::Q35 { "ide" } else { "sata0" };
            if family == Family::I440fx {
                controller(plan, disk, "ich9-ahci", bus);
            }
            let id = format!("sata0-0-{number}");
            Some(json!({ "driver": ide, "bus": format!("{bus}.{number}"), "id": id }))
        }
        (DiskBus::Ide | DiskBus::Sata, _) => {
            let message = format!("there is no place for '{}' on its bus", disk.target);
            plan.unsupported(&target_path, message, "IDE has hda to hdd, SATA sda to sdf; virtio has more");
            None
        }
        (DiskBus::Scsi, _) if number < 256 => {
            controller(plan, disk, "virtio-scsi-pci", "scsi0");
            let driver = if cdrom { "scsi-cd" } else { "scsi-hd" };
            let id = format!("scsi0-0-{number}");
            Some(
                json!({ "driver": driver, "bus": "scsi0.0", "channel": 0, "scsi-id": number, "lun": 0, "id": id }),
            )
        }
        (DiskBus::Scsi, _) => {
            plan.unsupported(&target_path, "a SCSI bus has 256 places", "sda to sdiv");
            None
        }
        (DiskBus::Virtio, _) if cdrom => {
            plan.unsupported(&bus_path, "a CD-ROM drive cannot be on virtio", "write bus='sata' or 'scsi'");
            None
        }
        (DiskBus::Virtio, _) => {
            let mut device = json!({ "driver": "virtio-blk-pci", "id": format!("virtio-disk{number}") });
            plan.place(&disk.info, &mut device);
            Some(device)
        }
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

/// The chain as block nodes, the lowest image first; gives the name of the top one.
fn images(plan: &mut Plan<'_>, disk: &DiskDef, index: usize, chain: &[ImageFd]) -> Option<String> {
    let mut below: Option<String> = None;
    for (depth, image) in chain.iter().enumerate().rev() {
        let node = format!("disk{index}-{depth}");
        let storage = format!("{node}-storage");
        // A document that forbids writing is obeyed even where the descriptor could.
        let readonly = image.readonly || disk.readonly || depth > 0;
        plan.args.pair("-add-fd", format!("fd={},set={}", image.fd, image.set));
        plan.args.json(
            "-blockdev",
            &json!({
                "driver": if image.block { "host_device" } else { "file" },
                "filename": format!("/dev/fdset/{}", image.set),
                "node-name": storage,
                "read-only": readonly,
                "discard": "unmap",
            }),
        );
        let mut format = json!({
            "driver": image.format.as_str(),
            "node-name": node,
            "read-only": readonly,
            "discard": "unmap",
            "file": storage,
        });
        match image.format {
            // Said even where there is none: QEMU would else open what the header names.
            DiskFormat::Qcow2 => format["backing"] = below.take().map_or(Value::Null, Value::from),
            DiskFormat::Raw if below.is_some() => {
                plan.error(&disk.info.path, "a raw image has no backing file", "");
            }
            DiskFormat::Raw => {}
        }
        plan.args.json("-blockdev", &format);
        below = Some(node);
    }
    below
}
