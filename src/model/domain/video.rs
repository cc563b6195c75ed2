//! `<video>`: display adapters. Owns libvirt's words, defaults and errors for them.

use super::words::{YES_NO, words};
use super::{DeviceInfo, VirtioOptions, virtio};
use crate::xml::view::View;

/// `<video>`. Where a document has graphics and no video, the guest gets one of the default model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `<model type>`; `None` where it is left to the service.
    pub model: Option<VideoModel>,
    /// `<model ram>`, in KiB.
    pub ram: Option<u32>,
    /// `<model vram>`, in KiB.
    pub vram: Option<u32>,
    /// `<model vram64>`, in KiB.
    pub vram64: Option<u32>,
    /// `<model vgamem>`, in KiB.
    pub vgamem: Option<u32>,
    /// `<model heads>`.
    pub heads: Option<u32>,
    /// `<model primary>`; where none says so, the first.
    pub primary: bool,
    /// `<model blob>`, of virtio.
    pub blob: Option<bool>,
    /// `<model edid>`.
    pub edid: Option<bool>,
    /// `<acceleration accel3d>`.
    pub accel_3d: Option<bool>,
    /// `<acceleration rendernode>`.
    pub rendernode: Option<String>,
    /// `<resolution x y>`.
    pub resolution: Option<(u32, u32)>,
    /// `<driver name='vhostuser'>`: the adapter is another process.
    pub vhost_user: bool,
    /// `<driver vgaconf>`.
    pub vgaconf: Option<String>,
    /// `<driver>`.
    pub driver: VirtioOptions,
}

words! {
    /// `<video><model type>`.
    VideoModel {
        Vga = "vga",
        Cirrus = "cirrus",
        Vmvga = "vmvga",
        Xen = "xen",
        Vbox = "vbox",
        Qxl = "qxl",
        Parallels = "parallels",
        Virtio = "virtio",
        Gop = "gop",
        None = "none",
        Bochs = "bochs",
        Ramfb = "ramfb",
    }
}

/// The adapter, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<VideoDef> {
    let info = DeviceInfo::read(view);
    let model = view.child("model");
    let kind = match model.as_ref().and_then(|m| Some((m, m.filled("type")?))) {
        None | Some((_, "default")) => None,
        Some((m, _)) => Some(m.one_of("type", VideoModel::WORDS)?),
    };
    let number = |name: &str| model.as_ref().and_then(|m| m.parsed::<u32>(name));
    let yes = |name: &str| model.as_ref().and_then(|m| m.yes_no(name));
    let (ram, vgamem, heads) = (number("ram"), number("vgamem"), number("heads"));
    if let Some(m) = &model {
        for attr in ["ram", "vgamem", "vram64"] {
            if kind != Some(VideoModel::Qxl) && m.filled(attr).is_some() {
                m.error_at(attr, format!("only qxl has '{attr}'"), "leave it out");
            }
        }
        if heads == Some(0) {
            m.error_at("heads", "an adapter has at least one head", "");
        }
        if kind != Some(VideoModel::Virtio) && m.filled("blob").is_some() {
            m.error_at("blob", "only virtio has 'blob'", "leave it out");
        }
    }
    let driver = view.child("driver");
    let name = driver.as_ref().and_then(|d| d.one_of("name", &[("qemu", false), ("vhostuser", true)]));
    let vhost_user = name == Some(true);
    if vhost_user && kind != Some(VideoModel::Virtio) {
        view.error(
            "only a video of model virtio can be a process of its own",
            "leave <driver name='vhostuser'/> out",
        );
    }
    let acceleration =
        view.child("acceleration").or_else(|| model.as_ref().and_then(|m| m.child("acceleration")));
    // It is for other hypervisors; QEMU has no choice there.
    acceleration.as_ref().and_then(|a| a.one_of("accel2d", YES_NO));
    let resolution = view.child("resolution").or_else(|| model.as_ref().and_then(|m| m.child("resolution")));
    Some(VideoDef {
        info,
        model: kind,
        ram,
        vram: number("vram"),
        vram64: number("vram64"),
        vgamem,
        heads,
        primary: yes("primary").unwrap_or(false),
        blob: yes("blob"),
        edid: yes("edid"),
        accel_3d: acceleration.as_ref().and_then(|a| a.one_of("accel3d", YES_NO)),
        rendernode: acceleration.and_then(|a| a.filled("rendernode").map(str::to_owned)),
        resolution: resolution.and_then(|r| {
            let size = (r.parsed("x"), r.parsed("y"));
            if let (Some(x), Some(y)) = size {
                return Some((x, y));
            }
            r.error("the resolution needs both x and y", "as x='800' y='600'");
            None
        }),
        vhost_user,
        vgaconf: driver.as_ref().and_then(|d| d.filled("vgaconf").map(str::to_owned)),
        driver: driver.map(|d| virtio::virtio_options(&d)).unwrap_or_default(),
    })
}
