//! The daemon is killed at any moment: nothing is lost, nothing is left, and running guests run on.

use std::time::Duration;

use crate::common::{ALICE, GuestXml, HostState, Service, World, text, world};

const NET: &str = "<network><name>net</name><forward/><ip address='' netmask=''>
    <dhcp><range start='' end=''/></dhcp></ip></network>";

/// Moments after a call was sent, in milliseconds: from before its first step to after its last.
const MOMENTS: [u64; 12] = [0, 2, 5, 10, 20, 35, 50, 70, 90, 120, 160, 250];

/// Kills the daemon that long after each of a start and a stop, and looks what the next one makes of it.
async fn killed_while_busy(world: &World, mut service: Service) {
    let client = service.client.clone();
    let net = client.define_network(NET).await.expect("a valid document");
    let guest = GuestXml::new("guest").diskless().on_network("net").to_string();
    let guest = client.define_domain(&guest).await.expect("a valid document");
    let before = HostState::now(world);
    for moment in MOMENTS {
        for method in ["Start", "Stop"] {
            // The answer may never come.
            let call = guest.act(method);
            let _ = tokio::time::timeout(Duration::from_millis(moment), call).await;
            let running = guest_pids();
            service.kill_and_restart(world).await;
            let state = guest.state().await;
            assert!(
                ["running", "shutoff", "crashed"].contains(&state.as_str()),
                "{method} +{moment} ms: {state}"
            );
            if state == "running" {
                assert!(running.contains(&guest.pid().await), "{method} +{moment} ms: the same QEMU runs");
                assert_eq!(net.state().await, "active", "{method} +{moment} ms");
            }
        }
        if guest.state().await == "running" {
            guest.stop().await;
        }
        if net.state().await == "active" {
            net.stop().await;
        }
        before.restored(world).await;
    }
}

fn guest_pids() -> Vec<u32> {
    let is_qemu = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("guest=guest")
    };
    let entries = std::fs::read_dir("/proc").expect("/proc is mounted").flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(is_qemu).collect()
}

#[test]
fn a_daemon_killed_at_any_moment_leaves_nothing_without_an_owner() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        killed_while_busy(&world, service).await;
    });
}

#[test]
fn a_session_killed_at_any_moment_leaves_nothing_without_an_owner() {
    world(async |world: World| {
        world.sh("ip link set lo up");
        let service = Service::session(&world, ALICE.uid).await;
        killed_while_busy(&world, service).await;
    });
}

#[test]
fn a_guest_that_ended_meanwhile_is_told_as_crashed() {
    world(async |world: World| {
        let mut service = Service::session(&world, ALICE.uid).await;
        let guest = GuestXml::new("guest").diskless().with("<interface type='user'/>").to_string();
        let guest = service.client.define_domain(&guest).await.expect("a valid document");
        guest.start().await;
        let pid = guest.pid().await;
        service.daemon.kill();
        world.sh(&format!("kill -9 {pid}"));
        service.kill_and_restart(&world).await;
        assert_eq!(guest.state().await, "crashed");
        assert_eq!(text(&guest.property("StateReason").await), "failed");
        guest.start().await;
        guest.stop().await;
    });
}
