//! `<panic>`: how a guest tells that it has crashed. Owns libvirt's words and defaults for it.

use super::DeviceInfo;
use super::words::words;
use crate::xml::view::View;

/// `<panic>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanicDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@model`, default isa in a PC.
    pub model: PanicModel,
}

words! {
    /// `<panic model>`.
    PanicModel {
        Isa = "isa",
        Pvpanic = "pvpanic",
        Hyperv = "hyperv",
        Pseries = "pseries",
        S390 = "s390",
    }
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<PanicDef> {
    let info = DeviceInfo::read(view);
    let model = view.one_of("model", PanicModel::WORDS).unwrap_or(PanicModel::Isa);
    Some(PanicDef { info, model })
}
