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
        configure(&world, 0, "guest-memory = 400000000\nguest-vcpus = 2\nguest-threads = 500");
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
        assert_error(start(&memory).await, "LimitExceeded", &["guest-memory", "400000000"]);
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
