//! A hundred callers at once, two of whom behave badly: the others are still answered in time.
//!
//! The callers speak D-Bus by hand, each in a thread of its own, so that what is measured is the service.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use zbus::DynamicType;
use zbus::message::Message;

use crate::callers::{DOMAIN_XML, People};
use crate::common::{ALICE, BOB, Bus, CAROL, Options, World, eventually, world_alone};

/// Callers that behave.
const CALLERS: usize = 98;
/// How many calls one caller keeps in flight.
const FLOOD: u64 = 10_000;
/// How often it is measured without and with the two: what else the machine does comes and goes.
const ROUNDS: usize = 3;
/// How long one measurement takes.
const MEASURED: Duration = Duration::from_secs(2);

/// A connection to the bus, without a library.
struct Raw {
    stream: UnixStream,
    serial: u32,
    got: Vec<u8>,
}

impl Raw {
    fn connect(bus: &Bus, uid: u32) -> Self {
        let mut stream = bus.socket(uid);
        let hex: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes()).expect("the bus listens");
        let mut line = [0; 256];
        let length = stream.read(&mut line).expect("the bus answers");
        assert!(line[..length].starts_with(b"OK "), "the bus lets its users in");
        stream.write_all(b"BEGIN\r\n").expect("the bus listens");
        let mut raw = Self { stream, serial: 0, got: Vec::new() };
        let hello = Message::method_call("/org/freedesktop/DBus", "Hello")
            .destination("org.freedesktop.DBus")
            .interface("org.freedesktop.DBus")
            .build(&())
            .expect("a valid message");
        raw.call(&mut hello.data().bytes().to_vec());
        raw
    }

    /// Gives the message the next serial number, and sends it.
    fn send(&mut self, message: &mut [u8]) -> std::io::Result<()> {
        self.serial += 1;
        message[8..12].copy_from_slice(&self.serial.to_le_bytes());
        self.stream.write_all(message)
    }

    /// Sends the message and waits for its answer; whether it is not an error.
    fn call(&mut self, message: &mut [u8]) -> bool {
        self.send(message).expect("the bus listens");
        loop {
            let (kind, serial) = self.receive().expect("the bus answers");
            if serial == Some(self.serial) {
                return kind == 2;
            }
        }
    }

    /// The next message: its type, and the serial number that it answers to.
    fn receive(&mut self) -> std::io::Result<(u8, Option<u32>)> {
        let mut buffer = [0; 65536];
        loop {
            if let Some(length) = length(&self.got).filter(|length| self.got.len() >= *length) {
                let answer = (self.got[1], reply_serial(&self.got[..length]));
                self.got.drain(..length);
                return Ok(answer);
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => self.got.extend_from_slice(&buffer[..n]),
            }
        }
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

/// Of the message that begins here.
fn length(bytes: &[u8]) -> Option<usize> {
    (bytes.len() >= 16).then(|| 16 + number(bytes, 12).next_multiple_of(8) + number(bytes, 4))
}

/// Header field 5, of type `u`.
fn reply_serial(message: &[u8]) -> Option<u32> {
    let fields = &message[..16 + number(message, 12)];
    let at = fields.windows(4).skip(16).position(|field| field == [5, 1, b'u', 0])? + 16;
    u32::try_from(number(fields, at + 4)).ok()
}

/// The bytes of a call to the service.
fn message<B: Serialize + DynamicType>(path: &str, member: &str, body: &B) -> Vec<u8> {
    let (interface, method) = member.rsplit_once('.').expect("a member is named with its interface");
    let call = Message::method_call(path, method).destination("org.warren1").interface(interface);
    call.build(body).expect("a valid message").data().bytes().to_vec()
}

/// The median of what `Get` takes, to all callers that behave.
fn measure(callers: &mut [Raw]) -> Duration {
    let get = "org.freedesktop.DBus.Properties.Get";
    let get = message("/org/warren1", get, &("org.warren1.Manager", "Version"));
    let end = Instant::now() + MEASURED;
    std::thread::scope(|scope| {
        let ask = |caller: &mut Raw| {
            let (mut get, mut took) = (get.clone(), Vec::new());
            while Instant::now() < end {
                let begun = Instant::now();
                assert!(caller.call(&mut get), "Get is answered");
                took.push(begun.elapsed());
            }
            took
        };
        let asked: Vec<_> = callers.iter_mut().map(|caller| scope.spawn(move || ask(caller))).collect();
        median(
            asked.into_iter().flat_map(|thread| thread.join().expect("the callers are answered")).collect(),
        )
    })
}

/// Calls that one keeps in flight.
#[derive(Debug, Default)]
struct Flood {
    sent: AtomicU64,
    answered: AtomicU64,
    stop: AtomicBool,
}

impl Flood {
    fn in_flight(&self) -> u64 {
        let answered = self.answered.load(Ordering::Relaxed);
        self.sent.load(Ordering::Relaxed).saturating_sub(answered)
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Keeps calls in flight until told to stop. One that does not read is never answered.
    fn run(&self, mut raw: Raw, mut call: Vec<u8>, reads: bool) {
        // To one that reads the bus listens, sooner or later; to the other it does not for ever.
        let patience = Duration::from_millis(if reads { 20_000 } else { 200 });
        raw.stream.set_write_timeout(Some(patience)).expect("a socket takes a deadline");
        raw.stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket takes a deadline");
        let stream = raw.stream.try_clone().expect("a descriptor can be duplicated");
        let mut reader = Raw { stream, serial: 0, got: Vec::new() };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while reads && self.goes_on() {
                    if reader.receive().is_ok() {
                        self.answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            while self.goes_on() {
                if self.in_flight() >= FLOOD {
                    std::thread::sleep(Duration::from_millis(1));
                } else if raw.send(&mut call).is_err() {
                    // A message that was cut off cannot be gone on with; by then the bus takes nothing more from it.
                    while self.goes_on() {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                } else {
                    self.sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
}

/// What `Get` takes beside two who behave badly, on a bus that lets one have so many calls in flight.
async fn nobody_is_held_up(world: &World, in_flight: u32) {
    let mut people =
        People::on(world, Bus::system_with(world, &[("max_replies_per_connection", in_flight)])).await;
    let guest = people.owner.define_domain(DOMAIN_XML).await.expect("the owner may define");
    let call = message(guest.path.as_str(), "org.warren1.Domain.GetXml", &Options::new());
    // Users of all kinds, among them the two who have somebody that behaves badly.
    let users = [0, ALICE.uid, BOB.uid, CAROL.uid];
    let mut callers: Vec<_> = (0..CALLERS).map(|n| Raw::connect(&people.bus, users[n % 4])).collect();
    let (mut quiet, mut loaded, mut answers) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let without = measure(&mut callers);
        let (beside, answered) = beside_a_flood(&people, &call, in_flight, &mut callers).await;
        println!("{without:?} without, {beside:?} beside a flood that had {answered} answers");
        quiet.push(without);
        loaded.push(beside);
        answers += answered;
        // Else the next round would be quiet beside what is left of the flood.
        people.daemon.kill_and_restart(world, &people.root).await;
    }
    assert!(answers > 0, "the flood has its turn, too");
    let [quiet, loaded] = [quiet, loaded].map(median);
    assert!(loaded < quiet * 10, "Get takes {loaded:?} beside a flood, {quiet:?} without");
}

/// What `Get` takes while two behave badly, and how many of their calls were answered.
async fn beside_a_flood(
    people: &People,
    call: &[u8],
    in_flight: u32,
    callers: &mut [Raw],
) -> (Duration, u64) {
    let on_the_bus = people.root.names().await;
    let bad = [(BOB.uid, true), (ALICE.uid, false)].map(|(uid, reads)| {
        let (flood, raw, call) = (Arc::new(Flood::default()), Raw::connect(&people.bus, uid), call.to_vec());
        (flood.clone(), std::thread::spawn(move || flood.run(raw, call, reads)))
    });
    let flood = bad[0].0.clone();
    std::thread::sleep(Duration::from_secs(1));
    if u64::from(in_flight) > FLOOD {
        let full = async || (flood.in_flight() >= FLOOD).then_some(());
        eventually("all calls of the flood are in flight", Duration::from_secs(80), full).await;
    }
    let took = measure(callers);
    for (flood, thread) in bad {
        flood.stop.store(true, Ordering::Relaxed);
        thread.join().expect("the bad callers end");
    }
    let left = async || (people.root.names().await <= on_the_bus).then_some(());
    eventually("the bus has read all that the flood has sent", Duration::from_secs(60), left).await;
    (took, flood.answered.load(Ordering::Relaxed))
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

/// All of the calls in flight come to the service.
#[test]
fn a_flood_holds_nobody_up() {
    world_alone(async |world: World| nobody_is_held_up(&world, 50_000).await);
}

/// As a system bus does by itself, it refuses all but 128, as fast as they come.
#[test]
fn a_flood_that_the_bus_refuses_holds_nobody_up() {
    world_alone(async |world: World| nobody_is_held_up(&world, 128).await);
}
