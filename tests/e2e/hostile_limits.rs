//! A user who takes as much as there is: what he is refused, what it costs others, and what it leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zbus::{OwnedObjectPath, Variant};

use crate::callers::People;
use crate::common::{
    ALICE, BOB, Bus, Client, GuestXml, Object, Options, Service, World, assert_error, eventually, text,
    world, world_alone,
};

/// The largest document that is taken.
const LARGEST: usize = 4 << 20;
/// How many of them a user may have here.
const DOCUMENTS: usize = 5;

fn configure(world: &World, uid: u32, limits: &str) {
    world.sh(&format!("install -d -o {uid} -g {uid} /run/w/warren-{uid} /run/w/warren-{uid}/config"));
    world.write(&format!("warren-{uid}/config/warrend.toml"), &format!("[limits]\n{limits}\n"));
}

/// A document of about so many bytes. `dense`: of as many elements as there may be; else of one text.
fn document(name: &str, bytes: usize, dense: bool) -> String {
    let xml = GuestXml::new(name).diskless().to_string();
    // What Warren adds has to fit in, too.
    let room = bytes - xml.len() - 4096;
    let element = "<e a='1'>x<!---->y&amp;<![CDATA[z]]></e>\n";
    let notes = if dense { element.repeat((room / element.len()).min(65_000)) } else { String::new() };
    let rest = "t".repeat(room - notes.len());
    xml.replacen("</name>", &format!("</name><metadata>{notes}<t>{rest}</t></metadata>"), 1)
}

/// Bytes of the service's memory, when what was free is given back.
async fn resident(world: &World) -> usize {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let line = world.sh("grep VmRSS /proc/$(pgrep -x warrend)/status");
    line.split_whitespace().nth(1).expect("a number").parse::<usize>().expect("a number") << 10
}

/// Another user, who asks for a property again and again, in a thread of its own: only the service is to hold it up.
struct Other {
    worst: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Other {
    fn begin(bus: &Bus) -> Self {
        let (socket, worst, stop) = (bus.socket(BOB.uid), Arc::default(), Arc::default());
        let (theirs, ends): (Arc<AtomicU64>, Arc<AtomicBool>) = (Arc::clone(&worst), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a tokio runtime starts").block_on(async {
                let client = Bus::over(socket, BOB.uid).await;
                while !ends.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    client.manager_property("Version").await;
                    let took = u64::try_from(begun.elapsed().as_micros()).expect("it is not for ever");
                    theirs.fetch_max(took, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            });
        });
        Self { worst, stop, thread }
    }

    /// The longest that one took while this was done.
    async fn beside<T>(&self, work: impl Future<Output = T>) -> (T, Duration) {
        self.worst.store(0, Ordering::Relaxed);
        let done = work.await;
        // The one that is under way counts.
        tokio::time::sleep(Duration::from_millis(300)).await;
        (done, Duration::from_micros(self.worst.load(Ordering::Relaxed)))
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("each is answered");
    }
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

#[test]
fn large_documents_hold_nobody_up_and_take_no_more_than_their_bytes() {
    world_alone(async |world: World| {
        configure(&world, 0, &format!("documents-bytes = {}", DOCUMENTS * LARGEST));
        let people = People::new(&world).await;
        // What is taken once for all is no part of it.
        let first = people.owner.define_domain(&document("first", LARGEST, true)).await;
        let first = first.expect("the owner may define");
        first.xml().await;
        first.undefine().await;
        let before = resident(&world).await;
        let other = Other::begin(&people.bus);
        // What else the machine does holds him up, too.
        let ((), alone) = other.beside(tokio::time::sleep(Duration::from_secs(2))).await;
        let (mut worst, mut guests) = (Vec::new(), Vec::new());
        for n in 0..DOCUMENTS {
            let xml = document(&format!("large{n}"), LARGEST, n < 1);
            let (guest, held_up) = other.beside(people.owner.define_domain(&xml)).await;
            guests.push(guest.expect("it is within the limit"));
            worst.push(held_up);
        }
        let grown = resident(&world).await.saturating_sub(before);
        println!("the service has grown by {grown} bytes");
        assert!(grown < DOCUMENTS * LARGEST / 4 * 5, "{DOCUMENTS} documents of {LARGEST} bytes take {grown}");
        // Nor does what is done with one later.
        worst.push(other.beside(guests[0].info()).await.1);
        let live = [("live", Variant::from(true))].into();
        let (xml, took) = other.beside(guests[0].ask_with::<String>("GetXml", live)).await;
        worst.push(took);
        let xml = xml.expect("it is answered");
        worst.push(other.beside(people.root.define_domain(&xml)).await.1);
        println!("Get took {worst:?} beside them, {alone:?} alone");
        assert!(median(worst) < Duration::from_millis(100) + 2 * alone);
        other.end();
        let refused = people.owner.define_domain(&document("more", LARGEST, false)).await;
        assert_error(refused, "LimitExceeded", &["uid 61001", "documents-bytes"]);
        guests[0].undefine().await;
        people.owner.define_domain(&document("more", LARGEST, false)).await.expect("there is room again");
    });
}

