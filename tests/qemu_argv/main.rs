//! The planned arguments against a real QEMU: it starts stopped, and its monitor answers. Each test has a
//! network namespace of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod firmware;
mod guest;
mod machine;
#[path = "../common/records.rs"]
mod records;
mod rig;
mod small;
mod storage;
mod unseen;

use guest::{address, cdrom, disk, domain, five_nics, graphics, nic, serial, video, written_nic};
use rig::{Rig, in_own_network, real_qemu};
use serde_json::{Value, json};
use warren::model::{BootDev, DiskBus, InterfaceKind};
use warren::plan::qemu::NicFd;

const MODELS: [&str; 10] = [
    "virtio",
    "virtio-transitional",
    "virtio-non-transitional",
    "e1000",
    "e1000e",
    "rtl8139",
    "ne2k_pci",
    "pcnet",
    "vmxnet3",
    "i82551",
];

/// The names of displays and interfaces in the order in which a guest finds them: by bus, then by slot. From
/// the arguments, since QEMU tells what is behind a bridge only after the firmware has run.
fn pci_order(argv: &[String]) -> Vec<String> {
    let devices = argv.windows(2).filter(|w| w[0] == "-device");
    let devices = devices.map(|w| serde_json::from_str::<Value>(&w[1]).unwrap());
    let number = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let mut places: Vec<(u32, u32, String)> = devices
        .filter_map(|d| {
            let id = d["id"].as_str().filter(|id| id.starts_with("net") || id.starts_with("video"))?;
            let bus = d["bus"].as_str()?.rsplit_once('.')?.1.parse().ok()?;
            Some((bus, number(d["addr"].as_str()?), id.to_owned()))
        })
        .collect();
    places.sort();
    places.into_iter().map(|(_, _, id)| id).collect()
}

#[test]
fn every_interface_type_with_every_model() {
    in_own_network(|| async {
        for machine in ["pc", "q35"] {
            for model in MODELS {
                let mut kinds = vec![
                    InterfaceKind::Network { network: "n".into(), portgroup: None },
                    InterfaceKind::Bridge { bridge: "br0".parse().unwrap() },
                    InterfaceKind::Ethernet(Box::default()),
                    InterfaceKind::User { dev: None },
                    InterfaceKind::Server(address("", 5555)),
                    InterfaceKind::Client(address("", 5556)),
                    InterfaceKind::Mcast(address("", 5558)),
                ];
                kinds.push(InterfaceKind::Udp { remote: address("", 5559), local: address("", 5560) });
                let names = (0..kinds.len()).map(|n| format!("net{n}"));
                let names: Vec<String> = names.collect();
                let mut def = domain(kinds.into_iter().zip(1..).map(|(k, n)| nic(k, model, n)).collect());
                def.os.machine = Some(machine.into());
                let (rig, argv) = Rig::start_with_argv(&def, vec![]).await;
                assert_eq!(pci_order(&argv), names, "{machine} {model}");
                rig.ask("set_link", json!({"name": "net3", "up": false})).await;
                rig.quit().await;
            }
        }
    });
}

/// What can be said of a NIC of any type, and of a virtio NIC; each is tried on every type that takes it.
const COMMON: [&str; 6] = [
    "",
    "<rom bar='off'/>",
    "<rom enabled='no'/>",
    "<boot order='1'/>",
    "<acpi index='7'/>",
    "<alias name='ua-mine'/>",
];
const VIRTIO: [&str; 10] = [
    "<driver txmode='iothread' ioeventfd='on' event_idx='off'/>",
    "<driver txmode='timer' rx_queue_size='512' tx_queue_size='256'/>",
    "<driver rss='on' rss_hash_report='off'/>",
    "<driver rss='off' rss_hash_report='on'/>",
    "<driver iommu='off' ats='on' packed='on' page_per_vq='on'/>",
    "<driver name='qemu'/>",
    "<driver><host csum='off' gso='off' tso4='off' tso6='off' ecn='off' ufo='off' mrg_rxbuf='off'/>\
     <guest csum='off' tso4='off' tso6='off' ecn='off' ufo='off'/></driver>",
    "<driver><host csum='on' gso='on'/><guest csum='on'/></driver>",
    "<teaming type='persistent'/>",
    "<boot order='2'/><rom bar='on'/><driver packed='off'/>",
];
const TAP: [&str; 4] = [
    "<driver queues='4'/>",
    "<driver name='qemu' queues='2' ioeventfd='on'/>",
    "<mtu size='9000'/><tune><sndbuf>1600</sndbuf></tune>",
    "<mtu size='1400'/>",
];
const USER: [&str; 4] = [
    "<ip address='172.17.2.0' family='ipv4' prefix='24'/>",
    "<ip address='172.17.2.0'/>",
    "<ip address='2001:db8:ac10:fd01::' family='ipv6' prefix='64'/>",
    "<ip address='172.17.2.0' prefix='24'/><ip family='ipv6' address='2001:db8:ac10:fd01::' prefix='64'/>",
];

