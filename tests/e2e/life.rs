//! The service's own life: it ends while it is called, is started while others work, and finds again what is
//! not as it left it.

use std::time::Duration;

use crate::callers::{DOMAIN_XML, People};
use crate::common::{
    ALICE, Bus, Client, Daemon, GuestXml, HostState, Object, Options, Polkit, Service, World, assert_error,
    eventually, text, world,
};

const NET: &str = "<network><name>net</name><ip address='192.168.77.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.77.2' end='192.168.77.99'/></dhcp></ip></network>";

/// That network, and a guest on it.
async fn network_and_guest(client: &Client) -> (Object, Object) {
    let net = client.define_network(NET).await.expect("a valid document");
    let guest = GuestXml::new("guest").diskless().on_network("net").to_string();
    (net, client.define_domain(&guest).await.expect("a valid document"))
}

/// Holds up a script until it is let go: it waits for a file.
const WAIT: &str = "#!/bin/sh\nwhile ! [ -e /run/w/go-on ]; do sleep 0.1; done\n";

/// A guest whose start waits: a script of its owner does.
fn slow(world: &World, name: &str) -> String {
    let script = world.write("slow", WAIT).display().to_string();
    let nic = format!("<interface type='ethernet'><script path='{script}'/></interface>");
    GuestXml::new(name).diskless().with(&nic).to_string()
}

/// More calls have come than are answered at once when the daemon is asked to stop, and the bus takes its time with
/// the answers.
#[test]
fn what_has_come_before_the_farewell_is_answered() {
    world(async |world: World| {
        let bus = Bus::system_with(&world, &[("max_replies_per_connection", 5000)]);
        let _polkit = Polkit::start(&world, &bus, "").await;
        let mut daemon = Daemon::system(&world, &bus).await;
        let (client, other) = (bus.connect(0).await, bus.connect(0).await);
        let guest = GuestXml::new("guest").diskless().to_string();
        let guest = client.define_domain(&guest).await.expect("a valid document");
        let pid = world.sh("pgrep -f -x '/run/w/bin/warrend --system'");
        let bus_pid = bus_pid(&world);
        world.sh(&format!("kill -STOP {pid}"));
        let goes = async {
            // What the bus answers after the calls, it has been asked after them.
            assert!(client.has_owner("org.warren1").await);
            world.sh(&format!("kill -TERM {pid}; kill -CONT {pid}"));
            while other.has_owner("org.warren1").await {}
            world.sh(&format!("kill -STOP {bus_pid}; sleep 1; kill -CONT {bus_pid}"));
            daemon.terminate(&world).await
        };
        let calls = futures_util::future::join_all((0..300).map(|_| guest.ask::<String>("GetXml")));
        let (answers, _) = tokio::join!(calls, goes);
        let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert!(failed.is_empty(), "{} of them: {:?}", failed.len(), failed[0]);
    });
}

fn bus_pid(world: &World) -> String {
    world.sh("pgrep -f -x 'dbus-daemon .*/bus-system-0/bus.conf'")
}

#[test]
fn a_bus_that_hangs_keeps_no_service_from_its_end() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        let bus = bus_pid(&world);
        world.sh(&format!("kill -STOP {bus}"));
        assert!(service.daemon.terminate(&world).await.success());
        world.sh(&format!("kill -CONT {bus}"));
    });
}

/// A daemon that still answers a call has given up its name; the next one waits for it.
#[test]
fn the_next_service_waits_for_the_one_that_ends() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        let guest = service.client.define_domain(&slow(&world, "slow")).await.expect("a valid document");
        let other = service.bus.connect(0).await;
        let ends = async {
            eventually("the guest is starting", Duration::from_secs(10), async || {
                (guest.state().await == "starting").then_some(())
            })
            .await;
            let asked = async {
                while other.has_owner("org.warren1").await {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other.domain("slow").await
            };
            tokio::join!(service.daemon.terminate(&world), asked).1
        };
        let (cut_off, found) = tokio::join!(guest.act("Start"), ends);
        cut_off.expect_err("a service does not end later than it must");
        let found = found.expect("the next service answers");
        assert_eq!(found.state().await, "shutoff", "a start that was cut off is undone");
    });
}

