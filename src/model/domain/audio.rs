//! `<audio>`. Owns libvirt's words and defaults for it.

use super::DeviceInfo;
use crate::xml::view::View;

/// `<audio>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioDef {
    /// What every device may say.
    pub info: DeviceInfo,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<AudioDef> {
    if view.element().attr("type") == Some("none") {
        view.accept();
    } else {
        view.leave();
    }
    None
}
