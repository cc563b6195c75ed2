//! Isolated, NAT and directed networks: what a guest reaches, with hosts of the test around.

use crate::common::{GuestXml, Service, World, assert_error, text, world};

/// Two hosts, each behind an interface of its own.
const X: &str = "10.1.0.2";
const Y: &str = "10.2.0.2";

fn machine(world: &World) {
    for (host, near, net) in [("x", "ethx", "10.1.0"), ("y", "ethy", "10.2.0")] {
        world.add_host(host);
        world.cable(near, &format!("{net}.1/24"), host, "eth0", &format!("{net}.2/24"));
    }
}

fn network(name: &str, forward: &str) -> String {
    format!(
        "<network><name>{name}</name>{forward}<ip address='' netmask=''><dhcp><range start='' end=''/></dhcp></ip></network>"
    )
}

#[test]
fn a_guest_reaches_what_its_network_allows() {
    world(async |world: World| {
        machine(&world);
        let service = Service::system(&world).await;
        let client = &service.client;
        for (name, forward, to_x, to_y) in [
            ("isolated", "", false, false),
            ("nat", "<forward/>", true, true),
            ("directed", "<forward dev='ethx'/>", true, false),
        ] {
            let net = client.define_network(&network(name, forward)).await.expect("a valid document");
            let guest = GuestXml::new("traveller").on_network(name).to_string();
            let guest = client.define_domain(&guest).await.expect("a valid document");
            // A host without a way back is reached only by NAT; with one, isolation is what is tested.
            let ways_back = |how: &str| {
                world.sh(&format!(
                    "ip -n x route {how} default via 10.1.0.1; ip -n y route {how} default via 10.2.0.1"
                ));
            };
            if name == "isolated" {
                ways_back("add");
            }
            let (mut console, _) = guest.boot().await;
            assert_eq!(net.state().await, "active", "a start starts the networks it needs");
            let address = console.lease("eth0").await;
            let gateway =
                address.rsplit_once('.').map(|(net, _)| format!("{net}.1")).expect("an IPv4 address");
            assert!(console.reaches(&gateway).await, "{name}: the guest reaches its host");
            let leases = net.leases().await;
            assert_eq!(leases.len(), 1);
            assert_eq!(text(&leases[0]["address"]), address);
            assert_eq!(text(&leases[0]["hostname"]), "traveller");

            console.run(&format!("ip route replace default via {gateway}")).await;
            assert_eq!(console.reaches(X).await, to_x, "{name}: to the host behind ethx");
            assert_eq!(console.reaches(Y).await, to_y, "{name}: to the host behind ethy");
            if name != "isolated" {
                ways_back("add");
            }
            assert!(!world.pings("x", &address), "{name}: nobody gets in from outside");
            ways_back("del");
            console.run(&format!("nslookup -type=a traveller {gateway}")).await;

            assert_error(net.act("Stop").await, "InUse", &["traveller"]);
            guest.stop().await;
            net.stop().await;
            net.undefine().await;
        }
    });
}

#[test]
fn two_networks_do_not_meet() {
    world(async |world: World| {
        machine(&world);
        let service = Service::system(&world).await;
        let client = &service.client;
        for name in ["left", "right"] {
            client.define_network(&network(name, "<forward/>")).await.expect("a valid document");
        }
        let xml = GuestXml::new("both").on_network("left").on_network("right").to_string();
        let guest = client.define_domain(&xml).await.expect("a valid document");
        let (mut console, _) = guest.boot().await;
        let left = console.lease("eth0").await;
        console.run("ip route del default; true").await;
        let right = console.lease("eth1").await;
        assert_ne!(left.rsplit_once('.').map(|(net, _)| net), right.rsplit_once('.').map(|(net, _)| net));
        let subnet = |xml: String| xml.split("<ip address=").nth(1).map(|rest| rest[1..].to_owned());
        for (name, address) in [("left", &left), ("right", &right)] {
            let net = client.network(name).await.expect("it was defined");
            let written = subnet(net.xml().await).expect("the address is in the document");
            let net_part = address.rsplit_once('.').map(|(net, _)| net).expect("an IPv4 address");
            assert!(written.starts_with(net_part), "the chosen subnet is kept in the definition: {written}");
            let bridge = String::try_from(net.property("Bridge").await).expect("a name");
            let live: String =
                net.ask_with("GetXml", [("live", true.into())].into()).await.expect("GetXml answers");
            assert!(live.replace('\'', "\"").contains(&format!("<bridge name=\"{bridge}\"")), "{live}");
            assert!(!net.xml().await.contains("<bridge"), "the chosen bridge is no part of the definition");
        }
    });
}

#[test]
fn what_a_document_says_is_what_is_there() {
    world(async |world: World| {
        machine(&world);
        // The address that guests appear as leads back to this machine.
        world.sh("ip addr add 10.1.0.77/24 dev ethx");
        world.on("x", "nft \"table ip t { chain c { type filter hook input priority 0; ip saddr 10.1.0.77 counter; }; }\"");
        let service = Service::system(&world).await;
        let client = &service.client;
        let xml = "<network><name>whole</name><forward dev='ethx'><nat><address start='10.1.0.77' end='10.1.0.77'/></nat></forward>\
            <bridge name='lab%d' stp='off'/><port isolated='yes'/>\
            <dns><host ip='192.168.66.9'><hostname>printer</hostname></host></dns>\
            <ip address='192.168.66.1' prefix='24'><dhcp><range start='192.168.66.10' end='192.168.66.99'/></dhcp></ip>\
            <route address='10.77.0.0' prefix='16' gateway='192.168.66.10' metric='7'/></network>";
        let net = client.define_network(xml).await.expect("a valid document");
        let mut consoles = Vec::new();
        for name in ["one", "two"] {
            let guest = GuestXml::new(name).on_network("whole").to_string();
            let guest = client.define_domain(&guest).await.expect("a valid document");
            let (mut console, _) = guest.boot().await;
            let address = console.lease("eth0").await;
            consoles.push((guest, console, address));
        }
        let route = world.sh("ip route show 10.77.0.0/16");
        assert!(route.contains("via 192.168.66.10 dev lab0") && route.contains("metric 7"), "{route}");
        let other = consoles[1].2.clone();
        let console = &mut consoles[0].1;
        assert!(console.reaches("192.168.66.1").await, "an isolated guest reaches its host");
        assert!(!console.reaches(&other).await, "but no other guest");
        let found = console.run("nslookup -type=a printer 192.168.66.1").await;
        assert!(found.contains("192.168.66.9"), "{found}");
        console.run("ip route replace default via 192.168.66.1").await;
        assert!(console.reaches(X).await);
        let counted = world.on("x", "nft list table ip t");
        assert!(!counted.contains("packets 0 "), "packets have the address of the document: {counted}");
        for (guest, ..) in consoles {
            guest.stop().await;
        }
        net.stop().await;
        assert_eq!(world.sh("ip route show 10.77.0.0/16"), "");
        assert!(!world.sh("ls /sys/class/net").contains("lab"), "the bridge goes with the network");
    });
}
