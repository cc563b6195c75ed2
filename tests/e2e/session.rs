//! Session scope: networks without root, for an ordinary user and for root, that outlive the daemon.

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::{
    ALICE, Console, GuestXml, Object, Service, World, assert_error, eventually, none_runs, text, world,
};

/// Far behind the machine's uplink.
const OUTSIDE: &str = "203.0.113.5";

/// A machine with an uplink, as pasta needs one, and a web server on the other side.
pub(super) fn machine(world: &World) {
    world.add_host("net");
    world.cable("up0", "10.3.0.1/24", "net", "eth0", "10.3.0.2/24");
    world.sh("ip route add default via 10.3.0.2");
    world.on("net", &format!("ip address add {OUTSIDE}/32 dev lo"));
    world.write("index.html", "the outside\n");
    world.on("net", "busybox httpd -p 8000 -h /run/w");
}

async fn reaches_out(console: &mut Console) {
    assert!(console.reaches(OUTSIDE).await, "the outside answers pings");
    // The request's side stays open until the answer is there, as a browser's does.
    let fetch = format!(
        "for n in 1 2 3 4 5; do (printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n'; sleep 2) | nc -w 5 {OUTSIDE} 8000 \
         && break; done | tail -n 1"
    );
    assert_eq!(console.run(&fetch).await, "the outside");
}

async fn leases(network: &Object) -> Vec<String> {
    let mut addresses: Vec<_> = network.leases().await.iter().map(|lease| text(&lease["address"])).collect();
    addresses.sort();
    addresses
}

fn uid_of(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("QEMU runs");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a process has a user");
    line.split_whitespace().next().and_then(|uid| uid.parse().ok()).expect("a uid is a number")
}

async fn networks_without_root(world: &World, uid: u32) {
    machine(world);
    let links = world.sh("ip -o link show | wc -l");
    let mut service = Service::session(world, uid).await;
    let client = service.client.clone();
    assert_eq!(text(&client.manager_property("Scope").await), "session");
    let network = client.network("default").await.expect("the network `default` is there at first use");

    let vnc = GuestXml::new("one").on_network("default").with("<graphics type='vnc' port='-1'/>").to_string();
    let one = client.define_domain(&vnc).await.expect("a valid document");
    let two = GuestXml::new("two").on_network("default").to_string();
    let two = client.define_domain(&two).await.expect("a valid document");
    let ((mut first, _), (mut second, _)) = (one.boot().await, two.boot().await);
    let near = first.lease("eth0").await;
    let far = second.lease("eth0").await;
    assert!(first.reaches(&far).await && second.reaches(&near).await, "the guests reach each other");
    reaches_out(&mut first).await;
    assert_eq!(world.sh("ip -o link show | wc -l"), links, "the machine's own network is untouched");
    let pids = [one.pid().await, two.pid().await];
    for pid in pids {
        assert!(if uid == 0 { uid_of(pid) != 0 } else { uid_of(pid) == uid }, "QEMU runs without root");
    }
    sees_display(&one).await;
    let near_again = near.clone();
    let mut known = vec![near, far.clone()];
    known.sort();
    assert_eq!(leases(&network).await, known);

    service.kill_and_restart(world).await;
    assert_eq!([one.pid().await, two.pid().await], pids, "the guests go on");
    assert_eq!([one.state().await, two.state().await], ["running", "running"]);
    assert_eq!(network.state().await, "active");
    assert_eq!(leases(&network).await, known);
    let mut first = one.console().await;
    assert!(first.reaches(&far).await, "the network goes on");
    reaches_out(&mut first).await;
    first.run("ip link set eth0 down").await;
    assert_eq!(first.lease("eth0").await, near_again, "DHCP goes on");
    sees_display(&one).await;

    one.stop().await;
    two.stop().await;
    network.stop().await;
    none_runs("qemu-system").await;
    none_runs("dnsmasq").await;
    assert_eq!(one.state().await, "shutoff");
    assert!(service.daemon.terminate(world).await.success(), "asked to stop, the daemon ends well");
}