#[test]
fn everything_that_is_said_of_an_interface() {
    in_own_network(|| async {
        let types = [
            ("network", "<source network='n'/>"),
            ("bridge", "<source bridge='br0'/>"),
            ("ethernet", ""),
            ("user", ""),
            ("internal", "<source name='i'/>"),
            ("server", "<source port='5555'/>"),
            ("client", "<source port='5556'/>"),
            ("mcast", "<source port='5558'/>"),
            ("udp", "<source port='5559'><local port='5560'/></source>"),
        ];
        for (kind, source) in types {
            let mut said: Vec<String> = Vec::new();
            for words in COMMON.iter().chain(&VIRTIO) {
                said.push(format!("<model type='virtio'/>{words}"));
            }
            // QEMU takes an IOMMU only where the device speaks no older virtio.
            said.push("<model type='virtio-non-transitional'/><driver iommu='on' ats='on'/>".to_owned());
            for words in &COMMON {
                said.push(format!("<model type='e1000'/>{words}"));
                said.push((*words).to_owned());
            }
            match kind {
                "network" | "bridge" | "ethernet" => {
                    said.extend(TAP.iter().map(|words| format!("<model type='virtio'/>{words}")));
                }
                "user" => said.extend(USER.iter().map(|words| (*words).to_owned())),
                _ => {}
            }
            for words in said {
                let text = format!("<interface type='{kind}'>{source}{words}</interface>");
                Rig::start(&domain(vec![written_nic(&text, 1)]), vec![]).await.quit().await;
            }
        }
    });
}

#[test]
fn the_five_interfaces_of_the_origin() {
    in_own_network(|| async {
        let def = five_nics();
        let (rig, argv) = Rig::start_with_argv(&def, vec![]).await;
        assert_eq!(pci_order(&argv), ["video0", "net0", "net1", "net2", "net3", "net4"]);
        let vnc = rig.ask("query-vnc", Value::Null).await;
        let port: u16 = vnc["service"].as_str().unwrap().parse().unwrap();
        assert!((5900..6000).contains(&port));
        rig.quit().await;

        let real = real_qemu("x86_64").await;
        let lines = argv.join("\n").replace("\n-", "\n\n-");
        insta::assert_snapshot!(lines.replace(real.canonical_machine("pc").unwrap(), "pc-i440fx-VERSION"));
    });
}

#[test]
fn a_32_bit_guest_on_either_program() {
    in_own_network(|| async {
        for arch in ["i386", "x86_64"] {
            let qemu = real_qemu(arch).await;
            let mut def = five_nics();
            def.emulator = Some(qemu.path.clone());
            Rig::start(&def, vec![]).await.quit().await;
        }
    });
}

