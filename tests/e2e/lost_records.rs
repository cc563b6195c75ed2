//! Each record in RUN and STATE, one at a time, is removed, emptied, garbled or cut while the daemon is dead: guests and
//! networks run on, and the next daemon says what it found.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zbus::OwnedVariant;

use crate::common::{
    ALICE, GuestXml, HostState, Object, Options, Service, World, assert_error, eventually, text, world,
};
use crate::session::machine;

const NET: &str = "<network><name>net</name><forward/><ip address='' netmask=''>
    <dhcp><range start='' end=''/></dhcp></ip></network>";

type Properties = HashMap<String, OwnedVariant>;

const SOON: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Removed,
    Emptied,
    Garbled,
    Cut,
}

const ALL: [Damage; 4] = [Damage::Removed, Damage::Emptied, Damage::Garbled, Damage::Cut];

/// A file before it was damaged.
struct Before {
    path: PathBuf,
    content: Vec<u8>,
    owner: (u32, u32),
    mode: u32,
}

impl Damage {
    /// Damages a file; a socket is moved away.
    fn apply(self, path: &Path) -> Before {
        let meta = fs::symlink_metadata(path).expect("it was listed");
        let content = if meta.is_file() { fs::read(path).expect("root reads all") } else { Vec::new() };
        let before = Before {
            path: path.to_owned(),
            content,
            owner: (meta.uid(), meta.gid()),
            mode: meta.mode() & 0o7777,
        };
        let part = before.content.len().min(20);
        match self {
            Self::Removed if meta.is_file() => fs::remove_file(path),
            Self::Removed => fs::rename(path, aside()),
            Self::Emptied => fs::write(path, ""),
            Self::Garbled => fs::write(path, before.content.iter().map(|b| b ^ 0xa5).collect::<Vec<_>>()),
            Self::Cut => fs::write(path, &before.content[..part]),
        }
        .expect("root may");
        before
    }
}

fn aside() -> PathBuf {
    Path::new(World::DIR).join("aside")
}

impl Before {
    fn restore(self, world: &World) {
        let Self { path, content, owner: (uid, gid), mode } = self;
        if aside().exists() {
            return fs::rename(aside(), &path).expect("root may");
        }
        let name = path.display();
        // In its place, where it is: dnsmasq has one of them open.
        fs::write(&path, content).expect("root may");
        world.sh(&format!("chown {uid}:{gid} {name}; chmod {mode:o} {name}; rm -f {name}.broken"));
    }
}

/// All files and sockets below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("it is there") {
        let path = entry.expect("it can be read").path();
        let kind = fs::symlink_metadata(&path).expect("nothing changes meanwhile").file_type();
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() || kind.is_socket() {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What everything depends on that a file could take away.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    pid: u32,
    uid: u32,
    links: String,
    dnsmasq: String,
    helpers: String,
    /// All words of the firewall's rules.
    rules: Vec<String>,
}

/// Two guests on a network.
struct Rig {
    world: World,
    service: Service,
    net: Object,
    /// It has booted, and has a lease.
    guest: Object,
    address: String,
    /// It is stopped without the record, each time.
    other: Object,
    home: PathBuf,
    session: bool,
}

fn uid_of(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}")).expect("QEMU runs").uid()
}

fn of(object: &Object) -> String {
    let path = object.path.as_str();
    path.rsplit('/').next().expect("it has a UUID").replace('_', "-")
}

impl Rig {
    async fn new(world: World, service: Service, home: PathBuf, session: bool) -> Self {
        let client = service.client.clone();
        let net = client.define_network(NET).await.expect("a valid document");
        let guest = GuestXml::new("guest").on_network("net").to_string();
        let guest = client.define_domain(&guest).await.expect("a valid document");
        let other =
            GuestXml::new("other").diskless().on_network("net").with("<graphics type='vnc' port='-1'/>");
        let other = other.to_string();
        let other = client.define_domain(&other).await.expect("a valid document");
        let (mut console, _) = guest.boot().await;
        let address = console.lease("eth0").await;
        other.start().await;
        Self { world, service, net, guest, address, other, home, session }
    }

