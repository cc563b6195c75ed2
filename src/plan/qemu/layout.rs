//! The places of devices on buses other than PCI's first.

use serde_json::Value;

use super::Plan;
use crate::model::{Address, DeviceInfo};

pub(super) fn usb(_plan: &mut Plan<'_>, info: &DeviceInfo, device: &mut Value) {
    device["bus"] = "usb.0".into();
    if let Some(Address::Usb { port, .. }) = &info.address
        && !port.is_empty()
    {
        device["port"] = port.as_str().into();
    }
}

pub(super) fn port(_plan: &mut Plan<'_>, info: &DeviceInfo, device: &mut Value) {
    let (controller, port) = match info.address {
        Some(Address::Port { controller, port, .. }) => (controller, port),
        _ => (0, None),
    };
    if device["driver"].as_str().is_some_and(|d| d.starts_with("ccid-")) {
        device["bus"] = format!("ccid{controller}.0").into();
        return;
    }
    device["bus"] = format!("virtio-serial{controller}.0").into();
    if let Some(port) = port {
        device["nr"] = port.into();
    }
}