#[test]
fn documents_count_for_their_owner_in_memory_and_on_disk() {
    world(async |world: World| {
        configure(&world, 0, "documents-bytes = 40000\nstored-bytes = 60000");
        let mut people = People::new(&world).await;
        let of = |name: &str, bytes| document(name, bytes, false);
        let first = people.owner.define_domain(&of("first", 30_000)).await.expect("there is room");
        let beyond = people.owner.define_domain(&of("second", 30_000)).await;
        assert_error(beyond, "LimitExceeded", &["uid 61001", "documents-bytes", "40000"]);
        // A change counts for what it adds.
        people.owner.define_domain(&of("first", 38_000)).await.expect("one replaces the other");
        let (was, generation) = (first.xml().await, first.property("Generation").await);
        let beyond = people.owner.define_domain(&of("first", 48_000)).await;
        assert_error(beyond, "LimitExceeded", &["documents-bytes"]);
        assert_eq!((first.xml().await, first.property("Generation").await), (was, generation));

        // A guest that runs with another document has both.
        people.owner.define_domain(&of("first", 30_000)).await.expect("less is always taken");
        let paused = [("paused", Variant::from(true))].into();
        first.ask_with::<OwnedObjectPath>("Start", paused).await.expect("the owner may start");
        let beyond = people.owner.define_domain(&of("first", 30_001)).await;
        assert_error(beyond, "LimitExceeded", &["documents-bytes"]);
        first.stop().await;
        people.owner.define_domain(&of("first", 30_001)).await.expect("only one is left");

        // It is the owner's, whoever changes it; and root has no limit.
        let beyond =
            people.root.define_domain(&first.xml().await.replace("</metadata>", &"<x/>".repeat(5000))).await;
        drop(beyond);
        for name in ["one", "two", "three"] {
            people.root.define_domain(&of(name, 30_000)).await.expect("root has no limit");
        }
        people.daemon.kill_and_restart(&world, &people.root).await;
        let beyond = people.owner.define_domain(&of("second", 30_000)).await;
        assert_error(beyond, "LimitExceeded", &["documents-bytes"]);
        first.undefine().await;
        people.owner.define_domain(&of("second", 30_000)).await.expect("there is room again");

        configure(&world, 0, "stored-bytes = 100");
        people.daemon.kill_and_restart(&world, &people.root).await;
        let second = people.owner.domain("second").await.expect("what is there stays");
        assert_error(
            people.owner.define_domain(&of("third", 5000)).await,
            "LimitExceeded",
            &["stored-bytes"],
        );
        second.undefine().await;
    });
}

#[test]
fn a_session_user_has_limits_too() {
    world(async |world: World| {
        configure(&world, ALICE.uid, "documents-bytes = 10000");
        let service = Service::session(&world, ALICE.uid).await;
        let beyond = service.client.define_domain(&document("large", 20_000, false)).await;
        assert_error(beyond, "LimitExceeded", &["documents-bytes", "10000"]);
    });
}

