//! What devices on virtio have in common: their names on PCI and the options of `<driver>`.

use serde_json::Value;

use super::Plan;
use crate::model::{ControllerDef, ControllerKind, VirtioModel, VirtioOptions};

/// The driver `NAME-pci` of this model.
pub(super) fn driver(name: &str, model: VirtioModel) -> String {
    match model {
        VirtioModel::Virtio => format!("{name}-pci"),
        VirtioModel::Transitional => format!("{name}-pci-transitional"),
        VirtioModel::NonTransitional => format!("{name}-pci-non-transitional"),
    }
}

/// Adds what `<driver>` says.
pub(super) fn options(device: &mut Value, options: &VirtioOptions) {
    let all = [
        ("iommu_platform", options.iommu),
        ("ats", options.ats),
        ("packed", options.packed),
        ("page-per-vq", options.page_per_vq),
    ];
    for (name, value) in all {
        if let Some(on) = value {
            device[name] = on.into();
        }
    }
}

/// Whether a device that QEMU is to put behind an IOMMU also speaks the older virtio, which knows of none: where
/// its name says so, or where it sits on a bus that is not a port of PCI Express.
pub(super) fn is_old_behind_iommu(plan: &Plan<'_>, path: &str, device: &Value) -> bool {
    let driver = device["driver"].as_str().unwrap_or_default();
    // Younger kinds of devices never spoke it.
    let old = [
        "virtio-net",
        "virtio-blk",
        "virtio-scsi",
        "virtio-serial",
        "virtio-balloon",
        "virtio-rng",
        "virtio-9p",
    ];
    let is_old = old.iter().any(|name| driver.starts_with(name));
    if device["iommu_platform"] != true || !is_old || driver.ends_with("-non-transitional") {
        return false;
    }
    let said = device.get("disable-legacy").is_some_and(|v| *v == true || *v == "on");
    let Some(at) = plan.layout.pci.get(path).filter(|_| !said) else { return false };
    let on = |c: &&ControllerDef| c.kind == ControllerKind::Pci && c.index == Some(at.bus);
    let bus = plan.layout.controllers.iter().find(on).and_then(|c| c.model.as_deref());
    driver.ends_with("-transitional")
        || !matches!(bus, Some("pcie-root-port" | "pcie-switch-downstream-port"))
}