#[test]
fn disks_on_every_bus_with_their_chains() {
    in_own_network(|| async {
        let images = tempfile::tempdir().unwrap();
        let make = |name: &str, args: &[&str]| {
            let path = images.path().join(name);
            rig::run("qemu-img", &[&["create", "-q"], args, &[path.to_str().unwrap(), "1M"]].concat());
            path
        };
        let base = make("base.img", &["-f", "raw"]);
        let middle = make("mid.qcow2", &["-f", "qcow2", "-F", "raw", "-b", "base.img"]);
        let raw = make("raw.img", &["-f", "raw"]);
        let iso = make("cd.iso", &["-f", "raw"]);
        drop((base, middle));
        for (machine, bus, prefix) in [
            ("pc", DiskBus::Ide, "hd"),
            ("pc", DiskBus::Sata, "sd"),
            ("q35", DiskBus::Sata, "sd"),
            ("pc", DiskBus::Scsi, "sd"),
            ("q35", DiskBus::Scsi, "sd"),
            ("pc", DiskBus::Virtio, "vd"),
            ("q35", DiskBus::Virtio, "vd"),
        ] {
            let top = make("top.qcow2", &["-f", "qcow2", "-F", "qcow2", "-b", "mid.qcow2"]);
            let mut devices = vec![
                disk(&format!("{prefix}a"), bus, &top, true, 1),
                disk(&format!("{prefix}b"), bus, &raw, false, 2),
            ];
            if bus != DiskBus::Virtio {
                devices.push(cdrom(&format!("{prefix}c"), bus, Some(&iso), 3));
                devices.push(cdrom(&format!("{prefix}d"), bus, None, 4));
            }
            let mut def = domain(devices);
            def.os.machine = Some(machine.into());
            def.os.boot = vec![BootDev::Hd, BootDev::Cdrom];
            let rig = Rig::start(&def, vec![]).await;
            let nodes = rig.ask("query-named-block-nodes", json!({"flat": true})).await;
            let writable = |node: &str| {
                let found = nodes.as_array().unwrap().iter().find(|n| n["node-name"] == node);
                !found.unwrap_or_else(|| panic!("no {node}"))["ro"].as_bool().unwrap()
            };
            assert!(
                writable("disk0-0") && !writable("disk0-1") && !writable("disk0-2") && writable("disk1-0")
            );
            let blocks = rig.ask("query-block", Value::Null).await;
            assert_eq!(blocks[0]["inserted"]["backing_file_depth"], 2, "{machine} {bus:?}: {blocks}");
            rig.quit().await;
        }
    });
}

#[test]
fn kernels_serial_ports_and_display_adapters() {
    in_own_network(|| async {
        let files = tempfile::tempdir().unwrap();
        // Enough of a Linux boot header to be loaded; it is never run.
        let kernel = files.path().join("kernel");
        let mut image = vec![0u8; 8192];
        image[0x1f1] = 4;
        image[0x1fe..0x206].copy_from_slice(b"\x55\xaa\xeb\x66HdrS");
        image[0x206..0x208].copy_from_slice(&0x020cu16.to_le_bytes());
        image[0x22c..0x230].copy_from_slice(&0x37ff_ffffu32.to_le_bytes());
        std::fs::write(&kernel, image).unwrap();
        let initrd = files.path().join("initrd");
        std::fs::write(&initrd, [0; 4096]).unwrap();
        for model in ["vga", "cirrus", "virtio", "bochs", "none"] {
            let mut def = domain(vec![serial(0), serial(1), graphics(None), video(model)]);
            def.os.kernel = Some(kernel.clone());
            def.os.initrd = Some(initrd.clone());
            def.os.cmdline = Some("console=ttyS0".into());
            def.features.add("acpi");
            let rig = Rig::start(&def, vec![]).await;
            let chardevs = rig.ask("query-chardev", Value::Null).await;
            let labels: Vec<&str> =
                chardevs.as_array().unwrap().iter().map(|c| c["label"].as_str().unwrap()).collect();
            assert!(labels.contains(&"charserial0") && labels.contains(&"charserial1"));
            rig.quit().await;
        }
    });
}

#[test]
fn a_kvm_guest_where_kvm_is() {
    in_own_network(|| async {
        if !real_qemu("x86_64").await.kvm {
            return;
        }
        let mut def = domain(vec![nic(InterfaceKind::User { dev: None }, "virtio", 1)]);
        def.kind = warren::model::DomainKind::Kvm;
        let rig = Rig::start(&def, vec![NicFd::None]).await;
        assert_eq!(rig.ask("query-kvm", Value::Null).await["enabled"], true);
        rig.quit().await;
    });
}
