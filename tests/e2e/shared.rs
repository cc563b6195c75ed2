//! A network and the host's names belong to their owner: what an ordinary user's guest on a shared network asks for
//! changes neither.

use std::collections::HashMap;

use zbus::{OwnedVariant, Variant};

use crate::callers::People;
use crate::common::{Client, GuestXml, Object, Options, World, assert_error, world};

const SHARED: &str = "<network><name>shared</name><ip address='10.9.0.1' netmask='255.255.255.0'/>
    <ip family='ipv6' address='fd09::1' prefix='64'/></network>";

/// The findings on a document, as text.
async fn check(client: &Client, xml: &str) -> String {
    let body = (xml, Options::new());
    let report: Result<HashMap<String, OwnedVariant>, _> =
        client.call("/org/warren1", "org.warren1.Manager.CheckDomain", &body).await;
    format!("{:?}", report.expect("she may check")["findings"])
}

/// A guest that boots nothing, with a NIC of this inside on that network.
fn guest(network: &str, inside: &str) -> String {
    let nic = format!("<interface type='network'><source network='{network}'/>{inside}</interface>");
    GuestXml::new("guest").diskless().with(&nic).to_string()
}

/// A network on which every user may have a NIC.
async fn network(root: &Client, xml: &str) -> Object {
    let network = root.define_network(xml).await.expect("root may define");
    let users = ("users", Options::new());
    let set = root.call::<_, ()>(network.path.as_str(), "org.warren1.Network.SetAccess", &users).await;
    set.expect("root may share it");
    network
}

/// The document is kept, a check reports it, and a start is refused with these words.
async fn kept_and_refused(client: &Client, xml: &str, error: &str, words: &[&str]) {
    let domain = client.define_domain(xml).await.expect("the document is kept");
    let findings = check(client, xml).await;
    assert!(words.iter().all(|word| findings.contains(word)), "{words:?} in {findings}");
    assert_error(domain.act("Start").await, error, words);
    assert_eq!(domain.state().await, "shutoff");
}

#[test]
fn a_port_changes_nothing_of_its_network() {
    world(async |world: World| {
        let mut people = People::new(&world).await;
        let shared = network(&people.root, SHARED).await;
        shared.start().await;
        let bridge = world.sh("ip -o link show type bridge | sed 's/^[0-9]*: //; s/:.*//'");
        let address = world.sh(&format!("cat /sys/class/net/{bridge}/address"));
        let unchanged = || {
            assert_eq!(world.sh(&format!("cat /sys/class/net/{bridge}/mtu")), "1500");
            assert_eq!(world.sh(&format!("cat /sys/class/net/{bridge}/address")), address);
            let addresses = world.sh(&format!("ip address show dev {bridge}"));
            assert!(addresses.contains("fd09::1/64") && addresses.contains("10.9.0.1/24"), "{addresses}");
        };
        for (mtu, word) in [(68, "IPv6"), (1279, "IPv6"), (1501, "1500"), (9000, "1500")] {
            let xml = guest("shared", &format!("<mtu size='{mtu}'/>"));
            kept_and_refused(&people.owner, &xml, "InvalidConfig", &["mtu/@size", &mtu.to_string(), word])
                .await;
            unchanged();
        }
        let xml = guest("shared", "<mac address='52:54:00:00:00:01'/><mtu size='1280'/><target dev='wt-a'/>");
        let domain = people.owner.define_domain(&xml).await.expect("she may define");
        assert!(!check(&people.owner, &xml).await.contains("mtu"));
        domain.start().await;
        assert!(world.sh("ip link show wt-a").contains("mtu 1280"));
        unchanged();
        // Of the spanning tree and of multicast routers a guest is no part.
        assert!(world.sh("ip -d link show wt-a").contains("group_fwd_mask 0x1"));
        assert!(world.sh(&format!("ip -d link show {bridge}")).contains("mcast_snooping 0"));
        people.daemon.kill_and_restart(&world, &people.root).await;
        domain.stop().await;
        unchanged();

        let isolating = "<network><name>apart</name><port isolated='yes'/></network>";
        network(&people.root, isolating).await.start().await;
        let lifted = guest("apart", "<port isolated='no'/>");
        kept_and_refused(&people.owner, &lifted, "InvalidConfig", &["port/@isolated", "'apart'"]).await;
        let roots = people.root.define_domain(&lifted).await.expect("root may define");
        roots.start().await;
        roots.stop().await;

        // Nor does one on a bridge of the host's, which only host-access puts it on.
        world.sh("ip link add br0 type bridge && ip link set br0 up && ip address add fd0b::1/64 dev br0");
        let nic = "<interface type='bridge'><source bridge='br0'/><mtu size='1000'/></interface>";
        let xml = GuestXml::new("bridged").diskless().with(nic).to_string();
        let bridged = people.root.define_domain(&xml).await.expect("root may define");
        bridged.start().await;
        let shown = world.sh("ip address show dev br0");
        assert!(shown.contains("mtu 1500") && shown.contains("fd0b::1/64"), "{shown}");
    });
}

