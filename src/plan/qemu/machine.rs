//! What comes before the devices: name, machine, CPU, memory, monitor.

use super::args::escaped;
use super::{Handed, Plan, finding};
use crate::model::{DomainDef, DomainKind, Finding, LifecycleAction, Severity, Uuid};
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

    /// The bus that interfaces sit on. On q35 that is the root bus too: behind bridges a guest would
    /// number its interfaces by bridge, and nothing is gained before devices are plugged in.
    pub(super) fn pci_bus(self) -> &'static str {
        match self {
            Self::I440fx => "pci.0",
            Self::Q35 => "pcie.0",
        }
    }

    /// The last free slot of that bus; q35 keeps slot 31 for itself.
    pub(super) fn last_slot(self) -> u32 {
        match self {
            Self::I440fx => 31,
            Self::Q35 => 30,
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
    let args = &mut plan.args;
    args.pair("-name", format!("guest={},debug-threads=on", escaped(def.name.as_str())));
    args.flag("-S");
    // Nothing but what is said here: no file of the host's and no device of QEMU's own choice.
    args.flag("-no-user-config");
    args.flag("-nodefaults");
    args.pair("-uuid", uuid.to_string());

    let mut machine = format!("{},usb=off,dump-guest-core=off", plan.machine.name);
    if !def.features.iter().any(|f| f == "acpi") {
        machine.push_str(",acpi=off");
    }
    if let Some(audio) = super::sound::speaker(def) {
        machine.push_str(&format!(",pcspk-audiodev={audio}"));
    }
    args.pair("-machine", machine);
    // The CPU is the machine type's own, as libvirt has it for a document without <cpu>. 'host' would show
    // the guest more, but QEMU 7.2 aborts with it on hosts that are themselves guests.
    args.pair("-accel", if def.kind == DomainKind::Kvm { "kvm" } else { "tcg" });
    args.pair("-m", format!("size={}k", def.memory.kib()));
    args.pair("-overcommit", "mem-lock=off");
    args.pair("-smp", format!("{0},sockets={0},cores=1,threads=1", def.vcpus));
    args.pair("-chardev", format!("socket,id=charmonitor,fd={},server=on,wait=off", handed.qmp));
    args.pair("-mon", "chardev=charmonitor,id=monitor,mode=control");
    args.pair("-rtc", "base=utc");
    args.flag("-no-shutdown");
    if def.on_reboot != LifecycleAction::Restart {
        args.flag("-no-reboot");
    }
    args.pair("-boot", "strict=on");
}
