//! NICs without a TAP: `server`/`client`, `mcast` and `udp`, by an ordinary user, on one host and on two.

use std::net::Ipv4Addr;

use crate::common::{
    ALICE, BOB, Bus, Client, Console, Daemon, GuestXml, Object, Service, World, example, holds, join_group,
    world,
};

/// What the test guest's kernel has a driver for.
const MODEL: &str = "<model type='virtio'/>";
const MULTICAST_ON_LO: &str = "ip link set lo multicast on && ip route add 239.0.0.0/8 dev lo";

/// A guest that has booted.
async fn launch(client: &Client, xml: &str) -> (Object, Console) {
    let guest = client.define_domain(xml).await.expect("a valid document");
    let (console, _) = guest.boot().await;
    (guest, console)
}

/// Gives both guests an address on this NIC, and lets the first ping the second.
async fn meet(one: &mut Console, two: &mut Console, nic: &str, net: &str) {
    one.run(&format!("static {nic} {net}.1/24")).await;
    two.run(&format!("static {nic} {net}.2/24")).await;
    assert!(one.reaches(&format!("{net}.2")).await, "the guests share the segment of {nic}");
}

/// No TAP anywhere, and a QEMU that has no privilege.
async fn unprivileged(world: &World, guest: &Object, uid: u32) {
    assert_eq!(world.sh("ip -o link show type tun | wc -l"), "0");
    let status = std::fs::read_to_string(format!("/proc/{}/status", guest.pid().await)).expect("QEMU runs");
    let line = |key: &str| status.lines().find(|l| l.starts_with(key)).unwrap_or_default().to_owned();
    assert_eq!(line("Uid:"), format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}"));
    assert_eq!(line("CapEff:"), "CapEff:\t0000000000000000");
}

#[test]
fn two_guests_talk_over_server_and_client() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let (server, mut one) = launch(&service.client, &GuestXml::from_example("pair-server.xml")).await;
        let (_, mut two) = launch(&service.client, &GuestXml::from_example("pair-client.xml")).await;
        meet(&mut one, &mut two, "eth0", "10.55.0").await;
        unprivileged(&world, &server, ALICE.uid).await;
    });
}

#[test]
fn two_guests_and_a_plain_socket_talk_over_mcast() {
    world(async |world: World| {
        world.sh(MULTICAST_ON_LO);
        let service = Service::session(&world, ALICE.uid).await;
        let (guest, mut one) = launch(&service.client, &GuestXml::from_example("pair-mcast-1.xml")).await;
        let (_, mut two) = launch(&service.client, &GuestXml::from_example("pair-mcast-2.xml")).await;
        meet(&mut one, &mut two, "eth0", "10.58.0").await;
        unprivileged(&world, &guest, ALICE.uid).await;

        // User-Mode Linux's format: an Ethernet frame is a datagram, with nothing around it.
        let group = join_group(Ipv4Addr::new(239, 0, 0, 1), 5558, Ipv4Addr::LOCALHOST);
        one.run("call eth0 10.58.0.99").await;
        let mut buffer = [0; 2048];
        loop {
            let n = group.recv(&mut buffer).expect("the frame comes to the group");
            let frame = &buffer[..n];
            if holds(frame, &[10, 58, 0, 99]) {
                assert_eq!(frame[..6], [0xff; 6], "a broadcast");
                assert_eq!(frame[6..12], [0x52, 0x54, 0x00, 0x55, 0x58, 0x01], "from the guest's MAC");
                assert_eq!(frame[12..14], [0x08, 0x06], "an ARP request");
                break;
            }
        }
    });
}

#[test]
fn two_guests_talk_over_udp() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let first = GuestXml::from_example("guest-udp.xml");
        assert!(example("guest-udp.xml").contains("5601") && first.contains("5602"));
        let second = first.replace("5601", "PORT").replace("5602", "5601").replace("PORT", "5602");
        let second = second.replace("guest-udp</name>", "guest-udp-2</name>");
        let (guest, mut one) = launch(&service.client, &first).await;
        let (_, mut two) = launch(&service.client, &second).await;
        meet(&mut one, &mut two, "eth0", "10.56.0").await;
        unprivileged(&world, &guest, ALICE.uid).await;
    });
}

/// Two network namespaces joined by a cable stand for two hosts; each has a user, a bus and a daemon.
#[test]
fn guests_of_two_hosts_talk_over_all_three() {
    world(async |world: World| {
        world.add_host("there");
        world.cable("lan0", "10.7.0.1/24", "there", "lan0", "10.7.0.2/24");
        world.sh("ip route add 239.0.0.0/8 dev lan0 && ip -n there route add 239.0.0.0/8 dev lan0");
        let here = Service::session(&world, ALICE.uid).await;
        let bus = Bus::session(&world, BOB.uid);
        let _daemon = Daemon::session_on(&world, &bus, BOB, "there").await;
        let there = bus.connect(BOB.uid).await;

        let one = GuestXml::new("one").with(&format!(
            "<interface type='server'><source address='' port='5555'/>{MODEL}</interface>
             <interface type='mcast'><source address='' port='5558'/>{MODEL}</interface>
             <interface type='udp'><source address='10.7.0.2' port='5601'>
               <local address='10.7.0.1' port='5602'/></source>{MODEL}</interface>",
        ));
        let two = GuestXml::new("two").with(&format!(
            "<interface type='client'><source address='10.7.0.1' port='5555'/>{MODEL}</interface>
             <interface type='mcast'><source address='' port='5558'/>{MODEL}</interface>
             <interface type='udp'><source address='10.7.0.1' port='5602'>
               <local address='10.7.0.2' port='5601'/></source>{MODEL}</interface>",
        ));
        let (_one, mut near) = launch(&here.client, &one.to_string()).await;
        let (_two, mut far) = launch(&there, &two.to_string()).await;
        for (nic, net) in [("eth0", "10.55.0"), ("eth1", "10.58.0"), ("eth2", "10.56.0")] {
            meet(&mut near, &mut far, nic, net).await;
        }
        assert_eq!(world.sh("ip -o link show type tun | wc -l"), "0");
        assert_eq!(world.on("there", "ip -o link show type tun | wc -l"), "0");
    });
}
