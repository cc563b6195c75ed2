//! Disks: the drive and what it says of itself. Its medium is `disk_image`'s, its place `disk_place`'s.

use serde_json::{Value, json};

use super::{ImageFd, Plan, disk_image, disk_place, layout, set, virtio};
use crate::model::{
    Cache, DiskBus, DiskDef, DiskDevice, DiskDriver, ErrorPolicy, Location, StartupPolicy, VirtioModel,
    VirtioOptions,
};

pub(super) fn add(plan: &mut Plan<'_>, disk: &DiskDef, index: usize, handed: Option<&[ImageFd]>) {
    let Some(number) = layout::target_number(&disk.target) else {
        let message = format!("'{}' is not a disk's name", disk.target.escape_debug());
        plan.error(&format!("{}/target/@dev", disk.info.path), message, "write hda, sdb, vdc or the like");
        return;
    };
    let handed = handed.unwrap_or_default();
    let is_opened = disk.source.as_ref().is_some_and(|image| image.location.opened().is_some());
    let has_medium = match &disk.source {
        None => false,
        Some(image) if is_opened && handed.is_empty() && image.startup == StartupPolicy::Optional => {
            // A disk that need not be there is left out, an empty drive stays.
            if !disk.device.is_removable() {
                return;
            }
            false
        }
        Some(_) if is_opened && handed.is_empty() => {
            plan.error(&disk.info.path, "the disk's image was not opened", "");
            return;
        }
        Some(_) => true,
    };
    if disk.bus == DiskBus::Sd {
        disk_place::memory_card(plan, disk, number, handed);
        return;
    }
    let Some(mut device) = drive(plan, disk) else { return };
    let id = disk_place::place(plan, disk, number, &mut device);
    if !plan.slots.take_id(&id) {
        let message = format!("the place of '{}' is taken by another disk", disk.target);
        plan.error(&format!("{}/target/@dev", disk.info.path), message, "give each disk its own target");
    }
    own_properties(disk, &id, &mut device);
    if has_medium {
        disk_image::refusals(plan, disk);
        let node = disk_image::medium(plan, disk, &id, index, handed);
        set(&mut device, "drive", node);
    }
    device["id"] = id.as_str().into();
    if let Some(order) = plan.boot.disks[index] {
        boot(plan, disk, order, &mut device);
    }
    common_properties(disk, &mut device);
    plan.device(&disk.info.path, &device);
    settings(plan, disk, &id);
}

/// The id of the device that a vhost-user server's socket is joined to.
pub(super) fn chardev(id: &str) -> String {
    format!("chr-vu-{id}")
}

/// The driver, with what is special to its bus.
fn drive(plan: &mut Plan<'_>, disk: &DiskDef) -> Option<Value> {
    let cdrom = disk.device == DiskDevice::Cdrom;
    let driver = match disk.bus {
        DiskBus::Ide | DiskBus::Sata if cdrom => "ide-cd",
        DiskBus::Ide | DiskBus::Sata => "ide-hd",
        DiskBus::Scsi if disk.device == DiskDevice::Lun => "scsi-block",
        DiskBus::Scsi if cdrom => "scsi-cd",
        DiskBus::Scsi => "scsi-hd",
        DiskBus::Usb => "usb-storage",
        DiskBus::Fdc => "floppy",
        DiskBus::Nvme => "nvme-ns",
        DiskBus::Virtio => {
            let user = matches!(disk.source.as_ref().map(|s| &s.location), Some(Location::VhostUser(_)));
            let driver = if user { "vhost-user-blk" } else { "virtio-blk" };
            let mut device = virtio(driver, disk.model, &disk.driver.virtio);
            queues(plan, disk, &mut device);
            return Some(device);
        }
        DiskBus::Xen | DiskBus::Uml | DiskBus::Sd => {
            let message = format!("QEMU has no disks on the bus '{}'", disk.bus.as_str());
            plan.unsupported(&format!("{}/target/@bus", disk.info.path), message, "write bus='virtio'");
            return None;
        }
    };
    Some(json!({ "driver": driver }))
}

/// A device on virtio with what its `<driver>` says.
pub(super) fn virtio(driver: &str, model: Option<VirtioModel>, options: &VirtioOptions) -> Value {
    let mut device = json!({ "driver": virtio::driver(driver, model.unwrap_or(VirtioModel::Virtio)) });
    virtio::options(&mut device, options);
    device
}

/// The queues of a disk on virtio, and the threads that serve them.
fn queues(plan: &mut Plan<'_>, disk: &DiskDef, device: &mut Value) {
    let driver = &disk.driver;
    set(device, "iothread", driver.iothread.map(|n| format!("iothread{n}")));
    set(device, "ioeventfd", driver.ioeventfd);
    set(device, "event_idx", driver.event_idx);
    set(device, "num-queues", driver.queues);
    set(device, "queue-size", driver.queue_size);
    if driver.iothreads.is_empty() {
        return;
    }
    let mapped = driver.iothreads.iter().map(|(thread, queues)| {
        let mut one = json!({ "iothread": format!("iothread{thread}") });
        set(&mut one, "vqs", (!queues.is_empty()).then(|| queues.clone()));
        one
    });
    device["iothread-vq-mapping"] = mapped.collect();
    if plan.qemu.version < (9, 0, 0) {
        let message = "several threads for one disk take QEMU 9.0 or newer";
        plan.unsupported(&format!("{}/driver/iothreads", disk.info.path), message, "write iothread='1'");
    }
}

