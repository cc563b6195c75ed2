//! The guest's buses: where each device sits. Owns libvirt's rules for that; must never add a device.

use serde_json::Value;

use super::Plan;
use crate::model::{Address, DeviceInfo};

pub(super) fn usb(_plan: &mut Plan<'_>, info: &DeviceInfo, device: &mut Value) {
    let (bus, port) = match &info.address {
        Some(Address::Usb { bus, port }) => (*bus, port.as_str()),
        _ => (0, ""),
    };
    device["bus"] = if bus == 0 { "usb.0".into() } else { format!("usb{bus}.0").into() };
    if !port.is_empty() {
        device["port"] = port.into();
    }
}

pub(super) fn drive(_plan: &mut Plan<'_>, info: &DeviceInfo, device: &mut Value) {
    let Some(Address::Drive(at)) = info.address else { return };
    device["bus"] = format!("scsi{}.0", at.controller).into();
    device["channel"] = at.bus.into();
    device["scsi-id"] = at.target.into();
    device["lun"] = at.unit.into();
}

pub(super) fn port(_plan: &mut Plan<'_>, info: &DeviceInfo, device: &mut Value) {
    let Some(Address::Port { controller, bus, port }) = info.address else { return };
    device["bus"] = format!("virtio-serial{controller}.{bus}").into();
    if let Some(port) = port {
        device["nr"] = port.into();
    }
}
