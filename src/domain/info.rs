//! What `GetInfo` answers: a domain's devices, and what went wrong. Owns its shape. Must never ask QEMU: the answer
//! comes from the definition and from what was noted at the start.

use std::net::Ipv4Addr;

use super::guest::Live;
use crate::model::{
    ChannelTarget, Device, DomainDef, GraphicsDef, GraphicsKind, InterfaceKind, Listen, SpicePort,
};
use crate::plan::qemu::{CharDevice, char_devices, nic_alias};

/// Devices in the order of the document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the fields are those of GetInfo in dbus/org.warren1.Domain.xml")]
pub struct Info {
    /// What went wrong last; empty where nothing did.
    pub failure: String,
    pub interfaces: Vec<NicInfo>,
    pub disks: Vec<DiskInfo>,
    pub graphics: Vec<GraphicsInfo>,
    pub consoles: Vec<ConsoleInfo>,
}

/// One NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of GetInfo in dbus/org.warren1.Domain.xml")]
pub struct NicInfo {
    pub mac: String,
    pub kind: String,
    /// The network or the bridge; empty for the other types.
    pub network: String,
    /// The TAP's name; empty while there is none.
    pub target: String,
    pub alias: String,
    pub model: String,
    pub link: bool,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of GetInfo in dbus/org.warren1.Domain.xml")]
pub struct DiskInfo {
    pub target: String,
    pub source: String,
    pub format: String,
    pub readonly: bool,
}

/// One display.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of GetInfo in dbus/org.warren1.Domain.xml")]
pub struct GraphicsInfo {
    pub kind: String,
    /// Empty where it listens on no address.
    pub address: String,
    /// 0 while the guest is off and the port is chosen at start, and where there is none.
    pub port: u16,
    /// The path of its unix socket; empty where there is none, and while the guest is off and the service chooses it.
    pub socket: String,
}

/// One serial or parallel port, console or channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of GetInfo in dbus/org.warren1.Domain.xml")]
pub struct ConsoleInfo {
    pub alias: String,
    /// `serial`, `parallel`, `console` or `channel`.
    pub kind: String,
    /// What it is joined to, by libvirt's word.
    pub source: String,
    /// The name of a channel; empty for the others.
    pub name: String,
    /// The number of a serial or parallel port, from 0.
    pub port: u32,
}

/// The devices of a definition, with what is assigned at run time where the guest runs.
pub(super) fn of(def: &DomainDef, live: Option<&Live>) -> Info {
    let mut info = Info::default();
    for device in &def.devices {
        match device {
            Device::Interface(nic) => {
                let index = info.interfaces.len();
                let network = match &nic.kind {
                    InterfaceKind::Network { network, .. } => network.clone(),
                    InterfaceKind::Bridge { bridge } => bridge.to_string(),
                    _ => String::new(),
                };
                let target = live.and_then(|l| l.nics.get(index)).and_then(|n| n.target.clone());
                info.interfaces.push(NicInfo {
                    mac: nic.mac.map_or_else(String::new, |m| m.to_string()),
                    kind: nic.kind.as_str().to_owned(),
                    network,
                    target: target.unwrap_or_default(),
                    alias: nic_alias(def, index),
                    model: nic.model_on(&def.os.arch).map_or_else(String::new, |m| m.as_str().to_owned()),
                    link: nic.link_up,
                });
            }
            Device::Disk(disk) => info.disks.push(DiskInfo {
                target: disk.target.clone(),
                source: disk.source.as_ref().map_or_else(String::new, |s| s.location.shown()),
                format: disk.source.as_ref().map_or("raw", |s| s.format.as_str()).to_owned(),
                readonly: disk.readonly,
            }),
            Device::Graphics(display) => info.graphics.push(graphics(display, live)),
            _ => {}
        }
    }
    info.consoles = char_devices(def).iter().filter_map(console).collect();
    info
}

fn graphics(display: &GraphicsDef, live: Option<&Live>) -> GraphicsInfo {
    let port = match &display.kind {
        _ if !display.is_on_tcp() => None,
        GraphicsKind::Vnc(vnc) => live.and_then(|l| l.vnc_port).or(vnc.port),
        GraphicsKind::Spice(spice) => match spice.port {
            SpicePort::Port(port) => Some(port),
            _ => live.and_then(|l| l.spice_port),
        },
        _ => None,
    };
    let kind = display.kind.as_str();
    let (mut address, mut socket) = (String::new(), String::new());
    match display.listens.first() {
        Some(Listen::Address(given)) => {
            address = given.clone().unwrap_or_else(|| Ipv4Addr::LOCALHOST.to_string());
        }
        Some(Listen::Socket(Some(path))) => socket.clone_from(path),
        Some(Listen::Socket(None)) => {
            let dir = live.and_then(|live| live.display_dir.as_ref());
            socket =
                dir.map_or_else(String::new, |dir| dir.join(format!("{kind}.sock")).display().to_string());
        }
        _ => {}
    }
    GraphicsInfo { kind: kind.to_owned(), address, port: port.unwrap_or(0), socket }
}

fn console(of: &CharDevice<'_>) -> Option<ConsoleInfo> {
    let (name, port) = match of.device {
        Device::Serial(serial) => (None, serial.port),
        Device::Parallel(parallel) => (None, parallel.port),
        Device::Console(_) => (None, 0),
        Device::Channel(channel) => match &channel.target {
            ChannelTarget::Virtio(name) => (name.clone(), 0),
            _ => (None, 0),
        },
        _ => return None,
    };
    Some(ConsoleInfo {
        alias: of.alias.clone(),
        kind: of.kind.to_owned(),
        source: of.source.backend.as_str().to_owned(),
        name: name.unwrap_or_default(),
        port,
    })
}
