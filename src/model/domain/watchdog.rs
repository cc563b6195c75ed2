//! `<watchdog>`. Owns libvirt's words and defaults for it.

use super::DeviceInfo;
use super::words::words;
use crate::model::doc::required;
use crate::xml::view::View;

/// `<watchdog>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchdogDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@model`.
    pub model: WatchdogModel,
    /// `@action`, default reset.
    pub action: WatchdogAction,
}

words! {
    /// `<watchdog model>`.
    WatchdogModel { I6300esb = "i6300esb", Ib700 = "ib700", Diag288 = "diag288", Itco = "itco" }
}

words! {
    /// `<watchdog action>`: what happens when the guest is silent.
    WatchdogAction {
        Reset = "reset",
        Shutdown = "shutdown",
        Poweroff = "poweroff",
        Pause = "pause",
        Dump = "dump",
        None = "none",
        InjectNmi = "inject-nmi",
    }
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<WatchdogDef> {
    let info = DeviceInfo::read(view);
    let action = view.one_of("action", WatchdogAction::WORDS).unwrap_or(WatchdogAction::Reset);
    let model = required(view.one_of("model", WatchdogModel::WORDS), view, "model", "as i6300esb")?;
    Some(WatchdogDef { info, model, action })
}
