//! Rules for character devices and what leans on them. Owns what of them libvirt refuses, and what Warren does
//! not start yet.

use super::{Check, at};
use crate::model::{
    ChannelTarget, CharBackend, CharProtocol, ConsoleTarget, Device, DomainDef, GraphicsKind, SerialTarget,
    Severity, SmartcardMode,
};

/// A PC has COM1 to COM4.
const SERIALS: u32 = 4;
/// And LPT1 to LPT3.
const PARALLELS: u32 = 3;
/// The name by which SPICE's agent finds its channel.
const AGENT: &str = "com.redhat.spice.0";

pub(super) fn check(check: &mut Check<'_, DomainDef>) {
    let def = check.doc.def();
    ports(check, def);
    let has_spice = def.devices.iter().any(|d| match d {
        Device::Graphics(g) => matches!(g.kind, GraphicsKind::Spice(_)),
        _ => false,
    });
    for device in &def.devices {
        channel(check, device);
        if let Device::Smartcard(card) = device
            && !matches!(card.mode, SmartcardMode::Passthrough(_))
        {
            let message = "Warren does not give guests the smart cards of the host";
            let remedy = "write mode='passthrough' type='spicevmc'";
            check.unsupported(&at(&card.info.path, "@mode"), message, remedy);
        }
        if let Some(source) = device.char_source() {
            let port = matches!(device, Device::Serial(_) | Device::Parallel(_) | Device::Console(_));
            let kept = port || matches!(device, Device::Channel(_));
            self::source(check, &source.path, &source.backend, kept, has_spice);
            if source.log.is_some() {
                let message = "Warren keeps no log of what a device says";
                check.unsupported(&at(&source.path, "log"), message, "leave <log> out");
            }
        }
    }
}

fn ports(check: &mut Check<'_, DomainDef>, def: &DomainDef) {
    let port = |path: &str| at(path, "target/@port");
    let serials = def.devices.iter().filter_map(|d| match d {
        Device::Serial(s) if s.target == SerialTarget::Isa => Some((port(&s.info.path), s.port)),
        _ => None,
    });
    let parallels = def.devices.iter().filter_map(|d| match d {
        Device::Parallel(p) => Some((port(&p.info.path), p.port)),
        _ => None,
    });
    let (serials, parallels): (Vec<_>, Vec<_>) = (serials.collect(), parallels.collect());
    for (kind, ports, count) in [("serial", serials, SERIALS), ("parallel", parallels, PARALLELS)] {
        if let Some((path, port)) = ports.iter().find(|(_, port)| *port >= count) {
            let message = format!("there is no {kind} port {port}");
            let remedy = format!("a PC has the ports 0 to {}", count - 1);
            check.add(Severity::Unsupported, path, message, &remedy);
        }
        check.unique(&format!("the port of a {kind} device"), ports.into_iter());
    }
}

fn channel(check: &mut Check<'_, DomainDef>, device: &Device) {
    match device {
        Device::Channel(channel) => {
            let agent = matches!(channel.source.backend, CharBackend::SpiceVmc);
            if let ChannelTarget::Virtio(Some(name)) = &channel.target
                && agent
                && name != AGENT
            {
                let message = format!("a channel of SPICE's agent cannot have the name '{name}'");
                let remedy = format!("leave it out, or write '{AGENT}'");
                check.error(&at(&channel.info.path, "target/@name"), message, &remedy);
            }
        }
        Device::Console(console) if console.target != ConsoleTarget::Virtio => {
            let path = at(&console.info.path, "target/@type");
            check.unsupported(&path, "a PC of QEMU has no console of this type", "write type='virtio'");
        }
        _ => {}
    }
}

/// `kept`: whether the service may read or keep the device's socket.
fn source(check: &mut Check<'_, DomainDef>, path: &str, backend: &CharBackend, kept: bool, has_spice: bool) {
    let kind = backend.as_str();
    let host = "write type='pty': the service hands the console out";
    let (message, remedy) = match backend {
        CharBackend::Dev(_) | CharBackend::File { .. } | CharBackend::Pipe(_) => {
            (format!("Warren does not join a guest to a '{kind}' of the host yet"), host)
        }
        CharBackend::Unix { path: Some(_), .. } => {
            ("Warren does not join a guest to a socket with a path yet".to_owned(), host)
        }
        CharBackend::Stdio => ("Warren's QEMU has no streams of its own".to_owned(), host),
        CharBackend::Dbus(_) => ("Warren has no display of type dbus yet".to_owned(), host),
        CharBackend::Nmdm => ("QEMU has no null modem".to_owned(), host),
        CharBackend::Pty | CharBackend::Unix { path: None, .. } if !kept => {
            (format!("Warren hands out no '{kind}' of this device"), "write type='tcp'")
        }
        CharBackend::Tcp { tls: Some(true), .. }
        | CharBackend::Tcp { protocol: CharProtocol::Tls | CharProtocol::Telnets, .. } => {
            ("Warren has no certificates for TLS".to_owned(), "leave TLS out")
        }
        CharBackend::SpiceVmc | CharBackend::SpicePort(_) if !has_spice => (
            format!("a '{kind}' needs a display of SPICE, and there is none"),
            "add <graphics type='spice'/>",
        ),
        _ => return,
    };
    check.unsupported(&at(path, "@type"), message, remedy);
}
