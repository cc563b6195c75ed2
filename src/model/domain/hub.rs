//! `<hub>`. Owns libvirt's words and defaults for it.

use super::DeviceInfo;
use crate::xml::view::View;

/// `<hub type='usb'>`: more ports for USB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubDef {
    /// What every device may say.
    pub info: DeviceInfo,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<HubDef> {
    if view.one_of("type", &[("usb", ())]).is_none() && view.filled("type").is_none() {
        view.error_at("type", "the hub has no type", "add type='usb'");
    }
    Some(HubDef { info: DeviceInfo::read(view) })
}
