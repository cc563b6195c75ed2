//! The tree of objects as clients look at it, and what the service says of its host.

use std::collections::HashMap;
use std::time::Duration;

use zbus::OwnedVariant;
use zbus_xml::Node;

use crate::common::{ALICE, Bus, Client, Daemon, GuestXml, Service, World, command_as, eventually, world};

/// More than the contract of one interface has.
const ONE_OBJECT: usize = 24 << 10;

async fn introspected(client: &Client, path: &str) -> (usize, Vec<String>, Vec<String>) {
    let member = "org.freedesktop.DBus.Introspectable.Introspect";
    let xml: String = client.call(path, member, &()).await.expect("every path can be introspected");
    let node = Node::from_reader(xml.as_bytes()).expect("introspection is XML");
    let mut children: Vec<String> = Vec::new();
    for child in node.nodes() {
        assert!(child.interfaces().is_empty() && child.nodes().is_empty(), "only its name: {xml}");
        children.push(child.name().expect("a child has a name").to_owned());
    }
    children.sort();
    (xml.len(), node.interfaces().iter().map(|i| i.name().to_string()).collect(), children)
}

#[test]
fn each_path_tells_itself_and_the_names_below_it() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let client = &service.client;
        let network = client.network("default").await.expect("the network `default` is there at first use");
        let mut names = Vec::new();
        for n in 0..12 {
            let guest = GuestXml::new(&format!("guest{n}")).diskless().to_string();
            let guest = client.define_domain(&guest).await.expect("a valid document");
            names.push(guest.path.as_str().rsplit('/').next().unwrap_or_default().to_owned());
        }
        names.sort();
        assert_eq!(introspected(client, "/").await.2, ["org"]);
        assert_eq!(introspected(client, "/org").await.2, ["freedesktop", "warren1"]);
        let (bytes, interfaces, children) = introspected(client, "/org/warren1").await;
        assert!(bytes < ONE_OBJECT, "{bytes} bytes");
        assert_eq!(children, ["domain", "network"]);
        for name in
            ["org.freedesktop.DBus.ObjectManager", "org.freedesktop.DBus.Properties", "org.warren1.Manager"]
        {
            assert!(interfaces.iter().any(|i| i == name), "{name} is missing: {interfaces:?}");
        }
        assert_eq!(introspected(client, "/org/warren1/domain").await.2, names);
        assert_eq!(introspected(client, "/org/warren1/network").await.2.len(), 1);
        let guest = format!("/org/warren1/domain/{}", names[0]);
        assert!(introspected(client, &guest).await.1.iter().any(|i| i == "org.warren1.Domain"));

        let objects = client.objects().await;
        assert_eq!(objects.len(), 13, "the network and the domains, and nothing in between");
        for (path, interfaces) in &objects {
            let [(name, properties)] = Vec::from_iter(interfaces)[..] else {
                panic!("{path}: {interfaces:?}")
            };
            assert!(name.as_str().starts_with("org.warren1.") && properties.contains_key("State"), "{path}");
        }
        let mut busctl = command_as(ALICE.uid, "busctl");
        busctl.args(["--address", &service.bus.address, "tree", "--list", "org.warren1"]);
        let tree = busctl.output().expect("busctl is installed");
        let tree = String::from_utf8_lossy(&tree.stdout);
        for path in [network.path.as_str(), &guest] {
            assert!(tree.lines().any(|line| line == path), "busctl finds {path}: {tree}");
        }

        // A path without objects stays, and is told again with the next one.
        client.match_signals("type='signal',interface='org.freedesktop.DBus.ObjectManager'").await;
        let signals = client.signals();
        network.undefine().await;
        assert_eq!(introspected(client, "/org/warren1").await.2, ["domain"]);
        assert_eq!(introspected(client, "/org/warren1/network").await.2, [""; 0]);
        let again = "<network><name>again</name></network>";
        client.define_network(again).await.expect("a valid document");
        assert_eq!(introspected(client, "/org/warren1/network").await.2.len(), 1);
        assert_eq!(signals.seen("InterfacesAdded").len(), 1, "of the object alone");
        assert_eq!(signals.seen("InterfacesRemoved").len(), 1);
    });
}

fn list(value: OwnedVariant) -> Vec<String> {
    value.try_into().expect("it is as")
}

#[test]
fn warnings_say_that_the_host_is_not_known_yet() {
    world(async |world: World| {
        let slow = "#!/bin/sh\nwhile [ ! -e /run/w/go ]; do sleep 0.1; done\nexec /run/w/qemu \"$@\"\n";
        let script = world.write("slow-qemu", slow);
        let qemu = world.sh("readlink -f $(command -v qemu-system-x86_64)");
        world.sh(&format!("cp {qemu} /run/w/qemu; mount --bind {} {qemu}", script.display()));
        let bus = Bus::session(&world, ALICE.uid);
        let _daemon = Daemon::session(&world, &bus, ALICE.uid).await;
        let client = bus.connect(ALICE.uid).await;
        let warnings = async || list(client.manager_property("Warnings").await);
        let first = warnings().await;
        assert!(first.len() == 1 && first[0].starts_with("host probe running"), "{first:?}");
        world.sh("touch /run/w/go");
        let member = "org.warren1.Manager.GetHost";
        let host = client.call::<_, HashMap<String, OwnedVariant>>("/org/warren1", member, &()).await;
        let mut host = host.expect("all may ask");
        let told = list(host.remove("warnings").expect("GetHost carries the warnings"));
        assert!(!told.iter().any(|line| line.starts_with("host probe")), "{told:?}");
        eventually("the property tells the same", Duration::from_secs(20), async || {
            (warnings().await == told).then_some(())
        })
        .await;
    });
}
