//! Nothing is left: the machine after the last stop, and after a start that failed, is as it was before.

use std::net::TcpListener;

use crate::common::{ALICE, GuestXml, HostState, Service, World, assert_error, none_runs, world};

const NET: &str = "<network><name>net</name><forward/><ip address='' netmask=''>
    <dhcp><range start='' end=''/></dhcp></ip></network>";
const ISLE: &str = "<network><name>isle</name><ip address='' netmask=''/></network>";

/// A NIC of every type, a disk, a display.
const EVERYTHING: &str = "<disk type='file' device='disk'><driver name='qemu' type='raw'/>
      <source file='/run/w/disk.img'/><target dev='vda' bus='virtio'/></disk>
    <interface type='network'><source network='net'/></interface>
    <interface type='network'><source network='isle'/><target dev='mytap0'/></interface>
    <interface type='bridge'><source bridge='br0'/></interface>
    <interface type='ethernet'><script path='/run/w/ifup'/></interface>
    <interface type='user'/>
    <interface type='server'><source address='' port='5555'/></interface>
    <interface type='client'><source address='' port='5556'/></interface>
    <interface type='mcast'><source address='' port='5558'/></interface>
    <interface type='udp'><source address='127.0.0.1' port='5601'>
      <local address='127.0.0.1' port='5602'/></source></interface>
    <graphics type='vnc' port='-1'/>";

fn machine(world: &World) -> TcpListener {
    world.sh("ip link add br0 type bridge && ip link set br0 up && truncate -s 1M /run/w/disk.img
        ip link set lo multicast on && ip route add 239.0.0.0/8 dev lo");
    world.write("ifup", "#!/bin/sh\nip link set \"$1\" up\n");
    TcpListener::bind("127.0.0.1:5556").expect("the port is free in a fresh world")
}

#[test]
fn after_everything_stopped_the_machine_is_as_before() {
    world(async |world: World| {
        let _peer = machine(&world);
        let service = Service::system(&world).await;
        let client = &service.client;
        let definitions = || world.sh("find /run/w/warren-0/state ! -type d | sort");
        let (before, stored) = (HostState::now(&world), definitions());
        let net = client.define_network(NET).await.expect("a valid document");
        let isle = client.define_network(ISLE).await.expect("a valid document");
        let everything = GuestXml::new("everything").with(EVERYTHING).to_string();
        let guest = client.define_domain(&everything).await.expect("a valid document");
        for round in 1..=2 {
            guest.start().await;
            assert_ne!(HostState::now(&world), before, "something was started");
            // The second time the guest ends by itself.
            if round == 1 {
                guest.stop().await;
            } else {
                world.sh(&format!("kill -9 {}", guest.pid().await));
                crate::common::eventually(
                    "the crash is seen",
                    std::time::Duration::from_secs(10),
                    async || (guest.state().await != "running").then_some(()),
                )
                .await;
            }
            net.stop().await;
            isle.stop().await;
            before.restored(&world).await;
        }
        guest.undefine().await;
        net.undefine().await;
        isle.undefine().await;
        assert_eq!(definitions(), stored, "no file of a definition is left");
        before.restored(&world).await;
    });
}

#[test]
fn a_start_that_fails_unwinds_all_its_steps() {
    world(async |world: World| {
        let peer = machine(&world);
        let service = Service::system(&world).await;
        let client = &service.client;
        let before = HostState::now(&world);
        let net = client.define_network(NET).await.expect("a valid document");
        let isle = client.define_network(ISLE).await.expect("a valid document");
        let everything = GuestXml::new("everything").with(EVERYTHING).to_string();
        let guest = client.define_domain(&everything).await.expect("a valid document");

        world.write("ifup", "#!/bin/sh\necho 'the cable is unplugged' >&2\nexit 3\n");
        assert_error(guest.act("Start").await, "BackendFailed", &["/run/w/ifup", "the cable is unplugged"]);
        assert_eq!(guest.state().await, "shutoff");
        world.write("ifup", "#!/bin/sh\nip link set \"$1\" up\n");
        drop(peer);
        assert_error(guest.act("Start").await, "BackendFailed", &["127.0.0.1:5556"]);
        let _peer = TcpListener::bind("127.0.0.1:5556").expect("the port is free again");
        let _taken = TcpListener::bind("0.0.0.0:5555").expect("the port is free");
        assert_error(guest.act("Start").await, "BackendFailed", &["5555"]);
        for network in [&net, &isle] {
            if network.state().await == "active" {
                network.stop().await;
            }
        }
        before.restored(&world).await;
    });
}

#[test]
fn a_session_leaves_no_helper_and_no_interface() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let client = &service.client;
        let net = client.network("default").await.expect("it is there from the start");
        let guest = GuestXml::new("guest").on_network("default").to_string();
        let guest = client.define_domain(&guest).await.expect("a valid document");
        let links = world.sh("ip -o link show");
        guest.start().await;
        guest.stop().await;
        net.stop().await;
        for helper in ["qemu-system", "dnsmasq", "pasta"] {
            none_runs(helper).await;
        }
        assert_eq!(world.sh("ip -o link show"), links);
        let run = world.sh(
            "find /run/w/warren-61001/run -path '*/networks/*' ! -type d -o -path '*/domains/*' ! -type d",
        );
        assert_eq!(run, "", "no file of runtime state is left");
    });
}
