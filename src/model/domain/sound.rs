//! `<sound>`: sound cards. Owns libvirt's words and errors for them.

use super::words::words;
use super::{DeviceInfo, VirtioOptions, virtio};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<sound>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoundDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@model`.
    pub model: SoundModel,
    /// `<codec type>`, of the HDA models; none means one duplex.
    pub codecs: Vec<SoundCodec>,
    /// `<audio id>`: which `<audio>` it sounds through; none means the first.
    pub audio: Option<u32>,
    /// `@multichannel`, of usb.
    pub multichannel: Option<bool>,
    /// `@streams`, of virtio.
    pub streams: Option<u32>,
    /// `<driver>`, of virtio.
    pub driver: VirtioOptions,
}

words! {
    /// `<sound model>`.
    SoundModel {
        Sb16 = "sb16",
        Es1370 = "es1370",
        Pcspk = "pcspk",
        Ac97 = "ac97",
        Ich6 = "ich6",
        Ich7 = "ich7",
        Ich9 = "ich9",
        Usb = "usb",
        Virtio = "virtio",
    }
}

words! {
    /// `<codec type>`.
    SoundCodec { Duplex = "duplex", Micro = "micro", Output = "output" }
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<SoundDef> {
    let info = DeviceInfo::read(view);
    let model = view.one_of("model", SoundModel::WORDS);
    let model = required(model, view, "model", "give one, as ich9");
    let codec = |c: &View<'_>| required(c.one_of("type", SoundCodec::WORDS), c, "type", "as duplex");
    let codecs = view.children("codec").iter().filter_map(codec).collect();
    let streams = view.parsed("streams");
    if streams.is_some() && model.is_some_and(|m| m != SoundModel::Virtio) {
        view.error_at("streams", "only the model virtio has streams to count", "leave it out");
    }
    Some(SoundDef {
        info,
        model: model?,
        codecs,
        audio: view.child("audio").and_then(|a| a.parsed("id")),
        multichannel: view.yes_no("multichannel"),
        streams,
        driver: view.child("driver").map(|d| virtio::virtio_options(&d)).unwrap_or_default(),
    })
}