/// What comes before the medium.
fn own_properties(disk: &DiskDef, id: &str, device: &mut Value) {
    if disk.bus == DiskBus::Scsi && disk.device != DiskDevice::Lun {
        // libvirt's: a guest finds the disk again by it, whichever node QEMU names.
        let name = disk.serial.clone().unwrap_or_else(|| format!("drive-{id}"));
        device["device_id"] = name.into();
    }
    set(device, "share-rw", disk.shareable.then_some(true));
    if let Some(Location::VhostUser(_)) = disk.source.as_ref().map(|s| &s.location) {
        device["chardev"] = chardev(id).into();
    }
}

/// What comes after the boot index.
fn common_properties(disk: &DiskDef, device: &mut Value) {
    set(device, "logical_block_size", disk.blockio.logical);
    set(device, "physical_block_size", disk.blockio.physical);
    set(device, "discard_granularity", disk.blockio.discard_granularity);
    set(device, "wwn", disk.wwn);
    set(device, "rotation_rate", disk.rotation_rate);
    set(device, "vendor", disk.vendor.clone());
    set(device, "product", disk.product.clone());
    let removable = if disk.bus == DiskBus::Usb { disk.removable.or(Some(false)) } else { disk.removable };
    set(device, "removable", removable);
    set(device, "write-cache", write_cache(disk));
    if let Some(geometry) = &disk.geometry {
        set(device, "cyls", Some(geometry.cylinders));
        set(device, "heads", Some(geometry.heads));
        set(device, "secs", Some(geometry.sectors));
        set(device, "bios-chs-trans", geometry.translation.map(|t| t.as_str()));
    }
    // A space comes with a backslash before it, which the guest sees: so it does under libvirt, and a guest
    // may find its disk by it.
    set(device, "serial", disk.serial.as_ref().map(|s| s.replace(' ', "\\ ")));
    set(device, "dpofua", disk.dpofua);
    let (write, read) = error_policies(&disk.driver);
    set(device, "werror", write);
    set(device, "rerror", read);
}

/// Whether the guest sees a write cache, where the document says something of caches.
fn write_cache(disk: &DiskDef) -> Option<&'static str> {
    let cache = disk.driver.cache.filter(|_| disk.device != DiskDevice::Lun)?;
    Some(if matches!(cache, Cache::Writethrough | Cache::Directsync) { "off" } else { "on" })
}

/// `werror` and `rerror`: a policy for writing is one for reading too, but for want of space.
fn error_policies(driver: &DiskDriver) -> (Option<&'static str>, Option<&'static str>) {
    let write = driver.error_policy;
    let read = driver.rerror_policy.or(write.filter(|p| *p != ErrorPolicy::Enospace));
    let word = |p: ErrorPolicy| if p == ErrorPolicy::Enospace { "enospc" } else { p.as_str() };
    (write.map(word), read.map(word))
}

fn boot(plan: &mut Plan<'_>, disk: &DiskDef, order: u32, device: &mut Value) {
    if disk.bus == DiskBus::Fdc {
        // The controller boots, not the drive.
        let letter = if device["unit"] == 1 { 'B' } else { 'A' };
        plan.args.pair("-global", format!("isa-fdc.bootindex{letter}={order}"));
        return;
    }
    device["bootindex"] = order.into();
    set(device, "loadparm", disk.info.loadparm.clone());
}

/// What QEMU is told of the drive once it is up.
fn settings(plan: &mut Plan<'_>, disk: &DiskDef, id: &str) {
    if let Some(tune) = disk.iotune.as_ref().filter(|t| t.limits.iter().any(|(_, value)| *value > 0)) {
        // The part of the device that holds the medium.
        let holder = match disk.bus {
            DiskBus::Virtio => format!("/machine/peripheral/{id}/virtio-backend"),
            DiskBus::Usb => format!("/machine/peripheral/{id}/{id}.0/legacy[0]"),
            _ => id.to_owned(),
        };
        let mut limits = json!({ "id": holder });
        for (qemu, libvirt) in THROTTLE {
            let value = tune.limit(libvirt);
            // The first six must be given, 0 being no limit.
            if value > 0 || !libvirt.ends_with("max_length") && !libvirt.ends_with("max") {
                limits[*qemu] = value.into();
            }
        }
        set(&mut limits, "group", tune.group.clone());
        plan.settings.push(("block_set_io_throttle", limits));
    }
    if disk.tray_open && disk.device.is_removable() {
        plan.settings.push(("blockdev-open-tray", json!({ "id": id, "force": true })));
    }
}

/// QEMU's names of the limits, with libvirt's.
const THROTTLE: &[(&str, &str)] = &[
    ("bps", "total_bytes_sec"),
    ("bps_rd", "read_bytes_sec"),
    ("bps_wr", "write_bytes_sec"),
    ("iops", "total_iops_sec"),
    ("iops_rd", "read_iops_sec"),
    ("iops_wr", "write_iops_sec"),
    ("bps_max", "total_bytes_sec_max"),
    ("bps_rd_max", "read_bytes_sec_max"),
    ("bps_wr_max", "write_bytes_sec_max"),
    ("iops_max", "total_iops_sec_max"),
    ("iops_rd_max", "read_iops_sec_max"),
    ("iops_wr_max", "write_iops_sec_max"),
    ("iops_size", "size_iops_sec"),
    ("bps_max_length", "total_bytes_sec_max_length"),
    ("bps_rd_max_length", "read_bytes_sec_max_length"),
    ("bps_wr_max_length", "write_bytes_sec_max_length"),
    ("iops_max_length", "total_iops_sec_max_length"),
    ("iops_rd_max_length", "read_iops_sec_max_length"),
    ("iops_wr_max_length", "write_iops_sec_max_length"),
];
