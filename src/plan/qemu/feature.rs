//! `<features>`: options of the machine, of its CPUs and of the accelerator.

use super::Plan;
use super::cpu::switch;
use super::machine::Family;
use crate::model::{DomainDef, DomainKind, Feature};

/// Features that are always there, that only tune, or that libvirt takes and QEMU does not know.
const NOTHING_TO_SAY: &[&str] = &["acpi", "apic", "pae", "hap", "viridian", "privnet"];

/// The least and the most of a cache of translated code that the document leaves to Warren, in bytes.
const LEAST_CACHE: u64 = 32 << 20;
const MOST_CACHE: u64 = 512 << 20;

/// Options of `-machine`, each with its comma.
pub(super) fn machine_options(plan: &mut Plan<'_>) -> String {
    let features = &plan.def.features;
    let mut options = String::new();
    for (name, option) in [("vmport", "vmport"), ("smm", "smm"), ("ps2", "i8042")] {
        if let Some(on) = features.switch(name) {
            options.push_str(&format!(",{}", switch(option, on)));
        }
    }
    match features.get("ioapic").and_then(|f| f.value("driver")) {
        Some("kvm") => options.push_str(",kernel_irqchip=on"),
        Some("qemu") => options.push_str(",kernel_irqchip=split"),
        _ => {}
    }
    if let Some(bytes) = features.get("smm").and_then(|f| f.value("tseg")) {
        let mib = bytes.parse::<u64>().unwrap_or(0).div_ceil(1 << 20);
        if plan.machine.family == Family::Q35 {
            plan.args.pair("-global", format!("mch.extended-tseg-mbytes={mib}"));
        } else {
            let message = "the size of TSEG is for the machine q35";
            plan.unsupported("/domain/features/smm/tseg", message, "leave it out");
        }
    }
    options
}

/// Features that no PC has.
pub(super) fn refuse(plan: &mut Plan<'_>) {
    let known =
        ["pvspinlock", "pmu", "vmport", "smm", "vmcoreinfo", "ps2", "hyperv", "kvm", "xen", "tcg", "ioapic"];
    for feature in &plan.def.features.0 {
        let name = feature.name.as_str();
        if name == "async-teardown" && feature.value("enabled").is_none_or(|v| v == "no" || v == "off") {
            continue;
        }
        if !NOTHING_TO_SAY.contains(&name) && !known.contains(&name) {
            let message = format!("a PC of this QEMU has no feature '{name}'");
            plan.unsupported(&feature.path, message, "leave it out");
        }
        if name == "xen" {
            for part in feature.parts.iter().filter(|p| p.switch() == Some(true)) {
                plan.unsupported(&part.path, "it is for guests of Xen", "leave it out");
            }
        }
        if name == "hyperv" && plan.def.kind == DomainKind::Qemu {
            for part in feature.parts.iter().filter(|p| p.name == "vpindex" && p.switch() == Some(true)) {
                let message = "QEMU gives a guest the numbers of its CPUs as Hyper-V does only with KVM";
                plan.unsupported(&part.path, message, "write <domain type='kvm'>, or leave it out");
            }
        }
        if name == "hyperv" && feature.value("mode") == Some("host-model") {
            let message = "Warren does not choose Hyper-V's features by the host yet";
            plan.unsupported(&format!("{}/@mode", feature.path), message, "name them, or write passthrough");
        }
    }
    if let Some(ioapic) = plan.def.features.get("ioapic").filter(|_| plan.def.kind == DomainKind::Qemu)
        && ioapic.value("driver") == Some("kvm")
    {
        plan.unsupported(&ioapic.path, "KVM's I/O APIC needs KVM", "write <domain type='kvm'>");
    }
}

/// Options of `-cpu`.
pub(super) fn cpu_flags(plan: &Plan<'_>) -> Vec<String> {
    let features = &plan.def.features;
    let mut flags = Vec::new();
    if let Some(eoi) = features.get("apic").and_then(|f| f.value("eoi")) {
        flags.push(switch("kvm-pv-eoi", matches!(eoi, "on" | "yes")));
    }
    for (name, flag) in [("pvspinlock", "kvm-pv-unhalt"), ("pmu", "pmu")] {
        flags.extend(features.switch(name).map(|on| switch(flag, on)));
    }
    if let Some(hyperv) = features.get("hyperv") {
        if hyperv.value("mode") == Some("passthrough") {
            flags.push("hv-passthrough=on".to_owned());
        }
        hyperv.parts.iter().for_each(|part| enlightenment(part, &mut flags));
    }
    for part in features.get("kvm").map(|f| f.parts.as_slice()).unwrap_or_default() {
        match (part.name.as_str(), part.switch()) {
            ("hidden", Some(true)) => flags.push("kvm=off".to_owned()),
            ("hint-dedicated", Some(true)) => flags.push("kvm-hint-dedicated=on".to_owned()),
            ("poll-control", Some(true)) => flags.push("kvm-poll-control=on".to_owned()),
            ("pv-ipi", Some(on)) => flags.push(switch("kvm-pv-ipi", on)),
            _ => {}
        }
    }
    flags
}

/// One feature of Hyper-V.
fn enlightenment(part: &Feature, flags: &mut Vec<String>) {
    if part.switch() != Some(true) {
        return;
    }
    match part.name.as_str() {
        "spinlocks" => {
            let retries: u32 = part.value("retries").and_then(|r| r.parse().ok()).unwrap_or(0xfff);
            flags.push(format!("hv-spinlocks={retries:#x}"));
        }
        "vendor_id" => flags.push(format!("hv-vendor-id={}", part.value("value").unwrap_or_default())),
        name => flags.push(format!("hv-{}=on", name.replace('_', "-"))),
    }
    for inner in part.parts.iter().filter(|p| p.switch() == Some(true)) {
        match (part.name.as_str(), inner.name.as_str()) {
            ("stimer", "direct") => flags.push("hv-stimer-direct=on".to_owned()),
            ("tlbflush", "direct") => flags.push("hv-tlbflush-direct=on".to_owned()),
            ("tlbflush", "extended") => flags.push("hv-tlbflush-ext=on".to_owned()),
            _ => {}
        }
    }
}

/// The most bytes of translated code that QEMU keeps, where it translates: what the document says, else a quarter of
/// the guest's memory. QEMU alone would take up to 1 GiB, whatever the guest has.
pub fn translation_cache(def: &DomainDef) -> Option<u64> {
    if def.kind != DomainKind::Qemu {
        return None;
    }
    let said = def.features.get("tcg").and_then(|f| f.value("tb-cache")).and_then(|v| v.parse::<u64>().ok());
    let bytes = said.unwrap_or_else(|| (def.initial_memory().0 / 4).clamp(LEAST_CACHE, MOST_CACHE));
    Some(bytes.checked_next_multiple_of(1 << 20).unwrap_or(u64::MAX))
}

/// The accelerator with its options.
pub(super) fn accelerator(plan: &mut Plan<'_>) -> String {
    if let Some(bytes) = translation_cache(plan.def) {
        return format!("tcg,tb-size={}", bytes >> 20);
    }
    let features = &plan.def.features;
    let ring = features.get("kvm").and_then(|f| f.part("dirty-ring")).filter(|p| p.switch() == Some(true));
    match ring.and_then(|r| r.value("size")) {
        Some(size) if size.bytes().all(|b| b.is_ascii_digit()) => format!("kvm,dirty-ring-size={size}"),
        _ => "kvm".to_owned(),
    }
}
