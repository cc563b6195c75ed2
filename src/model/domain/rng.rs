//! `<rng>`: a source of randomness for the guest. Owns libvirt's words, defaults and errors for it.

use std::path::PathBuf;

use super::charsource::{self, Reader};
use super::{CharSource, DeviceInfo, VirtioModel, VirtioOptions, virtio};
use crate::model::doc::{host_path, required};
use crate::xml::view::View;

/// `<rng>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RngDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@model`.
    pub model: VirtioModel,
    /// `<backend>`.
    pub backend: RngBackend,
    /// `<rate bytes>`: at most so many in each period.
    pub rate_bytes: Option<u32>,
    /// `<rate period>`, in milliseconds; default 1000 where there is a rate.
    pub rate_period: Option<u32>,
    /// `<driver>`.
    pub driver: VirtioOptions,
}

/// `<rng><backend model>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RngBackend {
    /// `random`: a device of the host, default `/dev/random`.
    Random(PathBuf),
    /// `egd`: another process.
    Egd(CharSource),
    /// `builtin`: QEMU's own generator.
    Builtin,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<RngDef> {
    let info = DeviceInfo::read(view);
    let model = required(view.one_of("model", VirtioModel::WORDS), view, "model", "write model='virtio'");
    let rate = view.child("rate");
    let number = |name: &str| {
        let rate = rate.as_ref()?;
        let number: u32 = rate.parsed(name)?;
        if number == 0 {
            rate.error_at(name, "0 is no rate", "give a number from 1");
        }
        Some(number)
    };
    let rate_bytes = number("bytes");
    if let Some(rate) = &rate {
        required(rate_bytes, rate, "bytes", "give the bytes for each period");
    }
    let rate_period = number("period");
    let driver = view.child("driver").map(|d| virtio::virtio_options(&d)).unwrap_or_default();
    let Some(backend) = view.child("backend") else {
        view.error("the random number generator has no <backend>", "add <backend model='random'/>");
        return None;
    };
    let kind = backend.one_of("model", &[("random", 0), ("egd", 1), ("builtin", 2)]);
    let backend = match required(kind, &backend, "model", "give random, egd or builtin")? {
        0 => RngBackend::Random(host_path(&backend, None).unwrap_or_else(|| "/dev/random".into())),
        1 => {
            required(backend.filled("type"), &backend, "type", "say how the daemon is reached, as 'tcp'")?;
            RngBackend::Egd(charsource::read(&backend, Reader::Device)?)
        }
        _ => RngBackend::Builtin,
    };
    Some(RngDef { info, model: model?, backend, rate_bytes, rate_period, driver })
}