async fn autostarted(client: &Client, xml: &str) -> Object {
    let guest = client.define_domain(xml).await.expect("a valid document");
    let member = "org.warren1.Domain.SetAutostart";
    let options = Options::new();
    client.call::<_, ()>(guest.path.as_str(), member, &(true, options)).await.expect("SetAutostart answers");
    guest
}

#[test]
fn each_guest_is_started_once_in_a_boot_though_the_service_is_killed_meanwhile() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        let client = service.client.clone();
        // Which is also the order in which they are started.
        let with_uuid = |xml: String, n: u32| {
            xml.replacen("</name>", &format!("</name><uuid>00000000-0000-4000-8000-00000000000{n}</uuid>"), 1)
        };
        let first = with_uuid(GuestXml::new("first").diskless().to_string(), 1);
        let first = autostarted(&client, &first).await;
        let second = autostarted(&client, &with_uuid(slow(&world, "second"), 2)).await;
        let third = with_uuid(GuestXml::new("third").diskless().to_string(), 3);
        let third = autostarted(&client, &third).await;
        let states = async || [first.state().await, second.state().await, third.state().await];
        service.daemon.kill();
        // As after a boot.
        world.sh("rm /run/w/warren-0/run/autostarted");
        service.kill_and_restart(&world).await;
        eventually("the second guest is starting", Duration::from_secs(20), async || {
            (states().await[1] == "starting").then_some(())
        })
        .await;
        assert_eq!(states().await, ["running", "starting", "shutoff"]);
        first.stop().await;
        world.sh("touch /run/w/go-on");
        service.kill_and_restart(&world).await;
        eventually("the rest is started", Duration::from_secs(20), async || {
            (states().await[1..] == ["running", "running"]).then_some(())
        })
        .await;
        assert_eq!(text(&second.property("StateReason").await), "autostart");
        assert_eq!(first.state().await, "shutoff", "it was started, and then stopped");
        third.stop().await;
        service.kill_and_restart(&world).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(states().await, ["shutoff", "running", "shutoff"]);
    });
}

/// Guests that do not answer are taken over all the same, all at once, and are told right when they do.
#[test]
fn guests_that_hang_do_not_hold_the_service_up() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        let mut guests = Vec::new();
        for name in ["one", "two", "three"] {
            let xml = GuestXml::new(name).diskless().to_string();
            let guest = service.client.define_domain(&xml).await.expect("a valid document");
            guest.start().await;
            guests.push((guest.pid().await, guest));
        }
        guests[0].1.ask::<()>("Suspend").await.expect("a running guest is suspended");
        for (pid, _) in &guests {
            world.sh(&format!("kill -STOP {pid}"));
        }
        // In less than D-Bus's patience with a service that it starts.
        service.kill_and_restart(&world).await;
        for (pid, guest) in &guests {
            assert_eq!(guest.pid().await, *pid, "it is taken over");
            world.sh(&format!("kill -CONT {pid}"));
        }
        eventually("the state is told as it is", Duration::from_secs(20), async || {
            (guests[0].1.state().await == "paused").then_some(())
        })
        .await;
        guests[1].1.stop().await;
    });
}

fn run_dir(object: &Object) -> String {
    let uuid = object.path.as_str().rsplit('/').next().expect("a path ends with the UUID").replace('_', "-");
    let kind = if object.path.as_str().contains("/network/") { "networks" } else { "domains" };
    format!("/run/w/warren-0/run/{kind}/{uuid}")
}

