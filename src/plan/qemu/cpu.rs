//! The guest's CPUs: what they are, and how many.

use super::args::is_word;
use super::{Plan, feature};
use crate::model::{
    CacheMode, CpuCheck, CpuDef, CpuMatch, CpuMode, DomainKind, FeaturePolicy, TimerDef, TimerName,
};

pub(super) fn add(plan: &mut Plan<'_>) {
    let cpu = &plan.def.cpu;
    let base = base(plan, cpu);
    let flags = flags(plan, cpu);
    if let Some(base) = base {
        plan.args.pair("-cpu", [vec![base], flags].concat().join(","));
    } else if !flags.is_empty() {
        // The machine type's own CPU, which libvirt names where something is added to it.
        let own = if plan.qemu.arch == "i386" { "qemu32" } else { "qemu64" };
        plan.args.pair("-cpu", [vec![own.to_owned()], flags].concat().join(","));
    }
}

/// The model; `None` is the machine type's own, as libvirt has it for a document without `<cpu>`. 'host' would
/// show the guest more, but is given only where it is asked for: QEMU 7.2 aborts with it on hosts that are
/// themselves guests.
fn base(plan: &mut Plan<'_>, cpu: &CpuDef) -> Option<String> {
    let kvm = plan.def.kind == DomainKind::Kvm;
    match cpu.mode {
        CpuMode::HostPassthrough | CpuMode::HostModel if kvm => Some("host".to_owned()),
        CpuMode::HostPassthrough | CpuMode::HostModel | CpuMode::Maximum => Some("max".to_owned()),
        CpuMode::Custom => {
            let model = cpu.model.clone()?;
            if !is_word(&model) {
                let message = format!("'{}' is not the name of a CPU model", model.escape_debug());
                plan.error("/domain/cpu/model", message, "leave <model> out, or name another");
                return None;
            }
            if let Some(CpuMatch::Minimum | CpuMatch::Strict) = cpu.matching {
                let remedy = "write match='exact'";
                let message = "Warren does not compare a CPU with the host's beyond what it must have";
                plan.unsupported("/domain/cpu/@match", message, remedy);
            }
            if !plan.qemu.devices.contains(&format!("{model}-{}-cpu", plan.qemu.arch)) {
                let message = format!("'{}' has no CPU model '{model}'", plan.qemu.path.display());
                plan.unsupported("/domain/cpu/model", message, "leave <model> out, or name another");
            }
            Some(model)
        }
    }
}

fn flags(plan: &mut Plan<'_>, cpu: &CpuDef) -> Vec<String> {
    let mut flags = Vec::new();
    let kvm = plan.def.kind == DomainKind::Kvm;
    let of_host = matches!(cpu.mode, CpuMode::HostPassthrough | CpuMode::HostModel | CpuMode::Maximum);
    if of_host && (kvm || cpu.migratable.is_some()) {
        flags.push(switch("migratable", cpu.migratable.unwrap_or(true)));
    }
    let vendor = match cpu.vendor.as_deref() {
        Some("Intel") => Some("GenuineIntel"),
        Some("AMD") => Some("AuthenticAMD"),
        Some("Hygon") => Some("HygonGenuine"),
        Some(other) => {
            let message = format!("there is no maker of x86 CPUs '{other}'");
            plan.unsupported("/domain/cpu/vendor", message, "Intel, AMD and Hygon are known");
            None
        }
        None => None,
    };
    if let Some(vendor) = cpu.vendor_id.as_deref().or(vendor.filter(|_| cpu.mode == CpuMode::Custom)) {
        flags.push(format!("vendor={vendor}"));
    }
    for feature in &cpu.features {
        // The one name that libvirt has of its own.
        let name = if feature.name == "pclmuldq" { "pclmulqdq" } else { &feature.name };
        let on = !matches!(feature.policy, FeaturePolicy::Disable | FeaturePolicy::Forbid);
        flags.push(switch(name, on));
    }
    flags.extend(feature::cpu_flags(plan));
    flags.extend(plan.def.clock.timers.iter().filter_map(timer));
    flags.extend(caches(cpu).into_iter().map(str::to_owned));
    if let Some(width) = cpu.max_phys_addr {
        if width.passthrough {
            flags.push("host-phys-bits=on".to_owned());
            flags.extend(width.limit.map(|limit| format!("host-phys-bits-limit={limit}")));
        }
        flags.extend(width.bits.map(|bits| format!("phys-bits={bits}")));
    }
    // What libvirt finds by comparing, QEMU finds by itself: a model that it cannot give.
    let named = cpu.mode == CpuMode::Custom && cpu.model.is_some();
    let enforce = match cpu.check {
        Some(CpuCheck::None) => false,
        Some(CpuCheck::Full) => named,
        Some(CpuCheck::Partial) | None => named && kvm,
    };
    if enforce {
        flags.push("enforce".to_owned());
    }
    flags
}

/// Only CPUs that are as the host's can show the host's caches, and so need telling not to.
fn caches(cpu: &CpuDef) -> Vec<&'static str> {
    let as_host = matches!(cpu.mode, CpuMode::HostPassthrough | CpuMode::Maximum);
    let not_host = as_host.then_some("host-cache-info=off");
    match cpu.cache.map(|c| c.mode) {
        Some(CacheMode::Emulate) => std::iter::once("l3-cache=on").chain(not_host).collect(),
        Some(CacheMode::Passthrough) => vec!["host-cache-info=on", "l3-cache=off"],
        Some(CacheMode::Disable) => not_host.into_iter().chain(["l3-cache=off"]).collect(),
        None => vec![],
    }
}

/// Clocks that the guest reads from its CPU.
fn timer(timer: &TimerDef) -> Option<String> {
    match timer.name {
        TimerName::Kvmclock => Some(switch("kvmclock", timer.present?)),
        TimerName::Hypervclock => Some(switch("hv-time", timer.present?)),
        TimerName::Tsc => timer.frequency.map(|hz| format!("tsc-frequency={hz}")),
        _ => None,
    }
}

pub(super) fn switch(name: &str, on: bool) -> String {
    format!("{name}={}", if on { "on" } else { "off" })
}

/// How many CPUs there are, and in what form.
pub(super) fn number(plan: &mut Plan<'_>) {
    let def = plan.def;
    let mut smp = def.vcpus_at_start.to_string();
    if def.vcpus_at_start < def.vcpus {
        smp.push_str(&format!(",maxcpus={}", def.vcpus));
    }
    match def.cpu.topology {
        None => smp.push_str(&format!(",sockets={},cores=1,threads=1", def.vcpus)),
        Some(t) => {
            if t.cpus() != u64::from(def.vcpus) {
                let message =
                    format!("the topology has room for {} CPUs, and <vcpu> says {}", t.cpus(), def.vcpus);
                plan.unsupported("/domain/cpu/topology", message, "make both the same");
            }
            smp.push_str(&format!(",sockets={}", t.sockets));
            if t.dies > 1 {
                smp.push_str(&format!(",dies={}", t.dies));
            }
            if t.clusters > 1 {
                let message = "the CPUs of a PC have no clusters";
                plan.unsupported("/domain/cpu/topology/@clusters", message, "leave 'clusters' out");
            }
            smp.push_str(&format!(",cores={},threads={}", t.cores, t.threads));
        }
    }
    plan.args.pair("-smp", smp);
}
