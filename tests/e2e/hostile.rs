//! A local user who means ill: what he cannot learn, run or change, and whom he cannot keep from the service.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use zbus::message::{Flags, Message};
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use crate::agent::{answers_nothing, ask_for};
use crate::callers::{DOMAIN_XML, NETWORK_XML, People, UUID};
use crate::common::{
    ALICE, BOB, CAROL, Client, GuestXml, Object, Options, World, assert_error, command_as, error_name,
    eventually, world,
};

const ASK: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
const ROOT: &str = "/org/warren1";

/// The findings and the arguments of QEMU, as text.
async fn check(client: &Client, xml: &str) -> Result<(String, String), zbus::Error> {
    let body = (xml, Options::new());
    let report: HashMap<String, OwnedVariant> =
        client.call(ROOT, "org.warren1.Manager.CheckDomain", &body).await?;
    Ok((format!("{:?}", report["findings"]), format!("{:?}", report["argv"])))
}

async fn is_answered(client: &Client) -> bool {
    let asked = client.manager_property("Version");
    tokio::time::timeout(Duration::from_secs(60), asked).await.is_ok()
}

#[test]
fn a_check_runs_no_program_of_its_caller() {
    world(async |world: World| {
        let people = People::new(&world).await;
        world.user_dir("mine", ALICE.uid);
        world.write("mine/emulator", "#!/bin/sh\nid -u >>/run/w/ran\n");
        world.write("ran", "");
        world.sh("chmod 755 /run/w/mine && chmod 666 /run/w/ran");
        let xml = GuestXml::new("mine").with("<emulator>/run/w/mine/emulator</emulator>").to_string();
        let ran = || std::fs::read_to_string("/run/w/ran").expect("it can be read");
        assert_eq!(error_name(&check(&people.owner, &xml).await.expect_err("she may not")), ASK);
        let broken = xml.replace("<vcpu>1", "<vcpu>x");
        assert_eq!(error_name(&check(&people.owner, &broken).await.expect_err("nor like this")), ASK);
        assert_eq!(ran(), "", "a program of somebody who may not is run");
        check(&people.ruled, &xml).await.expect("a rule lets her");
        assert_eq!(ran(), "1900004094\n", "it is asked by a user that is for nothing else");
        let standard = xml.replace("/run/w/mine/emulator", "/usr/bin/qemu-system-x86_64");
        check(&people.owner, &standard).await.expect("what Warren would choose itself needs no right");
    });
}

#[test]
fn a_check_tells_nothing_of_domains_of_others() {
    world(async |world: World| {
        let people = People::new(&world).await;
        people.polkit.add_rules(
            &world,
            r#"polkit.addRule(function(action, subject) {
                if (action.id == "org.warren1.domain.manage-own") return polkit.Result.YES;
            });"#,
        );
        let nic = |mac: &str| format!("<interface type='user'>{mac}</interface></devices>");
        let (open, mac) = (nic(""), "<mac address='52:54:00:12:34:56'/>");
        people
            .owner
            .define_domain(&DOMAIN_XML.replace("</devices>", &nic(mac)))
            .await
            .expect("the owner may define");
        let mine = DOMAIN_XML.replace("</devices>", &open);
        let (_, argv) = check(&people.owner, &mine).await.expect("it is hers");
        assert!(argv.contains("52:54:00:12:34:56"), "an address is kept: {argv}");
        eventually("the rule is heeded", Duration::from_secs(20), async || {
            check(&people.other, &GuestXml::new("x").diskless().to_string()).await.ok()
        })
        .await;
        let refused = check(&people.other, &mine).await.expect_err("it is another's");
        assert_eq!(error_name(&refused), ASK);

        // Nor whose address it is that he gives his own.
        let own = GuestXml::new("own").diskless().with(&nic(mac).replace("</devices>", "")).to_string();
        let (findings, _) = check(&people.other, &own).await.expect("he may check");
        assert!(findings.contains("also the address") && !findings.contains("guest"), "{findings}");
        let (findings, _) = check(&people.root, &own).await.expect("root may check");
        assert!(findings.contains("'guest'"), "{findings}");
    });
}

