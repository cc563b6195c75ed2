//! Graphics and the display adapter.

use std::net::IpAddr;

use serde_json::json;

use super::{Plan, layout};
use crate::model::{Device, DeviceInfo, GraphicsDef, VideoDef};

/// The port of VNC's display 0.
const VNC_BASE: u16 = 5900;
/// How many displays QEMU tries where the port is left to it.
const VNC_DISPLAYS: u16 = 99;

pub(super) fn graphics(plan: &mut Plan<'_>, graphics: &GraphicsDef) {
    if !plan.slots.take_id("vnc") {
        plan.unsupported(&graphics.info.path, "there is a second <graphics>", "a guest has one VNC display");
        return;
    }
    let host = match graphics.listen {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    match graphics.port {
        None => plan.args.pair("-vnc", format!("{host}:0,to={VNC_DISPLAYS}")),
        Some(port) => match port.checked_sub(VNC_BASE) {
            Some(display) => plan.args.pair("-vnc", format!("{host}:{display}")),
            None => {
                let message = format!("VNC ports start at {VNC_BASE}, and this is {port}");
                plan.error(
                    &format!("{}/@port", graphics.info.path),
                    message,
                    "write port='-1' for a free one",
                );
            }
        },
    }
}

pub(super) fn video(plan: &mut Plan<'_>, video: &VideoDef) {
    let driver = match video.model.as_str() {
        "vga" => "VGA",
        "cirrus" => "cirrus-vga",
        "virtio" => "virtio-vga",
        "bochs" => "bochs-display",
        "none" => return,
        other => {
            let message = format!("the video model '{}' is not supported", other.escape_debug());
            let remedy = "vga, cirrus, virtio, bochs and none are";
            plan.unsupported(&format!("{}/model/@type", video.info.path), message, remedy);
            return;
        }
    };
    adapter(plan, &video.info, driver);
}

/// No window ever opens; a guest with graphics and no `<video>` gets a VGA adapter.
pub(super) fn none_or_default(plan: &mut Plan<'_>) {
    plan.args.pair("-display", "none");
    let has_video = plan.def.devices.iter().any(|d| matches!(d, Device::Video(_)));
    let graphics = plan.def.devices.iter().find_map(|d| match d {
        Device::Graphics(graphics) => Some(graphics),
        _ => None,
    });
    if let Some(graphics) = graphics.filter(|_| !has_video) {
        plan.turn = layout::DISPLAY;
        adapter(plan, &graphics.info, "VGA");
    }
}

fn adapter(plan: &mut Plan<'_>, info: &DeviceInfo, driver: &str) {
    if !plan.slots.take_id("video0") {
        plan.unsupported(&info.path, "there is a second <video>", "a guest has one display adapter");
        return;
    }
    let mut device = json!({ "driver": driver, "id": "video0" });
    plan.place(info, &mut device);
    plan.device(&info.path, &device);
}
