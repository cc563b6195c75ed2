//! Interfaces: one `-netdev` and one `-device` each, so that every interface is a segment of its own. Options
//! and their order are libvirt's; a `-netdev` with addresses is among the options of the file that QEMU reads, since
//! everybody can read arguments.

mod device;
mod netdev;

use serde_json::{Value, json};

use super::{NicFd, Plan};
use crate::model::{DomainDef, InterfaceDef, InterfaceKind, NicTeaming};

/// Adds an interface; `index` counts all of them, as the descriptors and the boot order do.
pub(super) fn add(plan: &mut Plan<'_>, nic: &InterfaceDef, index: usize, handed: Option<&NicFd>) {
    let id = alias(plan.def, index);
    if !is_id(&id) {
        let remedy = "a letter, then letters, digits, '-', '.' and '_', 64 at most";
        plan.error(&nic.info.path, format!("'{}' cannot be an alias", id.escape_debug()), remedy);
    }
    let host_id = format!("host{id}");
    if !plan.slots.take_id(&id) || !plan.slots.take_id(&host_id) {
        plan.error(&nic.info.path, format!("the alias '{id}' is there twice"), "give each device its own");
    }
    if let InterfaceKind::Hostdev { .. } = nic.kind {
        return of_the_host(plan, nic, index, &id);
    }
    let Some(mut netdev) = netdev::of(plan, nic, &id, handed) else {
        return;
    };
    netdev["id"] = host_id.as_str().into();
    backend(plan, &nic.info.path, &netdev);

    let mut device = device::of(plan, nic);
    device["netdev"] = host_id.into();
    device["id"] = id.into();
    match nic.mac {
        Some(mac) => device["mac"] = mac.to_string().into(),
        None => plan.error(&nic.info.path, "the interface has no MAC address yet", ""),
    }
    finish(plan, nic, index, device);
}

/// What a network device says of where it is, on the host or inside QEMU.
const ADDRESSES: [&str; 6] = ["listen", "mcast", "udp", "net", "ipv6-prefix", "guestfwd"];

/// The host's side of an interface, or of a channel.
pub(super) fn backend(plan: &mut Plan<'_>, path: &str, netdev: &Value) {
    if ADDRESSES.iter().all(|name| netdev.get(name).is_none()) {
        return plan.args.json("-netdev", netdev);
    }
    let parts = netdev.as_object().into_iter().flatten().filter(|(name, _)| *name != "id");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let options: Vec<(&str, String)> = parts.map(|(name, value)| (name.as_str(), text(value))).collect();
    if plan.options("netdev", netdev["id"].as_str().unwrap_or_default(), &options).is_err() {
        let message =
            "an address or an alias as long as this cannot be handed to QEMU without showing it to everybody";
        plan.unsupported(path, message, "write a shorter one");
    }
}

/// A virtual function of a network card: no `-netdev`, for the card itself is the way out.
fn of_the_host(plan: &mut Plan<'_>, nic: &InterfaceDef, index: usize, id: &str) {
    let InterfaceKind::Hostdev { address: Some(pci), .. } = &nic.kind else {
        let path = format!("{}/source/address/@type", nic.info.path);
        plan.unsupported(&path, "only PCI devices of the host can be a guest's NIC", "write type='pci'");
        return;
    };
    let host = format!("{:04x}:{:02x}:{:02x}.{:x}", pci.domain, pci.bus, pci.slot, pci.function);
    let mut device = json!({ "driver": "vfio-pci", "host": host, "id": id });
    if let Some(NicTeaming::Transient { partner }) = &nic.teaming {
        device["failover_pair_id"] = partner.as_str().into();
    }
    finish(plan, nic, index, device);
}

/// What comes last of every device: its place in the boot order and in the machine, its number, its ROM.
fn finish(plan: &mut Plan<'_>, nic: &InterfaceDef, index: usize, mut device: Value) {
    if let Some(order) = plan.boot.nics[index] {
        device["bootindex"] = order.into();
    }
    if device["driver"] == "usb-net" {
        plan.usb_place(&nic.info, &mut device);
    } else {
        plan.place(&nic.info, &mut device);
    }
    device::rom(nic, &mut device);
    plan.device(&nic.info.path, &device);
}

/// The name of an interface in QEMU: the one that the user gives, or the next `netN`; devices of the host
/// are `hostdevN`. Names that are given do not count.
pub fn alias(def: &DomainDef, index: usize) -> String {
    let is_host = |nic: &InterfaceDef| matches!(nic.kind, InterfaceKind::Hostdev { .. });
    let Some(nic) = def.interfaces().nth(index) else { return format!("net{index}") };
    if let Some(alias) = &nic.info.alias {
        return alias.clone();
    }
    let same = |other: &&InterfaceDef| other.info.alias.is_none() && is_host(other) == is_host(nic);
    let number = def.interfaces().take(index).filter(same).count();
    format!("{}{number}", if is_host(nic) { "hostdev" } else { "net" })
}

/// QEMU's rule for names of devices, with a bound of Warren's own.
fn is_id(id: &str) -> bool {
    let mut bytes = id.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && id.len() <= 64
}

#[cfg(test)]
mod tests;
