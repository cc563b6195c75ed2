//! The worked example of the message that began it all: the isolated network `private` and the guest
//! with five NICs that routes for those behind it.

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::common::{
    Capture, Console, GuestXml, Object, Service, World, eventually, example, holds, join_group, text, world,
};

/// The host behind `xenbr0`, the public network of the example.
const OUTSIDE: &str = "10.99.0.2";

/// The machine of the example: bridge `xenbr0` with a host behind it, and the user's script.
fn machine(world: &World) {
    world.add_host("outside");
    world.cable("uplink0", "", "outside", "eth0", &format!("{OUTSIDE}/24"));
    world.sh("ip link add xenbr0 type bridge && ip link set xenbr0 up && ip link set uplink0 master xenbr0");
    // QEMU's multicast needs a route, which a machine with any network has.
    world.sh("ip link set lo multicast on && ip route add 239.0.0.0/8 dev lo");
    world.write("tap-ifup", "#!/bin/sh\nset -e\necho \"$@\" >>/run/w/script-args\nip link set \"$1\" up\n");
    world.sh("truncate -s 1M /run/w/disk.img");
}

/// The document as it stands, but for the paths of emulator, disk and script; and for the model, since the
/// test guest's kernel has no driver for the rtl8139 that the message's time had.
fn firewall() -> String {
    let xml = GuestXml::from_example("firewall.xml");
    let xml = xml.replace("</interface>", "<model type='virtio'/></interface>");
    let replaced = [
        ("/usr/bin/qemu<", "/usr/bin/qemu-system-x86_64<"),
        ("<disk type='block'", "<disk type='file'"),
        ("<source dev='/dev/HostVG/QEMUGuest1'/>", "<source file='/run/w/disk.img'/>"),
        ("/etc/dan-test-ifup", "/run/w/tap-ifup"),
    ];
    replaced.iter().fold(xml, |xml, (from, to)| {
        assert!(xml.contains(from), "the example has '{from}'");
        xml.replacen(from, to, 1)
    })
}

async fn five_nic_guest(service: &Service) -> (Object, Console, Vec<(String, String)>) {
    service.client.define_network(&example("private.xml")).await.expect("the example is a network");
    let guest = service.client.define_domain(&firewall()).await.expect("the example is a domain");
    let (console, nics) = guest.boot().await;
    (guest, console, nics)
}

