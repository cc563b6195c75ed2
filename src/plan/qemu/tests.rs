//! Arguments for definitions made by hand, among them the five NICs of 2007.

use std::path::PathBuf;

use super::*;
use crate::model::*;
use crate::plan::host::MachineFacts;

pub(super) fn facts(arch: &str, kvm: bool) -> QemuFacts {
    let machine = |name: &str, alias: &str| MachineFacts {
        name: name.into(),
        alias: Some(alias.into()),
        is_default: alias == "pc",
    };
    let devices = "virtio-net-pci e1000 e1000e rtl8139 ne2k_pci pcnet virtio-blk-pci virtio-scsi-pci \
                   scsi-hd scsi-cd ide-hd ide-cd ich9-ahci isa-serial VGA virtio-vga cirrus-vga \
                   piix3-usb-uhci qemu-xhci pcie-root-port pci-bridge lsi53c895a virtio-balloon-pci";
    QemuFacts {
        path: format!("/usr/bin/qemu-system-{arch}").into(),
        version: (7, 2, 22),
        arch: arch.into(),
        machines: vec![
            machine("pc-i440fx-7.2", "pc"),
            machine("pc-q35-7.2", "q35"),
            machine("isapc", "isapc"),
        ],
        kvm,
        vhost_net: false,
        devices: devices.split_whitespace().map(str::to_owned).collect(),
        cpu_models: Default::default(),
        firmware: Vec::new(),
    }
}

/// A definition, and one device read from its element. Paths are as in a document of that one device.
fn domain(devices: Vec<Device>) -> DomainDef {
    let mut def = parsed("");
    def.devices = devices;
    for n in 1..def.devices.len() {
        // As in a document, no two have the same path.
        let path = def.devices[n].info().path.clone();
        if def.devices[..n].iter().any(|d| d.info().path == path) {
            def.devices[n].info_mut().path = format!("{path}[{}]", n + 1);
        }
    }
    def
}

pub(super) fn parsed(devices: &str) -> DomainDef {
    let text =
        "<domain type='qemu'><name>g</name><memory>219200</memory><os><type arch='x86_64'>hvm</type></os>";
    DomainDoc::parse(&format!("{text}<devices>{devices}</devices></domain>")).unwrap().def().clone()
}

fn device(text: &str) -> Device {
    parsed(text).devices.remove(0)
}

fn nic(kind: InterfaceKind) -> Device {
    let mut device = device("<interface type='user'><mac address='52:54:00:00:00:01'/></interface>");
    if let Device::Interface(nic) = &mut device {
        nic.kind = kind;
    }
    device
}

fn disk(target: &str, bus: DiskBus) -> Device {
    let mut device = device("<disk type='file'><source file='/d'/><target dev='vda'/></disk>");
    if let Device::Disk(disk) = &mut device {
        (disk.target, disk.bus) = (target.into(), bus);
    }
    device
}

fn handed(nics: Vec<NicFd>, disks: usize) -> Handed {
    let image = |n: usize| ImageFd {
        fd: 20 + n as i32,
        set: n as u32,
        format: DiskFormat::Raw,
        readonly: false,
        block: false,
    };
    Handed { qmp: 3, nics, disks: (0..disks).map(|n| vec![image(n)]).collect(), ..Handed::default() }
}

fn run(def: &DomainDef, handed: &Handed) -> Result<Vec<String>, Vec<Finding>> {
    ready(plan(def, &Uuid::nil(), &facts("x86_64", false), handed))
}

/// The arguments, if nothing stands against them.
fn ready(planned: Planned) -> Result<Vec<String>, Vec<Finding>> {
    if planned.findings.is_empty() { Ok(planned.argv) } else { Err(planned.findings) }
}

/// The values of one argument.
pub(super) fn values<'a>(argv: &'a [String], flag: &str) -> Vec<&'a str> {
    argv.windows(2).filter(|w| w[0] == flag).map(|w| w[1].as_str()).collect()
}

/// The one finding that comes of it.
fn refused(def: &DomainDef, handed: &Handed) -> Finding {
    let findings = run(def, handed).unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings[0].clone()
}

