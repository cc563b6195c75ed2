//! What a caller needs beyond the right to a method: for a document's needs, for passwords, for networks of
//! others; and that `GetPermissions` foretells it.

use std::collections::{BTreeMap, HashMap};

use zbus::{OwnedObjectPath, Variant};

use crate::callers::{DOMAIN_XML, NETWORK_XML, People};
use crate::common::{
    ALICE, BOB, Bus, Client, Daemon, GuestXml, Object, Polkit, World, assert_error, error_name, world,
};

const ASK: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";

/// The name of the answer: `ok`, or the error's.
fn name<T>(answer: &Result<T, zbus::Error>) -> String {
    answer.as_ref().map_or_else(error_name, |_| "ok".to_owned())
}

async fn permissions(client: &Client, object: Option<&Object>) -> BTreeMap<String, String> {
    let options: HashMap<&str, Variant<'_>> =
        object.map(|o| ("object", Variant::from(o.path.as_ref()))).into_iter().collect();
    let member = "org.warren1.Manager.GetPermissions";
    let all: HashMap<String, String> =
        client.call("/org/warren1", member, &options).await.expect("everybody may ask");
    all.into_iter().map(|(id, yes)| (id.replace("org.warren1.", ""), yes)).collect()
}

async fn xml_with_secrets(domain: &Object, client: &Client) -> Result<String, zbus::Error> {
    domain.seen_by(client).ask_with("GetXml", [("secrets", true.into())].into()).await
}

#[test]
fn an_unknown_option_is_named_to_those_who_may_ask() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let network = people.root.define_network(NETWORK_XML).await.expect("root may define");
        let guest = people.owner.define_domain(DOMAIN_XML).await.expect("the owner may define");
        let odd = || [("forse", Variant::from(true))].into();
        for (object, methods) in [
            (&network, &["Start", "Stop", "Undefine", "GetXml", "GetLeases"][..]),
            (
                &guest,
                &["Start", "Stop", "Shutdown", "Suspend", "GetInfo", "GetXml", "GetAddresses", "OpenConsole"],
            ),
        ] {
            for method in methods {
                let object = object.seen_by(&people.root);
                let answer = object.ask_with::<OwnedObjectPath>(method, odd()).await;
                assert_error(answer, "InvalidArgs", &["'forse'"]);
                let refused = object.seen_by(&people.other).ask_with::<OwnedObjectPath>(method, odd()).await;
                assert_eq!(name(&refused), ASK, "{method} of somebody who may not");
            }
        }
        let define = "org.warren1.Manager.DefineNetwork";
        let options: HashMap<&str, Variant<'_>> = odd();
        let answer =
            people.root.call::<_, OwnedObjectPath>("/org/warren1", define, &(NETWORK_XML, options)).await;
        assert_error(answer, "InvalidArgs", &["'forse'", "if-generation"]);
    });
}

#[test]
fn passwords_of_others_need_a_right_of_their_own() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let guest = people.owner.define_domain(DOMAIN_XML).await.expect("the owner may define");
        for client in [&people.root, &people.owner, &people.ruled] {
            let xml = guest.seen_by(client).xml().await;
            assert!(xml.contains("<graphics") && !xml.contains("geheim"), "{xml}");
        }
        for client in [&people.owner, &people.root, &people.ruled] {
            let xml =
                xml_with_secrets(&guest, client).await.expect("the owner may, root, and whom a rule lets");
            assert!(xml.contains("geheim"), "{xml}");
        }
        assert_eq!(name(&xml_with_secrets(&guest, &people.other).await), ASK);
        // Root's is another's to Alice.
        let roots =
            people.root.define_domain(&DOMAIN_XML.replace("6f3b", "7f3b")).await.expect("root may define");
        assert_eq!(name(&xml_with_secrets(&roots, &people.owner).await), ASK);
    });
}

