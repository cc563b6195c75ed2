//! Rules for the small devices: inputs, watchdogs, random numbers, TPMs, the balloon. Owns what of them libvirt
//! refuses, and what Warren does not start yet.

use std::path::Path;

use super::{Check, at};
use crate::model::{
    CryptoBackend, Device, DomainDef, InputKind, PanicModel, RngBackend, TpmBackend, WatchdogAction,
};

pub(super) fn check(check: &mut Check<'_, DomainDef>) {
    let def = check.doc.def();
    for device in &def.devices {
        if let Some((step, message, remedy)) = not_started(device) {
            check.unsupported(&at(&device.info().path, step), message, remedy);
        }
    }
    for name in ["hap", "viridian", "privnet"] {
        if let Some(feature) = def.features.get(name) {
            check.warning(
                &feature.path,
                "no QEMU has this feature, which is Xen's or of containers",
                "leave it out",
            );
        }
    }
    let of = |wanted: fn(&Device) -> bool| def.devices.iter().filter(move |d| wanted(d));
    for (name, wanted) in [
        ("memballoon", (|d| matches!(d, Device::Memballoon(_))) as fn(&Device) -> bool),
        ("root of the PCI bus", is_root),
        ("vsock", |d| matches!(d, Device::Vsock(_))),
        ("pstore", |d| matches!(d, Device::Pstore(_))),
        ("TPM", |d| matches!(d, Device::Tpm(_))),
    ] {
        if let Some(second) = of(wanted).nth(1) {
            check.error(&second.info().path, format!("there is a second {name}"), "a domain has one");
        }
    }
    let mut seen = Vec::new();
    let mut action = None;
    for device in &def.devices {
        match device {
            Device::Panic(panic) if seen.contains(&panic.model) => {
                let message = format!("there is a second panic device of model '{}'", panic.model.as_str());
                check.error(&panic.info.path, message, "a domain has one of each model");
            }
            Device::Panic(panic) => seen.push(panic.model),
            Device::Watchdog(watchdog) if *action.get_or_insert(watchdog.action) != watchdog.action => {
                let path = at(&watchdog.info.path, "@action");
                check.error(&path, "the watchdogs do not act alike", "give all of them the same action");
            }
            _ => {}
        }
    }
}

fn is_root(device: &Device) -> bool {
    matches!(device, Device::Controller(c) if matches!(c.model.as_deref(), Some("pci-root" | "pcie-root")))
}

/// Where a device cannot be started yet, and why.
fn not_started(device: &Device) -> Option<(&'static str, String, &'static str)> {
    let says = |step, message: &str, remedy| Some((step, message.to_owned(), remedy));
    match device {
        Device::Input(input) if matches!(input.kind, InputKind::Evdev | InputKind::Passthrough) => {
            says("@type", "Warren does not give guests the host's input devices", "leave it out")
        }
        Device::Watchdog(watchdog) if watchdog.action == WatchdogAction::Dump => {
            says("@action", "Warren does not write a guest's memory to a file yet", "write action='pause'")
        }
        Device::Rng(rng) => match &rng.backend {
            RngBackend::Random(path)
                if path != Path::new("/dev/random") && path != Path::new("/dev/urandom") =>
            {
                let message = format!("Warren does not give guests '{}'", path.display());
                Some(("backend", message, "write /dev/urandom"))
            }
            _ => None,
        },
        Device::Tpm(tpm) => match &tpm.backend {
            TpmBackend::Passthrough(_) => {
                says("backend/@type", "Warren does not give guests the host's TPM", "leave the TPM out")
            }
            TpmBackend::Emulator(_) => {
                says("backend/@type", "Warren starts no swtpm yet", "leave the TPM out")
            }
            TpmBackend::External(_) => {
                says("backend/@type", "Warren does not join a guest to a swtpm yet", "leave the TPM out")
            }
        },
        Device::Vsock(_) => says("cid", "Warren does not open /dev/vhost-vsock yet", "leave <vsock> out"),
        Device::Panic(panic) if panic.model == PanicModel::Hyperv => {
            says("@model", "Warren does not show the guest Hyper-V's crash report yet", "write model='isa'")
        }
        Device::Crypto(crypto) if crypto.backend == CryptoBackend::Lkcf => {
            says("backend/@model", "Warren does not let guests use the host's kernel here", "write 'builtin'")
        }
        Device::Pstore(_) => says("path", "Warren keeps no file for a pstore yet", "leave <pstore> out"),
        _ => None,
    }
}
