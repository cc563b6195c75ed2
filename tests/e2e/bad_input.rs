//! Bad input: a named error that tells the place, and nothing changed.

use crate::common::{ALICE, Client, GuestXml, HostState, Service, World, assert_error, world};

/// All that a call could change.
async fn everything(world: &World, client: &Client) -> (HostState, Vec<String>, String) {
    let mut objects: Vec<_> = client.objects().await.keys().map(ToString::to_string).collect();
    objects.sort();
    let files = world.sh("find /run/w/warren-*/state -type f -exec sha256sum {} + | sort");
    (HostState::now(world), objects, files)
}

fn guest_with(nic: &str) -> String {
    GuestXml::new("bad").with(nic).to_string()
}

#[test]
fn bad_domains_are_refused_with_their_place() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let client = &service.client;
        let before = everything(&world, client).await;
        let nic = "/domain/devices/interface";
        let good = guest_with("<interface type='user'/>");
        for (what, xml, error, words) in [
            (
                "a type that does not exist",
                guest_with("<interface type='hologram'/>"),
                "InvalidConfig",
                vec![nic, "hologram"],
            ),
            (
                "a type that the origin retired",
                guest_with("<interface type='tap'/>"),
                "InvalidConfig",
                vec![nic, "ethernet"],
            ),
            (
                "a MAC twice",
                guest_with(
                    &"<interface type='user'><mac address='52:54:00:00:00:01'/></interface>".repeat(2),
                ),
                "InvalidConfig",
                vec![nic, "52:54:00:00:00:01"],
            ),
            (
                "a port out of range",
                guest_with("<interface type='server'><source address='' port='70000'/></interface>"),
                "InvalidConfig",
                vec![nic, "70000"],
            ),
            (
                "port zero",
                guest_with("<interface type='mcast'><source address='' port='0'/></interface>"),
                "InvalidConfig",
                vec![nic, "port"],
            ),
            ("XML cut in the middle", good[..good.len() / 2].to_owned(), "InvalidXml", vec!["line"]),
            ("not a domain", "<network><name>bad</name></network>".to_owned(), "InvalidXml", vec!["domain"]),
            (
                "an interface name of 16 bytes",
                guest_with("<interface type='ethernet'><target dev='sixteen-bytes-01'/></interface>"),
                "InvalidConfig",
                vec![nic, "sixteen-bytes-01"],
            ),
            (
                "a name that leads elsewhere",
                good.replace("<name>bad</name>", "<name>../bad</name>"),
                "InvalidConfig",
                vec!["/domain/name", "../bad"],
            ),
        ] {
            println!("{what}");
            assert_error(client.define_domain(&xml).await, error, &words);
            assert_eq!(everything(&world, client).await, before, "{what} changed something");
        }
    });
}

#[test]
fn bad_networks_are_refused_with_their_place() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let client = &service.client;
        let before = everything(&world, client).await;
        for (what, xml, error, words) in [
            (
                "a bridge name of 16 bytes",
                "<network><name>bad</name><bridge name='sixteen-bytes-01'/></network>",
                "InvalidConfig",
                vec!["/network/bridge", "sixteen-bytes-01"],
            ),
            (
                "a name that leads elsewhere",
                "<network><name>../bad</name></network>",
                "InvalidConfig",
                vec!["/network/name", "../bad"],
            ),
            (
                "a range outside its subnet",
                "<network><name>bad</name><ip address='192.168.9.1' netmask='255.255.255.0'>
                 <dhcp><range start='192.168.8.2' end='192.168.8.9'/></dhcp></ip></network>",
                "InvalidConfig",
                vec!["/network/ip", "192.168.8.2"],
            ),
            ("XML cut in the middle", "<network><name>bad</na", "InvalidXml", vec!["line"]),
        ] {
            println!("{what}");
            assert_error(client.define_network(xml).await, error, &words);
            assert_eq!(everything(&world, client).await, before, "{what} changed something");
        }
    });
}

#[test]
fn calls_that_cannot_be_done_change_nothing() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let client = &service.client;
        assert_error(client.network("nowhere").await, "NoSuchNetwork", &["nowhere"]);
        assert_error(client.domain("nobody").await, "NoSuchDomain", &["nobody"]);

        let stray = GuestXml::new("stray").on_network("nowhere").to_string();
        let stray = client.define_domain(&stray).await.expect("the network may be defined later");
        let before = everything(&world, client).await;
        assert_error(stray.act("Start").await, "NoSuchNetwork", &["nowhere"]);
        assert_error(stray.act("Stop").await, "WrongState", &[]);
        let options = std::collections::HashMap::from([("no-such-option", true.into())]);
        let answer: Result<zbus::OwnedObjectPath, _> = stray.ask_with("Start", options).await;
        assert_error(answer, "InvalidArgs", &["no-such-option"]);
        assert_eq!(everything(&world, client).await, before);
    });
}