#[test]
fn what_runs_stays_though_its_definition_is_lost() {
    world(async |world: World| {
        let mut people = People::new(&world).await;
        let (net, guest) = network_and_guest(&people.root).await;
        let alices = people.owner.define_domain(DOMAIN_XML).await.expect("Alice may define her own");
        let of_alice = alices.seen_by(&people.root);
        let all = [&net, &guest, &of_alice];
        guest.start().await;
        alices.start().await;
        let pids = world.sh("pgrep -x qemu-system-x86 | sort");
        let lose = async |people: &mut People, how: &str| {
            people.daemon.kill();
            for object in all {
                let file = run_dir(object).replace("/run/w/warren-0/run/", "/run/w/warren-0/state/") + ".xml";
                world.sh(&format!("f={file}; {how}"));
            }
            people.daemon.kill_and_restart(&world, &people.root).await;
        };
        for how in ["echo '<domain' > $f", "sed -i \"s/ version='[0-9]*'/ version='99'/\" $f", "rm $f"] {
            lose(&mut people, how).await;
            for (object, state) in all.iter().zip(["active", "running", "running"]) {
                assert_eq!(object.state().await, state, "{how}");
            }
        }
        assert_eq!(world.sh("pgrep -x qemu-system-x86 | sort"), pids);
        for (object, uid) in [(&guest, 0), (&of_alice, ALICE.uid)] {
            assert_eq!(u32::try_from(object.property("Owner").await).expect("Owner is a u"), uid);
        }
        let aside = world.sh("ls /run/w/warren-0/state/domains | grep -c broken");
        assert_eq!(aside, "2", "what was there is kept aside");

        // What does not run is not made up.
        guest.stop().await;
        alices.stop().await;
        lose(&mut people, "rm $f").await;
        let left: Vec<_> = people.root.objects().await.into_keys().collect();
        assert!(all[1..].iter().all(|object| !left.contains(&object.path)), "{left:?}");
        assert_eq!(net.state().await, "active");
    });
}

#[test]
fn a_network_is_taken_over_though_its_dnsmasq_cannot_run() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        let client = service.client.clone();
        let net = client.define_network(NET).await.expect("a valid document");
        let before = HostState::now(&world);
        net.start().await;
        service.daemon.kill();
        world.sh("pkill -x dnsmasq; mount --bind /bin/false $(command -v dnsmasq)");
        service.kill_and_restart(&world).await;
        assert_eq!(net.state().await, "active", "its bridge and its rules are there");
        eventually("it is warned of", Duration::from_secs(20), async || {
            let warnings = Vec::<String>::try_from(net.property("Warnings").await).expect("Warnings is as");
            warnings.iter().any(|w| w.contains("no DHCP and no DNS")).then_some(())
        })
        .await;
        net.stop().await;
        world.sh("umount $(command -v dnsmasq)");
        before.restored(&world).await;
        net.start().await;
        net.stop().await;
    });
}

#[test]
fn a_definition_does_not_undo_what_was_set_meanwhile() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        let client = &service.client;
        let net = client.define_network(NET).await.expect("a valid document");
        let (path, options) = (net.path.as_str(), Options::new);
        let (autostart, access) = ((true, options()), ("users", options()));
        // While it starts, they wait for it, in this order.
        let (started, autostart, access, defined) = tokio::join!(
            net.act("Start"),
            client.call::<_, ()>(path, "org.warren1.Network.SetAutostart", &autostart),
            client.call::<_, ()>(path, "org.warren1.Network.SetAccess", &access),
            client.define_network(NET),
        );
        started.expect("it starts");
        autostart.expect("SetAutostart answers");
        access.expect("SetAccess answers");
        defined.expect("it is defined again");
        assert!(bool::try_from(net.property("Autostart").await).expect("Autostart is a b"));
        assert_eq!(text(&net.property("Access").await), "users");
        assert_eq!(u64::try_from(net.property("Generation").await).expect("Generation is a t"), 2);
    });
}

#[test]
fn a_guest_gets_its_place_back_though_the_service_was_killed_meanwhile() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        let client = service.client.clone();
        let (net, guest) = network_and_guest(&client).await;
        guest.start().await;
        let stopped: Result<zbus::OwnedObjectPath, _> =
            net.ask_with("Stop", Options::from([("force", true.into())])).await;
        stopped.expect("it is stopped by force");
        service.kill_and_restart(&world).await;
        net.start().await;
        let bridge = text(&net.property("Bridge").await);
        assert_eq!(world.sh(&format!("ls /sys/class/net/{bridge}/brif")), "wtap0");
        guest.stop().await;
        net.stop().await;
    });
}

