//! The controllers of a guest: those of the document, and those that libvirt adds where they are needed.

use std::collections::BTreeSet;

use crate::model::{
    Address, ChannelTarget, ConsoleTarget, ControllerDef, ControllerDriver, ControllerKind, ControllerTarget,
    Device, DeviceInfo, DiskBus, DiskDef, DomainDef, DriveAddress,
};
use crate::plan::qemu::machine::Family;

/// All controllers but those of PCI that are found needed later.
pub(super) fn known(def: &DomainDef, family: Family) -> Vec<ControllerDef> {
    let mut all: Vec<ControllerDef> = def.controllers().cloned().collect();
    number(&mut all);
    for controller in &mut all {
        if controller.model.as_deref().is_none_or(|m| m == "auto") {
            controller.model = default_model(controller.kind, controller.index, family).map(str::to_owned);
        }
    }
    ensure(&mut all, ControllerKind::Pci, 0, family);
    ensure(&mut all, ControllerKind::Usb, 0, family);
    for disk in def.disks() {
        let kind = match disk.bus {
            DiskBus::Scsi => ControllerKind::Scsi,
            DiskBus::Sata => ControllerKind::Sata,
            DiskBus::Fdc => ControllerKind::Fdc,
            _ => continue,
        };
        if let Some(at) = drive_of(disk) {
            // So many that a document cannot ask for more work than it has letters.
            for index in 0..=at.controller.min(255) {
                ensure(&mut all, kind, index, family);
            }
        }
    }
    for (kind, index) in def.devices.iter().filter_map(port_of) {
        ensure(&mut all, kind, index, family);
    }
    sort(&mut all);
    all
}

/// The controller of which a device takes a port.
fn port_of(device: &Device) -> Option<(ControllerKind, u32)> {
    let kind = match device {
        Device::Channel(c) if matches!(c.target, ChannelTarget::Virtio(_)) => ControllerKind::VirtioSerial,
        Device::Console(c) if c.target == ConsoleTarget::Virtio => ControllerKind::VirtioSerial,
        Device::Smartcard(_) => ControllerKind::Ccid,
        _ => return None,
    };
    match device.info().address {
        Some(Address::Port { controller, .. }) => Some((kind, controller)),
        _ => Some((kind, 0)),
    }
}

/// libvirt's order on the command line: by kind, by index, and of one USB bus its master first.
pub(super) fn sort(all: &mut [ControllerDef]) {
    let kind = |kind: ControllerKind| match kind {
        ControllerKind::Pci => 0,
        ControllerKind::Usb => 1,
        ControllerKind::Scsi => 2,
        ControllerKind::Ide => 3,
        ControllerKind::Sata => 4,
        ControllerKind::VirtioSerial => 5,
        ControllerKind::Ccid => 6,
        ControllerKind::Fdc => 7,
        ControllerKind::Isa => 8,
    };
    all.sort_by_key(|c| (kind(c.kind), c.index, c.master_startport.is_some()));
}

/// Controllers without an index get the next free one of their kind.
fn number(all: &mut [ControllerDef]) {
    let mut taken: BTreeSet<(ControllerKind, u32)> =
        all.iter().filter_map(|c| Some((c.kind, c.index?))).collect();
    for at in 0..all.len() {
        if all[at].index.is_some() {
            continue;
        }
        let kind = all[at].kind;
        let is_root = matches!(all[at].model.as_deref(), Some("pci-root" | "pcie-root"));
        let least = u32::from(kind == ControllerKind::Pci && !is_root);
        let next = (least..).find(|index| !taken.contains(&(kind, *index))).unwrap_or(least);
        let index = companion_of(all, at).unwrap_or(next);
        taken.insert((kind, index));
        all[at].index = Some(index);
    }
}

/// A part of a USB 2 chip belongs to the one before it, unless that has such a part already.
fn companion_of(all: &[ControllerDef], at: usize) -> Option<u32> {
    let part = |c: &ControllerDef| c.model.as_deref().is_some_and(|m| m.starts_with("ich9-"));
    let usb = |c: &&ControllerDef| c.kind == ControllerKind::Usb;
    let before = all[..at].iter().rev().find(usb).filter(|c| part(c) && part(&all[at]))?;
    let there = |c: &ControllerDef| c.index == before.index && c.model == all[at].model;
    before.index.filter(|_| !all.iter().filter(usb).any(there))
}

