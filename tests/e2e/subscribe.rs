//! What is told to those who have subscribed, to each only what it may see, and how much one user may take.

use std::collections::HashMap;
use std::time::Duration;

use zbus::{OwnedObjectPath, Variant};

use crate::callers::People;
use crate::common::{
    ALICE, CAROL, Client, GuestXml, Object, Options, Signals, World, assert_error, error_name, eventually,
    text, world,
};

const ASK: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";

async fn subscribe(client: &Client, method: &str, topics: &[&str]) -> Result<(), zbus::Error> {
    client.call("/org/warren1", &format!("org.warren1.Manager.{method}"), &(topics, Options::new())).await
}

/// A running network with DHCP, and a guest on it that asks for an address as soon as it runs.
async fn network(people: &People, name: &str, subnet: u8, access: &str) -> Object {
    let xml = format!(
        "<network><name>{name}</name><ip address='10.{subnet}.0.1' netmask='255.255.255.0'>\
         <dhcp><range start='10.{subnet}.0.10' end='10.{subnet}.0.20'/></dhcp></ip></network>"
    );
    let network = people.root.define_network(&xml).await.expect("root may define");
    let body = (access, Options::new());
    let member = "org.warren1.Network.SetAccess";
    people.root.call::<_, ()>(network.path.as_str(), member, &body).await.expect("root may");
    network.start().await;
    network
}

/// The words of all signals of this member so far: `PATH ADDRESS`.
fn leases(signals: &Signals, member: &str) -> Vec<String> {
    let told = signals.seen(member).into_iter().map(|message| {
        let lease: HashMap<String, zbus::OwnedVariant> = message.body().deserialize().expect("it is a{sv}");
        let path = message.header().path().map(ToString::to_string).unwrap_or_default();
        format!("{path} {}", text(&lease["address"]))
    });
    told.collect()
}

async fn told(what: &str, signals: &Signals, member: &str, path: &OwnedObjectPath) -> String {
    let wanted = format!("{} ", path.as_str());
    eventually(&format!("{member} comes to {what}"), Duration::from_secs(60), async || {
        leases(signals, member).iter().find_map(|line| line.strip_prefix(&wanted).map(str::to_owned))
    })
    .await
}

#[test]
fn leases_are_told_to_those_who_may_see_them() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let shared = network(&people, "shared", 41, "users").await;
        let closed = network(&people, "closed", 42, "admin").await;
        for topics in [&["leases"][..], &["addresses"], &["leases", "addresses"]] {
            let refused = subscribe(&people.other, "Subscribe", topics).await.expect_err("Bob may not");
            assert_eq!(error_name(&refused), ASK);
        }
        for client in [&people.root, &people.owner] {
            subscribe(client, "Subscribe", &["leases", "addresses"]).await.expect("it may");
        }
        // Carol might, and has not; no match rule makes up for that.
        for client in [&people.other, &people.ruled] {
            client.match_signals("type='signal',sender='org.warren1'").await;
        }
        let signals = [&people.root, &people.owner, &people.other, &people.ruled].map(Client::signals);
        let [root, owner, other, ruled] = &signals;

        let own = GuestXml::new("own").diskless().on_network("shared").to_string();
        let own = people.owner.define_domain(&own).await.expect("the network is shared");
        let hidden = GuestXml::new("hidden").diskless().on_network("closed").to_string();
        let hidden = people.root.define_domain(&hidden).await.expect("root may define");
        own.start().await;
        hidden.start().await;
        let address = told("the owner", owner, "LeaseAdded", &shared.path).await;
        assert!(address.starts_with("10.41.0."), "{address}");
        assert_eq!(told("root", root, "LeaseAdded", &shared.path).await, address);
        told("root", root, "LeaseAdded", &closed.path).await;
        for (guest, signals) in [(&own, owner), (&own, root), (&hidden, root)] {
            eventually("AddressesChanged comes", Duration::from_secs(20), async || {
                signals.seen("AddressesChanged").iter().find_map(|message| {
                    let addresses: Vec<HashMap<String, zbus::OwnedVariant>> =
                        message.body().deserialize().expect("it is aa{sv}");
                    let of_guest = message.header().path().is_some_and(|p| *p == *guest.path);
                    (of_guest && addresses.len() == 1 && text(&addresses[0]["source"]) == "lease")
                        .then_some(())
                })
            })
            .await;
        }
        let known = shared.leases().await;
        assert_eq!(known.len(), 1);
        assert_eq!(text(&known[0]["address"]), address);
        let addresses: Vec<HashMap<String, zbus::OwnedVariant>> =
            own.ask("GetAddresses").await.expect("the owner may");
        assert_eq!(
            addresses.iter().map(|a| text(&a["address"])).collect::<Vec<_>>(),
            std::slice::from_ref(&address)
        );

        own.stop().await;
        hidden.stop().await;
        subscribe(&people.owner, "Unsubscribe", &["leases"]).await.expect("everybody may");
        shared.stop().await;
        closed.stop().await;
        assert_eq!(told("root", root, "LeaseRemoved", &shared.path).await, address);
        told("root", root, "LeaseRemoved", &closed.path).await;
        // What was sent to them before this answer has arrived with it.
        for client in [&people.owner, &people.other, &people.ruled] {
            client.manager_property("Version").await;
        }
        assert_eq!(leases(owner, "LeaseRemoved"), [""; 0], "it has unsubscribed");
        assert!(leases(owner, "LeaseAdded").iter().all(|line| line.starts_with(shared.path.as_str())));
        assert!(
            owner.seen("AddressesChanged").iter().all(|m| m.header().path().is_some_and(|p| *p == *own.path))
        );
        for signals in [other, ruled] {
            for member in ["LeaseAdded", "LeaseRemoved", "AddressesChanged"] {
                assert!(signals.seen(member).is_empty(), "{member} came to one who has not subscribed");
            }
            assert!(!signals.seen("StateChanged").is_empty(), "what is public came");
        }
    });
}