/// The values of `<mac address=…>`, in the document's order.
fn macs(xml: &str) -> Vec<String> {
    let parts = xml.split("<mac address=").skip(1);
    parts.map(|part| part[1..].split(['\'', '"']).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn five_nics_in_order_each_a_segment_of_its_own() {
    world(async |world: World| {
        machine(&world);
        let service = Service::system(&world).await;
        let (guest, mut console, nics) = five_nic_guest(&service).await;

        let network = service.client.network("private").await.expect("it was defined");
        assert_eq!(network.state().await, "active", "a start starts the networks it needs");
        let defined = macs(&guest.xml().await);
        let seen: Vec<_> = nics.iter().map(|(_, mac)| mac.clone()).collect();
        assert_eq!(defined.len(), 5);
        assert_eq!(seen, defined, "the guest sees its NICs in the document's order");
        assert!(defined.iter().all(|mac| mac.starts_with("52:54:00:")));
        let told = guest.info_list("interfaces").await;
        let types: Vec<_> = told.iter().map(|nic| text(&nic["type"])).collect();
        assert_eq!(types, ["network", "bridge", "ethernet", "server", "mcast"]);
        assert_eq!(told.iter().map(|nic| text(&nic["mac"])).collect::<Vec<_>>(), defined);
        assert_eq!(world.sh("cat /run/w/script-args"), "vnet3", "the script gets the TAP's name alone");
        assert!(world.sh("ip -o link show vnet1").contains("master virbr0"));
        assert!(world.sh("ip -o link show vnet2").contains("master xenbr0"));
        assert!(!world.sh("ip -o link show vnet3").contains("master"));

        segments(&world, &mut console).await;
        guest.stop().await;
        network.stop().await;
    });
}

/// Sends on each NIC in turn, and looks on all five segments.
async fn segments(world: &World, console: &mut Console) {
    let mut taps = Vec::new();
    for tap in ["vnet1", "vnet2", "vnet3"] {
        taps.push(Capture::start(world, tap).await);
    }
    // What QEMU would be at the other end of `server`: each frame with its length before it.
    let mut peer = TcpStream::connect("127.0.0.1:5555").expect("the server NIC listens");
    peer.set_nonblocking(true).expect("sockets can be made non-blocking");
    let group = join_group(Ipv4Addr::new(239, 0, 0, 1), 5558, Ipv4Addr::LOCALHOST);
    group.set_nonblocking(true).expect("sockets can be made non-blocking");

    for nic in 0..5 {
        console.run(&format!("static eth{nic} 10.5{nic}.0.1/24 && call eth{nic} 10.5{nic}.0.77")).await;
    }
    let (mut stream, mut datagrams, mut buffer) = (Vec::new(), Vec::new(), [0; 65536]);
    let mut look = |wanted: &[u8; 4]| {
        while let Ok(n @ 1..) = peer.read(&mut buffer) {
            stream.extend_from_slice(&buffer[..n]);
        }
        while let Ok(n) = group.recv(&mut buffer) {
            datagrams.extend_from_slice(&buffer[..n]);
        }
        [
            taps[0].count(wanted) > 0,
            taps[1].count(wanted) > 0,
            taps[2].count(wanted) > 0,
            holds(&stream, wanted),
            holds(&datagrams, wanted),
        ]
    };
    let sent = |nic: u8| [10, 50 + nic, 0, 77];
    // What the guest sent last has come last, and with it all that could be in the wrong place.
    for nic in 0..5_u8 {
        let what = format!("what eth{nic} sends is on its segment");
        eventually(&what, Duration::from_secs(20), async || look(&sent(nic))[usize::from(nic)].then_some(()))
            .await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for nic in 0..5_u8 {
        let seen = look(&sent(nic));
        let alone: Vec<_> = (0..5).map(|n| n == nic).collect();
        assert_eq!(seen.to_vec(), alone, "what eth{nic} sends is on its own segment alone");
    }
}

#[test]
fn only_the_firewall_guest_leads_outside() {
    world(async |world: World| {
        machine(&world);
        let service = Service::system(&world).await;
        let (firewall, mut router, _) = five_nic_guest(&service).await;
        let xml = GuestXml::new("inside").on_network("private");
        let inside = service.client.define_domain(&xml.to_string()).await.expect("a valid document");
        let (mut console, _) = inside.boot().await;

        let gateway = router.lease("eth0").await;
        router.run("static eth1 10.99.0.5/24").await;
        let address = console.lease("eth0").await;
        assert!(console.reaches(&gateway).await, "guests of a network reach each other");
        // The host's own address on the isolated network leads nowhere, even with a way back.
        let host = address.rsplit_once('.').map(|(net, _)| format!("{net}.1")).expect("an IPv4 address");
        world.on("outside", "ip route add 192.168.0.0/16 via 10.99.0.5");
        console.run(&format!("ip route replace default via {host}")).await;
        assert!(!console.reaches(OUTSIDE).await, "the isolated network itself leads nowhere");

        console.run(&format!("ip route replace default via {gateway}")).await;
        assert!(!console.reaches(OUTSIDE).await, "the five-NIC guest does not route yet");
        router.run("router").await;
        assert!(console.reaches(OUTSIDE).await, "the five-NIC guest routes");
        assert!(world.pings("outside", &address));

        firewall.stop().await;
        assert!(!console.reaches(OUTSIDE).await, "without the five-NIC guest there is no way");
        eventually("the firewall guest is off", Duration::from_secs(5), async || {
            (firewall.state().await == "shutoff").then_some(())
        })
        .await;
    });
}
