//! `<vsock>`: sockets between guest and host. Owns libvirt's words, defaults and errors for it.

use super::{DeviceInfo, VirtioModel, VirtioOptions, virtio};
use crate::xml::view::View;

/// `<vsock>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VsockDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@model`, default virtio.
    pub model: VirtioModel,
    /// `<cid address>`; `None` for one that is free at the start.
    pub cid: Option<u32>,
    /// `<driver>`.
    pub driver: VirtioOptions,
}

/// The first CID that a guest may have: the lower ones are the hypervisor's and the host's.
const FIRST_CID: u32 = 3;

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<VsockDef> {
    let info = DeviceInfo::read(view);
    let model = view.one_of("model", VirtioModel::WORDS).unwrap_or(VirtioModel::Virtio);
    let cid = view.child("cid");
    let auto = cid.as_ref().and_then(|c| c.yes_no("auto"));
    let address: Option<u32> = cid.as_ref().and_then(|c| c.parsed("address"));
    match (&cid, auto, address) {
        (Some(c), _, Some(low)) if low < FIRST_CID && auto != Some(true) => {
            let message = format!("guests cannot have the CID {low}");
            c.error_at("address", message, format!("give one from {FIRST_CID}, or auto='yes'"));
        }
        (_, Some(true), _) | (_, _, Some(_)) => {}
        _ => {
            let remedy = "add <cid auto='yes'/>, or <cid address='3'/>";
            view.error("the vsock has neither a CID nor the wish for one", remedy);
        }
    }
    let driver = view.child("driver").map(|d| virtio::virtio_options(&d)).unwrap_or_default();
    Some(VsockDef { info, model, cid: address.filter(|_| auto != Some(true)), driver })
}
