//! What of a document is not everybody's: the text of its failures, and the passwords in it.

use std::time::Duration;

use zbus::OwnedObjectPath;

use crate::callers::People;
use crate::common::{
    ALICE, BOB, Client, GuestXml, Object, World, assert_error, command_as, error_name, eventually, text,
    world,
};

const ASK: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";

/// What only the document knows.
const HIDDEN: &str = "a-very-secret-word";

async fn failure(object: &Object) -> String {
    text(&object.info().await["failure"])
}

async fn reason(object: &Object) -> String {
    text(&object.property("StateReason").await)
}

#[test]
fn the_text_of_a_failure_is_for_those_who_may_ask() {
    world(async |world: World| {
        let people = People::new(&world).await;
        people.other.match_signals("type='signal',sender='org.warren1'").await;
        let signals = people.other.signals();

        let disk = format!(
            "<disk type='file' device='disk'><source file='/run/w/{HIDDEN}'/><target dev='vda' bus='virtio'/></disk>"
        );
        let guest = GuestXml::new("guest").diskless().with(&disk).to_string();
        let guest = people.owner.define_domain(&guest).await.expect("the owner may define");
        assert_eq!((reason(&guest).await, failure(&guest).await), ("none".to_owned(), String::new()));
        assert_error(guest.act("Start").await, "BackendFailed", &[HIDDEN]);

        // It starts only as long as that file is there.
        world.write(HIDDEN, "port=0\n");
        let lab = format!(
            "<network xmlns:d='http://libvirt.org/schemas/network/dnsmasq/1.0'><name>lab</name>
             <ip address='192.168.71.1' prefix='24'><dhcp><range start='192.168.71.2' end='192.168.71.9'/></dhcp></ip>
             <d:options><d:option value='conf-file=/run/w/{HIDDEN}'/></d:options></network>"
        );
        let lab = people.root.define_network(&lab).await.expect("root may define");
        lab.start().await;
        world.sh(&format!("rm /run/w/{HIDDEN} && kill -9 $(pgrep -x dnsmasq)"));
        eventually("dnsmasq is not started again", Duration::from_secs(60), async || {
            failure(&lab).await.contains(HIDDEN).then_some(())
        })
        .await;
        assert_eq!(reason(&lab).await, "requested");
        assert!(format!("{:?}", lab.property("Warnings").await).contains("no DHCP and no DNS"));
        lab.stop().await;
        assert_eq!(failure(&lab).await, "");
        assert_error(lab.act("Start").await, "BackendFailed", &[HIDDEN]);

        for (object, owner) in [(&guest, &people.owner), (&lab, &people.root)] {
            assert_eq!(reason(object).await, "failed");
            for client in [owner, &people.root, &people.ruled] {
                let detail = failure(&object.seen_by(client)).await;
                assert!(detail.contains(HIDDEN), "{detail}");
            }
            let refused = object.seen_by(&people.other).ask::<OwnedObjectPath>("GetInfo").await;
            assert_eq!(refused.as_ref().map_or_else(error_name, |_| "ok".to_owned()), ASK);
        }
        let public = format!("{:?}", people.other.objects().await);
        assert!(public.contains("failed") && !public.contains(HIDDEN), "{public}");
        let reasons = || -> Vec<String> {
            let of = |m: &zbus::Message| m.body().deserialize::<(String, String, String)>().map(|(.., r)| r);
            signals.seen("StateChanged").iter().map(|m| of(m).expect("three strings")).collect()
        };
        eventually("all changes are told", Duration::from_secs(20), async || {
            (reasons().iter().filter(|r| *r == "failed").count() == 2).then_some(())
        })
        .await;
        for member in ["StateChanged", "PropertiesChanged", "Completed"] {
            let seen = signals.seen(member);
            let told = seen.iter().any(|m| m.data().windows(HIDDEN.len()).any(|w| w == HIDDEN.as_bytes()));
            assert!(!told, "{member}: {seen:?}");
        }

        // What starts has not failed.
        world.sh(&format!("truncate -s 1M /run/w/{HIDDEN} && chmod 666 /run/w/{HIDDEN}"));
        guest.start().await;
        assert_eq!((reason(&guest).await, failure(&guest).await), ("requested".to_owned(), String::new()));
        guest.stop().await;
    });
}

