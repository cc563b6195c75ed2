//! The guest's side of an interface, as `-device`: the driver and its properties, up to the `netdev`.

use serde_json::{Value, json};

use super::super::Plan;
use crate::model::{Address, InterfaceDef, InterfaceKind, NicDriver, NicTeaming, TxMode};

/// Properties of a virtio NIC that `<driver>` switches, with QEMU's names, in libvirt's order.
const BEFORE_TX: [(&str, &str); 4] =
    [("iommu", "iommu_platform"), ("ats", "ats"), ("packed", "packed"), ("page_per_vq", "page-per-vq")];
const EVENTS: [(&str, &str); 2] = [("ioeventfd", "ioeventfd"), ("event_idx", "event_idx")];
const HASHES: [(&str, &str); 2] = [("rss", "rss"), ("rss_hash_report", "hash")];

/// Whether the guest sees a virtio NIC.
pub(super) fn is_virtio(plan: &Plan<'_>, nic: &InterfaceDef) -> bool {
    nic.model_on(&plan.def.os.arch).is_some_and(|model| model.is_virtio())
}

/// The driver, and what is said of it.
pub(super) fn of(plan: &Plan<'_>, nic: &InterfaceDef) -> Value {
    let model = nic.model_on(&plan.def.os.arch);
    let word = model.as_ref().map_or("", |model| model.as_str());
    if !is_virtio(plan, nic) {
        return json!({ "driver": word });
    }
    let mut device = json!({ "driver": virtio_driver(word, nic.info.address.as_ref()) });
    virtio(nic, &mut device);
    device
}

fn virtio_driver(model: &str, address: Option<&Address>) -> String {
    let bus = match address {
        Some(Address::Other(word)) if word == "ccw" => "ccw",
        Some(Address::Other(word)) if word == "virtio-mmio" => "device",
        _ => "pci",
    };
    format!("virtio-net-{bus}{}", model.trim_start_matches("virtio"))
}

fn virtio(nic: &InterfaceDef, device: &mut Value) {
    let driver = &nic.driver;
    switches(driver, &BEFORE_TX, device);
    if let Some(mode) = driver.txmode {
        device["tx"] = match mode {
            TxMode::Iothread => "bh",
            TxMode::Timer => "timer",
        }
        .into();
    }
    switches(driver, &EVENTS, device);
    for (name, on) in &driver.host {
        // What both sides have, QEMU names after the host where it is a matter of segments.
        let name = if matches!(*name, "csum" | "gso" | "mrg_rxbuf") {
            (*name).to_owned()
        } else {
            format!("host_{name}")
        };
        device[name] = (*on).into();
    }
    for (name, on) in &driver.guest {
        device[format!("guest_{name}")] = (*on).into();
    }
    if let Some(queues) = queues(nic).filter(|n| *n > 1) {
        device["mq"] = true.into();
        // One for each direction of each queue, one for settings and one for control.
        device["vectors"] = (2 * u64::from(queues) + 2).into();
    }
    for (name, size) in [("rx_queue_size", driver.rx_queue_size), ("tx_queue_size", driver.tx_queue_size)] {
        if let Some(size) = size {
            device[name] = size.into();
        }
    }
    switches(driver, &HASHES, device);
    if let Some(bytes) = nic.mtu {
        device["host_mtu"] = bytes.into();
    }
    if nic.teaming == Some(NicTeaming::Persistent) {
        device["failover"] = true.into();
    }
}

fn switches(driver: &NicDriver, names: &[(&str, &str)], device: &mut Value) {
    for (name, property) in names {
        if let Some(on) = driver.switch(name) {
            device[*property] = on.into();
        }
    }
}

/// The queues of those types that can have several.
fn queues(nic: &InterfaceDef) -> Option<u32> {
    let several =
        nic.kind.has_tap() || matches!(nic.kind, InterfaceKind::VhostUser(_) | InterfaceKind::Vdpa { .. });
    nic.driver.queues.filter(|_| several)
}

/// `<rom>`.
pub(super) fn rom(nic: &InterfaceDef, device: &mut Value) {
    let Some(rom) = &nic.rom else { return };
    if rom.enabled == Some(false) {
        device["rombar"] = 0.into();
        device["romfile"] = "".into();
        return;
    }
    if let Some(bar) = rom.bar {
        device["rombar"] = i32::from(bar).into();
    }
    if let Some(file) = &rom.file {
        device["romfile"] = file.to_string_lossy().into();
    }
}
