//! What a NIC may do on a network is the same by every way to it: a start, an autostart, a network that was stopped by
//! force and started, a daemon that was killed.

use std::time::Duration;

use zbus::Variant;

use crate::callers::People;
use crate::common::{
    GuestXml, HostState, Object, Options, Service, World, assert_error, eventually, text, world,
};

async fn set_access(people: &People, network: &Object, access: &str) {
    let (path, body) = (network.path.as_str(), (access, Options::new()));
    people.root.call::<_, ()>(path, "org.warren1.Network.SetAccess", &body).await.expect("root may");
}

/// The service of the next boot, as far as it starts what is marked.
async fn boot(people: &mut People, world: &World) {
    people.daemon.kill();
    world.sh("rm -f /run/w/warren-0/run/autostarted");
    people.daemon.kill_and_restart(world, &people.root).await;
}

#[test]
fn autostart_gives_no_right_to_a_network() {
    world(async |world: World| {
        let mut people = People::new(&world).await;
        let xml = "<network><name>lab</name><ip address='192.168.71.1' prefix='24'/></network>";
        let lab = people.root.define_network(xml).await.expect("root may define");
        set_access(&people, &lab, "users").await;
        let guest = |name: &str| GuestXml::new(name).diskless().on_network("lab").to_string();
        let alices = people.owner.define_domain(&guest("alices")).await.expect("the network is open to all");
        let roots = people.root.define_domain(&guest("roots")).await.expect("root may define");
        for (client, domain) in [(&people.owner, &alices), (&people.root, &roots)] {
            let (path, body) = (domain.path.as_str(), (true, Options::new()));
            let set = client.call::<_, ()>(path, "org.warren1.Domain.SetAutostart", &body);
            set.await.expect("the owner may");
        }
        set_access(&people, &lab, "admin").await;
        boot(&mut people, &world).await;
        eventually("root's guest is started", Duration::from_secs(30), async || {
            (roots.state().await == "running").then_some(())
        })
        .await;
        eventually("the other one is not, and says so", Duration::from_secs(30), async || {
            let reason = text(&alices.property("StateReason").await);
            (alices.state().await == "shutoff" && reason == "failed").then_some(())
        })
        .await;
        roots.stop().await;

        set_access(&people, &lab, "users").await;
        boot(&mut people, &world).await;
        eventually("an open network is for all", Duration::from_secs(30), async || {
            (alices.state().await == "running").then_some(())
        })
        .await;
    });
}

/// Of each NIC of a guest, in order: whether its port is on a bridge and isolated.
async fn ports(world: &World, guest: &Object) -> Vec<Option<bool>> {
    let mut ports = Vec::new();
    for nic in guest.info_list("interfaces").await {
        let port = world.sh(&format!("bridge -d link show dev {}", text(&nic["target"])));
        ports.push(port.contains("master").then(|| port.contains("isolated on")));
    }
    ports
}

#[test]
fn a_port_stays_isolated() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        let client = service.client.clone();
        let mut networks = Vec::new();
        for (number, (name, port)) in [("open", ""), ("closed", "<port isolated='yes'/>")].iter().enumerate()
        {
            let xml = format!(
                "<network><name>{name}</name>{port}<ip address='192.168.{}.1' prefix='24'/></network>",
                71 + number
            );
            networks.push(client.define_network(&xml).await.expect("a valid document"));
        }
        let nic = |network: &str, port: &str| {
            format!("<interface type='network'><source network='{network}'/>{port}</interface>")
        };
        let (yes, no) = ("<port isolated='yes'/>", "<port isolated='no'/>");
        let xml = GuestXml::new("guest").diskless();
        let xml = xml.with(&(nic("open", yes) + &nic("open", "") + &nic("closed", "") + &nic("closed", no)));
        let guest = client.define_domain(&xml.to_string()).await.expect("a valid document");
        guest.start().await;
        let wanted = [Some(true), Some(false), Some(true), Some(false)];
        assert_eq!(ports(&world, &guest).await, wanted);

        for network in &networks {
            let force = [("force", Variant::from(true))].into();
            network.ask_with::<zbus::OwnedObjectPath>("Stop", force).await.expect("by force it stops");
        }
        assert_eq!(ports(&world, &guest).await, [None; 4]);
        for network in &networks {
            network.start().await;
        }
        assert_eq!(ports(&world, &guest).await, wanted, "after a forced stop and a start");

        // As a daemon leaves them that is killed while it puts them back.
        let nics = guest.info_list("interfaces").await;
        let [first, second] = [0, 1].map(|n| text(&nics[n]["target"]));
        world.sh(&format!("bridge link set dev {first} isolated off && ip link set {second} nomaster"));
        service.kill_and_restart(&world).await;
        assert_eq!(ports(&world, &guest).await, wanted, "after the daemon was killed");
        guest.stop().await;
    });
}

