//! `<vsock>`. Owns libvirt's words and defaults for it.

use super::DeviceInfo;
use crate::xml::view::View;

/// `<vsock>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VsockDef {
    /// What every device may say.
    pub info: DeviceInfo,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<VsockDef> {
    view.leave();
    None
}
