//! `<input>`: mice, keyboards and the like. Owns libvirt's words, defaults and errors for them.

use super::words::words;
use super::{DeviceInfo, VirtioModel, VirtioOptions, virtio};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<input>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@type`.
    pub kind: InputKind,
    /// `@bus`; default PS/2 for mice and keyboards, USB for tablets, virtio for what is passed through.
    pub bus: InputBus,
    /// `@model`, of virtio.
    pub model: VirtioModel,
    /// `<source evdev>` or `<source dev>`: the device of the host.
    pub source: Option<String>,
    /// `<source grab='all'>`.
    pub grab_all: bool,
    /// `<source grabToggle>`.
    pub grab_toggle: Option<String>,
    /// `<source repeat>`.
    pub repeat: Option<bool>,
    /// `<driver>`.
    pub driver: VirtioOptions,
}

words! {
    /// `<input type>`.
    InputKind {
        Mouse = "mouse",
        Tablet = "tablet",
        Keyboard = "keyboard",
        Passthrough = "passthrough",
        Evdev = "evdev",
    }
}

words! {
    /// `<input bus>`.
    InputBus { Ps2 = "ps2", Usb = "usb", Virtio = "virtio", Xen = "xen", None = "none" }
}

const TOGGLES: [(&str, ()); 6] = [
    ("ctrl-ctrl", ()),
    ("alt-alt", ()),
    ("shift-shift", ()),
    ("meta-meta", ()),
    ("scrolllock", ()),
    ("ctrl-scrolllock", ()),
];

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<InputDef> {
    let info = DeviceInfo::read(view);
    let kind = view.one_of("type", InputKind::WORDS);
    let kind = required(kind, view, "type", "give mouse, tablet, keyboard, passthrough or evdev")?;
    let own = match kind {
        InputKind::Mouse | InputKind::Keyboard => InputBus::Ps2,
        InputKind::Tablet => InputBus::Usb,
        InputKind::Passthrough => InputBus::Virtio,
        InputKind::Evdev => InputBus::None,
    };
    let bus = view.one_of("bus", InputBus::WORDS).unwrap_or(own);
    let known = match kind {
        InputKind::Mouse | InputKind::Keyboard => bus != InputBus::None,
        InputKind::Tablet => !matches!(bus, InputBus::None | InputBus::Ps2),
        InputKind::Passthrough | InputKind::Evdev => bus == own,
    };
    if !known {
        let message = format!("there is no {} on the bus '{}'", kind.as_str(), bus.as_str());
        view.error_at("bus", message, format!("leave it out, or write '{}'", own.as_str()));
    }
    let model = view.one_of("model", VirtioModel::WORDS);
    if model.is_some() && bus != InputBus::Virtio {
        view.error_at("model", "only devices on the bus virtio have models", "leave it out");
    }
    let source = view.child("source");
    let device = match kind {
        InputKind::Passthrough => Some("evdev"),
        InputKind::Evdev => Some("dev"),
        _ => None,
    };
    let named = device.and_then(|attr| {
        let path = source.as_ref().and_then(|s| s.filled(attr));
        if path.is_none() {
            let remedy = format!("add <source {attr}='/dev/input/event…'/>");
            view.error("the input names no device of the host", remedy);
        }
        path.map(str::to_owned)
    });
    let evdev = source.as_ref().filter(|_| kind == InputKind::Evdev);
    Some(InputDef {
        info,
        kind,
        bus,
        model: model.unwrap_or(VirtioModel::Virtio),
        source: named,
        grab_all: evdev.and_then(|s| s.one_of("grab", &[("all", ())])).is_some(),
        grab_toggle: evdev
            .filter(|s| s.one_of("grabToggle", &TOGGLES).is_some())
            .and_then(|s| s.filled("grabToggle").map(str::to_owned)),
        repeat: evdev.and_then(|s| s.yes_no("repeat")),
        driver: view.child("driver").map(|d| virtio::virtio_options(&d)).unwrap_or_default(),
    })
}