/// A guest of Alice's with every kind of secret.
const HERS: &str = "<domain type='qemu'><name>hers</name><uuid>11111111-0c51-4a8e-9d0b-5d1f6c7a2b11</uuid>
    <memory unit='MiB'>64</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
    <graphics type='vnc' passwd='of-vnc'/><graphics type='spice' passwd='of-spice'/>
    <disk type='network' device='disk'><driver name='qemu' type='raw'/>
    <source protocol='https' name='image'><host name='localhost' port='443'/>
    <cookies><cookie name='k'>of-cookie</cookie></cookies></source><target dev='vda' bus='virtio'/></disk>
    </devices></domain>";
const SECRETS: [&str; 3] = ["of-vnc", "of-spice", "of-cookie"];

/// Bob manages what is not his, and may not read its secrets.
const MANAGER: &str = r#"polkit.addRule(function(action, subject) {
    var all = ["org.warren1.domain.manage", "org.warren1.domain.manage-own"];
    if (subject.user == "warren-bob" && all.indexOf(action.id) >= 0) return polkit.Result.YES;
});"#;

#[test]
fn what_a_caller_may_not_read_stays() {
    world(async |world: World| {
        let people = People::new(&world).await;
        people.polkit.add_rules(&world, MANAGER);
        let hers = people.owner.define_domain(HERS).await.expect("the owner may define");
        let read = async |client: &Client, secrets: bool| -> Result<String, zbus::Error> {
            let options = secrets.then(|| ("secrets", true.into())).into_iter().collect();
            hers.seen_by(client).ask_with("GetXml", options).await
        };
        let all = async || read(&people.root, true).await.expect("root may read them");
        let there = |xml: &str| SECRETS.map(|secret| xml.contains(secret));

        eventually("the rule is heeded", Duration::from_secs(20), async || {
            read(&people.other, false).await.ok()
        })
        .await;
        for client in [&people.owner, &people.root, &people.ruled] {
            assert_eq!(there(&read(client, true).await.expect("they may read them")), [true; 3]);
        }
        let refused = read(&people.other, true).await;
        assert_eq!(refused.as_ref().map_or_else(error_name, |_| "ok".to_owned()), ASK);

        // The manager edits what he is shown: nothing is lost, and nothing is told.
        let whole = all().await;
        let shown = read(&people.other, false).await.expect("he manages it");
        assert_eq!(there(&shown), [false; 3]);
        people.other.define_domain(&shown).await.expect("he changes no place on the host");
        assert_eq!(all().await, whole, "to the letter");
        let edited = shown.replace("<vcpu>1", "<vcpu>2").replace("type='vnc'", "type='vnc' port='5999'");
        people.other.define_domain(&edited).await.expect("he changes no place on the host");
        assert_eq!(there(&all().await), [true; 3]);
        assert_eq!(there(&read(&people.other, false).await.expect("he manages it")), [false; 3]);
        // His own server does not get her cookie, and a password that he sets is the new one.
        let moved =
            shown.replace("'localhost'", "'127.0.0.2'").replace("type='spice'", "type='spice' passwd='his'");
        people.other.define_domain(&moved).await.expect("no place on the host is named");
        let now = all().await;
        assert_eq!((there(&now), now.contains("passwd='his'")), ([true, false, false], true), "{now}");

        // Who may read them removes them by leaving them out.
        for client in [&people.owner, &people.root, &people.ruled] {
            client.define_domain(&whole).await.expect("they may define it");
            assert_eq!(there(&all().await), [true; 3]);
            client.define_domain(&shown).await.expect("they may define it");
            assert_eq!(there(&all().await), [false; 3]);
        }

        // By warrenctl nothing is lost, whoever edits.
        for (uid, sees) in [(ALICE.uid, [true; 3]), (BOB.uid, [false; 3])] {
            people.root.define_domain(&whole).await.expect("root may define");
            let editor = world
                .write("editor", "#!/bin/sh\ncp $1 /run/w/edited; sed -i 's,<name>,<title>t</title>&,' $1\n");
            world.sh(&format!("chmod 755 {}; rm -f /run/w/edited; chmod 1777 /run/w", editor.display()));
            let edit = command_as(uid, "warrenctl")
                .args(["--system", "vm", "edit", "11111111-0c51-4a8e-9d0b-5d1f6c7a2b11"])
                .env("PATH", "/run/w/bin:/usr/bin:/bin")
                .env("VISUAL", &editor)
                .env("DBUS_SYSTEM_BUS_ADDRESS", &people.bus.address)
                .output()
                .expect("warrenctl runs");
            assert!(edit.status.success(), "{edit:?}");
            assert_eq!(there(&world.sh("cat /run/w/edited")), sees);
            let now = all().await;
            assert_eq!((there(&now), now.contains("<title>")), ([true; 3], true), "{now}");
        }
    });
}