    async fn standing(&self) -> Standing {
        let pid = self.guest.pid().await;
        let run = |command: &str| self.world.try_sh(command).unwrap_or_default();
        let inside = if self.session { "nsenter -t $(pgrep -f 'warrend nethost') -n " } else { "" };
        // Each with its number, and the guest's TAP on its bridge.
        let links =
            run(&format!("{inside}ip -o link show | grep -o '^[0-9]*: w[a-z]*[0-9]*.*master [a-z0-9]*'"));
        let links = links.lines().next().unwrap_or_default().to_owned();
        let helpers = run("pgrep -f 'warrend nethost'; pgrep -x 'pasta|pasta.avx2'");
        let rules = run(&format!("{inside}nft list ruleset"));
        let mut rules: Vec<_> = rules.split([' ', ',', '\n', '\t']).map(str::to_owned).collect();
        rules.sort();
        Standing { pid, uid: uid_of(pid), links, dnsmasq: run("pgrep -x dnsmasq"), helpers, rules }
    }

    /// Damages one file while the daemon is dead, and looks what the next one makes of it.
    async fn damaged(&mut self, path: &Path, damage: Damage) {
        let relative = path.strip_prefix(&self.home).expect("it is below").display().to_string();
        let case = format!("{relative} {damage:?}");
        let before = self.standing().await;
        self.service.daemon.kill();
        let was = damage.apply(path);
        let said = self.service.daemon.log().len();
        self.service.kill_and_restart(&self.world).await;

        let is = |name: &str| relative.ends_with(name);
        let socket = is("nethost.sock");
        self.is_said(&relative, damage, said).await;
        let mut now = self.standing().await;
        if is("leases/leases") && damage == Damage::Removed {
            // It is started again, with what it had.
            now.dnsmasq.clone_from(&before.dnsmasq);
        }
        assert_eq!(now, before, "{case}");
        for object in [&self.guest, &self.other] {
            assert_eq!(object.state().await, "running", "{case}");
            assert_eq!(text(&object.property("StateReason").await), "adopted", "{case}");
        }
        assert_eq!(self.net.state().await, "active", "{case}");
        if !socket {
            let addresses: Vec<Properties> =
                self.guest.ask("GetAddresses").await.expect("GetAddresses answers");
            let known = addresses.iter().any(|a| text(&a["address"]) == self.address);
            assert!(known || is("leases/leases"), "{case}: {addresses:?}");
            assert_error(self.net.act("Stop").await, "InUse", &["guest", "other"]);
        }
        self.verbs(&relative, &case).await;
        if relative.contains("/domains/") && relative.contains(&of(&self.other)) {
            let pid = self.other.pid().await;
            self.other.stop().await;
            let process = format!("/proc/{pid}");
            let gone = async || (!Path::new(&process).exists()).then_some(());
            eventually(&format!("{case}: QEMU is gone"), SOON, gone).await;
            self.other.start().await;
            assert_eq!(uid_of(self.other.pid().await) == now.uid, self.session, "{case}");
            // All of it is new.
            self.world.sh(&format!("rm -f {} {}.broken", aside().display(), path.display()));
            return;
        }
        self.service.daemon.kill();
        was.restore(&self.world);
        self.service.kill_and_restart(&self.world).await;
    }

    /// The service names what is lost, in the log or, of a network, in its warnings.
    async fn is_said(&self, relative: &str, damage: Damage, from: usize) {
        let matters = ["boot-id", "state.json", ".stat", "definition.xml", ".sock", "pasta.json"];
        let stored = relative.starts_with("state/") && relative.ends_with(".xml");
        let leases = relative.ends_with("leases/leases") && damage == Damage::Removed;
        if !(stored || leases || matters.iter().any(|name| relative.ends_with(name))) {
            return;
        }
        let name = relative.split_once('/').map_or(relative, |(_, rest)| rest);
        let names = |log: &str| log[from..].lines().find(|line| line.contains(name)).map(str::to_owned);
        let what = format!("{relative} {damage:?} is said");
        let line = eventually(&what, SOON, async || names(&self.service.daemon.log())).await;
        println!("{damage:?}: {line}");
    }

    /// What needs the record is refused, by its name; all else works.
    async fn verbs(&self, relative: &str, case: &str) {
        let own = [&self.guest, &self.other].into_iter().find(|o| relative.contains(&of(o)));
        for object in [&self.guest, &self.other] {
            let lost =
                |name: &str| own.is_some_and(|own| own.path == object.path) && relative.ends_with(name);
            if lost("qmp.sock") {
                assert_error(object.ask::<()>("Suspend").await, "WrongState", &["qmp.sock"]);
            } else {
                let done =
                    async |verb: &str| object.ask::<()>(verb).await.unwrap_or_else(|e| panic!("{case}: {e}"));
                done("Suspend").await;
                done("Resume").await;
            }
            if lost("state.json") {
                assert_error(object.ask::<Properties>("GetInfo").await, "WrongState", &["state.json"]);
                let live: Options<'_> = [("live", true.into())].into();
                assert_error(object.ask_with::<String>("GetXml", live).await, "WrongState", &["state.json"]);
            } else {
                object.info().await;
            }
            if lost("serial0.sock") {
                assert_error(
                    object.ask::<zbus::OwnedFd>("OpenConsole").await,
                    "WrongState",
                    &["serial0.sock"],
                );
            } else {
                object.console().await;
            }
        }
    }

