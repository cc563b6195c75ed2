//! Serial ports and consoles. Owns libvirt's words and defaults for character devices; must never open
//! what they name.

use super::DeviceInfo;
use crate::xml::view::View;

/// `<serial>`: a socket that the daemon reads; what `type` the document gives (`pty` or `unix`)
/// makes no difference to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `<target port>`, else the one after the highest so far, from 0.
    pub port: u32,
}

/// `<parallel>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParallelDef {
    /// What every device may say.
    pub info: DeviceInfo,
}

/// `<channel>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelDef {
    /// What every device may say.
    pub info: DeviceInfo,
}

/// `<console>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleDef {
    /// What every device may say.
    pub info: DeviceInfo,
}

/// A `<serial>`, or a `<console>` that stands for one. Where no port is given, it is the one after the
/// highest so far.
pub(super) fn serial(view: &View<'_>, next_port: &mut u32) -> Option<SerialDef> {
    let kind = view.filled("type").unwrap_or("pty");
    if !matches!(kind, "pty" | "unix") {
        view.accept();
        let message = format!("Warren does not have a <{}> of type '{kind}' yet", view.name());
        view.unsupported_at("type", message, "give pty or unix");
        return None;
    }
    let target = view.child("target");
    let target_type = target.as_ref().and_then(|t| t.filled("type")).unwrap_or("isa-serial");
    if !matches!(target_type, "isa-serial" | "serial") {
        view.accept();
        let message = format!("Warren does not have a <{}> as '{target_type}' yet", view.name());
        view.unsupported(message, "a serial port is isa-serial");
        return None;
    }
    if let Some(model) = target.as_ref().and_then(|t| t.child("model"))
        && model.filled("name").is_some_and(|n| n != "isa-serial")
    {
        model.unsupported_at("name", "Warren has no other serial port than isa-serial yet", "");
    }
    let info = DeviceInfo::read(view);
    // Where libvirt found the pty of a running guest.
    view.attr("tty");
    if let Some(source) = view.child("source") {
        source.accept();
        if kind == "unix" {
            source.warning("the path of the socket has no effect: Warren hands the console out itself", "");
        }
    }
    let port = target.and_then(|t| t.parsed("port")).unwrap_or(*next_port);
    *next_port = port.saturating_add(1).max(*next_port);
    Some(SerialDef { info, port })
}

/// A `<console>` beside a `<serial>`: the first says again what the serial port says.
pub(super) fn second_console(view: &View<'_>) {
    let target = view.element().child("target").and_then(|t| t.attr("type"));
    if matches!(target, None | Some("serial")) {
        view.accept();
    } else {
        view.leave();
    }
}
