//! Interfaces: one `-netdev` and one `-device` each, so that every interface is a segment of its own.

use serde_json::{Value, json};

use super::{NicFd, Plan};
use crate::model::{InterfaceDef, InterfaceKind, NicModel, SocketAddress};

pub(super) fn add(plan: &mut Plan<'_>, nic: &InterfaceDef, index: usize, handed: Option<NicFd>) {
    let id = nic.info.alias.clone().unwrap_or_else(|| format!("net{index}"));
    if !is_id(&id) {
        let remedy = "a letter, then letters, digits, '-', '.' and '_', 64 at most";
        plan.error(&nic.info.path, format!("'{}' cannot be an alias", id.escape_debug()), remedy);
    }
    let host_id = format!("host{id}");
    if !plan.slots.take_id(&id) || !plan.slots.take_id(&host_id) {
        plan.error(&nic.info.path, format!("the alias '{id}' is there twice"), "give each device its own");
    }
    let Some(mut netdev) = netdev(plan, nic, handed) else {
        return;
    };
    netdev["id"] = host_id.as_str().into();
    plan.args.json("-netdev", &netdev);

    let mut device = json!({ "driver": driver(nic.model), "netdev": host_id, "id": id });
    match nic.mac {
        Some(mac) => device["mac"] = mac.to_string().into(),
        None => plan.error(&nic.info.path, "the interface has no MAC address yet", ""),
    }
    if let Some(order) = plan.boot.nics[index] {
        device["bootindex"] = order.into();
    }
    plan.place(&nic.info, &mut device);
    plan.device(&nic.info.path, &device);
}

fn driver(model: NicModel) -> &'static str {
    match model {
        NicModel::Virtio => "virtio-net-pci",
        other => other.as_str(),
    }
}

/// QEMU's rule for names of devices, with a bound of Warren's own.
fn is_id(id: &str) -> bool {
    let mut bytes = id.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && id.len() <= 64
}

fn netdev(plan: &mut Plan<'_>, nic: &InterfaceDef, handed: Option<NicFd>) -> Option<Value> {
    let source = format!("{}/source", nic.info.path);
    match (&nic.kind, handed) {
        (
            InterfaceKind::Network { .. } | InterfaceKind::Bridge { .. } | InterfaceKind::Ethernet { .. },
            Some(NicFd::Tap(fd)),
        ) => Some(json!({ "type": "tap", "fd": fd.to_string() })),
        (InterfaceKind::Client(_), Some(NicFd::Client(fd))) => {
            Some(json!({ "type": "socket", "fd": fd.to_string() }))
        }
        (InterfaceKind::User, _) => Some(json!({ "type": "user" })),
        (InterfaceKind::Server(at), _) => {
            // An empty address is any local one, which QEMU writes as nothing before the colon.
            let listen = endpoint(plan, &source, at, "")?;
            Some(json!({ "type": "socket", "listen": listen }))
        }
        (InterfaceKind::Mcast(at), _) => {
            let group = endpoint(plan, &source, at, "239.0.0.1")?;
            Some(json!({ "type": "socket", "mcast": group }))
        }
        (InterfaceKind::Udp { remote, local }, _) => {
            let to = endpoint(plan, &source, remote, "127.0.0.1");
            let at = endpoint(plan, &format!("{source}/local"), local, "127.0.0.1");
            Some(json!({ "type": "socket", "udp": to?, "localaddr": at? }))
        }
        (kind, _) => {
            let message = format!("the descriptor of this {} interface was not opened", kind.as_str());
            plan.error(&nic.info.path, message, "");
            None
        }
    }
}

/// `ADDRESS:PORT` as QEMU reads it: IPv4 or a host name, split at the first colon.
fn endpoint(plan: &mut Plan<'_>, path: &str, at: &SocketAddress, empty: &str) -> Option<String> {
    let address = if at.address.is_empty() { empty } else { &at.address };
    if address.contains(':') {
        let message = format!(
            "'{}' is no IPv4 address, and QEMU's socket networks know no other",
            address.escape_debug()
        );
        plan.unsupported(&format!("{path}/@address"), message, "give an IPv4 address or a host name");
        return None;
    }
    if !address.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
        let message = format!("'{}' is no address", address.escape_debug());
        plan.error(&format!("{path}/@address"), message, "give an IPv4 address or a host name");
        return None;
    }
    Some(format!("{address}:{}", at.port))
}
