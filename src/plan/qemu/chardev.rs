//! `-chardev`: what a character device is joined to. Owns QEMU's words for every source.

use super::args::escaped;
use super::{Handed, Plan};
use crate::model::{CharBackend, CharEndpoint, CharProtocol, CharSource, MouseMode, Reconnect};

/// What a character device is for, where QEMU is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A parallel port.
    Parallel,
    /// Another device; `spicevmc` channels have its name.
    Channel(&'static str),
}

/// The channel of SPICE's agent, and of all that cannot be one.
pub(super) const AGENT: Use = Use::Channel("vdagent");

/// Adds the character device `id`.
pub(super) fn add(plan: &mut Plan<'_>, handed: &Handed, source: &CharSource, id: &str, used: Use) {
    if matches!(source.backend, CharBackend::SpiceVmc | CharBackend::SpicePort(_)) {
        needs_type(plan, source, "chardev-spicevmc");
    }
    let listening = handed.chars.get(&source.path).copied();
    let Some(mut text) = backend(&source.backend, id, listening, used) else {
        let message = format!("QEMU has no character device of type '{}'", source.backend.as_str());
        plan.unsupported(&format!("{}/@type", source.path), message, "choose another type");
        return;
    };
    if let Some(log) = &source.log {
        text.push_str(&format!(",logfile={},logappend={}", escaped(&log.file), on_off(log.append)));
    }
    plan.args.pair("-chardev", text);
}

/// QEMU's modules are optional.
fn needs_type(plan: &mut Plan<'_>, source: &CharSource, name: &str) {
    if !plan.qemu.devices.contains(name) {
        let message = format!("'{}' was built or installed without SPICE", plan.qemu.path.display());
        plan.unsupported(&format!("{}/@type", source.path), message, "install QEMU with its SPICE modules");
    }
}

fn backend(backend: &CharBackend, id: &str, listening: Option<i32>, used: Use) -> Option<String> {
    let spice = match used {
        Use::Channel(name) => name,
        Use::Parallel => "vdagent",
    };
    Some(match backend {
        // A pty, and a socket without a path, are sockets that the daemon reads or keeps.
        CharBackend::Pty | CharBackend::Unix { path: None, .. } => match listening {
            Some(fd) => format!("socket,id={id},fd={fd},server=on,wait=off"),
            None => format!("pty,id={id}"),
        },
        CharBackend::Null => format!("null,id={id}"),
        CharBackend::Vc => format!("vc,id={id}"),
        CharBackend::Stdio => format!("stdio,id={id}"),
        CharBackend::Dev(path) => {
            let kind = if used == Use::Parallel { "parallel" } else { "serial" };
            format!("{kind},id={id},path={}", escaped(path))
        }
        CharBackend::File { path, append } => {
            format!("file,id={id},path={},append={}", escaped(path), on_off(*append))
        }
        CharBackend::Pipe(path) => format!("pipe,id={id},path={}", escaped(path)),
        CharBackend::Udp { bind, connect } => udp(id, bind.as_ref(), connect),
        CharBackend::Tcp { at, listen, protocol, tls: _, reconnect } => {
            let telnet = if *protocol == CharProtocol::Telnet { ",telnet=on" } else { "" };
            let (host, port) = (escaped(&at.host), escaped(&at.service));
            format!("socket,id={id},host={host},port={port}{telnet}{}", role(*listen, *reconnect))
        }
        CharBackend::Unix { path: Some(path), listen, reconnect } => {
            format!("socket,id={id},path={}{}", escaped(path), role(*listen, *reconnect))
        }
        CharBackend::SpiceVmc => format!("spicevmc,id={id},name={spice}"),
        CharBackend::SpicePort(channel) => format!("spiceport,id={id},name={}", escaped(channel)),
        CharBackend::QemuVdagent { clipboard, mouse } => {
            let mut text = format!("qemu-vdagent,id={id},name=vdagent");
            if let Some(on) = clipboard {
                text.push_str(&format!(",clipboard={}", on_off(*on)));
            }
            if let Some(mode) = mouse {
                text.push_str(&format!(",mouse={}", on_off(*mode == MouseMode::Client)));
            }
            text
        }
        CharBackend::Dbus(channel) => format!("dbus,id={id},name={}", escaped(channel)),
        CharBackend::Nmdm => return None,
    })
}

fn udp(id: &str, bind: Option<&CharEndpoint>, connect: &CharEndpoint) -> String {
    let (host, port) = (escaped(&connect.host), escaped(&connect.service));
    let own = bind.map_or("", |b| &b.host);
    let own_port = bind.map(|b| b.service.as_str()).filter(|s| !s.is_empty()).unwrap_or("0");
    format!("udp,id={id},host={host},port={port},localaddr={},localport={}", escaped(own), escaped(own_port))
}

fn role(listen: bool, reconnect: Option<Reconnect>) -> String {
    if listen {
        return ",server=on,wait=off".to_owned();
    }
    match reconnect {
        Some(Reconnect { enabled: true, timeout: Some(seconds) }) => format!(",reconnect={seconds}"),
        _ => String::new(),
    }
}

pub(super) fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
