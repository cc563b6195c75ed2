//! Where a drive sits, and what it is called after its place.

use serde_json::Value;

use super::layout::drive_of;
use super::{ImageFd, Plan};
use crate::model::{DiskBus, DiskDef, DriveAddress};

/// Gives the drive its place, and answers its name.
pub(super) fn place(plan: &mut Plan<'_>, disk: &DiskDef, number: u32, device: &mut Value) -> String {
    let at = drive_of(disk).unwrap_or(DriveAddress { controller: 0, bus: 0, target: 0, unit: number });
    let DriveAddress { controller, bus, target, unit } = at;
    let id = match disk.bus {
        DiskBus::Virtio => {
            plan.place(&disk.info, device);
            format!("virtio-disk{number}")
        }
        DiskBus::Usb => {
            plan.usb_place(&disk.info, device);
            format!("usb-disk{number}")
        }
        DiskBus::Nvme => {
            device["bus"] = format!("nvme{controller}").into();
            format!("nvme{controller}-{bus}-{unit}")
        }
        _ => {
            plan.drive_place(&disk.info, device);
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