/// Adds a controller, unless there is one.
pub(super) fn ensure(all: &mut Vec<ControllerDef>, kind: ControllerKind, index: u32, family: Family) {
    if all.iter().any(|c| c.kind == kind && c.index == Some(index)) {
        return;
    }
    let model = match (kind, family) {
        // What libvirt adds by itself is what the machine does best.
        (ControllerKind::Usb, Family::Q35) => Some("qemu-xhci"),
        _ => default_model(kind, Some(index), family),
    };
    all.push(added(kind, index, model));
}

/// A controller that the document does not have.
pub(super) fn added(kind: ControllerKind, index: u32, model: Option<&str>) -> ControllerDef {
    let path = format!("/domain/devices/controller[@type='{}'][@index='{index}']", kind.as_str());
    ControllerDef {
        info: DeviceInfo { path, ..DeviceInfo::default() },
        kind,
        index: Some(index),
        model: model.map(str::to_owned),
        driver: ControllerDriver::default(),
        ports: None,
        vectors: None,
        master_startport: None,
        pcihole64: None,
        model_name: None,
        target: ControllerTarget::default(),
    }
}

/// What libvirt takes a controller for that does not say what it is.
fn default_model(kind: ControllerKind, index: Option<u32>, family: Family) -> Option<&'static str> {
    match (kind, family) {
        (ControllerKind::Pci, Family::I440fx) if index == Some(0) => Some("pci-root"),
        (ControllerKind::Pci, Family::Q35) if index == Some(0) => Some("pcie-root"),
        (ControllerKind::Pci, Family::I440fx) => Some("pci-bridge"),
        (ControllerKind::Pci, Family::Q35) => Some("pcie-root-port"),
        (ControllerKind::Usb, _) => Some("piix3-uhci"),
        (ControllerKind::Scsi, _) => Some("lsilogic"),
        (ControllerKind::VirtioSerial, _) => Some("virtio"),
        _ => None,
    }
}

/// Whether the machine has the controller without being asked.
pub(in crate::plan::qemu) fn on_board(controller: &ControllerDef, family: Family) -> bool {
    let first = controller.index.unwrap_or(0) == 0;
    match controller.kind {
        ControllerKind::Pci => matches!(controller.model.as_deref(), Some("pci-root" | "pcie-root")),
        ControllerKind::Ide => family == Family::I440fx && first,
        ControllerKind::Sata => family == Family::Q35 && first,
        ControllerKind::Fdc => family == Family::I440fx && first,
        ControllerKind::Isa => true,
        ControllerKind::Usb => controller.model.as_deref() == Some("none"),
        _ => false,
    }
}

/// The place of a drive: the one that the document gives, else the one that the target's letters stand for.
pub(in crate::plan) fn drive_of(disk: &DiskDef) -> Option<DriveAddress> {
    if let Some(Address::Drive(at)) = disk.info.address {
        return Some(at);
    }
    let number = target_number(&disk.target)?;
    let at = |controller, bus, unit| DriveAddress { controller, bus, target: 0, unit };
    match disk.bus {
        DiskBus::Ide => Some(at(number / 4, number % 4 / 2, number % 2)),
        DiskBus::Sata => Some(at(number / 6, 0, number % 6)),
        // libvirt counts with a narrow bus, whose eighth unit is the controller itself.
        DiskBus::Scsi => Some(at(number / 7, 0, number % 7)),
        DiskBus::Fdc => Some(at(number / 2, 0, number % 2)),
        _ => None,
    }
}

/// The position that a target's letters stand for: `hda` is 0, `sdb` 1, `vdaa` 26.
pub(in crate::plan::qemu) fn target_number(target: &str) -> Option<u32> {
    let prefixes = ["xvd", "ubd", "hd", "sd", "vd", "fd"];
    let letters = prefixes.iter().find_map(|p| target.strip_prefix(p))?;
    let letters = letters.trim_end_matches(|c: char| c.is_ascii_digit());
    if letters.is_empty() || letters.len() > 6 || !letters.bytes().all(|b| b.is_ascii_lowercase()) {
        return None;
    }
    letters
        .bytes()
        .try_fold(0u32, |n, b| n.checked_mul(26)?.checked_add(u32::from(b - b'a') + 1))
        .map(|n| n - 1)
}