#[test]
fn a_domain_that_came_meanwhile_is_not_redefined() {
    world(async |world: World| {
        let people = People::new(&world).await;
        people.root.define_network(NETWORK_XML).await.expect("root may define");
        // For polkit, which is not root, to say that it has been asked.
        world.sh("mkdir -m 777 /run/w/polkit");
        people.polkit.add_rules(
            &world,
            r#"polkit.addRule(function(action, subject) {
                if (action.id == "org.warren1.network.use-any" && subject.user == "warren-alice") {
                    polkit.spawn(["touch", "/run/w/polkit/asked"]);
                    polkit.spawn(["sleep", "4"]);
                    return polkit.Result.YES;
                }
            });"#,
        );
        let xml = GuestXml::new("guest").diskless().on_network("lab").to_string();
        eventually("the rule is heeded", Duration::from_secs(20), async || {
            let probe = xml.replace(">guest<", ">probe<");
            people.owner.define_domain(&probe).await.ok()
        })
        .await;
        let xml = xml.replace("<memory", &format!("<uuid>{UUID}</uuid><memory"));
        world.sh("rm /run/w/polkit/asked");
        let hers = people.owner.define_domain(&xml);
        let roots = async {
            let asked = async || std::fs::remove_file("/run/w/polkit/asked").ok();
            eventually("polkit is asked about her", Duration::from_secs(20), asked).await;
            people.root.define_domain(DOMAIN_XML).await.expect("root is not asked about")
        };
        let (hers, roots) = tokio::join!(hers, roots);
        assert_error(hers, "AlreadyExists", &[UUID, "guest"]);
        assert!(!roots.xml().await.contains("<interface"), "it is as root has defined it");
    });
}

#[test]
fn the_end_of_a_job_is_told_in_full_to_whom_it_concerns() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let disk = "<disk type='file'><source file='/run/w/home-warren-alice/tax.img'/>\
                    <target dev='vda' bus='virtio'/></disk>";
        let guest = GuestXml::new("guest").diskless().with(disk).to_string();
        let guest = people.owner.define_domain(&guest).await.expect("the owner may define");
        for client in [&people.owner, &people.other] {
            client.match_signals("type='signal',sender='org.warren1'").await;
        }
        let (owner, other) = (people.owner.signals(), people.other.signals());
        let no_wait = [("no-wait", Variant::from(true))].into();
        guest.ask_with::<OwnedObjectPath>("Start", no_wait).await.expect("the owner may start");
        let told = async |signals: &crate::common::Signals| -> Vec<(String, String, String)> {
            eventually("the job's end is told", Duration::from_secs(20), async || {
                let seen = signals.seen("Completed");
                (!seen.is_empty())
                    .then(|| seen.iter().map(|m| m.body().deserialize().expect("it is sss")).collect())
            })
            .await
        };
        let (other, owner) = (told(&other).await, told(&owner).await);
        let failed = "org.warren1.Error.BackendFailed";
        let (state, name, message) = &owner[0];
        assert_eq!((state.as_str(), name.as_str()), ("failed", failed));
        assert!(message.contains("tax.img"), "{message}");
        let (state, name, message) = &other[0];
        assert_eq!((state.as_str(), name.as_str(), other.len()), ("failed", failed, 1));
        assert!(!message.contains("/run") && message.contains("cannot be opened"), "{message}");
    });
}

#[test]
fn every_place_is_named_to_rules_and_a_replaced_network_is_too() {
    world(async |world: World| {
        let people = People::new(&world).await;
        people.root.define_network(NETWORK_XML).await.expect("root may define");
        people.polkit.add_rules(
            &world,
            r#"polkit.addRule(function(action, subject) {
                if (subject.user != "warren-bob") return polkit.Result.NOT_HANDLED;
                if (action.id == "org.warren1.domain.manage-own") return polkit.Result.YES;
                if (action.id == "org.warren1.host-access" && action.lookup("place") == "/domain/devices/interface[1]")
                    return polkit.Result.YES;
                if (action.id == "org.warren1.network.manage")
                    return action.lookup("name") == "lab" ? polkit.Result.NO : polkit.Result.YES;
            });"#,
        );
        let nic = "<interface type='bridge'><source bridge='br0'/></interface>";
        let one = GuestXml::new("own").diskless().with(nic).with("<interface type='user'/>");
        eventually("the rule is heeded", Duration::from_secs(20), async || {
            people.other.define_domain(&one.to_string()).await.ok()
        })
        .await;
        let two = one.with(nic).to_string();
        let refused = people.other.define_domain(&two).await.expect_err("the rule is for one place");
        assert_eq!(error_name(&refused), ASK);

        people.other.define_network("<network><name>his</name></network>").await.expect("a rule lets him");
        for xml in [NETWORK_XML, "<network><name>lab</name></network>"] {
            let refused = people.other.define_network(xml).await.expect_err("but not this one");
            assert_eq!(error_name(&refused), DENIED);
        }
    });
}

