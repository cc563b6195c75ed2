//! The tree of objects as clients look at it, and what the service says of its host.

use std::collections::HashMap;
use std::time::Duration;

use zbus::{OwnedObjectPath, OwnedVariant};
use zbus_xml::Node;

use crate::callers::People;
use crate::common::{
    ALICE, Bus, Client, Daemon, GuestXml, Options, Service, World, command_as, eventually, text, world,
};

type Listed = HashMap<OwnedObjectPath, HashMap<String, OwnedVariant>>;

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

#[test]
fn a_list_tells_each_caller_what_it_may_see() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let nic = "<interface type='network'><source network='default'/></interface>";
        let xml = GuestXml::new("guest")
            .diskless()
            .with(nic)
            .with("<graphics type='vnc' port='5901'/>")
            .to_string();
        let default = people.root.network("default").await.expect("it is there from the start");
        default.start().await;
        default.ask_with::<()>("SetAccess", Options::new()).await.expect_err("it takes a word");
        let access = ("users", Options::new());
        people
            .root
            .call::<_, ()>(default.path.as_str(), "org.warren1.Network.SetAccess", &access)
            .await
            .expect("root may");
        let guest = people.owner.define_domain(&xml).await.expect("a valid document");
        guest.start().await;
        let listed = async |client: &Client, what: &str| {
            let member = format!("org.warren1.Manager.List{what}");
            let listed = client.call::<_, Listed>("/org/warren1", &member, &Options::new()).await;
            listed.expect("everybody may ask")
        };
        for (client, sees) in [(&people.owner, true), (&people.root, true), (&people.other, false)] {
            let mut domains = listed(client, "Domains").await;
            let domain = domains.remove(&guest.path).expect("every domain is told");
            assert_eq!((text(&domain["name"]), text(&domain["state"])), ("guest".into(), "running".into()));
            let started = u64::try_from(&*domain["started-usec"]).expect("it is t");
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
            let ago = now.as_micros() as u64 - started;
            assert!(ago < 120_000_000, "it was started {ago} us ago");
            for key in ["addresses", "graphics", "networks"] {
                assert_eq!(domain.contains_key(key), sees, "{key}: {domain:?}");
            }
            if sees {
                assert_eq!(list(domain["networks"].try_clone().expect("no descriptor")), ["default"]);
            }
            let networks = listed(client, "Networks").await;
            let network = &networks[&default.path];
            assert_eq!(text(&network["state"]), "active");
            assert_eq!(network.contains_key("addresses"), sees, "{network:?}");
        }
        guest.stop().await;
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
