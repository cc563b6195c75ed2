//! `<controller>`. Owns libvirt's words and defaults for it.

use super::DeviceInfo;
use crate::xml::view::View;

/// `<controller>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerDef {
    /// What every device may say.
    pub info: DeviceInfo,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<ControllerDef> {
    match view.filled("type") {
        Some("pci" | "usb" | "ide" | "sata" | "virtio-serial" | "fdc") => view.accept(),
        Some("scsi") => {
            view.accept();
            view.warning("the controller has no effect: Warren makes its own where a disk needs one", "");
        }
        _ => view.leave(),
    }
    None
}