    async fn all_files(&mut self) {
        let default = of(&self.service.client.network("default").await.expect("it is there"));
        // What is there for one moment, or depends on nothing that runs.
        let beside = ["lock", "qemu.json", "next-job", "autostarted", "/conf/dnsmasq.conf", "/conf/hosts"];
        let mut all = [files(&self.home.join("run")), files(&self.home.join("state"))].concat();
        all.retain(|path| {
            let path = path.display().to_string();
            !path.contains("/children/")
                && !path.contains(&default)
                && !beside.iter().any(|b| path.ends_with(b))
        });
        let has = |name: &str| all.iter().any(|path| path.ends_with(name));
        for name in
            ["run/boot-id", "state.json", "qemu.stat", "dnsmasq.stat", "definition.xml", "leases/leases"]
        {
            assert!(has(name), "{name} is among {all:?}");
        }
        assert!(!self.session || has("nethost.stat") && has("pasta.stat"), "{all:?}");
        for path in all {
            let is_file = path.is_file();
            for damage in ALL.into_iter().filter(|damage| is_file || *damage == Damage::Removed) {
                // Its files are gone once it was stopped, and made anew.
                if path.exists() {
                    self.damaged(&path, damage).await;
                }
            }
        }
    }

    /// All that RUN has of an object, and then of all.
    async fn whole_directories(&mut self) {
        let run = self.home.join("run");
        let (net, guest) = (of(&self.net), of(&self.guest));
        for gone in [format!("networks/{net}"), format!("domains/{guest}"), "networks domains boot-id".into()]
        {
            let before = self.standing().await;
            self.service.daemon.kill();
            self.world.sh(&format!("cd {} && rm -r {gone}", run.display()));
            self.service.kill_and_restart(&self.world).await;
            let now = self.standing().await;
            assert_eq!((&now.links, now.pid, now.uid), (&before.links, before.pid, before.uid), "{gone}");
            assert_eq!(now.rules, before.rules, "{gone}");
            assert_eq!(self.net.state().await, "active", "{gone}");
            let leases: Vec<_> =
                self.net.leases().await.iter().map(|lease| text(&lease["address"])).collect();
            assert!(leases.contains(&self.address), "{gone}: dnsmasq has its leases: {leases:?}");
            for object in [&self.guest, &self.other] {
                assert_eq!(object.state().await, "running", "{gone}");
                assert_eq!(text(&object.property("StateReason").await), "adopted", "{gone}");
            }
            assert_error(self.net.act("Stop").await, "InUse", &["guest", "other"]);
            if gone.contains("domains") {
                assert_error(self.guest.ask::<()>("Suspend").await, "WrongState", &["qmp.sock"]);
                assert_error(self.guest.ask::<Properties>("GetInfo").await, "WrongState", &["state.json"]);
            }
            self.other.stop().await;
            self.other.start().await;
            assert_eq!(uid_of(self.other.pid().await) == now.uid, self.session, "{gone}");
        }
    }

    async fn nothing_is_left(self, before: HostState) {
        for object in [&self.guest, &self.other] {
            object.stop().await;
        }
        self.net.stop().await;
        before.restored(&self.world).await;
    }
}

#[test]
fn guests_and_networks_outlive_each_record() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        let before = HostState::now(&world);
        let home = world.path("warren-0");
        let mut rig = Rig::new(world, service, home, false).await;
        rig.all_files().await;
        rig.whole_directories().await;
        rig.nothing_is_left(before).await;
    });
}

#[test]
fn guests_and_networks_of_a_session_outlive_each_record() {
    world(async |world: World| {
        machine(&world);
        let service = Service::session(&world, ALICE.uid).await;
        let before = HostState::now(&world);
        let home = world.path(&format!("warren-{}", ALICE.uid));
        let mut rig = Rig::new(world, service, home, true).await;
        rig.all_files().await;
        rig.whole_directories().await;
        rig.nothing_is_left(before).await;
    });
}
