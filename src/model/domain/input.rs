//! `<input>`. Owns libvirt's words and defaults for it.

use super::DeviceInfo;
use crate::xml::view::View;

/// `<input>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputDef {
    /// What every device may say.
    pub info: DeviceInfo,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<InputDef> {
    let element = view.element();
    let ps2 = matches!(element.attr("bus"), None | Some("ps2"));
    if ps2 && matches!(element.attr("type"), Some("mouse" | "keyboard")) {
        view.accept();
    } else {
        view.leave();
    }
    None
}
