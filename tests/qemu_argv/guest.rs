//! Definitions, built by hand.

use std::path::Path;

use warren::model::{
    BootDev, Device, DiskBus, DomainDef, DomainDoc, EthernetSide, InterfaceKind, Mac, NicModel, SocketAddress,
};

pub(crate) fn domain(devices: Vec<Device>) -> DomainDef {
    let mut def = parsed("");
    def.devices = devices;
    def
}

pub(crate) fn parsed(devices: &str) -> DomainDef {
    let text = "<domain type='qemu'><name>guest</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>\
                <memory>219200</memory><os><type arch='x86_64'>hvm</type></os>";
    of_document(&format!("{text}<devices>{devices}</devices></domain>"))
}

pub(crate) fn of_document(text: &str) -> DomainDef {
    DomainDoc::parse(text).unwrap().def().clone()
}

/// One device, read from its element; `path` tells it from others of its kind.
fn device(path: &str, text: &str) -> Device {
    let mut device = parsed(text).devices.remove(0);
    device.info_mut().path = format!("/domain/devices/{path}");
    if let Device::Serial(serial) = &mut device {
        serial.source.path.clone_from(&serial.info.path);
    }
    device
}

/// The guest of the message of 2007, with an empty CD-ROM drive in the place of its disk.
pub(crate) fn five_nics() -> DomainDef {
    let kinds = [
        InterfaceKind::Network { network: "private".into(), portgroup: None },
        InterfaceKind::Bridge { bridge: "xenbr0".parse().unwrap() },
        InterfaceKind::Ethernet(Box::new(EthernetSide {
            script: Some("/etc/dan-test-ifup".into()),
            ..EthernetSide::default()
        })),
        InterfaceKind::Server(address("", 5555)),
        InterfaceKind::Mcast(address("", 5558)),
    ];
    let mut devices = vec![cdrom("hda", DiskBus::Ide, None, 1)];
    devices.extend(kinds.into_iter().zip(1..).map(|(kind, n)| nic(kind, "virtio", n)));
    devices.push(graphics(None));
    let mut def = domain(devices);
    def.name = "QEMUFirewall".parse().unwrap();
    def.os.arch = "i686".into();
    def.os.machine = Some("pc".into());
    def.os.boot = vec![BootDev::Hd];
    def
}

/// An interface from its element, with a MAC of its own.
pub(crate) fn written_nic(text: &str, n: u8) -> Device {
    let mut device = device(&format!("interface[{n}]"), text);
    if let Device::Interface(nic) = &mut device {
        nic.mac = Some(Mac::for_guest([0, 0, n]));
    }
    device
}

pub(crate) fn address(address: &str, port: u16) -> SocketAddress {
    SocketAddress { address: address.into(), port }
}

pub(crate) fn nic(kind: InterfaceKind, model: &str, n: u8) -> Device {
    let mut device = device(&format!("interface[{n}]"), "<interface type='user'/>");
    if let Device::Interface(nic) = &mut device {
        (nic.kind, nic.model, nic.mac) =
            (kind, Some(NicModel::named(model)), Some(Mac::for_guest([0, 0, n])));
    }
    device
}

pub(crate) fn disk(target: &str, bus: DiskBus, image: &Path, qcow2: bool, n: u8) -> Device {
    let format = if qcow2 { "qcow2" } else { "raw" };
    let text = format!(
        "<disk type='file'><driver type='{format}'/><source file='{}'/><target dev='{target}' bus='{}'/></disk>",
        image.display(),
        bus.as_str()
    );
    device(&format!("disk[{n}]"), &text)
}

pub(crate) fn cdrom(target: &str, bus: DiskBus, image: Option<&Path>, n: u8) -> Device {
    let source = image.map(|path| format!("<source file='{}'/>", path.display())).unwrap_or_default();
    let bus = bus.as_str();
    let text =
        format!("<disk type='file' device='cdrom'>{source}<target dev='{target}' bus='{bus}'/></disk>");
    device(&format!("disk[{n}]"), &text)
}

pub(crate) fn serial(port: u32) -> Device {
    let text = format!("<serial type='pty'><target port='{port}'/></serial>");
    device(&format!("serial[{}]", port + 1), &text)
}

pub(crate) fn graphics(port: Option<u16>) -> Device {
    let port = port.map_or(-1, i32::from);
    device("graphics", &format!("<graphics type='vnc' port='{port}'/>"))
}

pub(crate) fn video(model: &str) -> Device {
    device("video", &format!("<video><model type='{model}'/></video>"))
}
