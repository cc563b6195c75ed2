//! What every `<driver>` of a device on virtio may say. Owns libvirt's words for it.

use super::words::{ON_OFF, words};
use crate::xml::view::View;

/// `iommu`, `ats`, `packed` and `page_per_vq` of a `<driver>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are libvirt's attributes")]
pub struct VirtioOptions {
    pub iommu: Option<bool>,
    pub ats: Option<bool>,
    pub packed: Option<bool>,
    pub page_per_vq: Option<bool>,
}

words! {
    /// `@model` of a device on virtio: what `-device` it is.
    VirtioModel {
        Virtio = "virtio",
        Transitional = "virtio-transitional",
        NonTransitional = "virtio-non-transitional",
    }
}

/// Reads them from a `<driver>`.
pub(super) fn virtio_options(driver: &View<'_>) -> VirtioOptions {
    VirtioOptions {
        iommu: driver.one_of("iommu", ON_OFF),
        ats: driver.one_of("ats", ON_OFF),
        packed: driver.one_of("packed", ON_OFF),
        page_per_vq: driver.one_of("page_per_vq", ON_OFF),
    }
}
