//! `<iommu>`. Owns libvirt's words and defaults for it.

use super::DeviceInfo;
use crate::model::doc::required;
use crate::xml::view::View;

/// `<iommu>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IommuDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@model`.
    pub model: IommuModel,
    /// `<driver intremap>`.
    pub intremap: Option<bool>,
    /// `<driver caching_mode>`.
    pub caching_mode: Option<bool>,
    /// `<driver eim>`.
    pub eim: Option<bool>,
    /// `<driver iotlb>`.
    pub iotlb: Option<bool>,
    /// `<driver aw_bits>`.
    pub aw_bits: Option<u32>,
    /// `<driver dma_translation>`.
    pub dma_translation: Option<bool>,
    /// `<driver xtsup>`.
    pub xtsup: Option<bool>,
    /// `<driver passthrough>`.
    pub passthrough: Option<bool>,
}

/// `<iommu model>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum IommuModel {
    Intel,
    Amd,
    Virtio,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<IommuDef> {
    if let Some(word @ ("smmuv3" | "smmuv3Dev")) = view.filled("model") {
        view.accept();
        view.unsupported_at("model", format!("'{word}' is for machines of ARM"), "give intel or virtio");
        return None;
    }
    let models = [("intel", IommuModel::Intel), ("amd", IommuModel::Amd), ("virtio", IommuModel::Virtio)];
    let model = required(view.one_of("model", &models), view, "model", "give intel or virtio");
    let driver = view.child("driver");
    let switch = |name: &str| driver.as_ref().and_then(|d| d.yes_no(name));
    Some(IommuDef {
        info: DeviceInfo::read(view),
        intremap: switch("intremap"),
        caching_mode: switch("caching_mode"),
        eim: switch("eim"),
        iotlb: switch("iotlb"),
        dma_translation: switch("dma_translation"),
        xtsup: switch("xtsup"),
        passthrough: switch("passthrough"),
        aw_bits: driver.as_ref().and_then(|d| d.parsed("aw_bits")),
        model: model?,
    })
}
