//! Displays and the host's loopback: who connects to the screen of a guest, and what a guest reaches on its host.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use zbus::OwnedVariant;

use crate::callers::People;
use crate::common::{
    ALICE, BOB, CAROL, Client, Console, GuestXml, Object, Options, Service, World, assert_error, command_as,
    text, world,
};

type Properties = HashMap<String, OwnedVariant>;

/// Both kinds of displays on the loopback, in both families.
const ON_TCP: &str =
    "<graphics type='vnc' port='-1' websocket='-1'/><graphics type='spice' autoport='yes' listen='::1'/>";
/// The uid of a guest that does not run.
const GUEST: u32 = 1_900_010_000;

/// Whether this user can connect; refused is the only other end.
fn connects(uid: u32, host: &str, port: &str) -> bool {
    let line = format!("exec 3<>/dev/tcp/{host}/{port}");
    let output = command_as(uid, "bash").args(["-c", &line]).output().expect("bash is installed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || said.contains("refused"), "uid {uid} at {host}:{port}: {said}");
    output.status.success()
}

fn part(display: &Properties, key: &str) -> String {
    if key == "port" {
        return u16::try_from(display["port"].try_clone().expect("a number")).expect("port is q").to_string();
    }
    text(&display[key])
}

async fn live_xml(guest: &Object) -> String {
    let options = Options::from([("live", true.into())]);
    guest.ask_with("GetXml", options).await.expect("GetXml answers")
}

/// Host and port of each display on TCP, with the websocket.
async fn places(guest: &Object) -> Vec<(String, String)> {
    let displays = guest.info_list("graphics").await;
    let mut places: Vec<_> =
        displays.iter().map(|display| (part(display, "address"), part(display, "port"))).collect();
    let xml = live_xml(guest).await;
    for (_, port) in &places {
        assert!(xml.contains(&format!("port='{port}'")), "{port} in {xml}");
    }
    let websocket = xml.split("websocket='").nth(1).and_then(|rest| rest.split('\'').next());
    places.push(("127.0.0.1".to_owned(), websocket.expect("it has one").to_owned()));
    places
}

/// Root and the owner connect to each of these displays, other users and guests do not.
fn only_their_owner_connects(places: &[(String, String)], owner: u32) {
    for (host, port) in places {
        for uid in [0, ALICE.uid, BOB.uid, CAROL.uid, GUEST] {
            let may = uid == 0 || uid == owner;
            assert_eq!(connects(uid, host, port), may, "uid {uid} at {host}:{port}");
        }
    }
}

/// Says who it is to everybody who connects.
fn says(word: &'static str, at: &str) {
    let listener = TcpListener::bind(at).unwrap_or_else(|e| panic!("{at} is free: {e}"));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let _ = client.expect("a client").write_all(word.as_bytes());
        }
    });
}

/// What the guest gets from there; empty where it is refused.
async fn gets(console: &mut Console, host: &str, port: &str) -> String {
    let (output, status) = console.try_run(&format!("nc {host} {port} </dev/null 2>/dev/null")).await;
    assert_eq!(status == 0, !output.is_empty(), "{host}:{port}: {output}, {status}");
    output
}

async fn the_guest_reaches_what_its_document_names(console: &mut Console, displays: &[(String, String)]) {
    assert_eq!(gets(console, "10.0.2.2", "7001").await, "named");
    assert_eq!(gets(console, "10.0.2.2", "7002").await, "", "it is not named");
    for (_, port) in displays {
        assert_eq!(gets(console, "10.0.2.2", port).await, "", "it is another's display");
    }
}

/// An answer of DNS, sent where it was asked for.
fn answers_dns(server: &UdpSocket) {
    let mut question = [0; 512];
    let (length, client) = server.recv_from(&mut question).expect("the guest asks");
    question[2..4].copy_from_slice(&[0x81, 0x83]);
    server.send_to(&question[..length], client).expect("it is answered");
}