#[test]
fn the_program_is_the_one_named_or_the_one_that_serves() {
    let both = [facts("x86_64", false), facts("i386", false)];
    let mut def = domain(vec![]);
    assert_eq!(choose(&def, &both).unwrap().arch, "x86_64");
    def.os.arch = "i686".into();
    assert_eq!(choose(&def, &both).unwrap().arch, "i386");
    assert_eq!(choose(&def, &both[..1]).unwrap().arch, "x86_64");
    def.emulator = Some(both[0].path.clone());
    assert_eq!(choose(&def, &both).unwrap().arch, "x86_64");

    def.emulator = Some(PathBuf::from("/usr/bin/qemu"));
    let gone = choose(&def, &both[..1]).unwrap_err();
    assert_eq!((gone.severity, gone.path.as_str()), (Severity::Error, "/domain/devices/emulator"));
    assert!(
        gone.message.contains("'/usr/bin/qemu'") && gone.remedy.contains("'/usr/bin/qemu-system-x86_64'")
    );
    assert!(choose(&def, &[]).unwrap_err().remedy.contains("qemu-system-x86"));

    def.emulator = Some(both[1].path.clone());
    def.os.arch = "x86_64".into();
    assert!(choose(&def, &both).unwrap_err().message.contains("i386 guests"));
    def.emulator = None;
    assert!(choose(&def, &both[1..]).unwrap_err().message.contains("no QEMU for x86_64"));
    def.os.arch = "ppc64".into();
    assert!(choose(&def, &both).unwrap_err().message.contains("'ppc64' are not supported"));
}

#[test]
fn kvm_is_not_replaced_by_emulation_in_silence() {
    let mut def = domain(vec![]);
    def.kind = DomainKind::Kvm;
    let no_kvm = [facts("x86_64", false)];
    assert!(choose(&def, &no_kvm).unwrap_err().remedy.contains("type='qemu'"));
    let kvm = [facts("x86_64", true)];
    let argv = ready(plan(&def, &Uuid::nil(), choose(&def, &kvm).unwrap(), &handed(vec![], 0))).unwrap();
    assert_eq!(values(&argv, "-accel"), ["kvm"]);
}

