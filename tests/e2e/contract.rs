//! The contract files against what the daemon introspects, and jobs as clients see them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use zbus::{OwnedObjectPath, Variant};
use zbus_xml::Node;

use crate::common::{ALICE, Client, GuestXml, Service, World, eventually, text, world};

const INTERFACES: [&str; 4] = ["Manager", "Network", "Domain", "Job"];

/// Every member with its signature, one a line.
fn members(xml: &str) -> BTreeSet<String> {
    let node = Node::from_reader(xml.as_bytes()).expect("introspection is XML");
    let mut found = BTreeSet::new();
    for interface in node.interfaces().iter().filter(|i| i.name().starts_with("org.warren1.")) {
        for method in interface.methods() {
            let args = method.args().iter().map(|arg| {
                format!("{:?} {} {}", arg.direction(), arg.name().unwrap_or(""), arg.ty().to_string())
            });
            found.insert(format!(
                "{} method {}({})",
                interface.name(),
                method.name(),
                args.collect::<Vec<_>>().join(", ")
            ));
        }
        for signal in interface.signals() {
            let args = signal
                .args()
                .iter()
                .map(|arg| format!("{} {}", arg.name().unwrap_or(""), arg.ty().to_string()));
            found.insert(format!(
                "{} signal {}({})",
                interface.name(),
                signal.name(),
                args.collect::<Vec<_>>().join(", ")
            ));
        }
        for property in interface.properties() {
            let (name, ty, access) = (property.name(), property.ty().to_string(), property.access());
            let emits = property
                .annotations()
                .iter()
                .find(|a| a.name() == "org.freedesktop.DBus.Property.EmitsChangedSignal")
                .map_or("true", |a| a.value())
                .to_owned();
            found.insert(format!("{} property {name} {ty} {access:?} {emits}", interface.name()));
        }
    }
    found
}

async fn introspected(client: &Client, path: &str) -> BTreeSet<String> {
    let member = "org.freedesktop.DBus.Introspectable.Introspect";
    let xml: String = client.call(path, member, &()).await.expect("every object can be introspected");
    members(&xml)
}

#[test]
fn the_daemon_is_as_its_contract_says() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let client = &service.client;
        let network = client.network("default").await.expect("the network `default` is there at first use");
        let guest = GuestXml::new("guest").with("<interface type='user'/>").to_string();
        let guest = client.define_domain(&guest).await.expect("a valid document");
        let no_wait = [("no-wait", Variant::from(true))].into();
        let job: OwnedObjectPath = guest.ask_with("Start", no_wait).await.expect("a start may be begun");
        assert!(job.as_str().starts_with("/org/warren1/job/"), "{job}");

        let mut real = BTreeSet::new();
        for path in ["/org/warren1", network.path.as_str(), guest.path.as_str(), job.as_str()] {
            real.extend(introspected(client, path).await);
        }
        let mut written = BTreeSet::new();
        for name in INTERFACES {
            let path = format!("{}/dbus/org.warren1.{name}.xml", env!("CARGO_MANIFEST_DIR"));
            written
                .extend(members(&std::fs::read_to_string(Path::new(&path)).expect("the contract is there")));
        }
        let missing: Vec<_> = written.difference(&real).collect();
        let beyond: Vec<_> = real.difference(&written).collect();
        assert!(missing.is_empty() && beyond.is_empty(), "missing: {missing:#?}\nbeyond: {beyond:#?}");

        let state = ("org.warren1.Job", "State");
        eventually("the job is completed", Duration::from_secs(20), async || {
            let member = "org.freedesktop.DBus.Properties.Get";
            let value = client.call(job.as_str(), member, &state).await.expect("a job stays for a while");
            (text(&value) == "completed").then_some(())
        })
        .await;
        assert_eq!(guest.state().await, "running");
        guest.stop().await;
    });
}
