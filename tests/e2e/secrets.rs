//! What of a document is not everybody's: the text of its failures, and the passwords in it.

use std::time::Duration;

use zbus::OwnedObjectPath;

use crate::callers::People;
use crate::common::{GuestXml, Object, World, assert_error, error_name, eventually, text, world};

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
