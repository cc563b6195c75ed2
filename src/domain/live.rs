//! The document of a running guest: the definition as it runs, with what was assigned at the start. Owns
//! where that is written; must never change the definition itself, which stays as its owner wrote it.

use super::guest::{Live, LiveDevice, LiveFirmware};
use crate::model::{Device, DomainDoc, GraphicsKind, Listen};
use crate::xml::Element;

/// The document with the names of TAPs, the names and the places of devices in QEMU, and the ports of
/// displays. Where it could not be read any more it is left as it is.
pub(super) fn document(mut doc: DomainDoc, live: &Live) -> DomainDoc {
    let nics: Vec<String> = doc.def().interfaces().map(|nic| nic.info.path.clone()).collect();
    let displays: Vec<_> = doc.def().devices.iter().flat_map(|d| ports(d, live)).collect();
    let sockets: Vec<_> = doc.def().devices.iter().filter_map(socket).collect();
    let edited = doc.edit(|tree| {
        for (path, nic) in nics.iter().zip(&live.nics) {
            if let (Some(target), Some(element)) = (&nic.target, tree.find_mut(path)) {
                assign(element, "target", &[("dev", target)]);
            }
        }
        for (path, attr, port) in displays {
            if let Some(element) = tree.find_mut(&path) {
                element.set_attr(attr, &port.to_string());
            }
        }
        for path in sockets {
            if let Some(element) = tree.find_mut(&path) {
                assign(element, "listen", &[("type", "socket")]);
            }
        }
        if let (Some(firmware), Some(os)) = (&live.firmware, tree.find_mut("/domain/os")) {
            self::firmware(os, firmware);
        }
        for device in &live.devices {
            if let Some(element) = tree.find_mut(&device.path) {
                place(element, device);
            }
        }
    });
    if let Err(e) = edited {
        let name = &doc.def().name;
        tracing::warn!(domain = %name, "what was assigned cannot be written: {}", crate::chain(&e));
    }
    doc
}

/// The ports that a display has found, by the attributes that say them.
fn ports(device: &Device, live: &Live) -> Vec<(String, &'static str, u16)> {
    let Device::Graphics(display) = device else { return Vec::new() };
    let (port, websocket) = match display.kind {
        _ if !display.is_on_tcp() => (None, None),
        GraphicsKind::Vnc(_) => (live.vnc_port, live.vnc_websocket),
        GraphicsKind::Spice(_) => (live.spice_port, None),
        _ => (None, None),
    };
    let written = |(attr, port): (_, Option<u16>)| Some((display.info.path.clone(), attr, port?));
    [("port", port), ("websocket", websocket)].into_iter().filter_map(written).collect()
}

/// The element of a display that is a socket because the document asks for no port.
fn socket(device: &Device) -> Option<String> {
    let Device::Graphics(display) = device else { return None };
    (display.listens.first() == Some(&Listen::Socket(None))).then(|| display.info.path.clone())
}

/// What the document leaves to the service is told as libvirt writes it.
fn firmware(os: &mut Element, firmware: &LiveFirmware) {
    let has_path = |e: &Element| !e.text().trim().is_empty();
    if !os.child("loader").is_some_and(has_path) {
        let readonly = (firmware.kind == "pflash").then_some(("readonly", "yes"));
        let attrs: Vec<_> = readonly.into_iter().chain([("type", firmware.kind.as_str())]).collect();
        assign(os, "loader", &attrs);
        if let Some(loader) = os.child_mut("loader") {
            loader.set_text(&firmware.loader);
        }
    }
    if let Some(template) = &firmware.template {
        assign(os, "nvram", &[("template", template)]);
    }
}

fn place(element: &mut Element, device: &LiveDevice) {
    assign(element, "alias", &[("name", &device.alias)]);
    if let Some((bus, slot, function)) = device.pci
        && element.child("address").is_none()
    {
        let (bus, slot) = (format!("0x{bus:02x}"), format!("0x{slot:02x}"));
        let function = format!("0x{function:x}");
        let address =
            [("type", "pci"), ("domain", "0x0000"), ("bus", &bus), ("slot", &slot), ("function", &function)];
        assign(element, "address", &address);
    }
}

fn assign(device: &mut Element, child: &str, attrs: &[(&str, &str)]) {
    if device.child(child).is_none() {
        device.append(Element::new(child));
    }
    if let Some(there) = device.child_mut(child) {
        attrs.iter().for_each(|(name, value)| there.set_attr(name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::guest::LiveNic;

    #[test]
    fn names_are_written_where_they_belong() {
        let text = "<domain type='qemu'><name>n</name><memory>1</memory><os><type>hvm</type></os><devices>\
                    <interface type='ethernet'/><interface type='user'><alias name='ua-a'/></interface>\
                    <interface type='bridge'><source bridge='b'/><target dev='t0'/></interface></devices></domain>";
        let doc = DomainDoc::parse(text).unwrap();
        let mut assigned = Live::default();
        let target = |name: Option<&str>| LiveNic { target: name.map(str::to_owned), downscript: None };
        assigned.nics = vec![target(Some("wtap0")), target(None), target(Some("t0"))];
        let device = |n: u32, alias: &str| LiveDevice {
            path: format!("/domain/devices/interface[{n}]"),
            alias: alias.into(),
            pci: (n == 3).then_some((0, 5, 0)),
        };
        assigned.devices = vec![device(1, "net0"), device(2, "ua-a"), device(3, "net1")];
        let live = document(doc.clone(), &assigned).to_xml();
        for wanted in [
            "<interface type='ethernet'>",
            "<target dev='wtap0'/>",
            "<alias name='net0'/>",
            "<interface type='user'><alias name='ua-a'/></interface>",
            "<target dev='t0'/>",
            "<alias name='net1'/>",
            "<address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>",
        ] {
            assert!(live.contains(wanted), "{wanted} in {live}");
        }
        assert_eq!(doc.to_xml(), text);
        let again = DomainDoc::parse(&live).unwrap();
        assert_eq!(document(again, &assigned).to_xml(), live);
    }
}
