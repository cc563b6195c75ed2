//! `<graphics>`: displays. Owns libvirt's words and defaults for them; must never judge what belongs
//! together.

use std::net::{IpAddr, Ipv4Addr};

use super::DeviceInfo;
use crate::xml::view::View;

/// `<graphics type='vnc'>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphicsDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@port` from 5900; `None` for `-1` or `autoport='yes'`: QEMU picks a free one.
    pub port: Option<u16>,
    /// `@listen` or `<listen type='address' address>`, default 127.0.0.1.
    pub listen: std::net::IpAddr,
}

/// The display, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<GraphicsDef> {
    match view.filled("type") {
        Some("vnc") => {}
        Some(other) => {
            view.accept();
            view.unsupported_at("type", format!("Warren has no display of type '{other}' yet"), "give vnc");
            return None;
        }
        None => {
            view.accept();
            view.error_at("type", "the display has no type", "add type='vnc'");
            return None;
        }
    }
    let listen = listen(view);
    let auto = view.yes_no("autoport").unwrap_or(false);
    let port = match view.parsed::<i32>("port") {
        None | Some(-1) => None,
        Some(port) => match u16::try_from(port) {
            Ok(port) if port >= 5900 => Some(port),
            _ => {
                view.error_at("port", format!("{port} is not a port for VNC"), "give 5900 to 65535, or -1");
                None
            }
        },
    };
    Some(GraphicsDef { info: DeviceInfo::read(view), port: port.filter(|_| !auto), listen })
}

/// The address to listen on; a wrong one is remarked on, and the local host stands for it.
fn listen(view: &View<'_>) -> IpAddr {
    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut address = view.filled("listen").map(|a| (view.clone(), "listen", a));
    if let Some(child) = view.child("listen") {
        match child.filled("type").unwrap_or("address") {
            "address" => {
                let inner = child.filled("address");
                if let (Some(inner), Some((_, _, outer))) = (inner, &address)
                    && inner != *outer
                {
                    let message = format!("listen is '{outer}' and <listen> says '{inner}'");
                    view.error_at("listen", message, "leave one out");
                }
                address = inner.map(|a| (child.clone(), "address", a)).or(address);
            }
            other => {
                child.accept();
                let message = format!("Warren's displays do not listen on '{other}' yet");
                child.unsupported_at("type", message, "give type='address'");
            }
        }
    }
    let Some((place, attr, text)) = address else { return LOCAL };
    text.parse().unwrap_or_else(|_| {
        place.unsupported_at(attr, format!("'{text}' is not an IP address"), "give the address itself");
        LOCAL
    })
}
