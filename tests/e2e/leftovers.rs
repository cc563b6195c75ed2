//! What a teardown could not remove: the object stays defined until it is gone, over a restart of the daemon too.

use std::path::Path;

use crate::common::{GuestXml, Object, Service, World, assert_error, text, world};

const NET: &str = "<network><name>net</name><forward/><ip address='192.168.71.1' prefix='24'/></network>";

/// Something of a network cannot be removed.
struct Obstacle {
    what: &'static str,
    put: String,
    /// Its name in the error.
    named: &'static str,
    remove: String,
}

async fn run_dir(object: &Object, kind: &str) -> String {
    format!("/run/w/warren-0/run/{kind}/{}", text(&object.property("Uuid").await))
}

/// A mount below a runtime directory, which keeps it from being removed.
fn mounted(dir: &str, named: &'static str) -> Obstacle {
    Obstacle {
        what: "the runtime directory",
        put: format!("mkdir {dir}/kept && mount -t tmpfs tmpfs {dir}/kept"),
        named,
        remove: format!("umount {dir}/kept"),
    }
}

#[test]
fn a_network_of_which_something_is_left_is_not_forgotten() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        let client = service.client.clone();
        let nft = world.sh("command -v nft");
        for restarted in [false, true] {
            let net = client.define_network(NET).await.expect("a valid document");
            let dir = run_dir(&net, "networks").await;
            let switch = "/proc/sys/net/ipv4/ip_forward";
            let obstacles = [
                Obstacle {
                    what: "the table",
                    put: format!("mount --bind /bin/false {nft}"),
                    named: "the rules",
                    remove: format!("umount {nft}"),
                },
                Obstacle {
                    what: "forwarding",
                    put: format!("mount --bind {switch} {switch} && mount -o remount,bind,ro {switch}"),
                    named: "forwarding",
                    remove: format!("umount {switch}"),
                },
                mounted(&dir, "runtime files"),
            ];
            for Obstacle { what, put, named, remove } in obstacles {
                net.start().await;
                world.sh(&put);
                assert_error(net.act("Stop").await, "BackendFailed", &[named]);
                assert_eq!(net.state().await, "inactive", "{what}");
                if restarted {
                    service.kill_and_restart(&world).await;
                }
                assert_error(net.act("Undefine").await, "BackendFailed", &["'net'", named]);
                assert_eq!(net.state().await, "inactive", "{what}: it is still there");
                world.sh(&remove);
                if what != "the runtime directory" {
                    // A start removes it first, too.
                    net.start().await;
                    net.stop().await;
                }
            }
            net.undefine().await;
            assert!(!Path::new(&dir).exists());
            assert!(!world.sh("nft list tables").contains("warren_"));
            assert_eq!(world.sh("sysctl -n net.ipv4.ip_forward"), "0");
        }
    });
}

#[test]
fn a_domain_of_which_something_is_left_is_not_forgotten() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        for restarted in [false, true] {
            let guest = GuestXml::new("guest").diskless().to_string();
            let guest = service.client.define_domain(&guest).await.expect("a valid document");
            let dir = run_dir(&guest, "domains").await;
            guest.start().await;
            let Obstacle { put, named, remove, .. } = mounted(&dir, "runtime files");
            world.sh(&put);
            guest.stop().await;
            if restarted {
                service.kill_and_restart(&world).await;
            }
            for method in ["Undefine", "Start"] {
                assert_error(guest.act(method).await, "BackendFailed", &["'guest'", named]);
            }
            assert_eq!(guest.state().await, "shutoff");
            world.sh(&remove);
            guest.start().await;
            guest.stop().await;
            guest.undefine().await;
            assert!(!Path::new(&dir).exists());
        }
    });
}
