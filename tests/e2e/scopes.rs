//! A unit for each guest where systemd runs. There is none on the machines of these tests, so a stand-in
//! takes the call; that a guest starts without one, every other test shows.

use std::sync::{Arc, Mutex};

use zbus::{OwnedObjectPath, OwnedVariant, interface};

use crate::common::{ALICE, Bus, Daemon, GuestXml, World, world};

type Properties = Vec<(String, OwnedVariant)>;
type Calls = Arc<Mutex<Vec<(String, String, Properties)>>>;

struct Systemd(Calls);

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn start_transient_unit(
        &self,
        name: String,
        mode: String,
        properties: Properties,
        _auxiliary: Vec<(String, Properties)>,
    ) -> OwnedObjectPath {
        self.0.lock().expect("no test panicked with it").push((name, mode, properties));
        OwnedObjectPath::try_from("/org/freedesktop/systemd1/job/1").expect("a valid path")
    }
}

#[test]
fn a_guest_gets_a_scope_of_its_own() {
    world(async |world: World| {
        world.sh("mkdir -p /run/systemd/system");
        let bus = Bus::session(&world, ALICE.uid);
        let calls = Calls::default();
        let client = bus.connect(ALICE.uid).await;
        client.serve("org.freedesktop.systemd1", "/org/freedesktop/systemd1", Systemd(calls.clone())).await;
        let _daemon = Daemon::session(&world, &bus, ALICE.uid).await;
        let guest = GuestXml::new("guest").diskless().with("<interface type='user'/>").to_string();
        let guest = client.define_domain(&guest).await.expect("a valid document");
        guest.start().await;
        let (name, mode, properties) = calls.lock().expect("no test panicked with it").remove(0);
        assert!(name.starts_with("warren-") && name.ends_with(".scope"), "{name}");
        assert_eq!(mode, "fail");
        let pids =
            properties.into_iter().find(|(key, _)| key == "PIDs").expect("a scope is made of processes").1;
        assert_eq!(Vec::<u32>::try_from(pids).expect("pids are numbers"), [guest.pid().await]);
        guest.stop().await;
    });
}
