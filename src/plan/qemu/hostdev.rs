//! Devices of the host in the guest. Warren gives none away yet (see `plan::check`); they are planned as they
//! would be.

use serde_json::json;

use super::{Plan, set};
use crate::model::{GuestReset, HostdevDef, HostdevSource, MdevModel, Rom, ScsiUnit, UsbSource};

pub(super) fn add(plan: &mut Plan<'_>, hostdev: &HostdevDef, index: usize) {
    let id = plan.name(&hostdev.info, "hostdev", index);
    match &hostdev.source {
        HostdevSource::Usb(source) => usb(plan, hostdev, source, &id),
        HostdevSource::Pci { address: a, .. } => {
            let host = format!("{:04x}:{:02x}:{:02x}.{:x}", a.domain, a.bus, a.slot, a.function);
            let mut device = json!({ "driver": "vfio-pci", "host": host, "id": id });
            set(&mut device, "bootindex", hostdev.info.boot_order);
            set(&mut device, "failover_pair_id", hostdev.teaming.clone());
            plan.place(&hostdev.info, &mut device);
            rom(&hostdev.rom, &mut device);
            plan.device(&hostdev.info.path, &device);
        }
        HostdevSource::Scsi { unit, .. } => scsi(plan, hostdev, unit, &id),
        HostdevSource::ScsiHost { wwpn, .. } => {
            let mut device = json!({ "driver": "vhost-scsi-pci", "wwpn": wwpn, "id": id });
            set(&mut device, "bootindex", hostdev.info.boot_order);
            plan.place(&hostdev.info, &mut device);
            plan.device(&hostdev.info.path, &device);
        }
        HostdevSource::Mdev { model, display, ramfb, uuid } => {
            let path = format!("/sys/bus/mdev/devices/{uuid}");
            let mut device = json!({ "driver": model.as_str(), "id": id, "sysfsdev": path });
            if *model == MdevModel::VfioPci {
                device["display"] = if *display == Some(true) { "on".into() } else { "off".into() };
            }
            set(&mut device, "ramfb", *ramfb);
            set(&mut device, "bootindex", hostdev.info.boot_order);
            if *model == MdevModel::VfioPci {
                plan.place(&hostdev.info, &mut device);
            }
            plan.device(&hostdev.info.path, &device);
        }
        // Refused by `plan::check`: only containers have it.
        HostdevSource::Capability(_) => {}
    }
}

fn rom(rom: &Rom, device: &mut serde_json::Value) {
    if rom.enabled == Some(false) {
        device["rombar"] = 0.into();
        device["romfile"] = "".into();
        return;
    }
    set(device, "rombar", rom.bar.map(u8::from));
    set(device, "romfile", rom.file.as_ref().map(|f| f.display().to_string()));
}

fn usb(plan: &mut Plan<'_>, hostdev: &HostdevDef, source: &UsbSource, id: &str) {
    let mut device = json!({ "driver": "usb-host" });
    match (source.bus, source.device) {
        (Some(bus), Some(number)) => {
            device["hostdevice"] = format!("/dev/bus/usb/{bus:03}/{number:03}").into();
        }
        _ => {
            set(&mut device, "vendorid", source.vendor);
            set(&mut device, "productid", source.product);
            set(&mut device, "hostbus", source.bus);
            set(&mut device, "hostport", source.port.clone());
        }
    }
    device["id"] = id.into();
    match source.guest_reset {
        Some(GuestReset::Off) => device["guest-reset"] = false.into(),
        Some(GuestReset::Uninitialized) => {
            device["guest-reset"] = true.into();
            device["guest-resets-all"] = false.into();
        }
        Some(GuestReset::On) => {
            device["guest-reset"] = true.into();
            device["guest-resets-all"] = true.into();
        }
        None => {}
    }
    set(&mut device, "bootindex", hostdev.info.boot_order);
    plan.usb_place(&hostdev.info, &mut device);
    plan.device(&hostdev.info.path, &device);
}

fn scsi(plan: &mut Plan<'_>, hostdev: &HostdevDef, unit: &ScsiUnit, id: &str) {
    let node = format!("libvirt-{id}-backend");
    let blockdev = match unit {
        ScsiUnit::Host { adapter, address: [bus, target, unit] } => json!({
            "driver": "host_device",
            // Which /dev/sg it is, only the host can tell.
            "filename": format!("{adapter}:{bus}:{target}:{unit}"),
            "node-name": node,
            "read-only": hostdev.readonly,
        }),
        ScsiUnit::Iscsi { name, host, initiator, .. } => {
            let (target, lun) = name.split_once('/').unwrap_or((name, "0"));
            let port = host.as_ref().and_then(|h| h.port).unwrap_or(3260);
            let portal = format!("{}:{port}", host.as_ref().map_or("localhost", |h| h.name.as_str()));
            let mut node = json!({
                "driver": "iscsi",
                "portal": portal,
                "target": target,
                "lun": lun.parse::<u64>().unwrap_or(0),
                "transport": "tcp",
                "node-name": node,
                "read-only": hostdev.readonly,
            });
            set(&mut node, "initiator-name", initiator.clone());
            node
        }
    };
    plan.args.json("-blockdev", &blockdev);
    let mut device = json!({ "driver": "scsi-generic" });
    plan.drive_place(&hostdev.info, &mut device);
    set(&mut device, "share-rw", hostdev.shareable.then_some(true));
    device["drive"] = node.into();
    device["id"] = id.into();
    set(&mut device, "bootindex", hostdev.info.boot_order);
    plan.device(&hostdev.info.path, &device);
}
