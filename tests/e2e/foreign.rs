//! Clients that no one here wrote: busctl, gdbus and python-dbus, each on a bus of `dbus-run-session` that finds
//! the service by XDG_DATA_DIRS alone. As an ordinary user, with nothing set up and nothing left behind.

use std::process::Stdio;

use crate::common::{ALICE, GuestXml, HostState, World, command_as, world};

const NETWORK_XML: &str = "<network><name>lab</name><ip address='10.66.0.1' netmask='255.255.255.0'>\
    <dhcp><range start='10.66.0.10' end='10.66.0.20'/></dhcp></ip></network>";

/// Runs a script of `foreign/`, which gets the documents of a network and of a guest on it.
async fn lives(world: &World, program: &str, script: &str, content: &str, guest: GuestXml) {
    world.sh("mkdir -p /run/w/share/dbus-1/services");
    let service = concat!(env!("CARGO_MANIFEST_DIR"), "/dbus/org.warren1.session.service");
    let service = std::fs::read_to_string(service).expect("the activation file is in dbus/");
    assert!(service.contains("Exec=/usr/sbin/warrend "), "{service}");
    let service = service.replace("Exec=/usr/sbin/warrend ", "Exec=/run/w/bin/warrend ");
    world.write("share/dbus-1/services/org.warren1.service", &service);
    let runtime = world.user_dir("runtime", ALICE.uid);
    let script = world.write(script, content);
    let network = world.write("network.xml", NETWORK_XML);
    let guest = world.write("guest.xml", &guest.on_network("lab").to_string());
    let before = HostState::now(world);
    let namespaces = world.sh("lsns -n -t net,user | wc -l");
    let output = command_as(ALICE.uid, "dbus-run-session")
        .args(["--", program])
        .args([script, network, guest])
        .env("HOME", format!("{}/home-{}", World::DIR, ALICE.name))
        .env("XDG_RUNTIME_DIR", &runtime)
        .env("XDG_DATA_DIRS", "/run/w/share")
        .stderr(Stdio::piped())
        .output()
        .expect("dbus-run-session (dbus-daemon) is installed");
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim().ends_with("LIVED"), "{said}\n{complained}");
    before.restored(world).await;
    assert_eq!(world.sh("lsns -n -t net,user | wc -l"), namespaces, "no namespace is left");
    // What is to be known until the next boot.
    let known = ["lock", "boot-id", "autostarted", "next-job", "qemu.json"];
    let known = known.map(|name| format!("! -name {name}")).join(" ");
    assert_eq!(world.sh(&format!("find '{}' ! -type d {known}", runtime.display())), "");
}

#[test]
fn the_life_of_a_guest_by_busctl() {
    world(async |world: World| {
        let guest = GuestXml::new("guest").diskless();
        lives(&world, "sh", "busctl.sh", include_str!("foreign/busctl.sh"), guest).await;
    });
}

#[test]
fn the_life_of_a_guest_by_gdbus() {
    world(async |world: World| {
        let guest = GuestXml::new("guest").diskless();
        lives(&world, "sh", "gdbus.sh", include_str!("foreign/gdbus.sh"), guest).await;
    });
}

#[test]
fn the_life_of_a_guest_by_python() {
    world(async |world: World| {
        let guest = GuestXml::new("guest");
        // The system's python, which has the system's packages.
        lives(&world, "/usr/bin/python3", "life.py", include_str!("foreign/life.py"), guest).await;
    });
}
