//! Serial and parallel ports, consoles, channels and smart cards: each a `-chardev` and what the guest sees
//! of it.

use serde_json::{Value, json};

use super::chardev::{self, AGENT, Use};
use super::{Handed, Plan, isa, nic};
use crate::model::{
    Address, ChannelDef, ChannelTarget, ConsoleDef, ConsoleTarget, ParallelDef, SerialDef, SerialTarget,
    SmartcardDef, SmartcardMode,
};

pub(super) fn serial(plan: &mut Plan<'_>, handed: &Handed, serial: &SerialDef, index: usize) {
    let id = plan.name(&serial.info, "serial", index);
    let chardev = format!("char{id}");
    chardev::add(plan, handed, &serial.source, &chardev, AGENT);
    let driver = match serial.target {
        SerialTarget::Isa => "isa-serial",
        SerialTarget::Usb => "usb-serial",
        SerialTarget::Pci => "pci-serial",
        SerialTarget::IsaDebug => "isa-debugcon",
        SerialTarget::SpaprVio | SerialTarget::System | SerialTarget::Sclp => {
            let path = format!("{}/target/@type", serial.info.path);
            plan.unsupported(&path, "a PC has no serial port of this type", "write type='isa-serial'");
            return;
        }
    };
    let mut device = json!({ "driver": driver, "chardev": chardev, "id": id });
    match serial.target {
        SerialTarget::Isa => {
            device["index"] = serial.port.into();
            isa(&serial.info, &mut device);
        }
        SerialTarget::Usb => plan.usb_place(&serial.info, &mut device),
        SerialTarget::Pci => plan.place(&serial.info, &mut device),
        _ => isa(&serial.info, &mut device),
    }
    plan.device(&serial.info.path, &device);
}

pub(super) fn parallel(plan: &mut Plan<'_>, handed: &Handed, parallel: &ParallelDef, index: usize) {
    let id = plan.name(&parallel.info, "parallel", index);
    let chardev = format!("char{id}");
    chardev::add(plan, handed, &parallel.source, &chardev, Use::Parallel);
    let mut device = json!({ "driver": "isa-parallel", "chardev": chardev, "id": id });
    isa(&parallel.info, &mut device);
    plan.device(&parallel.info.path, &device);
}

pub(super) fn channel(plan: &mut Plan<'_>, handed: &Handed, channel: &ChannelDef, index: usize) {
    let id = plan.name(&channel.info, "channel", index);
    let chardev = format!("char{id}");
    chardev::add(plan, handed, &channel.source, &chardev, AGENT);
    match &channel.target {
        ChannelTarget::Guestfwd { address, port } => {
            let forward = format!("tcp:{address}:{port}-chardev:{chardev}");
            nic::backend(plan, &channel.info.path, &json!({ "type": "user", "guestfwd": forward, "id": id }));
        }
        ChannelTarget::Virtio(name) => {
            let mut device = json!({ "driver": "virtserialport" });
            plan.port_place(&channel.info, &mut device);
            device["chardev"] = chardev.into();
            device["id"] = id.into();
            if let Some(name) = name {
                device["name"] = name.as_str().into();
            }
            plan.device(&channel.info.path, &device);
        }
        ChannelTarget::Xen => not_of_qemu(plan, &channel.info.path),
    }
}

pub(super) fn console(plan: &mut Plan<'_>, handed: &Handed, console: &ConsoleDef, index: usize) {
    if console.target != ConsoleTarget::Virtio {
        not_of_qemu(plan, &console.info.path);
        return;
    }
    let id = plan.name(&console.info, "console", index);
    let chardev = format!("char{id}");
    chardev::add(plan, handed, &console.source, &chardev, AGENT);
    let mut device = json!({ "driver": "virtconsole" });
    // Without a place of its own it takes the first that is free.
    if matches!(console.info.address, Some(Address::Port { .. })) {
        plan.port_place(&console.info, &mut device);
    }
    device["chardev"] = chardev.into();
    device["id"] = id.into();
    plan.device(&console.info.path, &device);
}

fn not_of_qemu(plan: &mut Plan<'_>, path: &str) {
    let path = format!("{path}/target/@type");
    plan.unsupported(&path, "a PC of QEMU has no device of this type", "write type='virtio'");
}

pub(super) fn smartcard(plan: &mut Plan<'_>, handed: &Handed, card: &SmartcardDef, index: usize) {
    let id = plan.name(&card.info, "smartcard", index);
    let mut device: Value = match &card.mode {
        SmartcardMode::Host => json!({ "driver": "ccid-card-emulated", "backend": "nss-emulated", "id": id }),
        SmartcardMode::HostCertificates { certificates, database } => {
            let mut device = json!({ "driver": "ccid-card-emulated", "backend": "certificates" });
            for (number, certificate) in certificates.iter().enumerate() {
                device[format!("cert{}", number + 1)] = certificate.as_str().into();
            }
            device["db"] = database.as_deref().unwrap_or("/etc/pki/nssdb").into();
            device["id"] = id.into();
            device
        }
        SmartcardMode::Passthrough(source) => {
            let chardev = format!("char{id}");
            chardev::add(plan, handed, source, &chardev, Use::Channel("smartcard"));
            json!({ "driver": "ccid-card-passthru", "chardev": chardev, "id": id })
        }
    };
    plan.port_place(&card.info, &mut device);
    plan.device(&card.info.path, &device);
}
