//! Display adapters. The first, or the one that says so, is the one that firmware shows itself on.

use serde_json::{Value, json};

use super::{Plan, virtio};
use crate::model::{Device, VideoDef, VideoModel};

/// libvirt's amounts where the document says nothing, in KiB.
const VRAM: u32 = 16 << 10;
const QXL_RAM: u32 = 64 << 10;
const QXL_VRAM: u32 = 64 << 10;

/// Bytes of pictures that a guest may keep in QEMU, by QEMU's own limit.
const VIRTIO: u64 = 256 << 20;

pub(super) fn add(plan: &mut Plan<'_>, video: &VideoDef, index: usize) {
    let model = video.model.unwrap_or_else(|| default(plan));
    if model == VideoModel::None {
        return;
    }
    let id = plan.name(&video.info, "video", index);
    let primary = is_primary(plan, video, index);
    let gl = video.accel_3d == Some(true);
    let driver = match model {
        VideoModel::Vga => "VGA",
        VideoModel::Cirrus => "cirrus-vga",
        VideoModel::Vmvga => "vmware-svga",
        VideoModel::Bochs => "bochs-display",
        VideoModel::Ramfb => "ramfb",
        VideoModel::Qxl if primary => "qxl-vga",
        VideoModel::Qxl => "qxl",
        VideoModel::Virtio => match (video.vhost_user, primary, gl) {
            (true, true, _) => "vhost-user-vga",
            (true, false, _) => "vhost-user-gpu-pci",
            (_, true, true) => "virtio-vga-gl",
            (_, true, false) => "virtio-vga",
            (_, false, true) => "virtio-gpu-gl-pci",
            (_, false, false) => "virtio-gpu-pci",
        },
        VideoModel::Xen | VideoModel::Vbox | VideoModel::Parallels | VideoModel::Gop | VideoModel::None => {
            let path = format!("{}/model/@type", video.info.path);
            let message = format!("QEMU has no video of model '{}'", model.as_str());
            plan.unsupported(&path, message, "write type='virtio'");
            return;
        }
    };
    let mut device = json!({ "driver": driver });
    virtio::options(&mut device, &video.driver);
    device["id"] = id.into();
    memory(&mut device, video, model);
    if let Some((x, y)) = video.resolution {
        device["xres"] = x.into();
        device["yres"] = y.into();
    }
    if let Some(edid) = video.edid {
        device["edid"] = edid.into();
    }
    if model != VideoModel::Ramfb {
        plan.place(&video.info, &mut device);
    }
    plan.device(&video.info.path, &device);
}

fn memory(device: &mut Value, video: &VideoDef, model: VideoModel) {
    let heads = video.heads.unwrap_or(1);
    let vram = video.vram.unwrap_or(VRAM);
    match model {
        VideoModel::Qxl => {
            let bytes = |kib: u32| u64::from(kib) << 10;
            device["max_outputs"] = heads.into();
            device["ram_size"] = bytes(video.ram.unwrap_or(QXL_RAM)).into();
            device["vram_size"] = bytes(video.vram.unwrap_or(QXL_VRAM)).into();
            device["vram64_size_mb"] = (video.vram64.unwrap_or(0) / 1024).into();
            // QEMU takes powers of two alone.
            let vgamem = video.vgamem.unwrap_or(VRAM);
            device["vgamem_mb"] = (vgamem.checked_next_power_of_two().unwrap_or(vgamem) / 1024).into();
        }
        VideoModel::Virtio => {
            device["max_outputs"] = heads.into();
            if let Some(blob) = video.blob {
                device["blob"] = blob.into();
            }
        }
        VideoModel::Vga | VideoModel::Vmvga => device["vgamem_mb"] = (vram / 1024).into(),
        VideoModel::Bochs => device["vgamem"] = (u64::from(vram) << 10).into(),
        _ => {}
    }
}

/// Bytes of the host's memory that an adapter may have, with what a guest may keep in it.
pub fn held(video: &VideoDef) -> u64 {
    let kib = |amounts: &[Option<u32>]| amounts.iter().flatten().map(|kib| u64::from(*kib) << 10).sum();
    let qxl = [
        Some(video.ram.unwrap_or(QXL_RAM)),
        Some(video.vram.unwrap_or(QXL_VRAM)),
        video.vram64,
        Some(video.vgamem.unwrap_or(VRAM)),
    ];
    match video.model {
        Some(VideoModel::None) => 0,
        Some(VideoModel::Qxl) => kib(&qxl),
        Some(VideoModel::Virtio) => VIRTIO,
        _ => kib(&[Some(video.vram.unwrap_or(VRAM).max(VRAM))]),
    }
}

/// libvirt's choice for a PC.
fn default(plan: &Plan<'_>) -> VideoModel {
    if plan.qemu.devices.contains("cirrus-vga") { VideoModel::Cirrus } else { VideoModel::Vga }
}

/// libvirt puts the one that says so first.
fn is_primary(plan: &Plan<'_>, video: &VideoDef, index: usize) -> bool {
    let said = plan.def.devices.iter().any(|d| matches!(d, Device::Video(v) if v.primary));
    if said { video.primary } else { index == 0 }
}