async fn start(guest: &Object) -> Result<(), zbus::Error> {
    let paused = Options::from([("paused", Variant::from(true))]);
    guest.ask_with::<OwnedObjectPath>("Start", paused).await.map(drop)
}

#[test]
fn running_guests_count_for_their_owner() {
    world(async |world: World| {
        configure(&world, 0, "guest-memory = 620000000\nguest-vcpus = 2\nguest-threads = 500");
        let mut people = People::new(&world).await;
        let define = async |client: &Client, name: &str, inner: &str| {
            let xml = GuestXml::new(name).diskless().to_string();
            let xml = xml.replacen("<vcpu>1</vcpu>", &format!("<vcpu>1</vcpu>{inner}"), 1);
            client.define_domain(&xml).await.expect("it may be defined")
        };
        let mut guests = Vec::new();
        for name in ["one", "two", "three"] {
            guests.push(define(&people.owner, name, "").await);
        }
        start(&guests[0]).await.expect("there is room");
        let limits = world.sh(&format!("grep 'Max processes' /proc/{}/limits", guests[0].pid().await));
        let words: Vec<_> = limits.split_whitespace().collect();
        assert_eq!(words[2..4], ["129", "129"], "QEMU has no more threads than are counted: {limits}");

        let threads = define(&people.owner, "threads", "<iothreads>6</iothreads>").await;
        assert_error(start(&threads).await, "LimitExceeded", &["uid 61001", "guest-threads", "500"]);
        assert_eq!(text(&threads.property("StateReason").await), "failed");
        let memory = GuestXml::new("memory").diskless().to_string().replace(">96<", ">300<");
        let memory = people.owner.define_domain(&memory).await.expect("it may be defined");
        assert_error(start(&memory).await, "LimitExceeded", &["guest-memory", "620000000"]);
        start(&guests[1]).await.expect("what was refused has taken nothing");
        assert_error(start(&guests[2]).await, "LimitExceeded", &["guest-vcpus"]);

        people.daemon.kill_and_restart(&world, &people.root).await;
        assert_error(start(&guests[2]).await, "LimitExceeded", &["guest-vcpus"]);
        guests[0].stop().await;
        start(&guests[2]).await.expect("there is room again");
        // One that ends by itself gives back, too.
        world.sh(&format!("kill -9 {}", guests[1].pid().await));
        eventually("there is room again", Duration::from_secs(10), async || start(&guests[0]).await.ok())
            .await;

        let three = define(&people.root, "roots", "").await;
        start(&three).await.expect("root has its own");
        let four = GuestXml::new("more").diskless().to_string().replace("<vcpu>1<", "<vcpu>4<");
        let four = people.root.define_domain(&four).await.expect("root may define");
        start(&four).await.expect("root has no limit");
    });
}

/// What is counted for a user of a resource, as a refusal says it.
fn used(refused: Result<(), zbus::Error>) -> u64 {
    let says = refused.expect_err("it is refused").to_string();
    let used = says.split(" has ").nth(1).and_then(|rest| rest.split(' ').next());
    used.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number in: {says}"))
}