#[test]
fn a_nic_has_neither_the_address_of_its_bridge_nor_none() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let own = "52:54:00:aa:bb:cc";
        let lab = format!(
            "<network><name>lab</name><mac address='{own}'/><ip address='192.168.71.1' prefix='24'/></network>"
        );
        people.root.define_network(&lab).await.expect("root may define");
        world.sh(&format!("ip link add br9 type bridge && ip link set br9 address {own} up"));
        let before = HostState::now(&world);
        for source in ["type='network'><source network='lab'/>", "type='bridge'><source bridge='br9'/>"] {
            for mac in [own, "00:00:00:00:00:00"] {
                let nic = format!("<interface {source}<mac address='{mac}'/></interface>");
                let guest = GuestXml::new("guest").diskless().with(&nic).to_string();
                let guest = people.root.define_domain(&guest).await.expect("it is kept");
                assert_error(guest.act("Start").await, "InvalidConfig", &[mac]);
                guest.undefine().await;
            }
        }
        people.root.network("lab").await.expect("it is there").stop().await;
        before.restored(&world).await;
    });
}

/// Bob may. The answer for `host-access` waits until the test allows it.
const GATE: &str = r#"polkit.addRule(function(action, subject) {
    if (subject.user != "warren-bob" || action.id.indexOf("org.warren1.") != 0) return polkit.Result.NOT_HANDLED;
    if (action.id == "org.warren1.host-access") polkit.spawn(["/run/w/gate"]);
    return polkit.Result.YES;
});"#;

#[test]
fn a_start_is_judged_by_what_is_started() {
    world(async |world: World| {
        let people = People::new(&world).await;
        world.sh(
            "printf '#!/bin/sh\ntouch /run/w/open/asked; while [ ! -e /run/w/open/go ]; do sleep 0.1; done' >/run/w/gate
             mkdir -m 1777 /run/w/open && chmod 755 /run/w /run/w/gate",
        );
        let guest = |tap: &str| {
            let source = "<source network='lab'/>";
            let nic = format!("<interface type='network'>{source}<target dev='{tap}'/></interface>");
            GuestXml::new("hers").diskless().with(&nic).to_string()
        };
        let xml = "<network><name>lab</name><ip address='192.168.71.1' prefix='24'/></network>";
        let lab = people.root.define_network(xml).await.expect("root may define");
        set_access(&people, &lab, "users").await;
        let hers = people.owner.define_domain(&guest("ok0")).await.expect("the owner may define");
        people.polkit.add_rules(&world, GATE);
        let (bobs, xml) = (hers.seen_by(&people.other), hers.xml().await);
        eventually("the rule is heeded", Duration::from_secs(30), async || {
            bobs.ask::<String>("GetXml").await.ok()
        })
        .await;
        let meanwhile = async {
            eventually("polkit is asked", Duration::from_secs(30), async || {
                world.try_sh("test -e /run/w/open/asked").ok()
            })
            .await;
            // By root, of whom polkit, which is busy, is not asked.
            people.root.define_domain(&xml.replace("ok0", "docker0")).await.expect("root may define");
            world.sh("touch /run/w/open/go");
        };
        let (started, ()) = tokio::join!(bobs.act("Start"), meanwhile);
        assert_error(started, "Conflict", &["'hers'"]);
        assert_eq!(hers.state().await, "shutoff");
        people.root.define_domain(&xml).await.expect("root may define");
        bobs.start().await;
        bobs.stop().await;
    });
}
