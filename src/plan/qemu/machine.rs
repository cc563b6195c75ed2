//! What comes before the devices: name, machine, CPU, memory, monitor.

use serde_json::json;

use super::args::escaped;
use super::{Handed, Plan, boot, cpu, feature, finding, firmware, memory, smbios, time};
use crate::model::{DomainDef, Finding, GenidDef, LifecycleAction, Severity, Uuid};
use crate::plan::host::QemuFacts;

/// A machine type of the QEMU that was chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine<'a> {
    /// The canonical name, so that a guest keeps its hardware over an upgrade of QEMU.
    pub(super) name: &'a str,
    pub(super) family: Family,
}

/// What Warren must know of a machine type to give places on its buses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// `pc-i440fx-…`: PCI, IDE.
    I440fx,
    /// `pc-q35-…`: PCI Express, SATA.
    Q35,
}

impl Family {
    fn of(machine: &str) -> Option<Self> {
        if machine.starts_with("pc-q35-") {
            Some(Self::Q35)
        } else if machine.starts_with("pc-i440fx-") || machine.starts_with("pc-1.") {
            Some(Self::I440fx)
        } else {
            None
        }
    }

    /// Of the machine that a document asks for, whichever version its short name stands for.
    pub(super) fn asked(machine: &str) -> Option<Self> {
        match machine {
            "pc" => Some(Self::I440fx),
            "q35" => Some(Self::Q35),
            name => Self::of(name),
        }
    }

    /// The root bus.
    pub(super) fn pci_bus(self) -> &'static str {
        match self {
            Self::I440fx => "pci.0",
            Self::Q35 => "pcie.0",
        }
    }
}

/// The machine type that the document asks for, `pc` where it does not.
pub(super) fn resolve<'a>(def: &DomainDef, qemu: &'a QemuFacts) -> Result<Machine<'a>, Finding> {
    let asked = def.os.machine.as_deref().unwrap_or("pc");
    let refuse = |message: String, remedy: String| {
        finding(Severity::Unsupported, "/domain/os/type/@machine", message, remedy)
    };
    let Some(name) = qemu.canonical_machine(asked) else {
        let known: Vec<&str> = qemu.machines.iter().filter_map(|m| m.alias.as_deref()).collect();
        let message = format!("'{}' has no machine type '{asked}'", qemu.path.display());
        return Err(refuse(message, format!("it has {}", known.join(", "))));
    };
    match Family::of(name) {
        Some(family) => Ok(Machine { name, family }),
        None => Err(refuse(format!("the machine type '{name}' is not supported"), "pc and q35 are".into())),
    }
}

pub(super) fn head(plan: &mut Plan<'_>, uuid: &Uuid, handed: &Handed) {
    let def = plan.def;
    plan.args.pair("-name", format!("guest={},debug-threads=on", escaped(def.name.as_str())));
    plan.args.flag("-S");
    // Nothing but what is said here: no file of the host's and no device of QEMU's own choice.
    plan.args.flag("-no-user-config");
    plan.args.flag("-nodefaults");
    plan.args.pair("-uuid", uuid.to_string());
    feature::refuse(plan);
    machine(plan, handed);
    let accelerator = feature::accelerator(plan);
    plan.args.pair("-accel", accelerator);
    cpu::add(plan);
    memory::add(plan);
    cpu::number(plan);
    iothreads(plan);
    memory::cells(plan);
    smbios::add(plan, uuid);
    plan.args.pair("-chardev", format!("socket,id=charmonitor,fd={},server=on,wait=off", handed.qmp));
    plan.args.pair("-mon", "chardev=charmonitor,id=monitor,mode=control");
    time::add(plan, handed.now);
    plan.args.flag("-no-shutdown");
    if def.on_reboot != LifecycleAction::Restart {
        plan.args.flag("-no-reboot");
    }
    sleep(plan);
    boot::menu(plan);
    extras(plan);
}

fn machine(plan: &mut Plan<'_>, handed: &Handed) {
    let def = plan.def;
    let dump = if def.dump_core { "on" } else { "off" };
    let mut machine = format!("{},usb=off,dump-guest-core={dump}", plan.machine.name);
    if def.memory_backing.no_share_pages {
        machine.push_str(",mem-merge=off");
    }
    machine.push_str(&memory::machine_option(plan));
    if memory::hmat(plan) {
        machine.push_str(",hmat=on");
    }
    machine.push_str(&feature::machine_options(plan));
    machine.push_str(&time::machine_options(plan));
    if let Some(audio) = super::sound::speaker(def) {
        machine.push_str(&format!(",pcspk-audiodev={audio}"));
    }
    if def.os.bios_serial == Some(true) {
        machine.push_str(",graphics=off");
    }
    machine.push_str(&firmware::add(plan, handed));
    machine.push_str(if def.features.on("acpi") { ",acpi=on" } else { ",acpi=off" });
    plan.args.pair("-machine", machine);
}

/// Threads that serve disks.
fn iothreads(plan: &mut Plan<'_>) {
    for thread in &plan.def.iothreads {
        let mut object = json!({ "qom-type": "iothread", "id": format!("iothread{}", thread.id) });
        let [max, grow, shrink] = thread.poll;
        for (name, value) in [("poll-max-ns", max), ("poll-grow", grow), ("poll-shrink", shrink)] {
            if let Some(value) = value {
                object[name] = value.into();
            }
        }
        for (name, value) in [("thread-pool-min", thread.pool_min), ("thread-pool-max", thread.pool_max)] {
            if let Some(value) = value {
                object[name] = value.into();
            }
        }
        plan.args.json("-object", &object);
    }
    if let Some(main) = plan.def.default_iothread {
        let mut object = json!({ "qom-type": "main-loop", "id": "main-loop" });
        for (name, value) in [("thread-pool-min", main.pool_min), ("thread-pool-max", main.pool_max)] {
            if let Some(value) = value {
                object[name] = value.into();
            }
        }
        plan.args.json("-object", &object);
    }
}

/// Whether the guest can sleep.
fn sleep(plan: &mut Plan<'_>) {
    let chip = match plan.machine.family {
        Family::I440fx => "PIIX4_PM",
        Family::Q35 => "ICH9-LPC",
    };
    for (name, enabled) in [("disable_s3", plan.def.pm.to_mem), ("disable_s4", plan.def.pm.to_disk)] {
        if let Some(enabled) = enabled {
            plan.args.pair("-global", format!("{chip}.{name}={}", u8::from(!enabled)));
        }
    }
}

/// Small devices that are asked for outside of `<devices>`.
fn extras(plan: &mut Plan<'_>) {
    if plan.def.features.switch("vmcoreinfo") == Some(true) {
        plan.device("/domain/features/vmcoreinfo", &json!({ "driver": "vmcoreinfo" }));
    }
    let guid = match plan.def.genid {
        Some(GenidDef::Given(uuid)) => uuid.to_string(),
        Some(GenidDef::Chosen) => "auto".to_owned(),
        None => return,
    };
    plan.device("/domain/genid", &json!({ "driver": "vmgenid", "guid": guid, "id": "vmgenid0" }));
}
