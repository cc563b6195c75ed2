//! What helpers under uids of their own cannot do: make root follow them, hold the service up, or be somebody else.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use zbus::OwnedVariant;

use crate::common::{
    Client, GuestXml, Object, Options, Service, World, assert_error, eventually, text, world, world_alone,
};

const RUN: &str = "/run/w/warren-0/run";
const STATE: &str = "/run/w/warren-0/state";
const VICTIM: &str = "/run/w/victim";
const SOON: Duration = Duration::from_secs(20);
/// Of the default configuration.
const UID_BASE: u32 = 1_900_000_000;
const OF_NETWORKS: std::ops::Range<u32> = UID_BASE + 16..UID_BASE + 4080;

/// A network with DHCP, and with files for guests that boot over it.
fn document(name: &str, subnet: u8) -> String {
    format!(
        "<network><name>{name}</name><bridge stp='off' delay='0'/><ip address='10.{subnet}.0.1' netmask='255.255.255.0'>\
         <tftp root='/run/w/tftp'/><dhcp><range start='10.{subnet}.0.10' end='10.{subnet}.0.20'/></dhcp></ip></network>"
    )
}

async fn network(client: &Client, name: &str, subnet: u8) -> Object {
    let network = client.define_network(&document(name, subnet)).await.expect("root may define");
    network.start().await;
    network
}

fn run_dir(object: &Object) -> String {
    let kind = if object.path.as_str().contains("/network/") { "networks" } else { "domains" };
    let uuid = object.path.as_str().rsplit('/').next().unwrap_or_default().replace('_', "-");
    format!("{RUN}/{kind}/{}", uuid.trim_start_matches('u'))
}

/// The pid in the record of its dnsmasq.
fn dnsmasq(network: &Object) -> u32 {
    let stat = std::fs::read_to_string(format!("{}/dnsmasq.stat", run_dir(network))).unwrap_or_default();
    stat.split(' ').next().and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

/// A field of `/proc/PID/status`, its first word.
fn status(pid: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned()
}

fn uid(pid: u32) -> u32 {
    status(pid, "Uid").parse().unwrap_or_else(|_| panic!("the process {pid} is there"))
}

/// Kills it; another one serves the network then.
async fn killed_and_revived(world: &World, network: &Object) -> u32 {
    let before = dnsmasq(network);
    world.sh(&format!("kill -KILL {before}"));
    eventually("dnsmasq is started again", SOON, async || {
        let now = dnsmasq(network);
        (now != before && status(now, "Name") == "dnsmasq").then_some(now)
    })
    .await
}

/// A machine on the network's bridge.
async fn plug_in(world: &World, network: &Object, host: &str) {
    let bridge = text(&network.property("Bridge").await);
    world.add_host(host);
    world.cable(&format!("{host}-near"), "", host, "eth0", "");
    world.sh(&format!("ip link set {host}-near master {bridge}"));
}

#[test]
fn root_follows_no_helper_and_is_not_held_up_by_one() {
    world(async |world: World| {
        world.sh("mkdir -m 755 /run/w/tftp; echo boot >/run/w/tftp/boot; echo public >/run/w/public
             ln -s /run/w/public /run/w/tftp/link; chmod 644 /run/w/tftp/boot /run/w/public");
        world.sh(&format!("echo '0 52:54:00:00:00:09 10.43.0.9 secret *' >{VICTIM}; chmod 600 {VICTIM}"));
        // What is made below has the modes that it was given, and no others.
        rustix::process::umask(rustix::fs::Mode::empty());
        let service = Service::system(&world).await;
        let client = &service.client;
        let (lab, cage) = (network(client, "lab", 43).await, network(client, "cage", 44).await);
        has_few_rights(&lab, &cage);
        plug_in(&world, &lab, "far").await;
        is_told_of_leases_however_often_it_is_asked(&world, client, &lab).await;
        reads_only_what_it_serves(&world);
        modes_are_not_inherited(&world, client).await;
        lease_files_are_not_trusted(&world, client, &lab).await;
        links_are_not_followed(&world, &lab).await;
        lab.stop().await;
        cage.stop().await;
        assert_eq!(world.sh(&format!("ls {RUN}/networks")), "");
    });
}

fn has_few_rights(lab: &Object, cage: &Object) {
    let mut uids = BTreeSet::new();
    for network in [lab, cage] {
        let pid = dnsmasq(network);
        assert!(OF_NETWORKS.contains(&uid(pid)) && uids.insert(uid(pid)), "{}", uid(pid));
        assert_eq!(status(pid, "Gid").parse(), Ok(uid(pid)));
        assert_eq!(status(pid, "NoNewPrivs"), "1");
        // NET_BIND_SERVICE, NET_ADMIN, NET_RAW.
        for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(pid, set), "0000000000003400", "{set}");
        }
    }
}

