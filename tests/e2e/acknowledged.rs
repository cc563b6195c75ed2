//! The daemon is killed at any moment, again and again: each object is then as its last acknowledged call left it,
//! or the call in flight is done in full.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::common::{ALICE, Client, GuestXml, Object, Options, Service, World, text, world};

/// How often it is killed.
const KILLS: usize = 25;

const NAMES: [&str; 3] = ["one", "two", "three"];

/// What follows from a number, so that a run can be had again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % n
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Network,
    Domain,
}

/// An object as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    /// Which of its definitions is stored: each has a number of its own.
    version: usize,
    /// Which one runs.
    runs: Option<usize>,
    generation: u64,
    autostart: bool,
    /// Of a network.
    shared: bool,
}

#[derive(Debug, Clone, Copy)]
enum Call {
    Define(usize),
    Undefine,
    Autostart(bool),
    Share(bool),
    Start,
    Stop,
}

impl Call {
    /// One that can be done with such an object.
    fn any(kind: Kind, known: Option<Known>, version: usize, chance: &mut Chance) -> Self {
        let Some(known) = known else { return Self::Define(version) };
        match (chance.below(6), known.runs) {
            (0, _) => Self::Autostart(!known.autostart),
            (1, _) if kind == Kind::Network => Self::Share(!known.shared),
            (1 | 2, None) => Self::Undefine,
            (3 | 4, None) => Self::Start,
            (3 | 4, Some(_)) => Self::Stop,
            _ => Self::Define(version),
        }
    }

    /// What the object is after it.
    fn done(self, known: Option<Known>) -> Option<Known> {
        let Some(old) = known else {
            let Self::Define(version) = self else { unreachable!("there is nothing else to call") };
            return Some(Known { version, runs: None, generation: 1, autostart: false, shared: false });
        };
        Some(match self {
            Self::Define(version) => Known { version, generation: old.generation + 1, ..old },
            Self::Undefine => return None,
            Self::Autostart(autostart) => Known { autostart, ..old },
            Self::Share(shared) => Known { shared, ..old },
            Self::Start => Known { runs: Some(old.version), ..old },
            Self::Stop => Known { runs: None, ..old },
        })
    }

    async fn make(self, client: &Client, kind: Kind, name: &str) -> Result<(), zbus::Error> {
        if let Self::Define(version) = self {
            return define(client, kind, name, version).await;
        }
        let object = find(client, kind, name).await?;
        match self {
            Self::Autostart(on) => {
                let member = format!("org.warren1.{kind:?}.SetAutostart");
                client.call(object.path.as_str(), &member, &(on, Options::new())).await
            }
            Self::Share(on) => {
                let access = if on { "users" } else { "admin" };
                let member = "org.warren1.Network.SetAccess";
                client.call(object.path.as_str(), member, &(access, Options::new())).await
            }
            Self::Undefine => object.act("Undefine").await,
            Self::Start => object.act("Start").await,
            Self::Stop | Self::Define(_) => object.act("Stop").await,
        }
    }
}

async fn find(client: &Client, kind: Kind, name: &str) -> Result<Object, zbus::Error> {
    match kind {
        Kind::Network => client.network(name).await,
        Kind::Domain => client.domain(name).await,
    }
}

async fn define(client: &Client, kind: Kind, name: &str, version: usize) -> Result<(), zbus::Error> {
    match kind {
        Kind::Network => {
            let xml = format!("<network><name>{name}</name><domain name='v{version}'/></network>");
            client.define_network(&xml).await.map(drop)
        }
        Kind::Domain => {
            let xml = GuestXml::new(name).diskless().to_string();
            let xml = xml.replacen("</name>", &format!("</name><title>v{version}</title>"), 1);
            client.define_domain(&xml).await.map(drop)
        }
    }
}

/// The version that a document tells.
fn version_in(xml: &str) -> usize {
    let number = |before: &str| {
        let digits = xml.split_once(before)?.1;
        digits[..digits.find(|c: char| !c.is_ascii_digit())?].parse().ok()
    };
    number("<title>v").or_else(|| number("<domain name='v")).unwrap_or_else(|| panic!("no version in {xml}"))
}

