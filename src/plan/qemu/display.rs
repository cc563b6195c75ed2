//! Displays, but for SPICE (see `spice`): where clients connect, or which window opens. Passwords are never
//! arguments: they are set when QEMU runs.

use super::args::{escaped, is_word};
use super::chardev::on_off;
use super::{Handed, Plan, sound, spice};
use crate::model::{Device, GraphicsDef, GraphicsKind, Listen, Vnc, Websocket};

/// The port of VNC's display 0.
const VNC_BASE: u16 = 5900;
/// How many displays QEMU tries where the port is left to it.
const VNC_DISPLAYS: u16 = 99;

pub(super) fn add(plan: &mut Plan<'_>, handed: &Handed, graphics: &GraphicsDef) {
    match &graphics.kind {
        GraphicsKind::Vnc(vnc) => self::vnc(plan, handed, graphics, vnc),
        GraphicsKind::Spice(s) => spice::add(plan, handed, graphics, s),
        GraphicsKind::Sdl { gl, fullscreen, .. } => {
            let gl = gl.map_or_else(String::new, |on| format!(",gl={}", on_off(on)));
            let full = if *fullscreen { ",full-screen=on" } else { "" };
            plan.args.pair("-display", format!("sdl{gl}{full}"));
        }
        GraphicsKind::EglHeadless { rendernode } => {
            let node =
                rendernode.as_ref().map_or_else(String::new, |n| format!(",rendernode={}", escaped(n)));
            plan.args.pair("-display", format!("egl-headless{node}"));
        }
        GraphicsKind::Dbus { address, p2p, gl, rendernode, audio } => {
            let mut text = "dbus".to_owned();
            match address {
                _ if *p2p => text.push_str(",p2p=on"),
                Some(address) => text.push_str(&format!(",addr={}", escaped(address))),
                None => {}
            }
            if let Some(on) = gl {
                text.push_str(&format!(",gl={}", on_off(*on)));
            }
            if let Some(node) = rendernode {
                text.push_str(&format!(",rendernode={}", escaped(node)));
            }
            if audio.is_some() {
                text.push_str(&format!(",audiodev={}", sound::audiodev(plan.def, *audio)));
            }
            plan.args.pair("-display", text);
        }
        GraphicsKind::Desktop | GraphicsKind::Rdp { .. } => {
            let message = format!("QEMU itself has no display of type '{}'", graphics.kind.as_str());
            plan.unsupported(&format!("{}/@type", graphics.info.path), message, "write type='vnc'");
        }
    }
}

fn vnc(plan: &mut Plan<'_>, handed: &Handed, graphics: &GraphicsDef, vnc: &Vnc) {
    let listen = graphics.listens.first();
    let mut text = match listen {
        Some(Listen::Socket(path)) => {
            format!("vnc=unix:{}", escaped(&socket(path.as_deref(), handed, "vnc")))
        }
        Some(Listen::None) => "none".to_owned(),
        other => {
            let place = handed.displays.vnc.as_ref();
            let host = place.map_or_else(|| address(other), |place| place.address.to_string());
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            match place.map(|place| place.port).or(vnc.port) {
                // It starts at 5900, as the reader has seen to.
                Some(port) => format!("{}:{}", escaped(&host), port.saturating_sub(VNC_BASE)),
                None => format!("{}:0,to={VNC_DISPLAYS}", escaped(&host)),
            }
        }
    };
    let place = handed.displays.vnc.as_ref().and_then(|place| place.websocket);
    match vnc.websocket {
        Some(_) if place.is_some() => text.extend(place.map(|port| format!(",websocket={port}"))),
        Some(Websocket::Auto) => text.push_str(",websocket=on"),
        Some(Websocket::Port(port)) => text.push_str(&format!(",websocket={port}")),
        None => {}
    }
    if let Some(policy) = vnc.share_policy {
        text.push_str(&format!(",share={}", policy.as_str()));
    }
    if vnc.password.is_some() {
        text.push_str(",password=on");
    }
    if let Some(on) = vnc.power_control {
        text.push_str(&format!(",power-control={}", on_off(on)));
    }
    text.push_str(&format!(",audiodev={}", sound::audiodev(plan.def, vnc.audio)));
    plan.args.pair("-vnc", text);
    keymap(plan, graphics, vnc.keymap.as_deref());
}

/// QEMU opens a keymap whose name is a path, and nothing escapes a comma here.
pub(super) fn keymap(plan: &mut Plan<'_>, graphics: &GraphicsDef, keymap: Option<&str>) {
    match keymap {
        Some(keymap) if is_word(keymap) => plan.args.pair("-k", keymap),
        Some(keymap) => {
            let message = format!("'{}' is not the name of a keymap", keymap.escape_debug());
            let remedy = "give a name as 'de' or 'en-us', without path or comma";
            plan.error(&format!("{}/@keymap", graphics.info.path), message, remedy);
        }
        None => {}
    }
}

/// The address that a display listens on: the local host where nothing is said.
pub(super) fn address(listen: Option<&Listen>) -> String {
    match listen {
        Some(Listen::Address(Some(address))) => address.clone(),
        _ => "127.0.0.1".to_owned(),
    }
}

/// The path of a display's socket: that of the document, or one in the directory that is handed over.
pub(super) fn socket(path: Option<&str>, handed: &Handed, kind: &str) -> String {
    match (path, handed.display_dir) {
        (Some(path), _) => path.to_owned(),
        (None, Some(fd)) => format!("{}/{kind}.sock", super::fd_path(fd)),
        (None, None) => format!("{kind}.sock"),
    }
}

/// No window opens but the one that the document asks for.
pub(super) fn none(plan: &mut Plan<'_>) {
    let window = |d: &Device| match d {
        Device::Graphics(g) => !matches!(g.kind, GraphicsKind::Vnc(_) | GraphicsKind::Spice(_)),
        _ => false,
    };
    if !plan.def.devices.iter().any(window) {
        plan.args.pair("-display", "none");
    }
}
