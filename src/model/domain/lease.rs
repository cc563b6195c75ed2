//! `<lease>`: a lock of the host's lock manager, which the guest holds while it runs. Owns libvirt's words for
//! it.

use std::path::PathBuf;

use super::DeviceInfo;
use crate::model::doc::{host_path, required, text_of};
use crate::xml::view::View;

/// `<lease>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `<lockspace>`.
    pub lockspace: Option<String>,
    /// `<key>`.
    pub key: String,
    /// `<target path>`.
    pub path: PathBuf,
    /// `<target offset>` in bytes.
    pub offset: u64,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<LeaseDef> {
    let key: Option<String> = text_of(view, "key");
    if key.is_none() {
        view.error("the lease has no <key>", "name what is locked");
    }
    let target = view.child("target");
    if target.is_none() {
        view.error("the lease has no <target>", "as <target path='/directory/lockspace'/>");
    }
    let target = target?;
    required(target.filled("path"), &target, "path", "give the path of the lockspace");
    Some(LeaseDef {
        info: DeviceInfo::read(view),
        lockspace: text_of(view, "lockspace"),
        offset: target.parsed("offset").unwrap_or(0),
        path: host_path(&target, Some("path"))?,
        key: key?,
    })
}
