//! Definitions, built by hand.

use std::path::Path;

use warren::model::{
    BootDev, Device, DiskBus, DiskDef, DiskDevice, DiskFormat, DiskSource, DomainDef, DomainKind,
    GraphicsDef, InterfaceDef, InterfaceKind, LifecycleAction, Mac, MemorySize, NicModel, OsDef, SerialDef,
    SocketAddress, VideoDef,
};

pub(crate) fn domain(devices: Vec<Device>) -> DomainDef {
    DomainDef {
        kind: DomainKind::Qemu,
        name: "guest".parse().unwrap(),
        uuid: Some("c7a5fdbd-edaf-9455-926a-d65c16db1809".parse().unwrap()),
        title: String::new(),
        memory: MemorySize(219_200 << 10),
        vcpus: 1,
        os: OsDef {
            arch: "x86_64".into(),
            machine: None,
            boot: vec![],
            kernel: None,
            initrd: None,
            cmdline: None,
        },
        features: vec![],
        on_poweroff: LifecycleAction::Destroy,
        on_reboot: LifecycleAction::Restart,
        on_crash: LifecycleAction::Destroy,
        emulator: None,
        devices,
    }
}

/// The guest of the message of 2007, with an empty CD-ROM drive in the place of its disk.
pub(crate) fn five_nics() -> DomainDef {
    let kinds = [
        InterfaceKind::Network { network: "private".into() },
        InterfaceKind::Bridge { bridge: "xenbr0".parse().unwrap() },
        InterfaceKind::Ethernet { script: Some("/etc/dan-test-ifup".into()), downscript: None },
        InterfaceKind::Server(address("", 5555)),
        InterfaceKind::Mcast(address("", 5558)),
    ];
    let mut devices = vec![cdrom("hda", DiskBus::Ide, None, 1)];
    devices.extend(kinds.into_iter().zip(1..).map(|(kind, n)| nic(kind, NicModel::Virtio, n)));
    devices.push(graphics(None));
    let mut def = domain(devices);
    def.name = "QEMUFirewall".parse().unwrap();
    def.os.arch = "i686".into();
    def.os.machine = Some("pc".into());
    def.os.boot = vec![BootDev::Hd];
    def
}

pub(crate) fn address(address: &str, port: u16) -> SocketAddress {
    SocketAddress { address: address.into(), port }
}

pub(crate) fn nic(kind: InterfaceKind, model: NicModel, n: u8) -> Device {
    Device::Interface(InterfaceDef {
        path: format!("/domain/devices/interface[{n}]"),
        kind,
        mac: Some(Mac::for_guest([0, 0, n])),
        model,
        target: None,
        link_up: true,
        boot_order: None,
        alias: None,
        teaming: false,
    })
}

pub(crate) fn disk(target: &str, bus: DiskBus, image: &Path, qcow2: bool, n: u8) -> Device {
    Device::Disk(DiskDef {
        path: format!("/domain/devices/disk[{n}]"),
        device: DiskDevice::Disk,
        source: Some(DiskSource::File(image.to_owned())),
        format: if qcow2 { DiskFormat::Qcow2 } else { DiskFormat::Raw },
        target: target.into(),
        bus,
        readonly: false,
        boot_order: None,
    })
}

pub(crate) fn cdrom(target: &str, bus: DiskBus, image: Option<&Path>, n: u8) -> Device {
    Device::Disk(DiskDef {
        path: format!("/domain/devices/disk[{n}]"),
        device: DiskDevice::Cdrom,
        source: image.map(|path| DiskSource::File(path.to_owned())),
        format: DiskFormat::Raw,
        target: target.into(),
        bus,
        readonly: true,
        boot_order: None,
    })
}

pub(crate) fn serial(port: u32) -> Device {
    Device::Serial(SerialDef { path: format!("/domain/devices/serial[{}]", port + 1), port })
}

pub(crate) fn graphics(port: Option<u16>) -> Device {
    let listen = std::net::Ipv4Addr::LOCALHOST.into();
    Device::Graphics(GraphicsDef { path: "/domain/devices/graphics".into(), port, listen })
}

pub(crate) fn video(model: &str) -> Device {
    Device::Video(VideoDef { path: "/domain/devices/video".into(), model: model.into() })
}