/// What the service tells of an object.
async fn told(client: &Client, kind: Kind, name: &str) -> Option<Known> {
    let object = find(client, kind, name).await.ok()?;
    let bool_of = async |name| bool::try_from(object.property(name).await).expect("it is a b");
    let state = object.state().await;
    let version = version_in(&object.xml().await);
    let runs = match state.as_str() {
        "running" | "active" => {
            let live = Options::from([("live", true.into())]);
            Some(version_in(&object.ask_with::<String>("GetXml", live).await.expect("GetXml answers")))
        }
        "shutoff" | "inactive" => None,
        other => panic!("{name} is {other}"),
    };
    assert_eq!(bool_of("PendingChanges").await, runs.is_some_and(|runs| runs != version), "{name}");
    let shared = kind == Kind::Network && text(&object.property("Access").await) == "users";
    let generation = u64::try_from(object.property("Generation").await).expect("Generation is a t");
    Some(Known { version, runs, generation, autostart: bool_of("Autostart").await, shared })
}

/// The objects of one kind, and the call in flight with what it would make of its object.
struct Part {
    kind: Kind,
    known: BTreeMap<&'static str, Option<Known>>,
    in_flight: Option<(&'static str, Call)>,
    chance: Chance,
    versions: usize,
}

impl Part {
    fn new(kind: Kind, seed: u64) -> Self {
        let known = NAMES.map(|name| (name, None)).into();
        Self { kind, known, in_flight: None, chance: Chance(seed), versions: 0 }
    }

    /// Makes one call after the other, for as long as it is polled.
    async fn work(&mut self, client: &Client) {
        loop {
            let name = NAMES[self.chance.below(NAMES.len())];
            self.versions += 1;
            let call = Call::any(self.kind, self.known[name], self.versions, &mut self.chance);
            self.in_flight = Some((name, call));
            call.make(client, self.kind, name).await.unwrap_or_else(|e| panic!("{call:?} of {name}: {e}"));
            self.known.insert(name, call.done(self.known[name]));
            self.in_flight = None;
        }
    }

    /// Each object is as it must be; takes over what the call in flight has come to.
    async fn check(&mut self, client: &Client) {
        let in_flight = self.in_flight.take();
        for (name, known) in &mut self.known {
            let told = told(client, self.kind, name).await;
            let done = in_flight.filter(|(of, _)| of == name).map(|(_, call)| call.done(*known));
            assert!(
                told == *known || Some(told) == done,
                "{:?} {name} is {told:?}; acknowledged was {known:?}, in flight {in_flight:?}",
                self.kind
            );
            *known = told;
        }
    }
}

async fn is_killed_again_and_again(world: &World, mut service: Service) {
    let client = service.client.clone();
    let given = std::env::var("WARREN_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970");
    let seed = given.unwrap_or(now.as_secs());
    println!("again with WARREN_TEST_SEED={seed}");
    let mut chance = Chance(seed);
    let (mut networks, mut domains) = (Part::new(Kind::Network, seed ^ 1), Part::new(Kind::Domain, seed ^ 2));
    for _ in 0..KILLS {
        let until = Duration::from_millis(chance.below(600) as u64);
        tokio::select! {
            () = networks.work(&client) => {}
            () = domains.work(&client) => {}
            () = tokio::time::sleep(until) => {}
        }
        service.kill_and_restart(world).await;
        networks.check(&client).await;
        domains.check(&client).await;
    }
    let names = client.objects().await.into_keys().filter(|path| path.as_str().matches('/').count() == 4);
    let known = [&networks, &domains].map(|part| part.known.values().flatten().count());
    // And the network that is there from the start.
    assert_eq!(names.count(), known[0] + known[1] + 1);
}

#[test]
fn what_was_acknowledged_stays_and_nothing_else_comes() {
    world(async |world: World| is_killed_again_and_again(&world, Service::system(&world).await).await);
}

#[test]
fn so_it_is_in_a_session() {
    world(async |world: World| {
        is_killed_again_and_again(&world, Service::session(&world, ALICE.uid).await).await;
    });
}