#[test]
fn displays_and_the_loopback_are_for_those_whose_they_are() {
    world(async |world: World| {
        world.write("resolv.conf", "nameserver 127.0.0.1\n");
        world.sh("mount --bind /run/w/resolv.conf /etc/resolv.conf");
        let mut people = People::new(&world).await;
        says("named", "127.0.0.1:7001");
        says("not named", "127.0.0.1:7002");
        let dns = UdpSocket::bind("127.0.0.1:53").expect("nobody else answers here");
        let unnamed = UdpSocket::bind("127.0.0.1:7003").expect("it is free");
        unnamed.set_nonblocking(true).expect("sockets can be made non-blocking");

        let xml = GuestXml::new("screen").diskless().with(ON_TCP).to_string();
        let screen = people.owner.define_domain(&xml).await.expect("she may define");
        screen.start().await;
        let displays = places(&screen).await;
        only_their_owner_connects(&displays, ALICE.uid);

        let channel = "<channel type='tcp'><source mode='connect' host='127.0.0.1' service='7001'/>\
                       <target type='virtio' name='named'/></channel>";
        let nic = "<interface type='user'><model type='virtio'/></interface>";
        let xml = GuestXml::new("other").with(nic).with(channel).with(ON_TCP).to_string();
        let other = people.ruled.define_domain(&xml).await.expect("she may define");
        let (mut console, _) = other.boot().await;
        console.lease("eth0").await;
        the_guest_reaches_what_its_document_names(&mut console, &displays).await;
        let others = places(&other).await;
        only_their_owner_connects(&others, CAROL.uid);
        console.try_run("timeout 2 tftp -g -r x 10.0.2.2 7003").await;
        let asked = std::thread::spawn(move || answers_dns(&dns));
        console.try_run("nslookup name.example 10.0.2.3").await;
        asked.join().expect("DNS is asked");
        assert!(unnamed.recv(&mut [0; 16]).is_err(), "what is not named is not reached by UDP, either");

        sockets_are_opened_by_the_service_alone(&people).await;
        documents_do_not_lead_to_displays(&people, &displays[0]).await;

        people.daemon.kill();
        only_their_owner_connects(&displays, ALICE.uid);
        assert!(!connects(GUEST, "127.0.0.1", "7001") && connects(BOB.uid, "127.0.0.1", "7001"));
        people.daemon.kill_and_restart(&world, &people.root).await;
        only_their_owner_connects(&displays, ALICE.uid);
        let mut console = other.console().await;
        the_guest_reaches_what_its_document_names(&mut console, &displays).await;

        // What somebody else has flushed is there again with the next start, for all.
        world.sh("nft flush ruleset");
        let plain = GuestXml::new("plain").diskless().to_string();
        let plain = people.owner.define_domain(&plain).await.expect("she may define");
        plain.start().await;
        only_their_owner_connects(&displays, ALICE.uid);
        the_guest_reaches_what_its_document_names(&mut console, &displays).await;

        screen.stop().await;
        let left = world.sh("nft list table inet warren");
        assert!(!left.contains(&format!("owner_{}", ALICE.uid)), "{left}");
        only_their_owner_connects(&others, CAROL.uid);
        other.stop().await;
        plain.stop().await;
        assert_eq!(world.sh("nft list tables"), "");
    });
}

/// A display without a port, and who opens it.
async fn sockets_are_opened_by_the_service_alone(people: &People) {
    let xml = GuestXml::new("socket").diskless().with("<graphics type='vnc'/>").to_string();
    let guest = people.owner.define_domain(&xml).await.expect("she may define");
    guest.start().await;
    let displays = guest.info_list("graphics").await;
    let socket = part(&displays[0], "socket");
    assert_eq!((part(&displays[0], "address"), part(&displays[0], "port")), (String::new(), "0".to_owned()));
    let xml = live_xml(&guest).await;
    assert!(xml.contains("<listen type='socket'/>") && !xml.contains("port='59"), "{xml}");
    assert!(std::fs::metadata(&socket).is_ok(), "root finds {socket}");
    for uid in [ALICE.uid, BOB.uid, GUEST] {
        let stat = command_as(uid, "stat").arg(&socket).output().expect("stat is installed");
        let said = String::from_utf8_lossy(&stat.stderr).into_owned();
        assert!(said.contains("Permission denied"), "uid {uid}: {said}");
    }
    greets(&guest).await;
    guest.stop().await;
    guest.undefine().await;
}

/// The display can be opened through the service.
async fn greets(guest: &Object) {
    let display: zbus::OwnedFd = guest.ask("OpenGraphics").await.expect("the owner opens it");
    let mut display = UnixStream::from(OwnedFd::from(display));
    display.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
    let mut greeting = [0; 4];
    display.read_exact(&mut greeting).expect("it greets");
    assert_eq!(&greeting, b"RFB ");
}

