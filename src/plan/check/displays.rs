//! Rules for displays, display adapters and sound. Owns what of them libvirt refuses, and what Warren does not
//! start yet.

use std::net::IpAddr;

use super::{Check, at};
use crate::model::{
    AudioKind, Device, DomainDef, GraphicsDef, GraphicsKind, Listen, Spice, SpiceMode, SpicePort, VideoDef,
    VideoModel,
};

pub(super) fn check(check: &mut Check<'_, DomainDef>) {
    let def = check.doc.def();
    let displays = def.devices.iter().filter_map(|d| match d {
        Device::Graphics(g) => Some(g),
        _ => None,
    });
    let displays: Vec<&GraphicsDef> = displays.collect();
    for (index, display) in displays.iter().enumerate() {
        let kind = display.kind.as_str();
        if displays[..index].iter().any(|earlier| earlier.kind.as_str() == kind) {
            let message = format!("a second display of type '{kind}' is given");
            check.unsupported(&display.info.path, message, "QEMU has one of each type");
        }
        one(check, display);
    }
    videos(check, def);
    sound(check, def, displays.iter().any(|g| matches!(g.kind, GraphicsKind::Spice(_))));
}

fn one(check: &mut Check<'_, DomainDef>, display: &GraphicsDef) {
    let path = display.info.path.as_str();
    let kind = display.kind.as_str();
    match &display.kind {
        GraphicsKind::Vnc(vnc) => {
            if vnc.wait == Some(true) {
                check.unsupported(&at(path, "@wait"), "Warren does not wait for clients", "leave it out");
            }
            keymap(check, path, vnc.keymap.as_deref());
        }
        GraphicsKind::Spice(spice) => {
            self::spice(check, path, spice);
            keymap(check, path, spice.keymap.as_deref());
        }
        GraphicsKind::Sdl { .. } => {
            let message = "Warren opens no windows";
            check.unsupported(&at(path, "@type"), message, "write type='vnc' or type='spice'");
        }
        GraphicsKind::Desktop | GraphicsKind::Rdp { .. } => {
            let message = format!("Warren has no display of type '{kind}'");
            check.unsupported(&at(path, "@type"), message, "write type='vnc' or type='spice'");
        }
        GraphicsKind::EglHeadless { .. } | GraphicsKind::Dbus { .. } => {
            let message = format!("Warren has no display of type '{kind}' yet");
            check.unsupported(&at(path, "@type"), message, "write type='vnc' or type='spice'");
        }
    }
    if display.listens.len() > 1 {
        let message = "QEMU's displays listen in one place";
        check.unsupported(&at(path, "listen[2]"), message, "keep one <listen>");
    }
    for listen in &display.listens {
        self::listen(check, path, listen);
    }
    if display.is_on_tcp() && display.password().is_none() {
        let message = format!("this {} display has a port and no password", kind.to_uppercase());
        let remedy = "leave out port, autoport, websocket and listen, and it is a socket that only Warren opens; \
                      or give a passwd";
        check.warning(path, message, remedy);
    }
}

fn listen(check: &mut Check<'_, DomainDef>, path: &str, listen: &Listen) {
    let place = at(path, "listen");
    match listen {
        Listen::Address(Some(address)) if !is_host(address) => {
            let message = format!("'{}' is no address", address.escape_debug());
            check.unsupported(&place, message, "give an IP address or the name of a host");
        }
        Listen::Network(network) => {
            let message = format!("Warren's displays do not listen on the network '{network}' yet");
            check.unsupported(&place, message, "write type='address' and the address");
        }
        Listen::Socket(Some(_)) => {
            let message = "Warren's displays make no socket at a path of the document yet";
            check.unsupported(&place, message, "leave the path out, and the service chooses one");
        }
        _ => {}
    }
}

/// An IP address, or the name of a host; none of the words that QEMU takes for something else.
fn is_host(text: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let word = ["unix", "none", "to", "fd"].contains(&text);
    text.parse::<IpAddr>().is_ok() || (text.chars().all(name) && !text.starts_with('-') && !word)
}

/// QEMU looks for a file of this name.
fn keymap(check: &mut Check<'_, DomainDef>, path: &str, keymap: Option<&str>) {
    let right = |k: &str| k.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if let Some(keymap) = keymap.filter(|k| !right(k)) {
        let message = format!("QEMU has no keymap '{}'", keymap.escape_debug());
        check.unsupported(&at(path, "@keymap"), message, "as en-us");
    }
}

