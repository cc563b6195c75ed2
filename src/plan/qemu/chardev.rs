//! `-chardev`: what a character device is joined to. Owns QEMU's words for every source. Names of the document's own
//! are no arguments.

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
    let Some(mut options) = backend(&source.backend, listening, used) else {
        let message = format!("QEMU has no character device of type '{}'", source.backend.as_str());
        plan.unsupported(&format!("{}/@type", source.path), message, "choose another type");
        return;
    };
    if let Some(log) = &source.log {
        options.push(("logfile", log.file.clone()));
        options.push(("logappend", on_off(log.append).to_owned()));
    }
    if !names_something(&source.backend) && source.log.is_none() {
        let text = options.iter().skip(1).map(|(name, value)| format!(",{name}={}", escaped(value)));
        plan.args.pair("-chardev", format!("{},id={id}{}", options[0].1, text.collect::<String>()));
    } else if plan.options("chardev", id, &options).is_err() {
        let message = "QEMU can be handed only a short name, path and alias here, without quotes";
        plan.unsupported(&source.path, message, "choose others");
    }
}

/// Whether it is joined to something by a name of the document's own.
fn names_something(backend: &CharBackend) -> bool {
    match backend {
        CharBackend::Dev(_)
        | CharBackend::File { .. }
        | CharBackend::Pipe(_)
        | CharBackend::Udp { .. }
        | CharBackend::Tcp { .. }
        | CharBackend::Unix { path: Some(_), .. }
        | CharBackend::SpicePort(_)
        | CharBackend::Dbus(_) => true,
        CharBackend::Pty
        | CharBackend::Unix { path: None, .. }
        | CharBackend::Null
        | CharBackend::Vc
        | CharBackend::Stdio
        | CharBackend::SpiceVmc
        | CharBackend::QemuVdagent { .. }
        | CharBackend::Nmdm => false,
    }
}

/// QEMU's modules are optional.
fn needs_type(plan: &mut Plan<'_>, source: &CharSource, name: &str) {
    if !plan.qemu.devices.contains(name) {
        let message = format!("'{}' was built or installed without SPICE", plan.qemu.path.display());
        plan.unsupported(&format!("{}/@type", source.path), message, "install QEMU with its SPICE modules");
    }
}

/// QEMU's options, its word for the kind first.
fn backend(backend: &CharBackend, listening: Option<i32>, used: Use) -> Option<Vec<(&'static str, String)>> {
    let of = |kind: &str| vec![("backend", kind.to_owned())];
    let with = |kind: &str, name: &'static str, value: &str| {
        vec![("backend", kind.to_owned()), (name, value.to_owned())]
    };
    let spice = match used {
        Use::Channel(name) => name,
        Use::Parallel => "vdagent",
    };
    Some(match backend {
        // A pty, and a socket without a path, are sockets that the daemon reads or keeps.
        CharBackend::Pty | CharBackend::Unix { path: None, .. } => match listening {
            Some(fd) => {
                let mut options = with("socket", "fd", &fd.to_string());
                role(true, None, &mut options);
                options
            }
            None => of("pty"),
        },
        CharBackend::Null => of("null"),
        CharBackend::Vc => of("vc"),
        CharBackend::Stdio => of("stdio"),
        CharBackend::Dev(path) => {
            with(if used == Use::Parallel { "parallel" } else { "serial" }, "path", path)
        }
        CharBackend::File { path, append } => {
            let mut options = with("file", "path", path);
            options.push(("append", on_off(*append).to_owned()));
            options
        }
        CharBackend::Pipe(path) => with("pipe", "path", path),
        CharBackend::Udp { bind, connect } => udp(bind.as_ref(), connect),
        CharBackend::Tcp { at, listen, protocol, tls: _, reconnect } => {
            let mut options = with("socket", "host", &at.host);
            options.push(("port", at.service.clone()));
            if *protocol == CharProtocol::Telnet {
                options.push(("telnet", "on".to_owned()));
            }
            role(*listen, *reconnect, &mut options);
            options
        }
        CharBackend::Unix { path: Some(path), listen, reconnect } => {
            let mut options = with("socket", "path", path);
            role(*listen, *reconnect, &mut options);
            options
        }
        CharBackend::SpiceVmc => with("spicevmc", "name", spice),
        CharBackend::SpicePort(channel) => with("spiceport", "name", channel),
        CharBackend::QemuVdagent { clipboard, mouse } => {
            let mut options = with("qemu-vdagent", "name", "vdagent");
            options.extend(clipboard.map(|on| ("clipboard", on_off(on).to_owned())));
            options.extend(mouse.map(|mode| ("mouse", on_off(mode == MouseMode::Client).to_owned())));
            options
        }
        CharBackend::Dbus(channel) => with("dbus", "name", channel),
        CharBackend::Nmdm => return None,
    })
}

fn udp(bind: Option<&CharEndpoint>, connect: &CharEndpoint) -> Vec<(&'static str, String)> {
    let own = bind.map_or("", |b| &b.host);
    let own_port = bind.map(|b| b.service.as_str()).filter(|s| !s.is_empty()).unwrap_or("0");
    vec![
        ("backend", "udp".to_owned()),
        ("host", connect.host.clone()),
        ("port", connect.service.clone()),
        ("localaddr", own.to_owned()),
        ("localport", own_port.to_owned()),
    ]
}

fn role(listen: bool, reconnect: Option<Reconnect>, options: &mut Vec<(&'static str, String)>) {
    if listen {
        options.extend([("server", "on".to_owned()), ("wait", "off".to_owned())]);
    } else if let Some(Reconnect { enabled: true, timeout: Some(seconds) }) = reconnect {
        options.push(("reconnect", seconds.to_string()));
    }
}

pub(super) fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
