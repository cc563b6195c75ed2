//! The example clients, run as their readers run them.

use crate::common::{ALICE, GuestXml, Service, World, assert_error, command_as, none_runs, world};

use super::session::machine;

/// The document of the examples, with a guest that asks for its lease by itself.
fn guest() -> String {
    // "lease eth0" in base64.
    let script = "warren.name=guest-network warren.script=bGVhc2UgZXRoMAo=";
    GuestXml::from_example("guest-network.xml").replace("warren.name=guest-network", script)
}

async fn shows_the_life_of_a_guest(world: &World, program: &[&str]) {
    machine(world);
    let links = world.sh("ip -o link show | wc -l");
    let mut service = Service::session(world, ALICE.uid).await;
    let file = world.write("guest.xml", &guest());
    let output = command_as(ALICE.uid, "timeout")
        .arg("800")
        .args(program)
        .args(["/run/w/examples/default.xml".as_ref(), file.as_os_str()])
        .env("DBUS_SESSION_BUS_ADDRESS", &service.bus.address)
        .output()
        .expect("the example can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}: {}: {text}{errors}", output.status);
    for words in [
        "/org/warren1/network/",
        "guest-network, shutoff",
        "guest-network runs as process ",
        "lease: 192.168.",
        "starting -> running",
        "-> shutoff (",
    ] {
        assert!(text.contains(words), "{program:?} tells '{words}': {text}");
    }
    assert_eq!(errors, "", "{program:?} has no complaints");

    assert_error(service.client.domain("guest-network").await, "NoSuchDomain", &["guest-network"]);
    let network = service.client.network("default").await.expect("the network stays defined");
    assert_eq!(network.state().await, "inactive");
    none_runs("qemu-system").await;
    assert!(service.daemon.terminate(world).await.success());
    for helper in ["nethost", "dnsmasq", "pasta"] {
        none_runs(helper).await;
    }
    assert_eq!(world.sh("ip -o link show | wc -l"), links);
}

#[test]
fn the_one_in_python() {
    world(async |world: World| {
        shows_the_life_of_a_guest(&world, &["/usr/bin/python3", "/run/w/examples/clients/python/client.py"])
            .await;
    });
}

#[test]
fn the_one_in_rust() {
    world(async |world: World| {
        // Cargo builds it beside the programs: `examples/` in their directory.
        let built = std::path::Path::new(env!("CARGO_BIN_EXE_warrend")).with_file_name("examples");
        let built = built.join("warren-client");
        assert!(built.exists(), "the example is not built: cargo build --examples");
        world.sh(&format!("touch /run/w/bin/client && mount --bind '{}' /run/w/bin/client", built.display()));
        shows_the_life_of_a_guest(&world, &["/run/w/bin/client"]).await;
    });
}
