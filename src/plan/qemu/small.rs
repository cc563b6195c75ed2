//! Devices that need few words: watchdogs, the balloon, panic devices, vsock, pstore and TPMs.

use serde_json::json;

use super::args::escaped;
use super::{Handed, Plan, isa, virtio};
use crate::model::{
    Address, MemballoonDef, MemballoonModel, PanicDef, PanicModel, PstoreDef, TpmBackend, TpmDef, TpmModel,
    VirtioModel, VsockDef, WatchdogAction, WatchdogDef, WatchdogModel,
};

/// Where libvirt puts the port of pvpanic.
const PANIC_PORT: u32 = 0x505;

pub(super) fn watchdog(plan: &mut Plan<'_>, watchdog: &WatchdogDef, index: usize) {
    let id = plan.name(&watchdog.info, "watchdog", index);
    let path = &watchdog.info.path;
    let mut device = json!({ "driver": watchdog.model.as_str(), "id": id });
    match watchdog.model {
        WatchdogModel::I6300esb => {
            plan.place(&watchdog.info, &mut device);
            plan.device(path, &device);
        }
        WatchdogModel::Ib700 => plan.device(path, &device),
        // The machine q35 has it; the strap that keeps it from a reset is taken away.
        WatchdogModel::Itco => plan.args.pair("-global", "ICH9-LPC.noreboot=off"),
        WatchdogModel::Diag288 => plan.unsupported(
            &format!("{path}/@model"),
            "a PC has no watchdog of this model",
            "write model='i6300esb'",
        ),
    }
    if index == 0 {
        let action = match watchdog.action {
            // The guest stands still while its memory is written.
            WatchdogAction::Dump => "pause",
            other => other.as_str(),
        };
        plan.args.pair("-watchdog-action", action);
    }
}

pub(super) fn memballoon(plan: &mut Plan<'_>, balloon: &MemballoonDef) {
    let model = match balloon.model {
        MemballoonModel::None => return,
        MemballoonModel::Virtio => VirtioModel::Virtio,
        MemballoonModel::Transitional => VirtioModel::Transitional,
        MemballoonModel::NonTransitional => VirtioModel::NonTransitional,
        MemballoonModel::Xen => {
            let path = format!("{}/@model", balloon.info.path);
            plan.unsupported(&path, "a guest of QEMU has no balloon of Xen", "write model='virtio'");
            return;
        }
    };
    let mut device = json!({ "driver": virtio::driver("virtio-balloon", model) });
    virtio::options(&mut device, &balloon.driver);
    device["id"] = plan.name(&balloon.info, "balloon", 0).into();
    let own = [("deflate-on-oom", balloon.autodeflate), ("free-page-reporting", balloon.free_page_reporting)];
    for (name, value) in own {
        if let Some(on) = value {
            device[name] = on.into();
        }
    }
    plan.place(&balloon.info, &mut device);
    plan.device(&balloon.info.path, &device);
}

pub(super) fn panic(plan: &mut Plan<'_>, panic: &PanicDef) {
    let path = &panic.info.path;
    match panic.model {
        PanicModel::Isa => {
            plan.sits_as(&panic.info, "isa", |address| matches!(address, Address::Isa { .. }));
            let port = match panic.info.address {
                Some(Address::Isa { iobase: Some(port), .. }) => port,
                _ => PANIC_PORT,
            };
            let mut device = json!({ "driver": "pvpanic", "ioport": port });
            if let Some(alias) = &panic.info.alias {
                device["id"] = alias.as_str().into();
            }
            plan.device(path, &device);
        }
        PanicModel::Pvpanic => {
            let mut device = json!({ "driver": "pvpanic-pci" });
            plan.place(&panic.info, &mut device);
            plan.device(path, &device);
        }
        // It is a feature of the CPU.
        PanicModel::Hyperv => {}
        PanicModel::Pseries | PanicModel::S390 => {
            let path = format!("{path}/@model");
            plan.unsupported(&path, "a PC has no panic device of this model", "write model='isa'");
        }
    }
}

pub(super) fn vsock(plan: &mut Plan<'_>, handed: &Handed, vsock: &VsockDef) {
    let id = plan.name(&vsock.info, "vsock", 0);
    let mut device = json!({ "driver": virtio::driver("vhost-vsock", vsock.model) });
    virtio::options(&mut device, &vsock.driver);
    device["id"] = id.into();
    if let Some(cid) = vsock.cid {
        device["guest-cid"] = cid.into();
    }
    if let Some(fd) = handed.vsock {
        device["vhostfd"] = fd.to_string().into();
    }
    plan.place(&vsock.info, &mut device);
    plan.device(&vsock.info.path, &device);
}

pub(super) fn pstore(plan: &mut Plan<'_>, pstore: &PstoreDef) {
    let id = plan.name(&pstore.info, "pstore", 0);
    let memory = format!("mem{id}");
    let path = pstore.path.as_ref().map(|p| p.display().to_string());
    let object = json!({ "qom-type": "memory-backend-file", "id": memory, "mem-path": path,
                         "size": pstore.size.0, "share": true });
    plan.args.json("-object", &object);
    let mut device = json!({ "driver": "acpi-erst", "id": id, "memdev": memory });
    plan.place(&pstore.info, &mut device);
    plan.device(&pstore.info.path, &device);
}

pub(super) fn tpm(plan: &mut Plan<'_>, tpm: &TpmDef, index: usize) {
    let id = plan.name(&tpm.info, "tpm", index);
    if matches!(tpm.model, TpmModel::Spapr | TpmModel::SpaprProxy) {
        let path = format!("{}/@model", tpm.info.path);
        plan.unsupported(&path, "a PC has no TPM of this model", "write model='tpm-crb'");
        return;
    }
    match &tpm.backend {
        TpmBackend::Passthrough(device) => {
            let path = escaped(device);
            plan.args.pair("-tpmdev", format!("passthrough,id=tpm-{id},path={path}"));
        }
        TpmBackend::Emulator(_) | TpmBackend::External(_) => {
            let socket = match &tpm.backend {
                TpmBackend::External(path) => path.as_str(),
                _ => "swtpm.sock",
            };
            plan.args.pair("-chardev", format!("socket,id=chrtpm,path={}", escaped(socket)));
            plan.args.pair("-tpmdev", format!("emulator,id=tpm-{id},chardev=chrtpm"));
        }
    }
    let mut device = json!({ "driver": tpm.model.as_str(), "tpmdev": format!("tpm-{id}"), "id": id });
    isa(&tpm.info, &mut device);
    plan.device(&tpm.info.path, &device);
}