/// A password that is asked for each time lets its caller through once.
#[test]
fn who_was_let_through_once_is_told() {
    world(async |world: World| {
        let people = People::new(&world).await;
        people.polkit.add_rules(
            &world,
            r#"var asked = 0;
            polkit.addRule(function(action, subject) {
                if (subject.user == "warren-bob" && action.id == "org.warren1.network.use")
                    return asked++ == 1 ? polkit.Result.YES : polkit.Result.AUTH_ADMIN;
                if (subject.user == "warren-bob" && action.id == "org.warren1.domain.manage-own")
                    return polkit.Result.YES;
            });"#,
        );
        let shared = network(&people, "shared", 41, "users").await;
        // Which asks for the first time whether he may see leases too; he may not, without a password.
        eventually("the rules are heeded", Duration::from_secs(20), async || {
            subscribe(&people.other, "Subscribe", &["addresses"]).await.ok()
        })
        .await;
        let signals = people.other.signals();
        subscribe(&people.other, "Subscribe", &["leases"]).await.expect("he is let through");
        let again = subscribe(&people.other, "Subscribe", &["leases"]).await.expect_err("once");
        assert_eq!(error_name(&again), ASK);
        subscribe(&people.other, "Subscribe", &["addresses"]).await.expect("which takes nothing away");
        let guest = GuestXml::new("guest").diskless().on_network("shared").to_string();
        people.root.define_domain(&guest).await.expect("root may define").start().await;
        told("who was let through", &signals, "LeaseAdded", &shared.path).await;
    });
}

#[test]
fn one_user_takes_no_more_than_a_share() {
    world(async |world: World| {
        world.sh("mkdir -p /run/w/warren-0/config");
        let limits = "[limits]\ncalls = 2\njobs = 1\nobjects = 2\nsubscriptions = 1\n";
        world.write("warren-0/config/warrend.toml", limits);
        let people = People::new(&world).await;
        let (alice, carol) = (&people.owner, &people.ruled);
        let xml = |name: &str| GuestXml::new(name).diskless().to_string();
        let first = alice.define_domain(&xml("first")).await.expect("the first");
        let second = alice.define_domain(&xml("second")).await.expect("the second");
        assert_error(
            alice.define_domain(&xml("third")).await,
            "LimitExceeded",
            &["uid 61001", "2", "objects"],
        );
        alice.define_domain(&xml("second")).await.expect("what is replaced is not one more");
        let of_carol = carol.define_domain(&xml("third")).await.expect("another user is not affected");

        let no_wait = || [("no-wait", Variant::from(true))].into();
        let (one, two, other) = tokio::join!(
            first.ask_with::<OwnedObjectPath>("Start", no_wait()),
            second.ask_with::<OwnedObjectPath>("Start", no_wait()),
            of_carol.ask_with::<OwnedObjectPath>("Start", no_wait()),
        );
        other.expect("another user is not affected");
        let refused = [one, two].into_iter().filter(Result::is_err).collect::<Vec<_>>();
        assert_eq!(refused.len(), 1, "one of two at once is refused: {refused:?}");
        for answer in refused {
            assert_error(answer, "LimitExceeded", &["uid 61001 has 1 starts"]);
        }

        let (a, b, c, d, other) = tokio::join!(
            first.ask::<String>("GetXml"),
            first.ask::<String>("GetXml"),
            first.ask::<String>("GetXml"),
            first.ask::<String>("GetXml"),
            of_carol.ask::<String>("GetXml"),
        );
        other.expect("another user is not affected");
        let answers = [a, b, c, d];
        assert!(answers.iter().any(Result::is_ok));
        let refused = answers.into_iter().filter(Result::is_err).collect::<Vec<_>>();
        assert!(!refused.is_empty(), "four calls at once are more than two");
        for answer in refused {
            assert_error(answer, "LimitExceeded", &["uid 61001 has 2 calls in flight"]);
        }
        first.ask::<String>("GetXml").await.expect("and then there is room again");

        let another = people.bus.connect(ALICE.uid).await;
        let of_carol = people.bus.connect(CAROL.uid).await;
        subscribe(alice, "Subscribe", &["leases"]).await.expect("the first");
        subscribe(alice, "Subscribe", &["addresses"]).await.expect("of the same connection");
        let answer = subscribe(&another, "Subscribe", &["leases"]).await;
        assert_error(answer, "LimitExceeded", &["uid 61001 has 1 connections"]);
        subscribe(&of_carol, "Subscribe", &["leases"]).await.expect("another user is not affected");
        people.owner.leave().await;
        eventually("a connection that has left takes nothing", Duration::from_secs(10), async || {
            subscribe(&another, "Subscribe", &["leases"]).await.ok()
        })
        .await;
    });
}