/// Warren connects a `client` NIC itself, as root; and to name a display is not to be let in.
async fn documents_do_not_lead_to_displays(people: &People, (host, port): &(String, String)) {
    let client = format!("<interface type='client'><source address='{host}' port='{port}'/></interface>");
    let channel = format!(
        "<channel type='tcp'><source mode='connect' host='{host}' service='{port}'/>\
         <target type='virtio' name='x'/></channel>"
    );
    let taken = format!("<graphics type='vnc' port='{port}'/>");
    for (device, error, words) in [
        (client, "BackendFailed", "display of a guest"),
        (channel, "BackendFailed", "refused"),
        (taken, "AddressInUse", "in use"),
    ] {
        let xml = GuestXml::new("curious").diskless().with(&device).to_string();
        let curious = people.ruled.define_domain(&xml).await.expect("she may define");
        assert_error(curious.act("Start").await, error, &[words]);
        curious.undefine().await;
    }
}

#[test]
fn a_session_has_its_displays_to_itself() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let xml = GuestXml::new("one").diskless().with("<graphics type='vnc'/>").to_string();
        let guest = service.client.define_domain(&xml).await.expect("a valid document");
        guest.start().await;
        let socket = part(&guest.info_list("graphics").await[0], "socket");
        let reached = |uid| {
            let stat = command_as(uid, "stat").arg(&socket).output().expect("stat is installed");
            stat.status.success()
        };
        assert!(reached(ALICE.uid) && !reached(BOB.uid), "{socket}");
        greets(&guest).await;
        guest.stop().await;
        let xml = GuestXml::new("two").diskless().with("<interface type='user'/>").to_string();
        assert!(check(&service.client, &xml).await.contains("127.0.0.1"), "the user's own loopback is told");
    });
}

/// The findings on a document, as text.
async fn check(client: &Client, xml: &str) -> String {
    let member = "org.warren1.Manager.CheckDomain";
    let report: Result<HashMap<String, OwnedVariant>, _> =
        client.call("/org/warren1", member, &(xml, Options::new())).await;
    format!("{:?}", report.expect("she may check")["findings"])
}

/// A display that listens by this name.
fn listens(name: &str, kind: &str, address: &str) -> String {
    let listen = format!("<listen type='address' address='{address}'/>");
    GuestXml::new(name)
        .diskless()
        .with(&format!("<graphics type='{kind}' autoport='yes'>{listen}</graphics>"))
        .to_string()
}

#[test]
fn a_name_that_is_not_found_holds_up_nobody_else() {
    world(async |world: World| {
        world.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:20 attempts:5\n");
        world.sh("mount --bind /run/w/resolv.conf /etc/resolv.conf");
        let _silent = UdpSocket::bind("127.0.0.1:53").expect("nobody else answers here");
        let people = People::new(&world).await;
        for (kind, name) in [("vnc", "v"), ("spice", "s")] {
            let xml = listens(name, kind, "192.0.2.1");
            let guest = people.owner.define_domain(&xml).await.expect("she may define");
            assert_error(guest.act("Start").await, "BackendFailed", &["cannot listen on 192.0.2.1"]);
            assert_eq!(guest.state().await, "shutoff");
            guest.undefine().await;
        }
        let mut lost = Vec::new();
        for n in 0..8 {
            let xml = listens(&format!("lost{n}"), "spice", "nosuch.invalid");
            lost.push(people.owner.define_domain(&xml).await.expect("she may define"));
        }
        let xml = listens("found", "spice", "localhost");
        assert!(
            check(&people.ruled, &xml).await.contains("no password"),
            "a port without a password is told"
        );
        let found = people.ruled.define_domain(&xml).await.expect("she may define");
        let begun = Instant::now();
        let starts = lost.iter().map(|guest| guest.act("Start"));
        let all = futures_util::future::join_all(starts);
        let (ended, ()) = tokio::join!(all, async {
            // Her names are being looked up by now, each for 20 s at least.
            tokio::time::sleep(Duration::from_millis(500)).await;
            people.other.manager_property("Version").await;
            found.start().await;
        });
        for answer in ended {
            assert_error(answer, "BackendFailed", &["nosuch.invalid"]);
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(20), "the names that are not found took {took:?}");
        found.stop().await;
    });
}