#[test]
fn permissions_agree_with_what_calls_do() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let network = people.root.define_network(NETWORK_XML).await.expect("root may define");
        let guest = people.owner.define_domain(DOMAIN_XML).await.expect("the owner may define");
        for client in [&people.root, &people.owner, &people.other, &people.ruled] {
            let all = permissions(client, None).await;
            assert_eq!(all.len(), 8, "{all:?}");
            let word = |answer: String| match answer.as_str() {
                "ok" => "yes".to_owned(),
                ASK => "challenge".to_owned(),
                other => other.to_owned(),
            };
            let of_network = permissions(client, Some(&network)).await;
            let of_guest = permissions(client, Some(&guest)).await;
            let xml = network.seen_by(client).ask::<String>("GetXml").await;
            assert_eq!(of_network["network.manage"], word(name(&xml)));
            assert_eq!(of_guest["read-secrets"], word(name(&xml_with_secrets(&guest, client).await)));
            let defined = client.define_network("<network><name>own</name></network>").await;
            assert_eq!(all["network.manage"], word(name(&defined)));
            let own = client.define_domain(&GuestXml::new("own").diskless().to_string()).await;
            assert_eq!(all["domain.manage-own"], word(name(&own)));
            if client_is_not_owner(&all) {
                let read = guest.seen_by(client).ask::<String>("GetXml").await;
                assert_eq!(of_guest["domain.manage"], word(name(&read)));
            }
        }
        // A rule for one network is seen only where the object is given.
        let rule = r#"polkit.addRule(function(action, subject) {
            if (action.id == "org.warren1.network.manage" && action.lookup("name") == "lab") return "yes";
        });"#;
        people.polkit.add_rules(&world, rule);
        crate::common::eventually("the rule is heeded", std::time::Duration::from_secs(20), async || {
            (permissions(&people.other, Some(&network)).await["network.manage"] == "yes").then_some(())
        })
        .await;
        assert_eq!(permissions(&people.other, None).await["network.manage"], "challenge");
        network.seen_by(&people.other).act("Start").await.expect("as GetPermissions has said");
        let wrong: HashMap<&str, Variant<'_>> = [("object", Variant::from(guest.path.as_str()))].into();
        let member = "org.warren1.Manager.GetPermissions";
        let answer = people.other.call::<_, HashMap<String, String>>("/org/warren1", member, &wrong).await;
        assert_error(answer, "InvalidArgs", &["'object'"]);
    });
}

#[test]
fn a_domain_of_others_is_named_by_its_uuid() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let guest = people.owner.define_domain(DOMAIN_XML).await.expect("the owner may define");
        let uuid = guest.path.as_str().rsplit('/').next().expect("a path has parts").replace('_', "-");
        let owner = format!("uid {}", ALICE.uid);
        for client in [&people.root, &people.other] {
            assert_error(client.domain("guest").await, "NoSuchDomain", &["'guest'", &owner, &uuid]);
            assert_error(client.domain("gues").await, "NoSuchDomain", &["there is no domain 'gues'"]);
        }
        assert_eq!(people.owner.domain("guest").await.expect("it is the caller's own").path, guest.path);
    });
}

/// The owner reads the domain by another action than everybody else.
fn client_is_not_owner(all: &BTreeMap<String, String>) -> bool {
    !(all["domain.manage-own"] == "yes" && all["domain.manage"] == "challenge")
}

#[test]
fn the_host_is_asked_for_after_the_document_is_read() {
    world(async |world: World| {
        let people = People::new(&world).await;
        world.sh("ip link add br0 type bridge && ip link set br0 up");
        let on_host =
            GuestXml::new("bridged").with("<interface type='bridge'><source bridge='br0'/></interface>");
        let on_host = on_host.to_string();
        assert_eq!(name(&people.owner.define_domain(&on_host).await), ASK);
        people.root.define_domain(&on_host).await.expect("root may");
        people.ruled.define_domain(&on_host).await.expect("a rule lets her");
        // Whoever may not define learns nothing of the document; whoever may does, also of one with needs.
        for xml in ["<not even XML", "<domain><name>x</name></domain>", &on_host] {
            assert_eq!(name(&people.other.define_domain(xml).await), ASK);
        }
        assert_error(people.owner.define_domain("<not even XML").await, "InvalidXml", &["line 1"]);
        assert_error(
            people.owner.define_domain("<domain><name>x</name></domain>").await,
            "InvalidConfig",
            &[],
        );
        let tftp = "<network><name>boot</name><ip address='10.8.0.1' netmask='255.255.255.0'>\
                    <tftp root='/srv'/></ip></network>";
        // Networks, but nothing of the host.
        let rule = r#"polkit.addRule(function(action, subject) {
            if (subject.user != "warren-bob") return polkit.Result.NOT_HANDLED;
            if (action.id == "org.warren1.network.manage") return polkit.Result.YES;
            if (action.id == "org.warren1.host-access") return polkit.Result.NO;
        });"#;
        people.polkit.add_rules(&world, rule);
        crate::common::eventually("the rule is heeded", std::time::Duration::from_secs(20), async || {
            people.other.define_network(NETWORK_XML).await.ok()
        })
        .await;
        let denied = people.other.define_network(tftp).await;
        assert_error_is(denied, "org.freedesktop.DBus.Error.AccessDenied", "org.warren1.host-access");
        people.root.define_network(tftp).await.expect("root may");
    });
}

