//! What devices on virtio have in common: their names on PCI and the options of `<driver>`.

use serde_json::Value;

use crate::model::{VirtioModel, VirtioOptions};

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
