//! Disks: the images as descriptor sets with an explicit chain, then the drive.

use serde_json::{Value, json};

use super::layout::drive_of;
use super::{ImageFd, Plan};
use crate::model::{DiskBus, DiskDef, DiskDevice, DiskFormat, DriveAddress};

pub(super) fn add(plan: &mut Plan<'_>, disk: &DiskDef, index: usize, handed: Option<&[ImageFd]>) {
    let Some(chain) = handed.filter(|chain| chain.is_empty() == disk.source.is_none()) else {
        plan.error(&disk.info.path, "the disk's image was not opened", "");
        return;
    };
    if chain.is_empty() && disk.device != DiskDevice::Cdrom {
        plan.error(&disk.info.path, "the disk has no <source>", "only a CD-ROM drive can be empty");
        return;
    }
    let Some(at) = drive_of(disk) else {
        let message = format!("'{}' is not a disk's name", disk.target.escape_debug());
        plan.error(&format!("{}/target/@dev", disk.info.path), message, "write hda, sdb, vdc or the like");
        return;
    };
    let Some(mut device) = drive(plan, disk, at) else {
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

/// The drive without its medium, on the bus and at the place that the target says.
fn drive(plan: &mut Plan<'_>, disk: &DiskDef, at: DriveAddress) -> Option<Value> {
    let bus_path = format!("{}/target/@bus", disk.info.path);
    let cdrom = disk.device == DiskDevice::Cdrom;
    let DriveAddress { controller, bus, target, unit } = at;
    let (driver, id) = match disk.bus {
        DiskBus::Ide => (if cdrom { "ide-cd" } else { "ide-hd" }, format!("ide{controller}-{bus}-{unit}")),
        DiskBus::Sata => (if cdrom { "ide-cd" } else { "ide-hd" }, format!("sata{controller}-{bus}-{unit}")),
        DiskBus::Scsi => {
            let driver = if cdrom { "scsi-cd" } else { "scsi-hd" };
            (driver, format!("scsi{controller}-{bus}-{target}-{unit}"))
        }
        DiskBus::Virtio if cdrom => {
            plan.unsupported(&bus_path, "a CD-ROM drive cannot be on virtio", "write bus='sata' or 'scsi'");
            return None;
        }
        DiskBus::Virtio => ("virtio-blk-pci", format!("virtio-disk-{}", disk.target)),
    };
    let mut device = json!({ "driver": driver, "id": id });
    match disk.bus {
        DiskBus::Virtio => plan.place(&disk.info, &mut device),
        _ => plan.drive_place(&disk.info, &mut device),
    }
    Some(device)
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