#[test]
fn what_all_see_of_a_domain_is_short() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let title = |length: usize| {
            DOMAIN_XML.replace("<memory", &format!("<title>{}</title><memory", "t".repeat(length)))
        };
        people.owner.define_domain(&title(1024)).await.expect("a title is a line");
        let refused = people.owner.define_domain(&title(1025)).await;
        assert_error(refused, "InvalidConfig", &["/domain/title", "1024"]);
    });
}

#[test]
fn jobs_that_have_ended_do_not_pile_up() {
    world(async |world: World| {
        world.sh("mkdir -p /run/w/warren-0/config");
        world.write("warren-0/config/warrend.toml", "[limits]\njobs = 2\n");
        let people = People::new(&world).await;
        let guest = people.owner.define_domain(DOMAIN_XML).await.expect("the owner may define");
        let stop = async |object: &Object| {
            let no_wait = [("no-wait", Variant::from(true))].into();
            object.ask_with::<OwnedObjectPath>("Stop", no_wait).await
        };
        let mut refused = None;
        for _ in 0..20 {
            let answer = stop(&guest).await;
            refused = refused.or(answer.is_err().then_some(answer));
        }
        let jobs = people.other.objects().await.keys().filter(|p| p.as_str().contains("/job/")).count();
        assert!(jobs <= 8, "there are {jobs} jobs");
        assert_error(refused.expect("twenty are too many"), "LimitExceeded", &["uid 61001 has 8"]);
        guest.start().await;
        stop(&guest.seen_by(&people.ruled)).await.expect("another user is not affected");
    });
}

#[test]
fn each_who_opens_a_display_gets_one() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let guest = people.owner.define_domain(DOMAIN_XML).await.expect("the owner may define");
        guest.start().await;
        let displays = (0..8).map(|_| guest.ask::<zbus::OwnedFd>("OpenGraphics"));
        for display in futures_util::future::join_all(displays).await {
            let mut display = UnixStream::from(OwnedFd::from(display.expect("the owner may open it")));
            display.set_nonblocking(false).expect("a socket can be made blocking");
            display.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket takes a deadline");
            let mut hello = [0; 4];
            display.read_exact(&mut hello).expect("QEMU speaks first");
            assert_eq!(&hello, b"RFB ");
        }
    });
}

/// The option `files` with so many descriptors.
fn files(count: usize) -> Options<'static> {
    let open = |_| zbus::Fd::from(OwnedFd::from(File::open("/dev/null").expect("it is there")));
    [("files", Variant::from((0..count).map(open).collect::<Vec<_>>()))].into()
}

/// Calls that ask for no answer, with sixteen descriptors each.
async fn descriptors(client: &Client, path: &str, calls: usize) {
    for _ in 0..calls {
        let call = Message::method_call(path, "Start").destination("org.warren1");
        let call = call.interface("org.warren1.Domain").with_flags(Flags::NO_REPLY_EXPECTED);
        client.post(&call.build(&files(16)).expect("a valid message")).await;
    }
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let guest = people.owner.define_domain(DOMAIN_XML).await.expect("the owner may define");
        // As a service without a unit of systemd has it.
        world.sh("prlimit --nofile=1024:1024 --pid $(pgrep -x warrend)");
        let pid = world.sh("pgrep -x warrend");
        // While it has something else to do.
        world.sh("kill -STOP $(pgrep -x warrend)");
        let flood = people.bus.connect(BOB.uid).await;
        let path = guest.path.as_str().to_owned();
        let flood = tokio::spawn(async move { descriptors(&flood, &path, 400).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.sh("kill -CONT $(pgrep -x warrend)");
        flood.await.expect("the bus takes them");
        assert!(is_answered(&people.other).await, "the service is gone");
        assert_eq!(world.sh("pgrep -x warrend"), pid, "it was ended, and started anew");
        let open = world.sh("ls /proc/$(pgrep -x warrend)/fd | wc -l");
        assert!(open.parse::<usize>().expect("a number") < 200, "{open} descriptors are open");
        let answer = guest.ask_with::<OwnedObjectPath>("Start", files(1)).await;
        assert_eq!(answer.map_err(|e| error_name(&e)), Err(DENIED.to_owned()), "the bus lets none through");
    });
}