/// Each message to the network comes in between the writing of the file and the look at it.
async fn is_told_of_leases_however_often_it_is_asked(world: &World, client: &Client, lab: &Object) {
    let signals = client.signals();
    let body = (&["leases"][..], Options::new());
    client.call::<_, ()>("/org/warren1", "org.warren1.Manager.Subscribe", &body).await.expect("root may");
    let asked = lab.clone();
    let asking = tokio::spawn(async move {
        loop {
            asked.leases().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    // Beside the questions.
    let mut dhcp = tokio::process::Command::new("nsenter");
    dhcp.args("--net=/run/netns/far busybox udhcpc -i eth0 -n -q -f -t 20 -T 1 -s /bin/true".split(' '));
    let leased = dhcp.output().await.expect("nsenter is installed");
    assert!(leased.status.success(), "{}", String::from_utf8_lossy(&leased.stderr));
    eventually("LeaseAdded comes", SOON, async || (!signals.seen("LeaseAdded").is_empty()).then_some(()))
        .await;
    asking.abort();
    let lease: HashMap<String, OwnedVariant> =
        signals.seen("LeaseAdded")[0].body().deserialize().expect("it is a{sv}");
    world.on("far", &format!("ip address add {}/24 dev eth0", text(&lease["address"])));
}

/// Its user may read the other file, and Landlock keeps it from that.
fn reads_only_what_it_serves(world: &World) {
    let get = |file: &str| {
        world.try_sh(&format!("nsenter --net=/run/netns/far busybox tftp -g -r {file} -l - 10.43.0.1"))
    };
    assert_eq!(get("boot"), Ok("boot".to_owned()));
    let refused = get("link");
    assert!(refused.is_err(), "{refused:?}; this test needs a kernel with Landlock");
}

async fn modes_are_not_inherited(world: &World, client: &Client) {
    let xml =
        GuestXml::new("guest").diskless().with("<graphics type='vnc'><listen type='socket'/></graphics>");
    let guest = client.define_domain(&xml.to_string()).await.expect("a valid document");
    guest.start().await;
    let open = world.sh(&format!("find {STATE} {RUN} -perm /077 -printf '%y%m %P\\n'"));
    let uuid = |part: &str| part.len() == 36 && part.contains('-');
    let mut wrong: Vec<&str> = open.lines().collect();
    wrong.retain(|line| {
        let (mode, path) = line.split_once(' ').unwrap_or((line, ""));
        let parts: Vec<_> = path.split('/').collect();
        match (mode, &*parts) {
            // Helpers pass through these, to their own.
            ("d711", [""] | ["networks"]) => false,
            ("d711", ["networks", of]) | ("d750", ["networks", of, "conf"]) => !uuid(of),
            ("f640", ["networks", of, "conf", "dnsmasq.conf" | "hosts"]) => !uuid(of),
            _ => true,
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    guest.stop().await;
    guest.undefine().await;
}

/// All that a network's dnsmasq may do to its lease file.
async fn lease_files_are_not_trusted(world: &World, client: &Client, lab: &Object) {
    let uid = uid(dnsmasq(lab));
    let file = world.sh(&format!("find {} -name leases -type f", run_dir(lab)));
    let as_it = |script: &str| {
        world.sh(&format!("setpriv --reuid {uid} --regid {uid} --clear-groups sh -ec '{script}'"));
    };
    let refused = async |what: &str| {
        let (asked, begun) = (lab.ask::<Vec<HashMap<String, OwnedVariant>>>("GetLeases"), Instant::now());
        let (leases, _) = tokio::join!(
            async {
                tokio::time::timeout(SOON, asked).await.unwrap_or_else(|_| panic!("GetLeases hangs: {what}"))
            },
            client.manager_property("Version"),
        );
        assert_error(leases, "BackendFailed", &["leases", "lab"]);
        assert!(begun.elapsed() < Duration::from_secs(5), "{what}");
    };
    as_it(&format!("mv {file} {file}.kept; mkfifo {file}"));
    refused("a FIFO").await;
    as_it(&format!("rm {file}; ln -s {VICTIM} {file}"));
    refused("a link").await;
    as_it(&format!("rm {file}; truncate -s 1G {file}"));
    refused("1 GB of nothing").await;
    as_it(&format!("rm {file}; mkdir {file}"));
    refused("a directory").await;
    as_it(&format!("rmdir {file}; mv {file}.kept {file}"));
    assert_eq!(lab.leases().await.len(), 1);
}

/// It puts links in the place of all that it can, and dies: what is made anew for the next is made elsewhere.
async fn links_are_not_followed(world: &World, lab: &Object) {
    let (dir, first) = (run_dir(lab), uid(dnsmasq(lab)));
    let before = world.sh(&format!("cat {VICTIM}; stat -c '%u %g %a' {VICTIM}"));
    let dirs = world.sh(&format!("find {dir} -type d | tr '\\n' ' '"));
    let links = format!(
        "for at in {dirs}; do for name in dnsmasq.conf hosts .dnsmasq.conf.new .hosts.new state.json conf; do
             rm -rf $at/$name; ln -s {VICTIM} $at/$name
         done; done 2>/dev/null; true"
    );
    world.sh(&format!("setpriv --reuid {first} --regid {first} --clear-groups sh -c '{links}'"));
    let pid = killed_and_revived(world, lab).await;
    assert_eq!(uid(pid), first, "a network keeps its uid");
    assert_eq!(world.sh(&format!("cat {VICTIM}; stat -c '%u %g %a' {VICTIM}")), before);
    eventually("it serves again", SOON, async || {
        let asked = "nsenter --net=/run/netns/far busybox tftp -g -r boot -l - 10.43.0.1";
        world.try_sh(asked).ok()
    })
    .await;
    assert_eq!(lab.leases().await.len(), 1, "and knows its leases");
}

/// Alone, since uids are the machine's.
#[test]
fn nobody_gets_the_uid_of_another() {
    world_alone(async |world: World| {
        world.sh("mkdir -p /run/w/warren-0/config /run/w/tftp");
        world.write("warren-0/config/warrend.toml", "uid-count = 4097\n");
        let mut service = Service::system(&world).await;
        let client = service.client.clone();
        let guest = async |name: &str| {
            let xml = GuestXml::new(name).diskless().to_string();
            client.define_domain(&xml).await.expect("a valid document")
        };
        let (one, two) = (guest("one").await, guest("two").await);
        one.start().await;
        let first = uid(one.pid().await);
        assert_eq!(first, UID_BASE + 4096);
        let all_are_taken = async || {
            assert_error(two.act("Start").await, "LimitExceeded", &["1 uids kept for guests", "uid-count"]);
        };
        all_are_taken().await;
        one.stop().await;
        // Somebody else's process, of which Warren knows nothing.
        world.sh(&format!("setpriv --reuid {first} --regid {first} --clear-groups sleep 1000 >/dev/null 2>&1 & echo $! >/run/w/pid"));
        eventually("it has the uid", SOON, async || {
            world.try_sh("grep -q sleep /proc/$(cat /run/w/pid)/comm").ok()
        })
        .await;
        all_are_taken().await;
        world.sh("kill $(cat /run/w/pid)");
        eventually("it is gone", SOON, async || two.act("Start").await.ok()).await;
        a_former_version_is_taken_over(&world, &mut service).await;

        two.stop().await;
        assert!(service.daemon.terminate(&world).await.success());
        world.write("warren-0/config/warrend.toml", "uid-count = 4096\n");
        let refused = world.try_sh(&format!(
            "export STATE_DIRECTORY={STATE} RUNTIME_DIRECTORY={RUN} CONFIGURATION_DIRECTORY=/run/w/warren-0/config
             timeout 10 /run/w/bin/warrend --system"
        ));
        let refused = refused.expect_err("guests would run as root");
        assert!(refused.contains("uid-count 4096") && refused.contains("warrend.toml"), "{refused}");
    });
}

/// Whose record names no uid, and whose dnsmasq had that of all helpers and its files in one place.
async fn a_former_version_is_taken_over(world: &World, service: &mut Service) {
    let client = service.client.clone();
    let net = network(&client, "net", 45).await;
    let (dir, first) = (run_dir(&net), uid(dnsmasq(&net)));
    service.daemon.kill();
    world.sh(&format!(
        "sed -i '/\"uid\":/d' {dir}/state.json; mv {dir}/leases {dir}/dnsmasq; rm -r {dir}/conf
         printf '0 52:54:00:00:00:09 10.45.0.9 web *\\n' >{dir}/dnsmasq/leases"
    ));
    service.kill_and_restart(world).await;
    assert_eq!((net.state().await.as_str(), uid(dnsmasq(&net))), ("active", first), "it is adopted");
    assert_eq!(net.leases().await.len(), 1);
    let other = network(&client, "other", 46).await;
    assert_ne!(uid(dnsmasq(&other)), first, "a uid that lives is not given out");
    let pid = killed_and_revived(world, &net).await;
    assert!(OF_NETWORKS.contains(&uid(pid)) && uid(pid) != uid(dnsmasq(&other)));
    eventually("its leases have come along", SOON, async || (net.leases().await.len() == 1).then_some(()))
        .await;
    let recorded = format!("grep -q '\"uid\": *{}' {dir}/state.json", uid(pid));
    eventually("its uid is on record", SOON, async || world.try_sh(&recorded).ok()).await;
    service.kill_and_restart(world).await;
    let third = network(&client, "third", 47).await;
    let uids: BTreeSet<u32> = [&net, &other, &third].map(|net| uid(dnsmasq(net))).into();
    assert_eq!(uids.len(), 3);
    for network in [net, other, third] {
        network.stop().await;
    }
}

/// A session of root's: its helpers have no rights on the host, and uids of their own as well.
#[test]
fn networks_of_roots_session_have_uids_of_their_own_and_what_a_script_began_is_undone() {
    world(async |world: World| {
        world.sh("mkdir -m 755 /run/w/tftp");
        let service = Service::session(&world, 0).await;
        let client = &service.client;
        let (one, two) = (network(client, "one", 48).await, network(client, "two", 49).await);
        has_few_rights(&one, &two);

        let up = world.write("up", "#!/bin/sh\ntouch /run/w/told/up\nsleep 10\n").display().to_string();
        let down = world.write("down", "#!/bin/sh\ntouch /run/w/told/down\n").display().to_string();
        world.sh("mkdir -m 777 /run/w/told");
        let nic = format!(
            "<interface type='ethernet'><script path='{up}'/><downscript path='{down}'/></interface>"
        );
        let xml = GuestXml::new("guest").diskless().with(&nic).to_string();
        let guest = client.define_domain(&xml).await.expect("a valid document");
        let cut_off = async {
            eventually("the script runs", SOON, async || world.try_sh("ls /run/w/told/up").ok()).await;
            guest.stop().await;
        };
        let (started, ()) = tokio::join!(guest.act("Start"), cut_off);
        assert_error(started, "Cancelled", &[]);
        assert_eq!(world.sh("ls /run/w/told"), "down\nup");
        one.stop().await;
        two.stop().await;
    });
}
