//! A host whose IPv6 routes come from router advertisements keeps them, whatever networks do, and gets its forwarding
//! back as it was.

use std::time::Duration;

use crate::common::{Object, Service, World, assert_error, eventually, text, world};

/// Leads out, over both families.
fn network(name: &str, number: u32) -> String {
    format!(
        "<network><name>{name}</name><forward mode='nat'><nat ipv6='yes'/></forward>\
         <ip address='192.168.{number}.1' prefix='24'/>\
         <ip family='ipv6' address='fd00:9:{number}::1' prefix='64'/></network>"
    )
}

/// The host: `up0` leads to a router that advertises itself, and `own0` forwards by its own settings.
async fn advertised_host(world: &World) {
    world.sh("ip link add own0 type veth peer name own1
         sysctl -qw net.ipv4.conf.own0.forwarding=1 net.ipv6.conf.own0.forwarding=1 net.ipv4.conf.all.accept_redirects=0");
    world.add_host("router");
    world.cable("up0", "", "router", "up1", "");
    world.on(
        "router",
        "ip addr add 2001:db8:99::1/64 dev up1 nodad; sysctl -qw net.ipv6.conf.all.forwarding=1
        dnsmasq -C /dev/null --port=0 --interface=up1 --enable-ra --dhcp-range=2001:db8:99::,ra-only \
        --ra-param=up1,4,600 --pid-file= --log-facility=/dev/null --leasefile-ro",
    );
    eventually("the host has an advertised route", Duration::from_secs(30), async || {
        has_route(world).then_some(())
    })
    .await;
}

fn has_route(world: &World) -> bool {
    world.sh("ip -6 route show default").contains("dev up0 proto ra")
}

fn set(world: &World, settings: &str) {
    world.sh(&format!("sysctl -qw {settings}"));
}

fn get(world: &World, key: &str) -> String {
    world.sh(&format!("sysctl -n {key}"))
}

const SWITCH: &str = "net.ipv6.conf.all.forwarding";
const ACCEPT_RA: &str = "net.ipv6.conf.up0.accept_ra";

/// All settings of the host that networks could change.
fn settings(world: &World) -> String {
    world.sh("sysctl -a 2>/dev/null | grep -E '^net[.]ipv[46][.](ip_forward|conf[.](all|default|up0|own0)[.]\
         (forwarding|accept_ra|accept_redirects)) ' | sort")
}

async fn warnings(network: &Object) -> String {
    format!("{:?}", network.property("Warnings").await)
}

#[test]
fn advertised_routes_stay_and_forwarding_is_restored() {
    world(async |world: World| {
        advertised_host(&world).await;
        let mut service = Service::system(&world).await;
        let client = service.client.clone();
        let before = settings(&world);
        let restored = |when: &str| {
            assert_eq!(settings(&world), before, "{when}");
            assert!(has_route(&world), "{when}");
        };
        let runs = |when: &str| {
            assert_eq!((get(&world, SWITCH).as_str(), get(&world, ACCEPT_RA).as_str()), ("1", "2"), "{when}");
            assert!(has_route(&world), "{when}");
        };

        let report: std::collections::HashMap<String, zbus::OwnedVariant> = client
            .call(
                "/org/warren1",
                "org.warren1.Manager.CheckNetwork",
                &(network("one", 71), crate::common::Options::new()),
            )
            .await
            .expect("a valid document");
        let findings = format!("{:?}", report["findings"]);
        assert!(findings.contains("net.ipv6.conf.up0.accept_ra"), "{findings}");
        restored("a check changes nothing");

        let one = client.define_network(&network("one", 71)).await.expect("a valid document");
        let two = client.define_network(&network("two", 72)).await.expect("a valid document");
        one.start().await;
        runs("one network");
        let told = warnings(&one).await;
        assert!(told.contains("net.ipv6.conf.up0.accept_ra is 2"), "{told}");
        two.start().await;
        one.stop().await;
        runs("one of two was stopped");
        service.kill_and_restart(&world).await;
        runs("the daemon was killed");
        let told = warnings(&two).await;
        assert!(told.contains("net.ipv6.conf.up0.accept_ra is 2"), "{told}");
        service.daemon.terminate(&world).await;
        service.kill_and_restart(&world).await;
        runs("the daemon was stopped and started");
        two.stop().await;
        restored("the last one was stopped");

        for moment in [0, 4, 10, 25, 60] {
            for method in ["Start", "Stop"] {
                // The answer may never come.
                let _ = tokio::time::timeout(Duration::from_millis(moment), one.act(method)).await;
                service.kill_and_restart(&world).await;
                let when = format!("the daemon was killed {moment} ms after {method}");
                match one.state().await.as_str() {
                    "active" => runs(&when),
                    _ => restored(&when),
                }
            }
            if one.state().await == "active" {
                one.stop().await;
            }
            restored(&format!("killed after {moment} ms"));
        }
    });
}

#[test]
fn an_administrators_settings_are_respected() {
    world(async |world: World| {
        advertised_host(&world).await;
        let mut service = Service::system(&world).await;
        let client = service.client.clone();
        let before = settings(&world);
        let one = client.define_network(&network("one", 71)).await.expect("a valid document");
        let two = client.define_network(&network("two", 72)).await.expect("a valid document");

        // As when a package loads all settings again.
        one.start().await;
        set(&world, &format!("{SWITCH}=0 {ACCEPT_RA}=1"));
        two.start().await;
        assert_eq!((get(&world, SWITCH).as_str(), get(&world, ACCEPT_RA).as_str()), ("1", "2"));
        assert!(has_route(&world), "loaded settings do not cost the route");
        one.stop().await;
        two.stop().await;
        set(&world, "net.ipv6.conf.own0.forwarding=1");
        assert_eq!(settings(&world), before);
        assert!(has_route(&world));

        // What was changed on purpose stays.
        one.start().await;
        set(&world, &format!("{SWITCH}=0 {ACCEPT_RA}=0"));
        one.stop().await;
        assert_eq!((get(&world, SWITCH).as_str(), get(&world, ACCEPT_RA).as_str()), ("0", "0"));
        set(&world, &format!("{ACCEPT_RA}=1 net.ipv6.conf.own0.forwarding=1"));
        assert_eq!(settings(&world), before);

        // A setting that cannot be made refuses the start, and changes nothing.
        let file = "/proc/sys/net/ipv6/conf/up0/accept_ra";
        world.sh(&format!("mount --bind {file} {file} && mount -o remount,bind,ro {file}"));
        assert_error(one.act("Start").await, "BackendFailed", &["'up0'", "net.ipv6.conf.up0.accept_ra"]);
        assert_eq!(text(&one.property("StateReason").await), "failed");
        world.sh(&format!("umount {file}"));
        assert_eq!(settings(&world), before);
        assert!(has_route(&world));

        // Forwarding that was on when the first service of a boot looked is never switched off.
        service.daemon.kill();
        world.sh("rm /run/w/warren-0/run/forwarding.json");
        set(&world, &format!("{ACCEPT_RA}=2 {SWITCH}=1"));
        service.kill_and_restart(&world).await;
        set(&world, &format!("{SWITCH}=0"));
        one.start().await;
        one.stop().await;
        assert_eq!(get(&world, SWITCH), "1");
        assert!(has_route(&world));
    });
}