#[test]
fn what_qemu_keeps_of_images_is_memory_of_its_owner() {
    world(async |world: World| {
        configure(&world, 0, "guest-memory = 500000000");
        let people = People::new(&world).await;
        world.user_dir("mine", ALICE.uid);
        world.sh(&format!(
            "cd /run/w/mine && qemu-img create -q -f qcow2 wide 2P && qemu-img create -q -f qcow2 bad 1G
             printf '\\177\\377\\377\\377' | dd of=bad bs=1 seek=36 conv=notrunc status=none
             qemu-img create -q -f vdi bad.vdi 1G
             printf '\\377\\377\\377\\077' | dd of=bad.vdi bs=1 seek=384 conv=notrunc status=none
             chown {uid}:{uid} *",
            uid = ALICE.uid
        ));
        let guest = |name: &str, count: u8, format: &str, file: &str| {
            let disk = |n| {
                let letter = char::from(b'a' + n);
                format!(
                    "<disk type='file' device='disk'><driver name='qemu' type='{format}'/>\
                     <source file='/run/w/mine/{file}'/><target dev='vd{letter}' bus='virtio'/><readonly/></disk>"
                )
            };
            GuestXml::new(name).diskless().with(&(0..count).map(disk).collect::<String>()).to_string()
        };
        let define = async |xml: String| people.owner.define_domain(&xml).await.expect("it may be defined");
        for (file, format) in [("bad", "qcow2"), ("bad.vdi", "vdi")] {
            let bad = define(guest(&format!("guest-{format}"), 1, format, file)).await;
            assert_error(start(&bad).await, "BackendFailed", &[file, "tables of", "64 MiB"]);
        }
        let few = define(guest("few", 2, "qcow2", "wide")).await;
        start(&few).await.expect("there is room");
        let many = define(guest("many", 20, "qcow2", "wide")).await;
        let counted = used(start(&many).await);
        let resident = world.sh(&format!("grep VmRSS /proc/{}/status", few.pid().await));
        let resident =
            resident.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("one") << 10;
        println!("QEMU has {resident} bytes, {counted} are counted");
        assert!(resident > 64 << 20, "the tables are in memory: {resident}");
        // Of the many, those that were looked at before the limit are given back.
        let (again, more) = (used(start(&many).await), 10 * (96 << 20));
        assert!(again == counted && resident <= counted && counted < more, "{resident}, {counted}, {again}");
    });
}

#[test]
fn descriptors_of_the_service_are_shared_out() {
    world(async |world: World| {
        configure(&world, 0, "descriptors = 60");
        let people = People::new(&world).await;
        world.user_dir("mine", ALICE.uid);
        world.sh(&format!("cd /run/w/mine && touch disk && chown {uid}:{uid} disk", uid = ALICE.uid));
        let guest = GuestXml::new("guest").diskless().to_string();
        let guest = people.owner.define_domain(&guest).await.expect("it may be defined");
        start(&guest).await.expect("there is room");
        let mut consoles = Vec::new();
        let refused = loop {
            match guest.ask::<zbus::OwnedFd>("OpenConsole").await {
                Ok(console) => consoles.push(console),
                Err(e) => break e,
            }
        };
        // Of the 60, the guest itself has four.
        assert_eq!(consoles.len(), 56, "{refused}");
        assert_error(Err::<(), _>(refused), "LimitExceeded", &["uid 61001", "'descriptors'", "60"]);
        let second = GuestXml::new("second").diskless().to_string();
        let second = people.owner.define_domain(&second).await.expect("it may be defined");
        assert_error(start(&second).await, "LimitExceeded", &["'descriptors'"]);
        let roots = guest.seen_by(&people.root);
        roots.ask::<zbus::OwnedFd>("OpenConsole").await.expect("root has no limit");
        drop(consoles);
        eventually("there is room again", Duration::from_secs(10), async || start(&second).await.ok()).await;

        // A start counts with all that is opened for it.
        let disks: String = (0..26)
            .map(|n| {
                let letter = char::from(b'a' + n);
                format!(
                    "<disk type='file' device='disk'><source file='/run/w/mine/disk'/>\
                     <target dev='sd{letter}' bus='usb'/><readonly/></disk>"
                )
            })
            .collect();
        let many = GuestXml::new("many").diskless().with(&disks).to_string();
        let many = people.owner.define_domain(&many).await.expect("it may be defined");
        assert_error(start(&many).await, "LimitExceeded", &["'descriptors'"]);
    });
}

#[test]
fn objects_are_limited_but_not_for_root() {
    world(async |world: World| {
        configure(&world, 0, "objects = 2");
        let people = People::new(&world).await;
        let define = async |client: &Client, n: u32| {
            client.define_domain(&GuestXml::new(&format!("guest{n}")).diskless().to_string()).await.map(drop)
        };
        for n in 0..2 {
            define(&people.owner, n).await.expect("there is room");
        }
        assert_error(define(&people.owner, 2).await, "LimitExceeded", &["2"]);
        for n in 0..4 {
            define(&people.root, n).await.expect("root has no limit");
        }
    });
}