#[test]
fn a_network_that_takes_its_time_holds_no_domain_up() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        let client = &service.client;
        let net = client.define_network(NET).await.expect("a valid document");
        let dnsmasq = world.sh("command -v dnsmasq");
        let slow = world.write("slow-dnsmasq", &format!("{WAIT}exec /usr/src/dnsmasq \"$@\"\n"));
        // Where programs of the system are: dnsmasq runs no others.
        world.sh("mount -t tmpfs tmpfs /usr/src");
        world.sh(&format!("cp {dnsmasq} /usr/src/dnsmasq && mount --bind {} {dnsmasq}", slow.display()));
        let defined = async {
            let state = async || net.state().await;
            eventually("it is starting", Duration::from_secs(10), async || {
                (state().await == "starting").then_some(())
            })
            .await;
            let guest = async {
                // The network's own definition waits for it by now.
                tokio::time::sleep(Duration::from_millis(200)).await;
                let guest = GuestXml::new("guest").diskless().to_string();
                let guest = client.define_domain(&guest).await.expect("a valid document");
                assert_eq!(state().await, "starting", "the network is not waited for");
                guest.undefine().await;
                assert_eq!(state().await, "starting", "the network is not waited for");
            };
            let looked = async {
                guest.await;
                world.sh("touch /run/w/go-on");
            };
            tokio::join!(client.define_network(NET), looked).0.expect("it is defined again");
        };
        tokio::join!(net.act("Start"), defined).0.expect("it starts");
        net.stop().await;
    });
}

/// As a disk becomes on which the kernel has found a fault.
#[test]
fn a_service_on_a_readonly_disk_still_looks_after_what_runs() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        let client = service.client.clone();
        let xml = GuestXml::new("guest").diskless().to_string();
        let guest = client.define_domain(&xml).await.expect("a valid document");
        guest.start().await;
        service.daemon.kill();
        world.sh("d=/run/w/warren-0/state; mount --bind $d $d; mount -o remount,bind,ro $d");
        service.kill_and_restart(&world).await;
        assert_eq!(guest.state().await, "running");
        let refused = client.define_domain(&xml).await;
        assert_error(refused.map(|_| ()), "BackendFailed", &["Read-only file system"]);
        guest.stop().await;
        assert_error(guest.act("Undefine").await, "BackendFailed", &["Read-only file system"]);
        guest.start().await;
        guest.stop().await;
    });
}

#[test]
fn a_full_runtime_directory_stops_no_service_and_counts_no_job_twice() {
    world(async |world: World| {
        let run = "/run/w/warren-0/run";
        world.sh(&format!("mkdir -p {run} && mount -t tmpfs -o size=300k,mode=711 tmpfs {run}"));
        let mut service = Service::system(&world).await;
        let client = service.client.clone();
        let before = HostState::now(&world);
        let [one, two] = ["one", "two"].map(|name| GuestXml::new(name).diskless().to_string());
        let one = client.define_domain(&one).await.expect("a valid document");
        let two = client.define_domain(&two).await.expect("a valid document");
        one.start().await;
        let mut jobs = Vec::new();
        let begin = async || {
            let options = Options::from([("no-wait", true.into())]);
            let job: zbus::OwnedObjectPath = two.ask_with("Start", options).await.expect("a job begins");
            eventually("the job ends", Duration::from_secs(20), async || {
                (two.state().await != "starting").then_some(())
            })
            .await;
            job
        };
        jobs.push(begin().await);
        two.stop().await;
        let _full = world.try_sh(&format!("dd if=/dev/zero of={run}/fill bs=4k 2>&1"));
        jobs.push(begin().await);
        assert_eq!(two.state().await, "shutoff", "there is no room for it");
        service.kill_and_restart(&world).await;
        assert_eq!(one.state().await, "running");
        jobs.push(begin().await);
        jobs.dedup();
        assert_eq!(jobs.len(), 3, "{jobs:?}");
        one.stop().await;
        world.sh(&format!("rm {run}/fill"));
        two.start().await;
        two.stop().await;
        world.sh(&format!("rm {run}/next-job"));
        before.restored(&world).await;
    });
}

#[test]
fn what_a_stop_could_not_remove_is_removed_later() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        let client = service.client.clone();
        let net = client.define_network(NET).await.expect("a valid document");
        let before = HostState::now(&world);
        for restart in [false, true] {
            net.start().await;
            world.sh("mount --bind /bin/false $(command -v nft)");
            assert_error(net.act("Stop").await, "BackendFailed", &["not all of it is gone", "the rules"]);
            assert_eq!(net.state().await, "inactive");
            world.sh("umount $(command -v nft)");
            if restart {
                service.kill_and_restart(&world).await;
                assert_eq!(net.state().await, "inactive");
            } else {
                net.start().await;
                net.stop().await;
            }
            before.restored(&world).await;
        }
    });
}
