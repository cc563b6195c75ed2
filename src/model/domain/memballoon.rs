//! `<memballoon>`: memory that the guest can give back. Owns libvirt's words and defaults for it.

use super::words::{ON_OFF, words};
use super::{DeviceInfo, VirtioOptions, virtio};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<memballoon>`. Where a document has none, the guest gets one of model virtio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemballoonDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@model`.
    pub model: MemballoonModel,
    /// `@autodeflate`: the guest takes memory back rather than to kill for want of it.
    pub autodeflate: Option<bool>,
    /// `@freePageReporting`.
    pub free_page_reporting: Option<bool>,
    /// `<stats period>`, in seconds: how often the guest tells of its memory.
    pub stats_period: Option<u32>,
    /// `<driver>`.
    pub driver: VirtioOptions,
}

words! {
    /// `<memballoon model>`.
    MemballoonModel {
        Virtio = "virtio",
        Transitional = "virtio-transitional",
        NonTransitional = "virtio-non-transitional",
        Xen = "xen",
        None = "none",
    }
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<MemballoonDef> {
    let info = DeviceInfo::read(view);
    let autodeflate = view.one_of("autodeflate", ON_OFF);
    let free_page_reporting = view.one_of("freePageReporting", ON_OFF);
    let stats_period = view.child("stats").and_then(|s| s.parsed("period"));
    let driver = view.child("driver").map(|d| virtio::virtio_options(&d)).unwrap_or_default();
    let model = view.one_of("model", MemballoonModel::WORDS);
    let model = required(model, view, "model", "write model='virtio', or 'none' for no balloon")?;
    Some(MemballoonDef { info, model, autodeflate, free_page_reporting, stats_period, driver })
}