#[test]
fn many_calls_at_once_are_all_decided() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let guest = people.owner.define_domain(DOMAIN_XML).await.expect("the owner may define");
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(people.bus.connect(ALICE.uid).await);
        }
        // As many as a bus lets each of four connections have, and more than it lets the service ask polkit.
        let asked: Vec<_> =
            clients.iter().flat_map(|client| (0..100).map(|_| guest.seen_by(client))).collect();
        let answers =
            futures_util::future::join_all(asked.iter().map(|guest| guest.ask::<String>("GetXml"))).await;
        for answer in answers {
            answer.expect("polkit is asked, sooner or later");
        }
    });
}

/// Opens connections and sends each a message many times, as in `tests/e2e/load.rs` and without a library.
const FLOOD: &str = r#"
import socket, sys, time
path, uid, hello, call, connections, calls = sys.argv[1:]
sys.stdin.readline()
def number(message, serial):
    message = bytearray(bytes.fromhex(message))
    message[8:12] = serial.to_bytes(4, "little")
    return bytes(message)
kept = []
for _ in range(int(connections)):
    bus = socket.socket(socket.AF_UNIX)
    bus.connect(path)
    bus.sendall(b"\0AUTH EXTERNAL " + uid.encode().hex().encode() + b"\r\n")
    bus.recv(4096)
    bus.sendall(b"BEGIN\r\n" + number(hello, 1))
    bus.recv(4096)
    for n in range(int(calls)):
        bus.sendall(number(call, n + 2))
    kept.append(bus)
time.sleep(600)
"#;

fn hex(message: &Message) -> String {
    message.data().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn open_questions_of_one_hold_up_no_other() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let guest = people.root.define_domain(DOMAIN_XML).await.expect("root may define");
        let mut agent = answers_nothing(&people.other).await;
        let hello =
            Message::method_call("/org/freedesktop/DBus", "Hello").destination("org.freedesktop.DBus");
        let hello = hello.interface("org.freedesktop.DBus").build(&()).expect("a valid message");
        let call = Message::method_call(guest.path.as_str(), "GetXml").destination("org.warren1");
        let call = call.interface("org.warren1.Domain").with_flags(Flags::ALLOW_INTERACTIVE_AUTH);
        let call = call.build(&Options::new()).expect("a valid message");
        let socket = people.bus.address.trim_start_matches("unix:path=");
        let socket = socket.split(',').next().expect("an address has parts");
        let mut child = command_as(BOB.uid, "python3")
            .args(["-c", FLOOD, socket, &BOB.uid.to_string(), &hex(&hello), &hex(&call), "3", "100"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        ask_for(&mut child, &people.other).await;
        let mut asked = usize::from(agent.recv().await.is_some());
        tokio::time::sleep(Duration::from_secs(3)).await;
        while agent.try_recv().is_ok() {
            asked += 1;
        }
        assert!((1..=16).contains(&asked), "a person is asked {asked} questions at once");
        let xml = guest.seen_by(&people.ruled).ask::<String>("GetXml").await;
        xml.expect("polkit can be asked about others");
        child.kill().expect("a child can be killed");
        child.wait().expect("a child can be waited for");
        eventually("the questions go with their caller", Duration::from_secs(20), async || {
            let other = people.bus.connect(CAROL.uid).await;
            guest.seen_by(&other).ask::<String>("GetXml").await.ok()
        })
        .await;
    });
}
