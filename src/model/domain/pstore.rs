//! `<pstore>`: where a guest's kernel keeps its last words. Owns libvirt's words and errors for it.

use std::path::PathBuf;

use super::DeviceInfo;
use crate::model::MemorySize;
use crate::model::doc::{host_path, required};
use crate::xml::view::View;

/// `<pstore backend='acpi-erst'>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PstoreDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `<path>`: the file of the host; absent means chosen.
    pub path: Option<PathBuf>,
    /// `<size>`.
    pub size: MemorySize,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<PstoreDef> {
    let info = DeviceInfo::read(view);
    let backend = view.one_of("backend", &[("acpi-erst", ())]);
    required(backend, view, "backend", "write backend='acpi-erst'");
    let path = view.child("path").and_then(|p| host_path(&p, None));
    let Some(size) = view.child("size") else {
        view.error("the pstore has no <size>", "add <size unit='KiB'>64</size>");
        return None;
    };
    let amount: Option<u64> = size.text().parse().ok();
    let bytes = amount.and_then(|a| MemorySize::from_unit(a, size.filled("unit").unwrap_or("KiB")).ok());
    let Some(bytes) = bytes.filter(|b| b.0 > 0) else {
        size.error(format!("'{}' is no size", size.text().escape_debug()), "give a number, and a unit");
        return None;
    };
    backend.map(|()| PstoreDef { info, path, size: bytes })
}
