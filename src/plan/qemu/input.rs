//! Mice, tablets, keyboards. A PC has a PS/2 mouse and keyboard of its own.

use serde_json::json;

use super::{Plan, virtio};
use crate::model::{InputBus, InputDef, InputKind};

pub(super) fn add(plan: &mut Plan<'_>, input: &InputDef, index: usize) {
    let id = plan.name(&input.info, "input", index);
    let path = &input.info.path;
    if input.kind == InputKind::Evdev {
        let mut object = json!({ "qom-type": "input-linux", "id": id, "evdev": input.source });
        if let Some(repeat) = input.repeat {
            object["repeat"] = repeat.into();
        }
        if input.grab_all {
            object["grab_all"] = true.into();
        }
        if let Some(toggle) = &input.grab_toggle {
            object["grab-toggle"] = toggle.as_str().into();
        }
        plan.args.json("-object", &object);
        return;
    }
    match input.bus {
        InputBus::Usb => {
            let driver = match input.kind {
                InputKind::Mouse => "usb-mouse",
                InputKind::Tablet => "usb-tablet",
                _ => "usb-kbd",
            };
            let mut device = json!({ "driver": driver, "id": id });
            plan.usb_place(&input.info, &mut device);
            plan.device(path, &device);
        }
        InputBus::Virtio => {
            let name = match input.kind {
                InputKind::Mouse => "virtio-mouse",
                InputKind::Tablet => "virtio-tablet",
                InputKind::Keyboard => "virtio-keyboard",
                _ => "virtio-input-host",
            };
            let mut device = json!({ "driver": virtio::driver(name, input.model) });
            virtio::options(&mut device, &input.driver);
            device["id"] = id.into();
            if let Some(evdev) = &input.source {
                device["evdev"] = evdev.as_str().into();
            }
            plan.place(&input.info, &mut device);
            plan.device(path, &device);
        }
        InputBus::Xen => {
            plan.unsupported(&format!("{path}/@bus"), "QEMU's PCs have no input of Xen", "write bus='usb'");
        }
        // The machine has it.
        InputBus::Ps2 | InputBus::None => {}
    }
}