/// A viewer reaches the guest's display, on the host and by a descriptor.
async fn sees_display(guest: &Object) {
    let graphics = guest.info_list("graphics").await;
    let address = text(&graphics[0]["address"]);
    let port = graphics[0]["port"].try_clone().expect("a number can be cloned");
    let port = u32::try_from(port.try_clone().expect("a number can be cloned"))
        .or_else(|_| u16::try_from(port).map(u32::from))
        .expect("the port is a number");
    let viewer = TcpStream::connect(format!("{address}:{port}")).expect("the display listens");
    viewer.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket takes a deadline");
    is_greeted(viewer);
    let display: zbus::OwnedFd = guest.ask("OpenGraphics").await.expect("the display is opened");
    let viewer = UnixStream::from(std::os::fd::OwnedFd::from(display));
    viewer.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket takes a deadline");
    is_greeted(viewer);
}

fn is_greeted(mut viewer: impl Read) {
    let mut greeting = [0; 4];
    viewer.read_exact(&mut greeting).expect("the display greets");
    assert_eq!(&greeting, b"RFB ");
}

#[test]
fn an_interface_of_the_host_is_no_way_out_of_a_session() {
    world(async |world: World| {
        machine(&world);
        let service = Service::session(&world, ALICE.uid).await;
        let xml = "<network><name>directed</name><forward dev='up0'/><ip address='' netmask=''/></network>";
        let network = service.client.define_network(xml).await.expect("a valid document");
        assert_error(network.act("Start").await, "NotSupported", &["/network/forward/@dev", "up0"]);
        assert_eq!(network.state().await, "inactive");
        none_runs("pasta").await;
    });
}

#[test]
fn the_uplink_comes_back_with_that_of_the_host() {
    world(async |world: World| {
        machine(&world);
        let service = Service::session(&world, ALICE.uid).await;
        let guest = GuestXml::new("guest").on_network("default").to_string();
        let guest = service.client.define_domain(&guest).await.expect("a valid document");
        let (mut console, _) = guest.boot().await;
        console.lease("eth0").await;
        assert!(console.reaches(OUTSIDE).await);
        // Offline, and without an uplink: it cannot be started again at once.
        world.sh("ip route del default; kill $(cut -d' ' -f1 /run/w/warren-61001/run/pasta.stat)");
        eventually("it was tried in vain", Duration::from_secs(20), async || {
            service.daemon.log().contains("no uplink for the session's networks").then_some(())
        })
        .await;
        assert!(!console.reaches(OUTSIDE).await);
        world.sh("ip route add default via 10.3.0.2");
        eventually("the outside answers again", Duration::from_secs(60), async || {
            console.reaches(OUTSIDE).await.then_some(())
        })
        .await;
    });
}

#[test]
fn a_guest_that_ended_meanwhile_takes_no_others_ground() {
    world(async |world: World| {
        let mut service = Service::session(&world, ALICE.uid).await;
        world.user_dir("told", ALICE.uid);
        let script =
            world.write("script", "#!/bin/sh\necho \"$0 $1\" >>/run/w/told/all\n").display().to_string();
        let nic = format!(
            "<interface type='ethernet'><script path='{script}'/><downscript path='{script}'/></interface>"
        );
        let mut guests = Vec::new();
        for n in 1..=2 {
            let uuid = format!("</name><uuid>00000000-0000-4000-8000-00000000000{n}</uuid>");
            let xml = GuestXml::new(&format!("guest{n}")).diskless().with(&nic).to_string();
            let xml = xml.replacen("</name>", &uuid, 1);
            let guest = service.client.define_domain(&xml).await.expect("a valid document");
            guest.start().await;
            guests.push(guest);
        }
        let nethost = || world.sh("pgrep -f '/[w]arrend nethost'");
        let (before, first) = (nethost(), guests[0].pid().await);
        service.daemon.kill();
        world.sh(&format!("kill -9 {first}"));
        service.kill_and_restart(&world).await;
        assert_eq!([guests[0].state().await, guests[1].state().await], ["crashed", "running"]);
        assert_eq!(nethost(), before);
        guests[1].stop().await;
        none_runs("nethost").await;
        assert_eq!(world.sh("wc -l </run/w/told/all"), "4", "each script was run");
    });
}

#[test]
fn an_ordinary_user_has_networks() {
    world(async |world: World| networks_without_root(&world, ALICE.uid).await);
}

#[test]
fn root_has_networks_that_run_without_root() {
    world(async |world: World| networks_without_root(&world, 0).await);
}