#[test]
fn an_ordinary_user_takes_no_name_of_the_host() {
    world(async |world: World| {
        let people = People::new(&world).await;
        network(&people.root, SHARED).await;
        let idle = |name: &str, bridge: &str| {
            format!("<network><name>{name}</name><bridge name='{bridge}'/></network>")
        };
        for (name, bridge) in [("office", "lan7"), ("tricky", "wt-idle")] {
            people.root.define_network(&idle(name, bridge)).await.expect("root may define");
        }
        world.sh("ip link add docker0 type bridge");
        let named = |name: &str| guest("shared", &format!("<target dev='{name}'/>"));
        let prefix = &["target/@dev", "'wt-'"];
        for name in ["lan7", "docker0", "wtap5", "$(id)", "lo", "wbr9", "wt_0"] {
            kept_and_refused(&people.owner, &named(name), "InvalidConfig", prefix).await;
            let links = world.sh("ls /sys/class/net");
            assert!(!links.contains("wtap") && !links.contains("lan7"), "{links}");
        }
        kept_and_refused(&people.owner, &named("wt-idle"), "InvalidConfig", &["'wt-idle'", "'tricky'"]).await;
        kept_and_refused(&people.owner, &named("wt-$(id)"), "InvalidConfig", &["'wt-$(id)'", "letters"])
            .await;

        let domain = people.owner.define_domain(&named("wt-ok")).await.expect("she may define");
        domain.start().await;
        world.sh("ip link show wt-ok");
        let twin = named("wt-ok").replace(">guest<", ">twin<");
        let twin = people.ruled.define_domain(&twin).await.expect("a rule lets her");
        assert_error(twin.act("Start").await, "AddressInUse", &["'wt-ok'"]);
        domain.stop().await;
        let domain = people.owner.define_domain(&named("vnet3")).await.expect("she may define");
        domain.start().await;
        assert!(world.sh("ls /sys/class/net").contains("wtap0"), "libvirt's names count as not written");
        assert!(domain.xml().await.contains("vnet3"), "the document is as she wrote it");
        domain.stop().await;

        // With the right to reach the host a caller starts it; its owner does not.
        let domain = people.owner.define_domain(&named("mine0")).await.expect("she may define");
        domain.seen_by(&people.ruled).start().await;
        world.sh("ip link show mine0");
        domain.stop().await;
        assert_error(domain.act("Start").await, "InvalidConfig", prefix);
        let start = [("start", Variant::from(true))].into();
        let define = "org.warren1.Manager.DefineDomain";
        let body: (String, Options<'_>) = (named("mine0"), start);
        let answer = people.owner.call::<_, zbus::OwnedObjectPath>("/org/warren1", define, &body).await;
        assert_error(answer, "InvalidConfig", prefix);

        // Root's names are free, as long as nothing else has them, and are kept from others.
        let roots = async |name: &str| {
            people.root.define_domain(&named(name)).await.expect("root may define").act("Start").await
        };
        roots("wt-root").await.expect("it is free");
        people.root.domain("guest").await.expect("it is there").stop().await;
        kept_and_refused(&people.owner, &named("wt-root"), "InvalidConfig", &["'wt-root'", "root"]).await;
        assert_error(roots("lan7").await, "InvalidConfig", &["'lan7'", "'office'"]);
        assert_error(roots("docker0").await, "AddressInUse", &["'docker0'"]);
        assert_error(roots("$(id)").await, "InvalidConfig", &["'$(id)'"]);
        for (bridge, error) in
            [("lan7", "AddressInUse"), ("wtap3", "InvalidConfig"), ("$(id)", "InvalidConfig")]
        {
            let answer = people.root.define_network(&idle("third", bridge)).await;
            assert_error(answer, error, &[bridge]);
            let body = (idle("third", bridge), Options::new());
            let report: HashMap<String, OwnedVariant> = people
                .root
                .call("/org/warren1", "org.warren1.Manager.CheckNetwork", &body)
                .await
                .expect("root may");
            let findings = format!("{:?}", report["findings"]);
            assert!(findings.contains("/network/bridge/@name"), "{findings}");
        }
    });
}
