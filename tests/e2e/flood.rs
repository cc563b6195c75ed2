//! Guests that send without end, switch themselves off without end, or answer nothing: each is only its owner's
//! trouble.

use std::time::{Duration, Instant};

use crate::callers::People;
use crate::common::{
    Bus, Client, Daemon, GuestXml, Object, Options, Polkit, Service, World, assert_error, eventually, text,
    world,
};

/// What the daemon may grow by under a flood.
const GROWTH: u64 = 16 << 20;
/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(4);
/// How long the end of such a guest, and the start of the daemon, may take.
const SOON: Duration = Duration::from_secs(2);

/// What no real QEMU does: it speaks QMP, and tells of STOP and RESUME for as long as it runs. Asked what it can do, it
/// is the real one. At SIGUSR1 it goes quiet, and is halted.
const FLOODING_QEMU: &str = r#"#!/usr/bin/python3
import collections, json, os, re, select, signal, socket, sys
if "none,accel=kvm:tcg" in sys.argv:
    os.execv("/usr/bin/qemu-system-x86_64", sys.argv)
monitor = next(arg for arg in sys.argv if "id=charmonitor" in arg)
listening = socket.socket(fileno=int(re.search(r"fd=(\d+)", monitor).group(1)))
link, _ = listening.accept()
link.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
status, quiet, flooding, got = "prelaunch", False, False, b""
def silence(*_):
    global quiet
    quiet = True
signal.signal(signal.SIGUSR1, silence)
def event(name):
    at = {"seconds": 1, "microseconds": 1}
    return json.dumps({"timestamp": at, "event": name}).encode() + b"\r\n"
batch = (event("STOP") + event("RESUME")) * 200
while True:
    if select.select([link], [], [], 0 if flooding else 0.05)[0]:
        said = link.recv(65536)
        if not said:
            sys.exit(0)
        got += said
        *lines, got = got.split(b"\n")
        for line in lines:
            command = json.loads(line)
            if command["execute"] == "cont":
                status, flooding = "running", True
            answer = {"status": status, "running": status == "running"} if command["execute"] == "query-status" else {}
            link.sendall(json.dumps({"return": answer, "id": command["id"]}).encode() + b"\r\n")
    if quiet and flooding:
        status, flooding = "paused", False
        link.sendall(event("STOP"))
    if flooding:
        link.sendall(batch)
"#;

/// How much memory the daemon has, in bytes.
fn memory(world: &World) -> u64 {
    let kib = world.sh("grep VmRSS: /proc/$(pgrep -x warrend)/status | tr -dc 0-9");
    kib.parse::<u64>().expect("the kernel tells it in kB") << 10
}

/// The longest that another caller waits for an answer meanwhile.
async fn longest_wait(client: &Client, lasts: Duration) -> Duration {
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    while begun.elapsed() < lasts {
        let asked = Instant::now();
        client.manager_property("Version").await;
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    longest
}

/// What is left of a flood may still change the state, in turn: that it is known shows when it stays.
async fn stays_paused(guest: &Object) {
    let begun = Instant::now();
    let mut paused = 0;
    while paused < 40 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is {} after the flood", guest.state().await);
        paused = if guest.state().await == "paused" { paused + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn stops_soon(guest: &Object) {
    let asked = Instant::now();
    guest.stop().await;
    assert!(asked.elapsed() < SOON, "its end took {:?}", asked.elapsed());
}

#[test]
fn a_guest_that_sends_without_end_takes_no_memory_and_nobodys_time() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let emulator = world.write("flooding-qemu", FLOODING_QEMU).display().to_string();
        let emulator = format!("<emulator>{emulator}</emulator>");
        let flooding = GuestXml::new("flooding").diskless().with(&emulator).to_string();
        let flooding = people.root.define_domain(&flooding).await.expect("root may name an emulator");
        let real = GuestXml::new("real").diskless().to_string();
        let real = people.root.define_domain(&real).await.expect("a valid document");
        real.start().await;
        people.other.match_signals("type='signal',sender='org.warren1'").await;
        let signals = people.other.signals();
        let before = memory(&world);

        flooding.start().await;
        let waited = longest_wait(&people.other, FLOOD).await;
        let grown = memory(&world).saturating_sub(before);
        assert!(grown < GROWTH, "the daemon has grown by {} KiB", grown >> 10);
        assert!(waited < SOON, "another caller has waited for {waited:?}");
        let told = signals.seen("StateChanged").len();
        assert!((2..400).contains(&told), "{told} changes were told in {FLOOD:?}");
        real.ask::<()>("Suspend").await.expect("another guest does as it is told");
        assert_eq!(real.state().await, "paused");

        // Its last event is lost among those before it, and its state is not.
        world.sh(&format!("kill -USR1 {}", flooding.pid().await));
        stays_paused(&flooding).await;
        stops_soon(&flooding).await;

        flooding.start().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        stops_soon(&flooding).await;
        assert!(memory(&world).saturating_sub(before) < GROWTH, "nothing is left of it");
        let lines = people.daemon.log().lines().filter(|line| line.contains("flooding")).count();
        assert!(lines < 40, "{lines} lines in the log");
    });
}

