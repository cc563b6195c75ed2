//! Devices that a PC has where its document does not speak of them: a display adapter for its display, a way
//! for its sound, a balloon. Owns libvirt's rules for these.

use crate::model::{
    AudioDef, AudioKind, AudioSide, Device, DeviceInfo, DomainDef, GraphicsKind, MemballoonDef,
    MemballoonModel, VideoDef, VirtioOptions,
};

/// The devices that `def` leaves to be understood.
pub(super) fn devices(def: &DomainDef) -> Vec<Device> {
    let has = |wanted: fn(&Device) -> bool| def.devices.iter().any(wanted);
    let mut implied = Vec::new();
    if has(|d| matches!(d, Device::Graphics(_))) && !has(|d| matches!(d, Device::Video(_))) {
        implied.push(Device::Video(video()));
    }
    if !has(|d| matches!(d, Device::Audio(_))) {
        implied.push(Device::Audio(audio(def)));
    }
    if !has(|d| matches!(d, Device::Memballoon(_))) {
        implied.push(Device::Memballoon(balloon()));
    }
    implied
}

fn info(name: &str) -> DeviceInfo {
    DeviceInfo { path: format!("/domain/devices/{name}"), ..DeviceInfo::default() }
}

fn video() -> VideoDef {
    VideoDef {
        info: info("video"),
        model: None,
        ram: None,
        vram: None,
        vram64: None,
        vgamem: None,
        heads: None,
        primary: true,
        blob: None,
        edid: None,
        accel_3d: None,
        rendernode: None,
        resolution: None,
        vhost_user: false,
        vgaconf: None,
        driver: VirtioOptions::default(),
    }
}

/// Sound goes where the first display is.
fn audio(def: &DomainDef) -> AudioDef {
    let display = def.devices.iter().find_map(|d| match d {
        Device::Graphics(graphics) => Some(&graphics.kind),
        _ => None,
    });
    let kind = match display {
        Some(GraphicsKind::Spice(_)) => AudioKind::Spice,
        Some(GraphicsKind::Sdl { .. }) => AudioKind::Sdl,
        _ => AudioKind::None,
    };
    AudioDef {
        info: info("audio"),
        id: 1,
        kind,
        timer_period: None,
        input: AudioSide::default(),
        output: AudioSide::default(),
        settings: Vec::new(),
    }
}

fn balloon() -> MemballoonDef {
    MemballoonDef {
        info: info("memballoon"),
        model: MemballoonModel::Virtio,
        autodeflate: None,
        free_page_reporting: None,
        stats_period: None,
        driver: VirtioOptions::default(),
    }
}
