//! Arguments of interfaces, from their elements.

use crate::model::DomainDoc;
use crate::plan::host::{MachineFacts, QemuFacts};
use crate::plan::qemu::{Handed, Planned, plan};

fn qemu(version: (u32, u32, u32), vhost_net: bool) -> QemuFacts {
    let devices = "virtio-net-pci rtl8139 vfio-pci usb-net virtio-net-pci-transitional piix3-usb-uhci";
    QemuFacts {
        path: "/usr/bin/qemu-system-x86_64".into(),
        version,
        arch: "x86_64".into(),
        machines: vec![MachineFacts {
            name: "pc-i440fx-7.2".into(),
            alias: Some("pc".into()),
            is_default: true,
        }],
        kvm: false,
        vhost_net,
        devices: devices.split_whitespace().map(str::to_owned).collect(),
        cpu_models: Default::default(),
        firmware: Vec::new(),
    }
}

fn planned(interfaces: &str, qemu: &QemuFacts) -> Planned {
    let text = format!(
        "<domain type='qemu'><name>n</name><memory>1</memory><os><type arch='x86_64'>hvm</type></os>\
         <devices>{interfaces}<memballoon model='none'/></devices></domain>"
    );
    let text = text.replace("<mac/>", "<mac address='52:54:00:00:00:01'/>");
    let doc = DomainDoc::parse(&text).unwrap();
    let handed = Handed::for_a_look(doc.def(), 10, qemu.vhost_net);
    plan(doc.def(), &uuid::Uuid::nil(), qemu, &handed)
}

