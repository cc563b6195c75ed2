//! Addresses of guests: of which run they are, whose NIC has them, and how to wait for one.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use zbus::{OwnedVariant, Variant};

use crate::cli::{alice, ended, warrenctl};
use crate::common::{ALICE, GuestXml, Object, Options, Service, World, eventually, text, world};

type Properties = HashMap<String, OwnedVariant>;

const LAB: &str = "<network><name>lab</name><ip address='10.77.0.1' prefix='24'>\
                   <dhcp><range start='10.77.0.10' end='10.77.0.20'/></dhcp></ip></network>";

/// A guest that asks for an address as soon as it runs, with a name for its NIC.
fn guest(alias: &str) -> String {
    let nic = format!(
        "<interface type='network'><source network='lab'/><model type='virtio'/><alias name='{alias}'/></interface>"
    );
    GuestXml::new("guest").diskless().with(&nic).to_string()
}

async fn addresses(guest: &Object) -> Vec<Properties> {
    guest.ask("GetAddresses").await.expect("the owner may")
}

/// What `warrenctl --json` says of the only address.
fn only(output: &str) -> Value {
    let mut all: Vec<Value> = serde_json::from_str(output).expect("it is a list");
    assert_eq!(all.len(), 1, "{output}");
    all.remove(0)
}

#[test]
fn an_address_belongs_to_a_run() {
    world(async |world: World| {
        let mut service = Service::session(&world, ALICE.uid).await;
        let lab = service.client.define_network(LAB).await.expect("a valid document");
        let own = service.client.define_domain(&guest("ua-first")).await.expect("a valid document");
        let start = ["--json", "vm", "start", "guest", "--wait-address"];
        let (code, output, said) = warrenctl(&service.bus, &start);
        assert_eq!(code, 0, "{said}");
        let first = only(&output);
        let part = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
        assert_eq!([part(&first, "source"), part(&first, "interface")], ["lease", "ua-first"]);
        assert_eq!((&first["stale"], &first["prefix"]), (&Value::from(false), &Value::from(24)));

        // The machine as it runs says whose NIC it is, and not what it will be.
        service.client.define_domain(&guest("ua-second")).await.expect("a valid document");
        let leases = lab.leases().await;
        assert_eq!([&leases[0]["interface"], &leases[0]["domain-name"]].map(text), ["ua-first", "guest"]);
        own.stop().await;
        assert_eq!(addresses(&own).await.len(), 0);

        // In the next run it is the former one's, until the guest asks for it again.
        let paused = Options::from([("paused", Variant::from(true))]);
        own.ask_with::<zbus::OwnedObjectPath>("Start", paused).await.expect("the owner may start");
        let stale = async |own: &Object| {
            let all = addresses(own).await;
            assert_eq!(all.len(), 1, "{all:?}");
            assert_eq!(
                [&all[0]["address"], &all[0]["interface"]].map(text),
                [part(&first, "address").as_str(), "ua-second"]
            );
            bool::try_from(&*all[0]["stale"]).expect("it is b")
        };
        assert!(stale(&own).await, "it has not run yet");
        service.kill_and_restart(&world).await;
        let own = service.client.domain("guest").await.expect("it runs on");
        assert!(stale(&own).await, "the next service knows it, too");
        let wait = |timeout: &str| {
            let mut wait = alice(&service.bus, "timeout");
            wait.args([
                "300",
                "warrenctl",
                "--json",
                "vm",
                "addresses",
                "guest",
                "--wait",
                "--timeout",
                timeout,
            ]);
            wait.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("timeout is installed")
        };
        let (code, _, said) = ended(wait("1").wait_with_output().expect("it ends"));
        assert!(code == 1 && said.contains("has got no address in 1 s"), "{code}: {said}");
        let waiting = wait("280");
        own.ask_with::<()>("Resume", Options::new()).await.expect("the owner may");
        let (code, output, said) = ended(waiting.wait_with_output().expect("it ends"));
        assert_eq!((code, &only(&output)["stale"]), (0, &Value::from(false)), "{output} {said}");
        assert!(!stale(&own).await);
        own.stop().await;
    });
}

#[test]
fn a_guest_without_a_lease_shows_itself_too() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        service.client.define_network(LAB).await.expect("a valid document");
        let xml = GuestXml::new("guest").on_network("lab").to_string();
        let own = service.client.define_domain(&xml).await.expect("a valid document");
        let (mut console, _) = own.boot().await;
        let body = (vec!["addresses"], Options::new());
        let member = "org.warren1.Manager.Subscribe";
        service.client.call::<_, ()>("/org/warren1", member, &body).await.expect("the owner may");
        let signals = service.client.signals();
        console.run("ip link set eth0 up; ip addr replace 10.77.0.77/24 dev eth0").await;
        assert!(console.reaches("10.77.0.1").await);
        let known = eventually("AddressesChanged comes", Duration::from_secs(60), async || {
            signals.seen("AddressesChanged").iter().find_map(|message| {
                let all: Vec<Properties> = message.body().deserialize().expect("it is aa{sv}");
                all.into_iter().find(|address| text(&address["address"]) == "10.77.0.77")
            })
        })
        .await;
        assert_eq!(text(&known["source"]), "arp");
        assert!(!known.contains_key("prefix"), "nobody knows it: {known:?}");
        assert!(!bool::try_from(&*known["stale"]).expect("it is b"));
        let (code, output, _) = warrenctl(&service.bus, &["vm", "addresses", "guest", "--wait"]);
        assert!(code == 0 && output.contains("10.77.0.77 ") && !output.contains("/0"), "{output}");
        // What the kernel knows of that is gone with the run.
        own.stop().await;
        let paused = Options::from([("paused", Variant::from(true))]);
        own.ask_with::<zbus::OwnedObjectPath>("Start", paused).await.expect("the owner may start");
        let all = addresses(&own).await;
        assert!(all.is_empty(), "{all:?}");
    });
}