/// A guest that switches itself off by ACPI as soon as it has booted.
fn switches_itself_off(world: &World, name: &str, on_reboot: &str) -> String {
    let image = format!("{name}.raw");
    world.sh(&format!(
        r"printf '\272\004\006\270\000\040\357\364' >/run/w/{image}; truncate -s 510 /run/w/{image}
          printf '\125\252' >>/run/w/{image}; truncate -s 1M /run/w/{image}; chmod 666 /run/w/{image}"
    ));
    let disk = format!(
        "<disk type='file'><driver name='qemu' type='raw'/><source file='/run/w/{image}'/>\
         <target dev='hda' bus='ide'/></disk>"
    );
    let lifecycle = format!(
        "<features><acpi/></features><on_poweroff>restart</on_poweroff>\
        <on_reboot>{on_reboot}</on_reboot>"
    );
    let xml = GuestXml::new(name).diskless().with(&disk).to_string();
    xml.replace("<boot dev='network'/>", "").replace("<devices>", &format!("{lifecycle}<devices>"))
}

#[test]
fn a_guest_that_switches_itself_off_again_and_again_is_restarted_at_growing_distances() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        let client = &service.client;
        let kept = client.define_domain(&switches_itself_off(&world, "both", "destroy")).await;
        let refused = kept.expect("it is kept as it is written").act("Start").await;
        assert_error(refused, "NotSupported", &["/domain/on_reboot", "<on_poweroff>"]);
        client.match_signals("type='signal',member='StateChanged'").await;
        let signals = client.signals();
        // Of the second, QEMU itself must not take a reset for one: our own comes through all the same.
        let mut guests = Vec::new();
        for on_reboot in ["restart", "preserve"] {
            let xml = switches_itself_off(&world, on_reboot, on_reboot);
            let guest = client.define_domain(&xml).await.expect("a valid document");
            guest.start().await;
            guests.push(guest);
        }
        let begun = Instant::now();
        let runs = |guest: &Object| {
            let of = signals.seen("StateChanged");
            let of =
                of.iter().filter(|m| m.header().path().is_some_and(|p| p.as_str() == guest.path.as_str()));
            let ran = |m: &&zbus::message::Message| {
                m.body().deserialize::<(String, String, String)>().expect("it is sss").0 == "running"
            };
            of.filter(ran).count()
        };
        // From its start, at once, after 1 s, and after 2 s.
        for guest in &guests {
            eventually("it is restarted three times", Duration::from_secs(60), async || {
                (runs(guest) >= 4).then_some(())
            })
            .await;
        }
        assert!(begun.elapsed() > Duration::from_secs(3), "only {:?} went by", begun.elapsed());
        for guest in &guests {
            // The pauses are 4 s and 8 s by now.
            assert!(runs(guest) <= 6, "it was restarted {} times", runs(guest) - 1);
            stops_soon(guest).await;
            assert_eq!(guest.state().await, "shutoff");
        }
        let warned = service.daemon.log().lines().filter(|line| line.contains(" WARN ")).count();
        assert!(warned < 20, "{warned} warnings");
    });
}

