//! `<shmem>`. Owns libvirt's words and defaults for it.

use super::DeviceInfo;
use crate::xml::view::View;

/// `<shmem>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShmemDef {
    /// What every device may say.
    pub info: DeviceInfo,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<ShmemDef> {
    view.leave();
    None
}
