//! `<disk>`. Owns libvirt's words and defaults for disks; must never open what they name.

use std::path::PathBuf;

use super::DeviceInfo;
use crate::model::doc::{host_path, required};
use crate::xml::view::View;

/// `<disk>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@device`.
    pub device: DiskDevice,
    /// `<source>`; absent for an empty CD-ROM drive.
    pub source: Option<DiskSource>,
    /// `<driver type>`, default raw (never probed).
    pub format: DiskFormat,
    /// `<target dev>`, as `hda` or `vdb`.
    pub target: String,
    /// `<target bus>`, else told from the target's prefix.
    pub bus: DiskBus,
    /// `<readonly/>`, and always for a CD-ROM.
    pub readonly: bool,
}

/// `<disk device>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum DiskDevice {
    Disk,
    Cdrom,
}

/// `<disk><source>`: both are paths on the host, opened with the owner's rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskSource {
    /// `type='file'`: a regular file.
    File(PathBuf),
    /// `type='block'`: a block device.
    Block(PathBuf),
}

impl DiskSource {
    /// The path, whichever kind it is.
    pub fn path(&self) -> &std::path::Path {
        match self {
            Self::File(p) | Self::Block(p) => p,
        }
    }
}

/// `<driver type>` of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are QEMU's")]
pub enum DiskFormat {
    Raw,
    Qcow2,
}

impl DiskFormat {
    /// QEMU's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// `<target bus>` of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum DiskBus {
    Ide,
    Sata,
    Scsi,
    Virtio,
}

const BUSES: &[(&str, DiskBus)] =
    &[("ide", DiskBus::Ide), ("sata", DiskBus::Sata), ("scsi", DiskBus::Scsi), ("virtio", DiskBus::Virtio)];

/// Settings of `<driver>` that a guest runs without.
const TUNING: &[&str] = &["cache", "io", "discard", "detect_zeroes", "error_policy", "rerror_policy"];

/// Kinds of `<disk>` that are legal and that Warren does not run yet.
const OTHER_TYPES: &[&str] = &["dir", "network", "volume", "nvme", "vhostuser", "vhostvdpa"];

/// The disk, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<DiskDef> {
    let block = match view.filled("type").unwrap_or("file") {
        "file" => false,
        "block" => true,
        other if OTHER_TYPES.contains(&other) => {
            view.accept();
            view.unsupported_at("type", format!("Warren does not run disks of type '{other}' yet"), "");
            return None;
        }
        other => {
            view.accept();
            view.error_at("type", format!("'{other}' is not a type of disk"), "give file or block");
            return None;
        }
    };
    let device = match view.filled("device").unwrap_or("disk") {
        "disk" => DiskDevice::Disk,
        "cdrom" => DiskDevice::Cdrom,
        other @ ("lun" | "floppy") => {
            view.accept();
            view.unsupported_at("device", format!("Warren does not run a disk as '{other}' yet"), "");
            return None;
        }
        other => {
            view.accept();
            view.error_at("device", format!("'{other}' is not a kind of disk"), "give disk or cdrom");
            return None;
        }
    };
    let info = DeviceInfo::read(view);
    // An empty one only says that the chain ends here; what is in it is reported as not known.
    view.child("backingStore");
    let source = source(view, block, device);
    let format = view.child("driver").map_or(Some(DiskFormat::Raw), |d| format(&d));
    let target = view.child("target");
    if target.is_none() {
        view.error("the disk has no <target>", "add <target dev='vda'/>");
    }
    let (target, bus) = self::target(&target?)?;
    Some(DiskDef {
        info,
        device,
        source: source?,
        format: format?,
        target,
        bus,
        readonly: view.child("readonly").is_some() || device == DiskDevice::Cdrom,
    })
}

/// The outer `Option` is whether it can be read, the inner one whether it is there.
fn source(view: &View<'_>, block: bool, device: DiskDevice) -> Option<Option<DiskSource>> {
    let attr = if block { "dev" } else { "file" };
    let child = view.child("source");
    let given = child.as_ref().and_then(|s| s.filled(attr));
    if given.is_none() {
        if device == DiskDevice::Cdrom {
            return Some(None);
        }
        let message = format!("the disk has no <source {attr}>");
        view.error(message, "name the image, or make the device a cdrom, which may be empty");
        return None;
    }
    let path = host_path(&child?, Some(attr))?;
    Some(Some(if block { DiskSource::Block(path) } else { DiskSource::File(path) }))
}

fn format(driver: &View<'_>) -> Option<DiskFormat> {
    if let Some(name) = driver.filled("name").filter(|n| *n != "qemu") {
        driver.unsupported_at("name", format!("Warren does not have the disk driver '{name}'"), "give qemu");
    }
    for attr in TUNING {
        if driver.attr(attr).is_some() {
            driver.warning_at(attr, format!("'{attr}' has no effect yet"), "");
        }
    }
    match driver.filled("type").unwrap_or("raw") {
        "raw" => Some(DiskFormat::Raw),
        "qcow2" => Some(DiskFormat::Qcow2),
        other => {
            let message = format!("Warren does not run images of format '{other}'");
            driver.unsupported_at("type", message, "convert the image to qcow2 or raw");
            None
        }
    }
}

fn target(view: &View<'_>) -> Option<(String, DiskBus)> {
    let dev = required(view.filled("dev"), view, "dev", "give a name like vda");
    let bus = match view.filled("bus") {
        Some(other @ ("fdc" | "usb" | "sd" | "xen" | "uml" | "nvme")) => {
            view.unsupported_at("bus", format!("Warren has no disks on the bus '{other}' yet"), "");
            return None;
        }
        _ => view.one_of("bus", BUSES),
    };
    let dev = dev?;
    let letters = dev.trim_end_matches(|c: char| c.is_ascii_digit());
    let (prefix, unit) = letters.split_at_checked(2).unwrap_or((letters, ""));
    let default = match prefix {
        "hd" => DiskBus::Ide,
        "sd" => DiskBus::Scsi,
        "vd" => DiskBus::Virtio,
        "fd" | "xv" | "ub" => {
            view.unsupported_at(
                "dev",
                format!("Warren does not run a disk as '{dev}'"),
                "give hd*, sd* or vd*",
            );
            return None;
        }
        _ => {
            view.error_at("dev", format!("'{dev}' does not name a disk"), "give a name like hda, sda or vda");
            return None;
        }
    };
    if unit.is_empty() || unit.len() > 6 || !unit.chars().all(|c| c.is_ascii_lowercase()) {
        view.error_at("dev", format!("'{dev}' does not name a disk"), "give a name like hda, sda or vda");
        return None;
    }
    Some((dev.to_owned(), bus.unwrap_or(default)))
}