fn spice(check: &mut Check<'_, DomainDef>, path: &str, spice: &Spice) {
    if let SpicePort::Port(_) = spice.tls_port {
        let message = "Warren has no certificates for TLS";
        check.unsupported(&at(path, "@tlsPort"), message, "leave it out");
    } else if spice.default_mode == SpiceMode::Secure {
        let message = "secure channels need a tlsPort, and Warren has no certificates for TLS";
        check.unsupported(&at(path, "@defaultMode"), message, "write 'any'");
    } else if spice.channels.iter().any(|(_, mode)| *mode == SpiceMode::Secure) {
        let message = "secure channels need a tlsPort, and Warren has no certificates for TLS";
        check.unsupported(&at(path, "channel"), message, "write mode='any'");
    }
    if spice.gl == Some(true) || spice.rendernode.is_some() {
        graphics_card(check, &at(path, "gl"));
    }
}

fn graphics_card(check: &mut Check<'_, DomainDef>, path: &str) {
    let message = "Warren does not give guests the host's graphics card";
    check.unsupported(path, message, "leave it out");
}

fn videos(check: &mut Check<'_, DomainDef>, def: &DomainDef) {
    let all = def.devices.iter().filter_map(|d| match d {
        Device::Video(v) => Some(v),
        _ => None,
    });
    let all: Vec<&VideoDef> = all.collect();
    let first = all.iter().position(|v| v.primary).unwrap_or(0);
    for (index, video) in all.iter().enumerate() {
        let path = video.info.path.as_str();
        let model = at(path, "model/@type");
        if video.model == Some(VideoModel::None) && all.len() > 1 {
            check.error(&model, "a video of model 'none' is the only one", "leave the others out");
        }
        let beside =
            matches!(video.model, None | Some(VideoModel::Qxl | VideoModel::Virtio | VideoModel::None));
        if index != first && !beside {
            let remedy = "write qxl or virtio, or leave it out";
            check.unsupported(&model, "a video of this model is the first one", remedy);
        }
        if index != first && video.primary {
            check.error(&at(path, "model/@primary"), "a second video is the primary one", "leave one out");
        }
        let one_head = !matches!(video.model, None | Some(VideoModel::Qxl | VideoModel::Virtio));
        if one_head && video.heads.is_some_and(|heads| heads > 1) {
            let message = "QEMU's display of this model has one output";
            check.warning(&at(path, "model/@heads"), message, "write qxl or virtio");
        }
        if video.vhost_user {
            let message = "Warren starts no display adapter of its own process";
            check.unsupported(&at(path, "driver/@name"), message, "write name='qemu'");
        }
        if let Some(vgaconf) = &video.vgaconf {
            let message = format!("QEMU has no vgaconf '{}'", vgaconf.escape_debug());
            check.unsupported(&at(path, "driver/@vgaconf"), message, "leave it out");
        }
        if video.accel_3d == Some(true) || video.rendernode.is_some() {
            graphics_card(check, &at(path, "model/acceleration"));
        }
        if let Some(small) = video.vram.filter(|v| *v < 1024)
            && matches!(video.model, Some(VideoModel::Vga | VideoModel::Vmvga))
        {
            let message = format!("{small} KiB are too little");
            check.error(&at(path, "model/@vram"), message, "give at least 1024");
        }
        if video.vgamem.is_some_and(|v| v < 1024) {
            let remedy = "give at least 1024";
            check.error(&at(path, "model/@vgamem"), "less than 1 MiB is too little", remedy);
        }
    }
}

fn sound(check: &mut Check<'_, DomainDef>, def: &DomainDef, has_spice: bool) {
    let audios = def.devices.iter().filter_map(|d| match d {
        Device::Audio(a) => Some(a),
        _ => None,
    });
    let audios: Vec<_> = audios.collect();
    check.unique("the id of an audio", audios.iter().map(|a| (at(&a.info.path, "@id"), a.id)));
    for audio in &audios {
        let path = at(&audio.info.path, "@type");
        match audio.kind {
            AudioKind::None => {}
            AudioKind::Spice if has_spice => {}
            AudioKind::Spice => {
                let message = "this sound needs a display of SPICE, and there is none";
                check.unsupported(&path, message, "add <graphics type='spice'/>, or write type='none'");
            }
            other => {
                let message = format!("Warren does not sound through '{}' of the host", other.as_str());
                check.unsupported(&path, message, "write type='spice' or type='none'");
            }
        }
    }
    for device in &def.devices {
        let (path, asked) = match device {
            Device::Sound(sound) => (&sound.info.path, sound.audio),
            Device::Graphics(GraphicsDef { info, kind: GraphicsKind::Vnc(vnc), .. }) => {
                (&info.path, vnc.audio)
            }
            Device::Graphics(GraphicsDef { info, kind: GraphicsKind::Dbus { audio, .. }, .. }) => {
                (&info.path, *audio)
            }
            _ => continue,
        };
        // The one that is understood where there is none has the number 1.
        let known = |id: u32| audios.iter().any(|a| a.id == id) || (audios.is_empty() && id == 1);
        if let Some(id) = asked.filter(|id| !known(*id)) {
            let message = format!("there is no <audio> of id {id}");
            check.error(&at(path, "audio/@id"), message, "add one, or leave it out");
        }
    }
}
