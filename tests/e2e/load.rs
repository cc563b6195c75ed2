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
use crate::common::{ALICE, BOB, Bus, CAROL, Options, World, world};

/// Callers that behave.
const CALLERS: usize = 98;
/// How many calls one caller keeps in flight.
const FLOOD: u64 = 10_000;
/// How long each of the two measurements takes.
const MEASURED: Duration = Duration::from_secs(4);

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

/// The median of what `Get` takes, to all callers that behave, and how many were answered.
fn measure(callers: &mut [Raw]) -> (Duration, usize) {
    let get = "org.freedesktop.DBus.Properties.Get";
    let get = message("/org/warren1", get, &("org.warren1.Manager", "Version"));
    let end = Instant::now() + MEASURED;
    let mut all: Vec<Duration> = std::thread::scope(|scope| {
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
        asked.into_iter().flat_map(|thread| thread.join().expect("the callers are answered")).collect()
    });
    all.sort();
    (all[all.len() / 2], all.len())
}

/// Keeps calls in flight until told to stop; how many were answered. One that does not read is never answered.
fn flood(mut raw: Raw, mut call: Vec<u8>, reads: bool, stop: &Arc<AtomicBool>) -> u64 {
    raw.stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a socket takes a deadline");
    raw.stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket takes a deadline");
    let answered = Arc::new(AtomicU64::new(0));
    let (ended, counted) = (stop.clone(), answered.clone());
    let mut reader = Raw {
        stream: raw.stream.try_clone().expect("a descriptor can be duplicated"),
        serial: 0,
        got: Vec::new(),
    };
    let reader = std::thread::spawn(move || {
        while reads && !ended.load(Ordering::Relaxed) {
            if reader.receive().is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        if sent - answered.load(Ordering::Relaxed) >= FLOOD {
            std::thread::sleep(Duration::from_millis(1));
        } else if raw.send(&mut call).is_err() {
            // A message that was cut off cannot be gone on with; by then the bus takes nothing more from it.
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
        } else {
            sent += 1;
        }
    }
    reader.join().expect("the reader ends");
    answered.load(Ordering::Relaxed)
}

/// What `Get` takes beside two who behave badly, on a bus that lets one have so many calls in flight.
async fn nobody_is_held_up(world: &World, in_flight: u32) {
    let people =
        People::on(world, Bus::system_with(world, &[("max_replies_per_connection", in_flight)])).await;
    let guest = people.owner.define_domain(DOMAIN_XML).await.expect("the owner may define");
    let call = message(guest.path.as_str(), "org.warren1.Domain.GetXml", &Options::new());
    let bus = &people.bus;
    // Users of all kinds, among them the two who have somebody that behaves badly.
    let users = [0, ALICE.uid, BOB.uid, CAROL.uid];
    let mut callers: Vec<_> = (0..CALLERS).map(|n| Raw::connect(bus, users[n % 4])).collect();
    let (quiet, calls) = measure(&mut callers);
    println!("quiet: median {quiet:?} of {calls} calls by {CALLERS} callers");

    let stop = Arc::new(AtomicBool::new(false));
    let bad = [(BOB.uid, true), (ALICE.uid, false)].map(|(uid, reads)| {
        let (raw, call, stop) = (Raw::connect(bus, uid), call.clone(), stop.clone());
        std::thread::spawn(move || flood(raw, call, reads, &stop))
    });
    std::thread::sleep(Duration::from_secs(1));
    let (loaded, calls) = measure(&mut callers);
    stop.store(true, Ordering::Relaxed);
    let [answered, _] = bad.map(|thread| thread.join().expect("the bad callers end"));
    println!("loaded: median {loaded:?} of {calls} calls, beside {answered} answers to the flood");
    assert!(answered > 0, "the flood has its turn, too");
    assert!(loaded < quiet * 10, "Get takes {loaded:?} beside a flood, {quiet:?} without");
}

/// All of the calls in flight come to the service.
#[test]
fn a_flood_holds_nobody_up() {
    world(async |world: World| nobody_is_held_up(&world, 50_000).await);
}

/// As a system bus does by itself, it refuses all but 128, as fast as they come.
#[test]
fn a_flood_that_the_bus_refuses_holds_nobody_up() {
    world(async |world: World| nobody_is_held_up(&world, 128).await);
}
