//! `<crypto>`: a device that encrypts for the guest. Owns libvirt's words and defaults for it.

use super::{DeviceInfo, VirtioOptions, virtio};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<crypto model='virtio' type='qemu'>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CryptoDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `<backend model>`.
    pub backend: CryptoBackend,
    /// `<backend queues>`.
    pub queues: Option<u32>,
    /// `<driver>`.
    pub driver: VirtioOptions,
}

/// `<crypto><backend model>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CryptoBackend {
    /// `builtin`: QEMU itself.
    Builtin,
    /// `lkcf`: the host's kernel.
    Lkcf,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<CryptoDef> {
    let info = DeviceInfo::read(view);
    let model = required(view.one_of("model", &[("virtio", ())]), view, "model", "write model='virtio'");
    let kind = required(view.one_of("type", &[("qemu", ())]), view, "type", "write type='qemu'");
    let driver = view.child("driver").map(|d| virtio::virtio_options(&d)).unwrap_or_default();
    let Some(backend) = view.child("backend") else {
        view.error("the crypto device has no <backend>", "add <backend model='builtin'/>");
        return None;
    };
    let words = [("builtin", CryptoBackend::Builtin), ("lkcf", CryptoBackend::Lkcf)];
    let words = required(backend.one_of("model", &words), &backend, "model", "give builtin or lkcf");
    model.and(kind)?;
    Some(CryptoDef { info, backend: words?, queues: backend.parsed("queues"), driver })
}
