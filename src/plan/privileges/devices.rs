//! What devices name on the host, but for disks, NICs and what character devices are joined to. Owns the list of
//! all devices.

use std::path::Path;

use super::PathField;
use super::chars::source;
use super::compare::What;
use super::disk::disk;
use super::domain::Found;
use super::nic::nic;
use crate::model::{
    AudioDef, AudioKind, ChannelDef, ConsoleDef, CryptoBackend, CryptoDef, Device, GraphicsDef, GraphicsKind,
    InputDef, Listen, MemoryDeviceDef, MemoryModel, ParallelDef, PstoreDef, RedirdevDef, RngBackend, RngDef,
    SerialDef, SmartcardDef, SmartcardMode, Spice, TpmBackend, TpmDef, TpmEmulator, TpmProfile, VideoDef,
    Vnc,
};

/// Devices of randomness that every process may read.
const RANDOM: [&str; 2] = ["/dev/random", "/dev/urandom"];

pub(super) fn device<'a>(found: &mut Found<'a>, device: &'a Device) {
    let place = device.info().path.as_str();
    match device {
        Device::Disk(def) => disk(found, device, def),
        Device::Interface(def) => nic(found, def),
        Device::Serial(SerialDef { info: _, source: from, port: _, target: _, model: _ })
        | Device::Parallel(ParallelDef { info: _, source: from, port: _ })
        | Device::Channel(ChannelDef { info: _, source: from, target: _ })
        | Device::Console(ConsoleDef { info: _, source: from, target: _ })
        | Device::Redirdev(RedirdevDef { info: _, source: from }) => source(found, place, from),
        Device::Graphics(def) => graphics(found, def),
        Device::Video(def) => video(found, def),
        Device::Smartcard(def) => smartcard(found, def),
        Device::Input(def) => input(found, def),
        Device::Audio(def) => audio(found, def),
        Device::Rng(def) => rng(found, def),
        Device::Tpm(def) => tpm(found, device, def),
        Device::MemoryDevice(def) => memory(found, device, def),
        Device::Crypto(CryptoDef { info: _, backend, queues: _, driver: _ }) => match backend {
            // The kernel's functions for it are open to every process.
            CryptoBackend::Builtin | CryptoBackend::Lkcf => (),
        },
        Device::Pstore(PstoreDef { info: _, path, size: _ }) => {
            found.host_if(path.is_some(), PathField::PstoreFile, place);
        }
        // All that they are is the host's.
        Device::Filesystem(_) => found.host(PathField::Filesystem, place),
        Device::Hostdev(_) => found.host(PathField::Hostdev, place),
        Device::Shmem(_) => found.host(PathField::Shmem, place),
        Device::Lease(_) => found.host(PathField::Lease, place),
        // Of the guest alone; `plain` has their fields.
        Device::Controller(_)
        | Device::Sound(_)
        | Device::Watchdog(_)
        | Device::Memballoon(_)
        | Device::Vsock(_)
        | Device::Panic(_)
        | Device::Hub(_)
        | Device::Iommu(_)
        | Device::Nvram(_) => (),
    }
}

fn graphics<'a>(found: &mut Found<'a>, def: &'a GraphicsDef) {
    let GraphicsDef { info, kind, listens } = def;
    match kind {
        GraphicsKind::Vnc(Vnc {
            port: _,
            websocket: _,
            keymap: _,
            share_policy: _,
            power_control: _,
            wait: _,
            password: _,
            audio: _,
        })
        | GraphicsKind::Rdp { port: _ } => (),
        GraphicsKind::Spice(spice) => {
            let gpu = draws_with_gpu(spice);
            found.host_if(gpu, PathField::DisplayGpu, &info.path);
        }
        GraphicsKind::EglHeadless { rendernode: _ } => found.host(PathField::DisplayGpu, &info.path),
        GraphicsKind::Sdl { display: _, xauth: _, fullscreen: _, gl: _ } | GraphicsKind::Desktop => {
            found.host(PathField::DisplayWindow, &info.path);
        }
        GraphicsKind::Dbus { address: _, p2p: _, gl: _, rendernode: _, audio: _ } => {
            found.host(PathField::DisplayDbus, &info.path);
        }
    }
    for listen in listens {
        match listen {
            Listen::Socket(Some(_path)) => found.host(PathField::DisplaySocket, &info.path),
            Listen::Network(network) => found.networks.push(network),
            // Addresses and ports of the host are open to everybody.
            Listen::Address(_) | Listen::Socket(None) | Listen::None => (),
        }
    }
}