fn assert_error_is<T: std::fmt::Debug>(answer: Result<T, zbus::Error>, wanted: &str, word: &str) {
    let error = answer.expect_err("it is refused");
    assert_eq!(error_name(&error), wanted);
    assert!(error.to_string().contains(word), "{error}");
}

#[test]
fn a_shared_network_is_for_users() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let network = people.root.define_network(NETWORK_XML).await.expect("root may define");
        network.start().await;
        let guest = GuestXml::new("own").diskless().on_network("lab").to_string();
        assert_eq!(name(&people.owner.define_domain(&guest).await), ASK, "it needs network.use-any");
        assert_eq!(name(&network.seen_by(&people.owner).ask::<String>("GetXml").await), ASK);
        let access = async |word: &str| {
            let member = "org.warren1.Network.SetAccess";
            let body = (word, HashMap::<&str, Variant<'_>>::new());
            people.root.call::<_, ()>(network.path.as_str(), member, &body).await
        };
        assert_error(access("everybody").await, "InvalidArgs", &["'everybody'", "users"]);
        access("users").await.expect("root may");
        assert_eq!(crate::common::text(&network.property("Access").await), "users");
        let guest = people.owner.define_domain(&guest).await.expect("it needs network.use");
        guest.start().await;
        network.seen_by(&people.owner).ask::<String>("GetXml").await.expect("who may use it may read it");
        guest.stop().await;
        // What the network allows is asked again at each start.
        access("admin").await.expect("root may");
        assert_eq!(name(&guest.act("Start").await), ASK);
        assert_eq!(guest.state().await, "shutoff");
    });
}

/// What polkitd itself says of a caller, without asking a person.
async fn polkit_lets(asking: &Client, action: &str, about: &Client) -> bool {
    let subject: HashMap<&str, Variant<'_>> = [("name", about.unique_name().into())].into();
    let details = HashMap::<&str, &str>::new();
    let body = (("system-bus-name", subject), action, details, 0u32, "");
    let member = "org.freedesktop.PolicyKit1.Authority.CheckAuthorization";
    let path = "/org/freedesktop/PolicyKit1/Authority";
    let answer: (bool, bool, HashMap<String, String>) = asking
        .call_on("org.freedesktop.PolicyKit1", path, member, &body)
        .await
        .expect("polkitd answers root");
    answer.0
}

#[test]
fn of_root_warren_says_what_polkit_would_say() {
    world(async |world: World| {
        let bus = Bus::system(&world);
        let _polkit =
            Polkit::start(&world, &bus, "polkit.addRule(function() { return polkit.Result.NO; });").await;
        let _daemon = Daemon::system(&world, &bus).await;
        let (root, other) = (bus.connect(0).await, bus.connect(BOB.uid).await);
        let of_root = permissions(&root, None).await;
        let of_other = permissions(&other, None).await;
        assert_eq!(of_root.len(), 8, "{of_root:?}");
        for (action, word) in &of_root {
            let id = format!("org.warren1.{action}");
            assert!(polkit_lets(&root, &id, &root).await, "{id}: rules do not reach root");
            assert!(!polkit_lets(&root, &id, &other).await, "{id}: they reach others");
            assert_eq!((word.as_str(), of_other[action].as_str()), ("yes", "no"), "{id}");
        }
        root.define_network(NETWORK_XML).await.expect("root may define");
        let refused = other.define_network(NETWORK_XML).await;
        assert_eq!(name(&refused), "org.freedesktop.DBus.Error.AccessDenied");
    });
}

#[test]
fn root_needs_no_polkitd() {
    world(async |world: World| {
        let bus = Bus::system(&world);
        let _daemon = Daemon::system(&world, &bus).await;
        let (root, other) = (bus.connect(0).await, bus.connect(BOB.uid).await);
        let network = root.define_network(NETWORK_XML).await.expect("root may define");
        network.act("Start").await.expect("root may start");
        let refused = network.seen_by(&other).ask::<String>("GetXml").await;
        assert_error(refused, "BackendFailed", &["polkitd"]);
        network.act("Stop").await.expect("root may stop");
    });
}
