//! System scope: polkit decides on the real caller, guests run under uids of their own, the bus starts
//! the daemon.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::{
    ALICE, BOB, Bus, Client, GuestXml, Object, Polkit, Service, World, eventually, text, world,
};

/// Both users may have guests of their own; what stays with the administrator stays.
const RULES: &str = r#"
polkit.addRule(function(action, subject) {
    var own = ["org.warren1.domain.manage-own", "org.warren1.domain.console"];
    if (own.indexOf(action.id) >= 0 && subject.user.indexOf("warren-") == 0) {
        return polkit.Result.YES;
    }
});
"#;

fn user_guest(name: &str) -> String {
    bootable(name).diskless().to_string()
}

fn bootable(name: &str) -> GuestXml {
    GuestXml::new(name).with("<interface type='user'><model type='virtio'/></interface>")
}

/// The answer to a caller who may not: refused, or told that an administrator would be asked.
fn assert_refused<T: std::fmt::Debug>(answer: &Result<T, zbus::Error>) {
    use zbus::fdo::Error::{AccessDenied, InteractiveAuthorizationRequired};
    let refused = match answer {
        Err(zbus::Error::FDO(e)) => matches!(**e, AccessDenied(_) | InteractiveAuthorizationRequired(_)),
        _ => false,
    };
    assert!(refused, "a refusal was expected: {answer:?}");
}

/// The field of `/proc/PID/status`.
fn status(pid: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("QEMU runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("a process has '{field}'")).trim().to_owned()
}

async fn running(client: &Client, name: &str) -> Object {
    let guest = client.define_domain(&user_guest(name)).await.expect("the rule lets the user");
    guest.start().await;
    assert_eq!(guest.state().await, "running");
    guest
}

#[test]
fn a_rule_lets_ordinary_users_have_guests_of_their_own() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        let (alice, bob) = (service.bus.connect(ALICE.uid).await, service.bus.connect(BOB.uid).await);
        assert_eq!(text(&alice.manager_property("Scope").await), "system");
        assert_refused(&alice.define_domain(&user_guest("refused")).await);
        assert_refused(&alice.define_domain("<not even XML").await);
        assert_refused(&alice.define_network("<network><name>refused</name></network>").await);
        assert!(alice.objects().await.keys().all(|path| !path.as_str().contains("/domain/")));

        service.polkit.as_ref().expect("system scope has polkit").add_rules(&world, RULES);
        let first = eventually("polkitd heeds the new rule", Duration::from_secs(20), async || {
            alice.define_domain(&user_guest("first")).await.ok()
        })
        .await;
        first.start().await;
        let second = running(&bob, "second").await;
        let third = bootable("third").to_string();
        let third = alice.define_domain(&third).await.expect("the rule lets the user");
        assert_eq!(third.boot().await.1.len(), 1, "a guest of an ordinary user boots");

        let mut uids = BTreeSet::from([0, ALICE.uid, BOB.uid]);
        for guest in [&first, &second, &third] {
            let pid = guest.pid().await;
            let ids: BTreeSet<_> = status(pid, "Uid").split_whitespace().map(str::to_owned).collect();
            assert_eq!(ids.len(), 1, "real, effective and saved uid are one");
            let uid: u32 = ids.first().and_then(|id| id.parse().ok()).expect("a uid is a number");
            assert!(uids.insert(uid), "uid {uid} is neither root's, nor a user's, nor another guest's");
            assert!(!status(pid, "Gid").split_whitespace().any(|gid| gid == "0"));
            assert_eq!(status(pid, "CapEff"), "0000000000000000");
            assert_eq!(status(pid, "NoNewPrivs"), "1");
            assert_eq!(status(pid, "Seccomp"), "2");
        }
        assert_eq!(u32::try_from(first.property("Owner").await).expect("Owner is a u"), ALICE.uid);
        others_keep_out(&alice, &bob, &first).await;
    });
}

/// Guests of others, networks and paths of the host stay out of reach.
async fn others_keep_out(alice: &Client, bob: &Client, of_alice: &Object) {
    assert_refused(&of_alice.seen_by(bob).act("Stop").await);
    assert_refused(&of_alice.seen_by(bob).ask::<String>("GetXml").await);
    assert_refused(&of_alice.seen_by(bob).ask::<zbus::OwnedFd>("OpenConsole").await);
    assert_refused(&alice.define_network("<network><name>mine</name></network>").await);
    let bridged =
        GuestXml::new("bridged").with("<interface type='bridge'><source bridge='br0'/></interface>");
    assert_refused(&alice.define_domain(&bridged.to_string()).await);
    // What a document names is opened with the rights of its owner.
    let secret = World::DIR.to_owned() + "/secret";
    std::fs::write(&secret, "only root reads this").expect("files of the world can be written");
    std::process::Command::new("chmod").args(["600", &secret]).status().expect("chmod is installed");
    let thief = GuestXml::new("thief").with_kernel(&secret).to_string();
    let thief = alice.define_domain(&thief).await.expect("a path is not opened before the start");
    let refusal = thief.act("Start").await.expect_err("the owner cannot read the file").to_string();
    assert!(refusal.contains(&secret) && refusal.contains("Permission denied"), "{refusal}");
    assert_eq!(thief.state().await, "shutoff");
}

#[test]
fn a_call_starts_the_daemon_and_an_idle_one_ends() {
    world(async |world: World| {
        let bus = Bus::system(&world);
        world.write("warren-0/config/warrend.toml", "idle-seconds = 2\n");
        let _polkit = Polkit::start(&world, &bus, "").await;
        let client = bus.connect(0).await;
        assert!(!client.has_owner("org.warren1").await);
        assert_eq!(text(&client.manager_property("Scope").await), "system");
        assert!(client.has_owner("org.warren1").await, "a call on the name has started the daemon");
        let guest = client.define_domain(&user_guest("kept")).await.expect("root may define");
        eventually("an idle daemon ends", Duration::from_secs(30), async || {
            (!client.has_owner("org.warren1").await).then_some(())
        })
        .await;
        assert_eq!(guest.state().await, "shutoff", "and a call starts it again, with all that was defined");
    });
}
