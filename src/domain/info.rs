//! What an authorised caller is told of a domain's devices. Owns the shape of `GetInfo`; must never
//! ask QEMU: it is put together from the definition and from what was noted at the start.

use super::guest::Guest;
use crate::model::{Device, DomainDef, InterfaceKind};
use crate::plan::qemu::nic_alias;

/// Devices in the order of the document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the fields are those of GetInfo in dbus/org.warren1.Domain.xml")]
pub struct Info {
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
    pub address: String,
    /// 0 while the guest is off and the port is chosen at start.
    pub port: u16,
}

/// One serial console.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of GetInfo in dbus/org.warren1.Domain.xml")]
pub struct ConsoleInfo {
    pub alias: String,
    pub port: u32,
}

/// The devices of a definition, with what is assigned at run time where the guest runs.
pub(super) fn of(def: &DomainDef, guest: Option<&Guest>) -> Info {
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
                let target = guest.and_then(|g| g.live.nics.get(index)).and_then(|n| n.target.clone());
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
            Device::Graphics(graphics) => info.graphics.push(GraphicsInfo {
                kind: "vnc".to_owned(),
                address: graphics.listen.to_string(),
                port: guest.and_then(|g| g.live.vnc_port).or(graphics.port).unwrap_or(0),
            }),
            Device::Serial(serial) => {
                let alias = format!("serial{}", info.consoles.len());
                info.consoles.push(ConsoleInfo { alias, port: serial.port });
            }
            _ => {}
        }
    }
    info
}
