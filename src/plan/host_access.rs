//! What of the host a guest's small devices name. Owns the list of such places; must never decide who may name
//! them.

use std::path::Path;

use crate::model::{
    AudioKind, CharBackend, Device, DomainDef, GraphicsDef, GraphicsKind, Listen, RngBackend, SmartcardMode,
    TpmBackend,
};

/// Devices of randomness that every process may read.
const RANDOM: [&str; 2] = ["/dev/random", "/dev/urandom"];

/// The paths of the elements that name a file, a socket or a device of the host.
pub fn of_small_devices(def: &DomainDef) -> Vec<String> {
    let names = |device: &&Device| names_host(device) || char_source_names_host(device);
    def.devices.iter().filter(names).map(|device| device.info().path.clone()).collect()
}

fn char_source_names_host(device: &Device) -> bool {
    device.char_source().is_some_and(|source| {
        let backend = match &source.backend {
            CharBackend::Dev(_) | CharBackend::File { .. } | CharBackend::Pipe(_) | CharBackend::Dbus(_) => {
                true
            }
            CharBackend::Unix { path, .. } => path.is_some(),
            _ => false,
        };
        backend || source.log.is_some()
    })
}

fn names_host(device: &Device) -> bool {
    match device {
        Device::Graphics(graphics) => display_names_host(graphics),
        Device::Video(video) => video.rendernode.is_some(),
        Device::Input(input) => input.source.is_some(),
        Device::Rng(rng) => match &rng.backend {
            RngBackend::Random(path) => !RANDOM.map(Path::new).contains(&path.as_path()),
            _ => false,
        },
        Device::Tpm(tpm) => match &tpm.backend {
            TpmBackend::Passthrough(_) | TpmBackend::External(_) => true,
            TpmBackend::Emulator(emulator) => emulator.source.is_some(),
        },
        Device::Smartcard(card) => !matches!(card.mode, SmartcardMode::Passthrough(_)),
        Device::Audio(audio) => {
            !matches!(audio.kind, AudioKind::None | AudioKind::Spice) || !audio.settings.is_empty()
        }
        Device::Pstore(pstore) => pstore.path.is_some(),
        _ => false,
    }
}

fn display_names_host(graphics: &GraphicsDef) -> bool {
    let node = match &graphics.kind {
        GraphicsKind::Spice(spice) => spice.rendernode.is_some(),
        GraphicsKind::EglHeadless { .. } | GraphicsKind::Sdl { .. } | GraphicsKind::Dbus { .. } => true,
        _ => false,
    };
    node || graphics.listens.iter().any(|listen| matches!(listen, Listen::Socket(Some(_))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DomainDoc;

    #[test]
    fn what_names_the_host_is_told_and_what_does_not_is_not() {
        let text = "<domain type='qemu'><name>n</name><memory>65536</memory><os><type>hvm</type></os><devices>\
            <serial type='pty'/><serial type='file'><source path='/a'/></serial>\
            <serial type='pty'><log file='/b'/></serial><channel type='unix'><target type='virtio'/></channel>\
            <channel type='unix'><source mode='bind' path='/c'/><target type='virtio'/></channel>\
            <graphics type='vnc' listen='0.0.0.0'/><graphics type='spice'><gl rendernode='/d'/></graphics>\
            <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\
            <rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>\
            <tpm><backend type='emulator'/></tpm><tpm><backend type='passthrough'/></tpm>\
            <audio id='1' type='none'/><audio id='2' type='file' path='/e'/>\
            <input type='evdev'><source dev='/dev/input/event0'/></input>\
            </devices></domain>";
        let doc = DomainDoc::parse(text).unwrap();
        insta::assert_snapshot!(of_small_devices(doc.def()).join("\n"), @"
        /domain/devices/serial[2]
        /domain/devices/serial[3]
        /domain/devices/channel[2]
        /domain/devices/graphics[2]
        /domain/devices/rng[2]
        /domain/devices/tpm[2]
        /domain/devices/audio[2]
        /domain/devices/input
        ");
    }
}
