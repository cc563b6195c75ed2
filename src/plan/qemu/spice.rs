//! SPICE. Its password is never an argument: it is set when QEMU runs.

use super::args::escaped;
use super::display::{address, keymap, socket};
use super::{Handed, Plan};
use crate::model::{GraphicsDef, Listen, MouseMode, Spice, SpiceMode, SpicePort};

/// Where libvirt keeps the certificates of SPICE.
const X509: &str = "/etc/pki/libvirt-spice";

pub(super) fn add(plan: &mut Plan<'_>, handed: &Handed, graphics: &GraphicsDef, spice: &Spice) {
    if !plan.qemu.devices.contains("chardev-spicevmc") {
        let message = format!("'{}' was built or installed without SPICE", plan.qemu.path.display());
        let remedy = "install QEMU with its SPICE modules, or write type='vnc'";
        plan.unsupported(&format!("{}/@type", graphics.info.path), message, remedy);
    }
    let mut options = Vec::new();
    match graphics.listens.first() {
        Some(Listen::Socket(path)) => {
            options.push("unix=on".to_owned());
            options.push(format!("addr={}", escaped(&socket(path.as_deref(), handed, "spice"))));
        }
        Some(Listen::None) => options.push("port=0".to_owned()),
        listen => ports(&mut options, spice, listen, handed),
    }
    if let Some(mode) = spice.mouse {
        options.push(format!("agent-mouse={}", if mode == MouseMode::Client { "on" } else { "off" }));
    }
    if spice.password.is_none() {
        options.push("disable-ticketing=on".to_owned());
    }
    channels(&mut options, spice);
    compression(&mut options, spice);
    if spice.copy_paste == Some(false) {
        options.push("disable-copy-paste=on".to_owned());
    }
    if spice.file_transfer == Some(false) {
        options.push("disable-agent-file-xfer=on".to_owned());
    }
    if spice.gl == Some(true) {
        options.push("gl=on".to_owned());
        options.extend(spice.rendernode.as_ref().map(|node| format!("rendernode={}", escaped(node))));
    }
    options.push("seamless-migration=on".to_owned());
    plan.args.pair("-spice", options.join(","));
    keymap(plan, graphics, spice.keymap.as_deref());
}

fn ports(options: &mut Vec<String>, spice: &Spice, listen: Option<&Listen>, handed: &Handed) {
    let place = handed.displays.spice.as_ref();
    let found = place.map_or(0, |place| place.port);
    let plain = match spice.port {
        SpicePort::Port(port) => Some(port),
        SpicePort::Auto => Some(found),
        SpicePort::None => None,
    };
    let tls = match spice.tls_port {
        SpicePort::Port(port) => Some(port),
        _ => None,
    };
    if let Some(port) = plain.or(tls.is_none().then_some(0)) {
        options.push(format!("port={port}"));
    }
    options.extend(tls.map(|port| format!("tls-port={port}")));
    if plain.is_some() || tls.is_some() {
        let address = place.map_or_else(|| address(listen), |place| place.address.to_string());
        options.push(format!("addr={}", escaped(&address)));
    }
    if tls.is_some() {
        options.push(format!("x509-dir={X509}"));
    }
}

fn channels(options: &mut Vec<String>, spice: &Spice) {
    let default = std::iter::once(("default", spice.default_mode));
    let named = spice.channels.iter().map(|(channel, mode)| (channel.as_str(), *mode));
    for (name, mode) in default.chain(named) {
        match mode {
            SpiceMode::Secure => options.push(format!("tls-channel={name}")),
            SpiceMode::Insecure => options.push(format!("plaintext-channel={name}")),
            SpiceMode::Any => {}
        }
    }
}

fn compression(options: &mut Vec<String>, spice: &Spice) {
    options.extend(spice.image.map(|c| format!("image-compression={}", c.as_str())));
    options.extend(spice.jpeg.map(|c| format!("jpeg-wan-compression={}", c.as_str())));
    options.extend(spice.zlib.map(|c| format!("zlib-glz-wan-compression={}", c.as_str())));
    options
        .extend(spice.playback.map(|on| format!("playback-compression={}", if on { "on" } else { "off" })));
    options.extend(spice.streaming.map(|s| format!("streaming-video={}", s.as_str())));
}
