//! Every child of the daemon has an owner: it is on record before it runs, it has no more rights than it needs, and
//! none is left when the daemon is killed.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zbus::{OwnedObjectPath, Variant};

use crate::common::{ALICE, Daemon, GuestXml, Object, Service, World, eventually, world};

/// What a probe runs under: see `uid-base` in warrend.toml.
const PROBE: &str = "Uid:\t1900004094\t1900004094\t1900004094\t1900004094";
const SOON: Duration = Duration::from_secs(20);

/// A process as `/proc` shows it: pid, start time, parent, and what it was called with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    pid: i32,
    start: u64,
    parent: i32,
    line: String,
}

impl Seen {
    /// `None`: it is gone, or a zombie.
    fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split(' ').collect();
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ");
        (fields[0] != "Z" && !line.is_empty()).then_some(Self {
            pid,
            start: fields[19].parse().ok()?,
            parent: fields[1].parse().ok()?,
            line,
        })
    }

    fn all() -> Vec<Self> {
        let entries = std::fs::read_dir("/proc").expect("/proc is mounted").flatten();
        entries.filter_map(|e| Self::of(e.file_name().to_str()?.parse().ok()?)).collect()
    }

    fn find(word: &str) -> Option<Self> {
        Self::all().into_iter().find(|seen| seen.line.contains(word))
    }

    fn status(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default()
    }

    fn is_gone(&self) -> bool {
        Self::of(self.pid).is_none_or(|now| now.start != self.start)
    }
}

/// The records below a RUN directory: file, pid and start time.
fn records(run: &Path) -> Vec<(PathBuf, i32, u64)> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir).map(|all| all.flatten().map(|e| e.path()).collect()).unwrap_or_default()
    };
    let children = list(&run.join("children"));
    let objects = ["networks", "domains"].map(|kind| list(&run.join(kind))).concat();
    let lasting = objects.iter().flat_map(|dir| list(dir)).chain(list(run));
    let lasting = lasting.filter(|path| path.extension().is_some_and(|e| e == "stat"));
    let read = |path: PathBuf| {
        let stat = std::fs::read_to_string(&path).ok()?;
        let pid = stat.split(' ').next()?.parse().ok()?;
        let start = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
        Some((path, pid, start))
    };
    children.into_iter().chain(lasting).filter_map(read).collect()
}

/// Watches the daemon's children until it is stopped; what it saw of them, and those that were on no record.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(BTreeSet<String>, Vec<Seen>)>,
}

impl Watch {
    fn begin(run: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let lock = std::fs::read_to_string(run.join("lock")).expect("the daemon holds its lock");
        let daemon: i32 = lock.trim().parse().expect("the lock names its holder");
        let thread = std::thread::spawn(move || {
            let (mut kinds, mut unknown) = (BTreeSet::new(), Vec::new());
            let own = Seen::of(daemon).expect("the daemon runs").line;
            while !stopped.load(Ordering::Relaxed) {
                let children: Vec<_> = Seen::all().into_iter().filter(|seen| seen.parent == daemon).collect();
                let known = records(&run);
                for child in children {
                    match known.iter().find(|(_, pid, start)| (*pid, *start) == (child.pid, child.start)) {
                        Some((path, ..)) => {
                            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                            kinds.insert(name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned());
                        }
                        // A copy of the daemon is on its way to its record; and one that is gone needs none.
                        None if child.line == own || Seen::of(child.pid).as_ref() != Some(&child) => {}
                        None => unknown.push(child),
                    }
                }
            }
            (kinds, unknown)
        });
        Self { stop, thread }
    }

    fn end(self) -> (BTreeSet<String>, Vec<Seen>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watch does not fail")
    }
}

async fn no_brief_child_is_left(run: &Path) {
    let names = || -> Vec<_> {
        let dir = std::fs::read_dir(run.join("children")).expect("the daemon has made it");
        dir.flatten().map(|entry| entry.file_name()).collect()
    };
    eventually("no record is left of what has ended", SOON, async || names().is_empty().then_some(())).await;
}

/// Starts and stops a network and a guest until each of these kinds of children was seen.
async fn watched_life(service: &Service, run: &Path, nics: &str, kinds: &[&str]) {
    let xml = "<network><name>net</name><forward/><ip address='' netmask=''>
        <dhcp><range start='' end=''/></dhcp></ip></network>";
    let net = service.client.define_network(xml).await.expect("a valid document");
    let guest = GuestXml::new("guest").on_network("net").with(nics).to_string();
    let guest = service.client.define_domain(&guest).await.expect("a valid document");
    let mut missing: BTreeSet<&str> = kinds.iter().copied().collect();
    for _ in 0..10 {
        let watch = Watch::begin(run.to_owned());
        net.start().await;
        guest.start().await;
        guest.stop().await;
        net.stop().await;
        let (seen, unknown) = watch.end();
        assert!(unknown.is_empty(), "on no record: {unknown:?}");
        missing.retain(|kind| !seen.contains(*kind));
        if missing.is_empty() {
            break;
        }
    }
    assert!(missing.is_empty(), "never seen: {missing:?}");
    no_brief_child_is_left(run).await;
}

