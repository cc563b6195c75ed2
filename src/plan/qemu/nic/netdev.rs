//! The host's side of an interface, as `-netdev`.

use serde_json::{Value, json};

use super::super::args::escaped;
use super::super::{NicFd, Plan};
use crate::model::{InterfaceDef, InterfaceKind, NicBackendDriver, SocketAddress, VhostUserSource};

/// The network device without its id; `None` with a finding that says why not.
pub(super) fn of(plan: &mut Plan<'_>, nic: &InterfaceDef, id: &str, handed: Option<&NicFd>) -> Option<Value> {
    let source = format!("{}/source", nic.info.path);
    match (&nic.kind, handed) {
        (kind, Some(NicFd::Tap { queues, vhost })) if kind.has_tap() => Some(tap(plan, nic, queues, vhost)),
        (InterfaceKind::Client(_), Some(NicFd::Client(fd))) => {
            Some(json!({ "type": "socket", "fd": fd.to_string() }))
        }
        (InterfaceKind::User { .. }, Some(NicFd::Passt(fd))) if nic.has_passt() => {
            let addr = json!({ "type": "fd", "str": fd.to_string() });
            Some(json!({ "type": "stream", "addr": addr, "server": false }))
        }
        (InterfaceKind::User { .. } | InterfaceKind::Internal, _) if !nic.has_passt() => Some(user(nic)),
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
        (InterfaceKind::VhostUser(at), _) => Some(vhost_user(plan, nic, id, at)),
        (InterfaceKind::Vdpa { .. }, Some(NicFd::Vdpa { fd, set })) => {
            plan.args.pair("-add-fd", format!("set={set},fd={fd},opaque={id}-vdpa"));
            let netdev = json!({ "type": "vhost-vdpa", "vhostdev": format!("/dev/fdset/{set}") });
            Some(with_queues(nic, netdev))
        }
        (InterfaceKind::Null | InterfaceKind::Vds, _) => {
            let message = format!("QEMU has no interfaces of type '{}'", nic.kind.as_str());
            plan.unsupported(&format!("{}/@type", nic.info.path), message, "choose another type");
            None
        }
        (kind, _) => {
            let message = format!("the descriptor of this {} interface was not opened", kind.as_str());
            plan.error(&nic.info.path, message, "");
            None
        }
    }
}

fn tap(plan: &mut Plan<'_>, nic: &InterfaceDef, queues: &[i32], vhost: &[i32]) -> Value {
    let list = |fds: &[i32]| fds.iter().map(i32::to_string).collect::<Vec<_>>().join(":");
    let mut netdev = json!({ "type": "tap" });
    netdev[if queues.len() > 1 { "fds" } else { "fd" }] = list(queues).into();
    if !vhost.is_empty() {
        netdev["vhost"] = true.into();
        netdev[if vhost.len() > 1 { "vhostfds" } else { "vhostfd" }] = list(vhost).into();
    } else if nic.driver.name == Some(NicBackendDriver::Vhost) && super::device::is_virtio(plan, nic) {
        let path = format!("{}/driver/@name", nic.info.path);
        plan.unsupported(
            &path,
            "this host has no /dev/vhost-net",
            "load the module vhost_net, or leave name out",
        );
    }
    if let Some(bytes) = nic.sndbuf {
        netdev["sndbuf"] = bytes.into();
    }
    netdev
}

/// QEMU's own network, with the subnet of the addresses that the guest is to see.
fn user(nic: &InterfaceDef) -> Value {
    let mut netdev = json!({ "type": "user" });
    for ip in &nic.ips {
        let prefix = ip.prefix.filter(|bits| *bits > 0);
        if ip.address.is_ipv4() {
            let prefix = prefix.map_or_else(String::new, |bits| format!("/{bits}"));
            netdev["net"] = format!("{}{prefix}", ip.address).into();
        } else {
            netdev["ipv6-prefix"] = ip.address.to_string().into();
            if let Some(bits) = prefix {
                netdev["ipv6-prefixlen"] = bits.into();
            }
        }
    }
    netdev
}

fn vhost_user(plan: &mut Plan<'_>, nic: &InterfaceDef, id: &str, at: &VhostUserSource) -> Value {
    let chardev = format!("char{id}");
    let at = match at {
        VhostUserSource::Socket { path, listens: true, .. } => {
            format!("path={},server=on", escaped(&path.to_string_lossy()))
        }
        VhostUserSource::Socket { path, reconnect, .. } => {
            // QEMU 9.2 counts in milliseconds.
            let reconnect = reconnect.map_or_else(String::new, |seconds| match plan.qemu.version {
                (major, minor, _) if (major, minor) >= (9, 2) => {
                    format!(",reconnect-ms={}", u64::from(seconds) * 1000)
                }
                _ => format!(",reconnect={seconds}"),
            });
            format!("path={}{reconnect}", escaped(&path.to_string_lossy()))
        }
        // Where passt would be reached, below the guest's runtime directory.
        VhostUserSource::Passt { .. } => format!("path={id}.passt"),
    };
    plan.args.pair("-chardev", format!("socket,id={chardev},{at}"));
    with_queues(nic, json!({ "type": "vhost-user", "chardev": chardev }))
}

fn with_queues(nic: &InterfaceDef, mut netdev: Value) -> Value {
    if let Some(queues) = nic.driver.queues.filter(|n| *n > 1) {
        netdev["queues"] = queues.into();
    }
    netdev
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