#[test]
fn interfaces_sit_in_ascending_slots_and_disks_after_them() {
    let tap = || InterfaceKind::Network { network: "n".into(), portgroup: None };
    let def = domain(vec![disk("vda", DiskBus::Virtio), nic(tap()), nic(InterfaceKind::User { dev: None })]);
    let argv =
        run(&def, &handed(vec![NicFd::Tap { queues: vec![7], vhost: vec![] }, NicFd::None], 1)).unwrap();
    // The first is the machine's USB.
    let devices = &values(&argv, "-device")[1..];
    assert!(devices[0].contains(r#""driver":"virtio-blk-pci""#) && devices[0].contains(r#""addr":"0x5""#));
    assert!(devices[0].contains(r#""bootindex":1"#), "{devices:?}");
    assert!(devices[1].contains(r#""id":"net0""#) && devices[1].contains(r#""addr":"0x3""#));
    assert!(devices[2].contains(r#""id":"net1""#) && devices[2].contains(r#""addr":"0x4""#));
    assert_eq!(values(&argv, "-netdev")[0], r#"{"type":"tap","fd":"7","id":"hostnet0"}"#);

    // What does not fit on the root bus sits behind a bridge in its last slot.
    let many = domain((0..40).map(|_| nic(InterfaceKind::User { dev: None })).collect());
    let argv = run(&many, &handed(vec![NicFd::None; 40], 0)).unwrap();
    let devices = values(&argv, "-device");
    let bridge = r#"{"driver":"pci-bridge","id":"pci.1","chassis_nr":1,"bus":"pci.0","addr":"0x1f"}"#;
    assert!(devices.contains(&bridge), "{devices:?}");
    assert!(devices.iter().any(|d| d.contains(r#""id":"net39""#) && d.contains(r#""bus":"pci.1""#)));
}

#[test]
fn addresses_of_socket_interfaces() {
    let at = |address: &str, port| SocketAddress { address: address.into(), port };
    let def = domain(vec![
        nic(InterfaceKind::Server(at("", 5555))),
        nic(InterfaceKind::Mcast(at("", 5558))),
        nic(InterfaceKind::Udp { remote: at("10.0.0.2", 1), local: at("", 2) }),
        nic(InterfaceKind::Client(at("", 3))),
    ]);
    let nics = vec![NicFd::None, NicFd::None, NicFd::None, NicFd::Client(9)];
    let planned = plan(&def, &Uuid::nil(), &facts("x86_64", false), &handed(nics, 0));
    assert_eq!(planned.findings, []);
    assert_eq!(values(&planned.argv, "-netdev"), [r#"{"type":"socket","fd":"9","id":"hostnet3"}"#]);
    insta::assert_snapshot!(String::from_utf8_lossy(&planned.sealed[0].content), @r#"
    [netdev "hostnet0"]
      type = "socket"
      listen = ":5555"
    [netdev "hostnet1"]
      type = "socket"
      mcast = "239.0.0.1:5558"
    [netdev "hostnet2"]
      type = "socket"
      udp = "10.0.0.2:1"
      localaddr = "127.0.0.1:2"
    "#);

    for (address, says) in [("::1", "no IPv4 address"), ("a b", "no address"), ("h,fd=3", "no address")] {
        let def = domain(vec![nic(InterfaceKind::Server(at(address, 1)))]);
        assert!(refused(&def, &handed(vec![NicFd::None], 0)).message.contains(says));
    }
    let not_opened = domain(vec![nic(InterfaceKind::Client(at("", 3)))]);
    assert!(refused(&not_opened, &handed(vec![NicFd::None], 0)).message.contains("not opened"));
}

#[test]
fn what_the_machine_cannot_do_is_a_finding() {
    let mut def = domain(vec![disk("hda", DiskBus::Ide)]);
    def.os.machine = Some("q35".into());
    assert!(refused(&def, &handed(vec![], 1)).remedy.contains("bus='sata'"));
    def.os.machine = Some("isapc".into());
    assert_eq!(refused(&def, &handed(vec![], 1)).path, "/domain/os/type/@machine");
    def.os.machine = Some("nosuch".into());
    assert!(refused(&def, &handed(vec![], 1)).remedy.contains("q35"));

    let twice = domain(vec![disk("hda", DiskBus::Ide), disk("hda", DiskBus::Ide)]);
    assert!(refused(&twice, &handed(vec![], 2)).message.contains("taken by another disk"));
    let strange = domain(vec![disk("hd\n", DiskBus::Ide)]);
    assert!(refused(&strange, &handed(vec![], 1)).message.contains("not a disk's name"));
    let without_driver = domain(vec![device("<video><model type='bochs'/></video>")]);
    assert!(refused(&without_driver, &handed(vec![], 0)).message.contains("no device 'bochs-display'"));
    let mut alias =
        domain(vec![nic(InterfaceKind::User { dev: None }), nic(InterfaceKind::User { dev: None })]);
    for device in &mut alias.devices {
        device.info_mut().alias = Some("ua-a".into());
    }
    assert!(refused(&alias, &handed(vec![NicFd::None; 2], 0)).message.contains("there twice"));
}

#[test]
fn values_stay_values() {
    let mut def = domain(vec![]);
    def.name = "a,fd=3".parse().unwrap();
    def.os.kernel = Some("/k".into());
    def.os.cmdline = Some("console=ttyS0 -x".into());
    let handed = Handed { kernel: Some(8), ..handed(vec![], 0) };
    let argv = run(&def, &handed).unwrap();
    assert_eq!(values(&argv, "-name"), ["guest=a,,fd=3,debug-threads=on"]);
    assert_eq!(values(&argv, "-kernel"), ["/proc/self/fd/8"]);
    assert!(!argv.iter().any(|a| a == "-initrd" || a == "-append"));
}

#[test]
fn a_command_line_is_handed_over_where_it_fits() {
    let mut def = domain(vec![]);
    def.os.kernel = Some("/k".into());
    def.os.cmdline = Some("console=ttyS0 -x".into());
    let handed = Handed { kernel: Some(8), next: 9, ..handed(vec![], 0) };
    let planned = |def: &DomainDef| plan(def, &Uuid::nil(), &facts("x86_64", false), &handed);
    let by_qmp = planned(&def);
    assert_eq!(by_qmp.settings[0].1["value"], "console=ttyS0 -x");
    assert_eq!(by_qmp.settings[1].0, EXIT_PRECONFIG);
    assert!(by_qmp.argv.iter().any(|a| a == "--preconfig"));

    // SPICE shows no screen that comes after it.
    def.devices.push(device("<graphics type='spice'/>"));
    def.devices.push(device("<video><model type='vga'/></video>"));
    let by_options = planned(&def);
    assert!(!by_options.argv.iter().any(|a| a == "--preconfig"));
    assert_eq!(by_options.sealed[0].content, b"[machine]\n  append = \"console=ttyS0 -x\"\n");
    assert_eq!(values(&by_options.argv, "-readconfig"), ["/proc/self/fd/9"]);
    for unfit in ["a=\"b c\"".to_owned(), "a\nb".to_owned(), "x".repeat(1000)] {
        def.os.cmdline = Some(unfit);
        assert!(planned(&def).findings.iter().any(|f| f.path == "/domain/os/cmdline"));
    }
}

#[test]
fn boot_order_of_devices_beats_that_of_kinds() {
    let mut def = domain(vec![
        disk("vda", DiskBus::Virtio),
        disk("vdb", DiskBus::Virtio),
        nic(InterfaceKind::User { dev: None }),
    ]);
    def.os.boot = vec![BootDev::Network, BootDev::Hd];
    let by_kind = boot::indexes(&def);
    assert_eq!((by_kind.disks, by_kind.nics), (vec![Some(2), None], vec![Some(1)]));
    if let Device::Disk(second) = &mut def.devices[1] {
        second.info.boot_order = Some(1);
    }
    let by_device = boot::indexes(&def);
    assert_eq!((by_device.disks, by_device.nics), (vec![None, Some(1)], vec![None]));
}