const NETWORK: &str = "<network><name>NAME</name><uuid>00000000-0000-4000-8000-00000000000N</uuid><forward/>
    <ip address='192.168.7N.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.7N.2' end='192.168.7N.99'/></dhcp></ip></network>";

/// nft hangs where it is told of that network, for as long as a file is there.
const HANGING_NFT: &str = "#!/bin/sh
in=$(mktemp /run/w/nft.XXXXXX)
cat >$in
while [ -e /run/w/hang ] && grep -q 0000-4000-8000-000000000001 $in; do sleep 0.1; done
exec /run/w/nft \"$@\" <$in
";

#[test]
fn what_hangs_holds_up_only_itself_when_the_daemon_starts() {
    world(async |world: World| {
        let bus = Bus::system(&world);
        let _polkit = Polkit::start(&world, &bus, "").await;
        let mut daemon = Daemon::system(&world, &bus).await;
        let client = bus.connect(0).await;
        let mut pairs = Vec::new();
        for (name, n) in [("hung", "1"), ("well", "2")] {
            let xml = NETWORK.replace("NAME", name).replace('N', n);
            let net = client.define_network(&xml).await.expect("a valid document");
            net.start().await;
            let guest = GuestXml::new(name).diskless().on_network(name).to_string();
            let guest = client.define_domain(&guest).await.expect("a valid document");
            guest.start().await;
            pairs.push((net, guest));
        }
        let silent = GuestXml::new("silent").diskless().to_string();
        let silent = client.define_domain(&silent).await.expect("a valid document");
        silent.start().await;
        silent.ask::<()>("Suspend").await.expect("a running guest is suspended");
        let (silent_pid, hung_pid) = (silent.pid().await, pairs[0].1.pid().await);
        world.sh(&format!(
            "kill -STOP {silent_pid} {hung_pid}; kill -STOP $(pgrep -f '[d]nsmasq.*000000000001')"
        ));
        let nft = world.sh("command -v nft");
        let script = world.write("hanging-nft", HANGING_NFT);
        world.sh(&format!(
            "cp {nft} /run/w/nft && touch /run/w/hang && mount --bind {} {nft}",
            script.display()
        ));

        daemon.kill();
        let begun = Instant::now();
        daemon.kill_and_restart(&world, &client).await;
        assert!(begun.elapsed() < SOON, "the daemon took {:?}", begun.elapsed());
        let (hung, well) = (&pairs[0], &pairs[1]);
        assert_eq!([hung.0.state().await, well.0.state().await], ["active", "active"]);
        for guest in [&hung.1, &well.1, &silent] {
            assert_eq!(text(&guest.property("StateReason").await), "adopted");
        }
        assert_eq!([silent.pid().await, hung.1.pid().await], [silent_pid, hung_pid]);
        let asked = Instant::now();
        well.1.ask::<()>("Suspend").await.expect("a guest beside does as it is told");
        well.0.leases().await;
        let other = GuestXml::new("other").diskless().on_network("well").to_string();
        let other = client.define_domain(&other).await.expect("a valid document");
        other.start().await;
        assert!(asked.elapsed() < Duration::from_secs(5), "the others took {:?}", asked.elapsed());

        world.sh(&format!("kill -CONT {silent_pid}"));
        eventually("its state is told as it is", Duration::from_secs(20), async || {
            (silent.state().await == "paused").then_some(())
        })
        .await;
        world.sh("rm /run/w/hang");
        hung.0.leases().await;
        assert_eq!(hung.0.state().await, "active");
        let warnings: Vec<String> = hung.0.property("Warnings").await.try_into().expect("Warnings is as");
        assert_eq!(warnings, [""; 0]);
        // SIGTERM and SIGCONT end it; the network that it is on is there again, too.
        hung.1.stop().await;
        hung.0.ask_with::<zbus::OwnedObjectPath>("Stop", Options::new()).await.expect("nobody is on it");
        assert_eq!([hung.0.state().await, hung.1.state().await], ["inactive", "shutoff"]);
    });
}