/// The arguments of interfaces, one a line, and then what is not among them.
fn nics(interfaces: &str, qemu: &QemuFacts) -> String {
    let planned = planned(interfaces, qemu);
    assert_eq!(planned.findings, []);
    let pairs = planned.argv.windows(2);
    let of_nics = pairs.filter(|w| {
        let of_nic = ["-netdev", "-device", "-add-fd"].contains(&w[0].as_str());
        // The bus that a PC has without being asked.
        let usb_bus = w[1].contains(r#""driver":"piix3-usb-uhci""#);
        (of_nic && !usb_bus) || w[1].starts_with("socket,id=charnet")
    });
    let of_nics: Vec<String> = of_nics.map(|w| format!("{} {}", w[0], w[1])).collect();
    let unseen = planned.sealed.iter().map(|file| String::from_utf8_lossy(&file.content).into_owned());
    of_nics.into_iter().chain(unseen).collect::<Vec<_>>().join("\n")
}

#[test]
fn vhost_is_for_virtio_and_where_it_is() {
    let text = "<interface type='ethernet'><mac/><model type='virtio'/><driver queues='2'/></interface>\
        <interface type='ethernet'><mac/><model type='virtio'/><driver name='qemu'/><tune><sndbuf>16</sndbuf></tune></interface>\
        <interface type='ethernet'><mac/></interface>";
    insta::assert_snapshot!(nics(text, &qemu((7, 2, 0), true)), @r#"
    -netdev {"type":"tap","fds":"11:12","vhost":true,"vhostfds":"13:14","id":"hostnet0"}
    -device {"driver":"virtio-net-pci","mq":true,"vectors":6,"netdev":"hostnet0","id":"net0","mac":"52:54:00:00:00:01","bus":"pci.0","addr":"0x3"}
    -netdev {"type":"tap","fd":"15","sndbuf":16,"id":"hostnet1"}
    -device {"driver":"virtio-net-pci","netdev":"hostnet1","id":"net1","mac":"52:54:00:00:00:01","bus":"pci.0","addr":"0x4"}
    -netdev {"type":"tap","fd":"16","id":"hostnet2"}
    -device {"driver":"rtl8139","netdev":"hostnet2","id":"net2","mac":"52:54:00:00:00:01","bus":"pci.0","addr":"0x5"}
    "#);
    let asked = "<interface type='ethernet'><mac/><model type='virtio'/><driver name='vhost'/></interface>";
    let without = planned(asked, &qemu((7, 2, 0), false)).findings;
    assert_eq!(without[0].path, "/domain/devices/interface/driver/@name");
}

#[test]
fn every_type_has_its_netdev() {
    let text = "<interface type='user'><mac/><model type='usb-net'/><ip address='10.9.0.0' prefix='24'/>\
        <ip address='fd00::' family='ipv6' prefix='64'/></interface>\
        <interface type='vhostuser'><mac/><source type='unix' path='/s,t' mode='server'/></interface>\
        <interface type='vhostuser'><mac/><source type='unix' path='/s' mode='client'><reconnect enabled='yes' timeout='5'/></source><driver queues='4'/></interface>\
        <interface type='vdpa'><mac/><source dev='/dev/vhost-vdpa-0'/><driver queues='2'/></interface>\
        <interface type='direct'><mac/><source dev='e'/><model type='virtio-transitional'/></interface>\
        <interface type='user'><mac/><backend type='passt'/></interface>\
        <interface type='hostdev'><mac/><source><address type='pci' bus='3' slot='7' function='1'/></source><teaming type='transient' persistent='ua-a'/></interface>\
        <interface type='internal'><mac/><source name='i'/><rom file='/r' bar='on'/><mtu size='1400'/></interface>";
    insta::assert_snapshot!(nics(text, &qemu((7, 2, 0), false)), @r#"
    -device {"driver":"usb-net","netdev":"hostnet0","id":"net0","mac":"52:54:00:00:00:01","bus":"usb.0","port":"1"}
    -chardev socket,id=charnet1,path=/s,,t,server=on
    -netdev {"type":"vhost-user","chardev":"charnet1","id":"hostnet1"}
    -device {"driver":"virtio-net-pci","netdev":"hostnet1","id":"net1","mac":"52:54:00:00:00:01","bus":"pci.0","addr":"0x3"}
    -chardev socket,id=charnet2,path=/s,reconnect=5
    -netdev {"type":"vhost-user","chardev":"charnet2","queues":4,"id":"hostnet2"}
    -device {"driver":"virtio-net-pci","mq":true,"vectors":10,"netdev":"hostnet2","id":"net2","mac":"52:54:00:00:00:01","bus":"pci.0","addr":"0x4"}
    -add-fd set=1,fd=11,opaque=net3-vdpa
    -netdev {"type":"vhost-vdpa","vhostdev":"/dev/fdset/1","queues":2,"id":"hostnet3"}
    -device {"driver":"virtio-net-pci","mq":true,"vectors":6,"netdev":"hostnet3","id":"net3","mac":"52:54:00:00:00:01","bus":"pci.0","addr":"0x5"}
    -netdev {"type":"tap","fd":"12","id":"hostnet4"}
    -device {"driver":"virtio-net-pci-transitional","netdev":"hostnet4","id":"net4","mac":"52:54:00:00:00:01","bus":"pci.0","addr":"0x6"}
    -netdev {"type":"stream","addr":{"type":"unix","path":"passt/net5.socket"},"server":false,"id":"hostnet5"}
    -device {"driver":"rtl8139","netdev":"hostnet5","id":"net5","mac":"52:54:00:00:00:01","bus":"pci.0","addr":"0x7"}
    -netdev {"type":"user","id":"hostnet6"}
    -device {"driver":"rtl8139","netdev":"hostnet6","id":"net6","mac":"52:54:00:00:00:01","bus":"pci.0","addr":"0x8","rombar":1,"romfile":"/r"}
    -device {"driver":"vfio-pci","host":"0000:03:07.1","id":"hostdev0","failover_pair_id":"ua-a","bus":"pci.0","addr":"0x9"}
    [netdev "hostnet0"]
      type = "user"
      net = "10.9.0.0/24"
      ipv6-prefix = "fd00::"
      ipv6-prefixlen = "64"
    "#);
    let later = nics(text, &qemu((9, 2, 0), false));
    assert!(later.contains("path=/s,reconnect-ms=5000"), "{later}");
    let null = planned("<interface type='null'><mac/></interface>", &qemu((7, 2, 0), false)).findings;
    assert_eq!(null[0].path, "/domain/devices/interface/@type");
}

#[test]
fn all_properties_of_virtio() {
    let text = "<interface type='user'><mac/><model type='virtio'/><teaming type='persistent'/><alias name='ua-a'/>\
        <driver txmode='timer' ioeventfd='on' event_idx='off' rx_queue_size='256' tx_queue_size='512' rss='on' \
        rss_hash_report='off' iommu='off' ats='off' packed='on' page_per_vq='off'><host csum='off' gso='on' tso4='off' \
        mrg_rxbuf='on'/><guest csum='off' ufo='on'/></driver><acpi index='7'/><rom enabled='no'/><boot order='1'/></interface>\
        <interface type='user'><mac/></interface>";
    insta::assert_snapshot!(nics(text, &qemu((7, 2, 0), false)), @r#"
    -netdev {"type":"user","id":"hostua-a"}
    -device {"driver":"virtio-net-pci","iommu_platform":false,"ats":false,"packed":true,"page-per-vq":false,"tx":"timer","ioeventfd":true,"event_idx":false,"csum":false,"gso":true,"host_tso4":false,"mrg_rxbuf":true,"guest_csum":false,"guest_ufo":true,"rx_queue_size":256,"tx_queue_size":512,"rss":true,"hash":false,"failover":true,"netdev":"hostua-a","id":"ua-a","mac":"52:54:00:00:00:01","bootindex":1,"acpi-index":7,"bus":"pci.0","addr":"0x3","rombar":0,"romfile":""}
    -netdev {"type":"user","id":"hostnet0"}
    -device {"driver":"rtl8139","netdev":"hostnet0","id":"net0","mac":"52:54:00:00:00:01","bus":"pci.0","addr":"0x4"}
    "#);
}
