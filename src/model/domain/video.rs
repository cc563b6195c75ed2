//! `<video>`: display adapters. Owns libvirt's words and defaults for them.

use super::DeviceInfo;
use crate::xml::view::View;

/// `<video><model type>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `vga`, `cirrus`, `virtio`, `bochs` or `none`.
    pub model: String,
}
/// The adapter, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<VideoDef> {
    let info = DeviceInfo::read(view);
    let Some(model) = view.child("model") else {
        return Some(VideoDef { info, model: "vga".to_owned() });
    };
    for attr in ["ram", "vram", "vgamem"] {
        // 16384 is what libvirt writes where nothing was said.
        if model.attr(attr).is_some_and(|v| v != "16384") {
            model.warning_at(attr, format!("'{attr}' has no effect yet"), "");
        }
    }
    for (attr, only) in [("heads", "1"), ("primary", "yes")] {
        if model.attr(attr).is_some_and(|v| v != only) {
            model.unsupported_at(attr, format!("Warren has only {attr}='{only}' yet"), "");
        }
    }
    let name = model.filled("type").unwrap_or("vga");
    if !matches!(name, "vga" | "cirrus" | "virtio" | "bochs" | "none") {
        let remedy = "known are vga, cirrus, virtio, bochs and none";
        model.unsupported_at("type", format!("Warren does not have the video model '{name}'"), remedy);
        return None;
    }
    Some(VideoDef { info, model: name.to_owned() })
}
