//! What stands between devices and memory.

use serde_json::json;

use super::Plan;
use super::machine::Family;
use crate::model::{IommuDef, IommuModel};

pub(super) fn add(plan: &mut Plan<'_>, iommu: &IommuDef) {
    let path = &iommu.info.path;
    let (driver, needs_q35) = match iommu.model {
        IommuModel::Intel => ("intel-iommu", true),
        IommuModel::Amd => ("amd-iommu", true),
        IommuModel::Virtio => ("virtio-iommu-pci", false),
    };
    if needs_q35 && plan.machine.family != Family::Q35 {
        let message = format!("'{driver}' is for the machine q35");
        plan.unsupported(&format!("{path}/@model"), message, "write machine='q35', or model='virtio'");
    }
    let id = iommu.info.alias.clone().unwrap_or_else(|| "iommu0".to_owned());
    let mut device = json!({ "driver": driver, "id": id });
    if iommu.intremap == Some(true) && iommu.model == IommuModel::Intel {
        let split = plan.def.features.get("ioapic").and_then(|f| f.value("driver")) == Some("qemu");
        if !split {
            let message = "remapping of interrupts needs QEMU's I/O APIC";
            plan.unsupported(&format!("{path}/driver/@intremap"), message, "add <ioapic driver='qemu'/>");
        }
    }
    for (name, value) in [
        ("intremap", iommu.intremap),
        ("caching-mode", iommu.caching_mode),
        ("eim", iommu.eim),
        ("device-iotlb", iommu.iotlb),
        ("dma-translation", iommu.dma_translation),
        ("xtsup", iommu.xtsup),
        ("pt", iommu.passthrough),
    ] {
        if let Some(on) = value {
            // These two have a third state, so that QEMU reads a word.
            let words = matches!(name, "eim" | "intremap");
            device[name] = if words { (if on { "on" } else { "off" }).into() } else { on.into() };
        }
    }
    if let Some(bits) = iommu.aw_bits {
        device["aw-bits"] = bits.into();
    }
    if iommu.model == IommuModel::Virtio {
        plan.place(&iommu.info, &mut device);
    }
    plan.device(path, &device);
}