/// `gl` without a node means the first that there is.
fn draws_with_gpu(spice: &Spice) -> bool {
    let Spice {
        port: _,
        tls_port: _,
        keymap: _,
        password: _,
        default_mode: _,
        channels: _,
        image: _,
        jpeg: _,
        zlib: _,
        playback: _,
        streaming: _,
        copy_paste: _,
        mouse: _,
        file_transfer: _,
        gl,
        rendernode,
    } = spice;
    *gl == Some(true) || rendernode.is_some()
}

fn video(found: &mut Found<'_>, def: &VideoDef) {
    let VideoDef {
        info,
        model: _,
        ram: _,
        vram: _,
        vram64: _,
        vgamem: _,
        heads: _,
        primary: _,
        blob: _,
        edid: _,
        accel_3d: _,
        rendernode,
        resolution: _,
        vhost_user,
        vgaconf: _,
        driver: _,
    } = def;
    found.host_if(rendernode.is_some(), PathField::VideoGpu, &info.path);
    found.host_if(*vhost_user, PathField::VideoProgram, &info.path);
}

fn smartcard<'a>(found: &mut Found<'a>, def: &'a SmartcardDef) {
    let SmartcardDef { info, mode } = def;
    match mode {
        SmartcardMode::Host | SmartcardMode::HostCertificates { certificates: _, database: _ } => {
            found.host(PathField::Smartcard, &info.path);
        }
        SmartcardMode::Passthrough(from) => source(found, &info.path, from),
    }
}

fn input(found: &mut Found<'_>, def: &InputDef) {
    let InputDef {
        info,
        kind: _,
        bus: _,
        model: _,
        source,
        grab_all: _,
        grab_toggle: _,
        repeat: _,
        driver: _,
    } = def;
    found.host_if(source.is_some(), PathField::InputDevice, &info.path);
}

fn audio(found: &mut Found<'_>, def: &AudioDef) {
    let AudioDef { info, id: _, kind, timer_period: _, input: _, output: _, settings } = def;
    let plays = match kind {
        AudioKind::None | AudioKind::Spice => false,
        AudioKind::Alsa
        | AudioKind::CoreAudio
        | AudioKind::Jack
        | AudioKind::Oss
        | AudioKind::PulseAudio
        | AudioKind::PipeWire
        | AudioKind::Sdl
        | AudioKind::File
        | AudioKind::Dbus => true,
    };
    found.host_if(plays || !settings.is_empty(), PathField::Audio, &info.path);
}

fn rng<'a>(found: &mut Found<'a>, def: &'a RngDef) {
    let RngDef { info, model: _, backend, rate_bytes: _, rate_period: _, driver: _ } = def;
    match backend {
        RngBackend::Random(path) => {
            let of_its_own = !RANDOM.map(Path::new).contains(&path.as_path());
            found.host_if(of_its_own, PathField::RngDevice, &info.path);
        }
        RngBackend::Egd(from) => source(found, &info.path, from),
        RngBackend::Builtin => (),
    }
}

fn tpm<'a>(found: &mut Found<'a>, device: &'a Device, def: &'a TpmDef) {
    let TpmDef { info, model: _, backend } = def;
    match backend {
        TpmBackend::Passthrough(_path) => found.host(PathField::TpmDevice, &info.path),
        TpmBackend::External(_path) => found.host(PathField::TpmSocket, &info.path),
        TpmBackend::Emulator(emulator) => {
            let TpmEmulator {
                version: _,
                persistent_state: _,
                debug: _,
                encryption,
                pcr_banks: _,
                profile,
                source,
            } = emulator;
            found.host_if(source.is_some(), PathField::TpmState, &info.path);
            if let Some(TpmProfile { source, name: _, remove_disabled: _ }) = profile {
                found.host_if(source.is_some(), PathField::TpmProfile, &info.path);
            }
            if encryption.is_some() {
                found.owner(PathField::TpmSecret, &info.path, What::Device(device));
            }
        }
    }
}

fn memory<'a>(found: &mut Found<'a>, device: &'a Device, def: &'a MemoryDeviceDef) {
    let MemoryDeviceDef {
        info,
        model,
        access: _,
        uuid: _,
        path,
        align: _,
        pmem: _,
        page_size: _,
        nodes: _,
        size: _,
        node: _,
        label: _,
        readonly: _,
        block: _,
        requested: _,
        dynamic_memslots: _,
        base: _,
    } = def;
    match model {
        MemoryModel::SgxEpc => found.host(PathField::MemoryEnclave, &info.path),
        MemoryModel::Dimm | MemoryModel::Nvdimm | MemoryModel::VirtioPmem | MemoryModel::VirtioMem => (),
    }
    if path.is_some() {
        found.owner(PathField::MemoryFile, &info.path, What::Device(device));
    }
}