#[test]
fn every_child_is_on_record() {
    world(async |world: World| {
        world.write("ifup", "#!/bin/sh\nsleep 0.2\nip link set \"$1\" up\n");
        let script = "<interface type='ethernet'><script path='/run/w/ifup'/></interface>";
        let system = Service::system(&world).await;
        let run = world.path("warren-0/run");
        let kinds = ["qemu.stat", "dnsmasq.stat", "firewall-", "open-files-", "script-"];
        watched_life(&system, &run, script, &kinds).await;
        let session = Service::session(&world, ALICE.uid).await;
        let run = world.path(&format!("warren-{}/run", ALICE.uid));
        let kinds = ["qemu.stat", "dnsmasq.stat", "nethost.stat", "firewall-"];
        watched_life(&session, &run, "", &kinds).await;
    });
}

/// Has all that a probe may have, and no more.
fn is_confined(probe: &Seen) {
    let status = probe.status();
    for line in [
        PROBE,
        "NoNewPrivs:\t1",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let kvm = std::fs::metadata("/dev/kvm").map(|kvm| kvm.gid()).ok().filter(|gid| *gid != 0);
    let groups =
        status.lines().find_map(|line| line.strip_prefix("Groups:")).expect("there is a line").trim();
    assert_eq!(groups, kvm.map_or_else(String::new, |gid| gid.to_string()));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", probe.pid)).expect("it runs");
    for limit in ["Max cpu time", "Max file size", "Max processes", "Max address space"] {
        let line = limits.lines().find(|line| line.starts_with(limit)).expect("there is a line");
        assert!(!line.contains("unlimited"), "{line}");
    }
}

/// Kills the daemon: a second later the probe is gone, whatever it does.
async fn dies_with(daemon: &mut Daemon, probe: &Seen) {
    daemon.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(probe.is_gone(), "it outlives the daemon: {probe:?}");
}

async fn start_without_waiting(guest: &Object) {
    let no_wait = [("no-wait", Variant::from(true))].into();
    guest.ask_with::<OwnedObjectPath>("Start", no_wait).await.expect("root may start");
}

#[test]
fn a_probe_has_no_rights_and_dies_with_the_daemon() {
    world(async |world: World| {
        // The real one is caught, and stopped, while the daemon looks at the host for the first time.
        let caught = std::thread::spawn(|| {
            let deadline = std::time::Instant::now() + SOON;
            while std::time::Instant::now() < deadline {
                let probe = Seen::find("-machine none").filter(|probe| !probe.line.contains("warrend"));
                if let Some(probe) = probe {
                    let pid = rustix::process::Pid::from_raw(probe.pid).expect("it has a pid");
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::STOP);
                    return Some(probe);
                }
            }
            None
        });
        let mut service = Service::system(&world).await;
        let probe = caught.join().expect("it does not fail").expect("the daemon asks QEMU what it can do");
        is_confined(&probe);
        let run = world.path("warren-0/run");
        let (record, ..) = records(&run)
            .into_iter()
            .find(|(_, pid, start)| (*pid, *start) == (probe.pid, probe.start))
            .expect("it is on record");
        assert!(record.starts_with(run.join("children")), "{}", record.display());
        dies_with(&mut service.daemon, &probe).await;
        service.kill_and_restart(&world).await;

        // What a document names: deaf, and with a process of its own.
        world.write("emulator", "#!/bin/sh\ntrap '' TERM HUP INT\nsleep 997\n");
        let guest = GuestXml::new("slow").with("<emulator>/run/w/emulator</emulator>").to_string();
        let guest = service.client.define_domain(&guest).await.expect("root may");
        start_without_waiting(&guest).await;
        let find = async |word: &str| eventually("it is probed", SOON, async || Seen::find(word)).await;
        let (probe, other) = (find("/run/w/emulator -S").await, find("sleep 997").await);
        is_confined(&probe);
        is_confined(&other);
        dies_with(&mut service.daemon, &probe).await;
        service.kill_and_restart(&world).await;
        let left = || {
            Seen::all().into_iter().find(|seen| seen.status().contains(PROBE) && seen.line.contains("sleep"))
        };
        assert_eq!(left(), None, "a daemon begins without what was left");

        // In a life without kills nothing is left either.
        world.write("emulator", "#!/bin/sh\nsetsid sleep 998 &\nexit 1\n");
        guest.act("Start").await.expect_err("it is no QEMU");
        eventually("all that it has started is gone", SOON, async || {
            Seen::find("sleep 998").is_none().then_some(())
        })
        .await;
        no_brief_child_is_left(&run).await;
    });
}

#[test]
fn a_script_that_a_killed_daemon_left_is_ended_by_the_next() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        world.write("ifup", "#!/bin/sh\ntrap '' TERM HUP INT\nsleep 996\n");
        let script = "<interface type='ethernet'><script path='/run/w/ifup'/></interface>";
        let guest = GuestXml::new("guest").diskless().with(script).to_string();
        let guest = service.client.define_domain(&guest).await.expect("root may");
        start_without_waiting(&guest).await;
        let find = async |word: &str| eventually("the script runs", SOON, async || Seen::find(word)).await;
        let (script, other) = (find("/run/w/ifup").await, find("sleep 996").await);
        let run = world.path("warren-0/run");
        let recorded = || {
            let same = |(_, pid, start): &(_, i32, u64)| (*pid, *start) == (script.pid, script.start);
            records(&run).into_iter().find(same).map(|(path, ..)| path)
        };
        let record = recorded().expect("it is on record");
        assert!(record.starts_with(run.join("children")), "{}", record.display());
        service.kill_and_restart(&world).await;
        assert!(script.is_gone() && other.is_gone(), "it still sets up the host beside the next daemon");
        assert_eq!(recorded(), None);
        assert_eq!(guest.state().await, "shutoff");
        no_brief_child_is_left(&run).await;
    });
}
