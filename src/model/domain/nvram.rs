//! `<nvram>` among the devices: the memory of a POWER machine's firmware. Owns libvirt's words for it. (That of
//! UEFI is `<os><nvram>`.)

use super::DeviceInfo;
use crate::xml::view::View;

/// `<nvram>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NvramDef {
    /// What every device may say.
    pub info: DeviceInfo,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<NvramDef> {
    Some(NvramDef { info: DeviceInfo::read(view) })
}
