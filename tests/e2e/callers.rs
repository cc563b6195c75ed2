//! Who may do what in system scope: every method of every object, called by root, by the owner of a domain, by
//! another user, and by another user with a rule. The decisions are the real polkitd's, on a bus with our own
//! policy.

use std::collections::BTreeSet;
use std::time::Duration;

use zbus::message::Message;
use zbus::{OwnedObjectPath, OwnedVariant, Variant};
use zbus_xml::Node;

use crate::callers_table::{Args, Given, Place, Row, rows};
use crate::common::{
    ALICE, BOB, Bus, CAROL, Client, Daemon, Options, Polkit, World, error_name, eventually, text, world,
};

/// Alice has machines of her own, Carol may do everything, Bob has no rule.
pub(crate) const RULES: &str = r#"
polkit.addRule(function(action, subject) {
    var own = ["org.warren1.domain.manage-own", "org.warren1.domain.console", "org.warren1.network.use"];
    if (own.indexOf(action.id) >= 0 && subject.user == "warren-alice") return polkit.Result.YES;
    if (action.id.indexOf("org.warren1.") == 0 && subject.user == "warren-carol") return polkit.Result.YES;
});
"#;

/// Of the network and of the domain: kinds of objects do not share them.
pub(crate) const UUID: &str = "6f3b8a4e-0c51-4a8e-9d0b-5d1f6c7a2b11";

pub(crate) const NETWORK_XML: &str =
    "<network><name>lab</name><uuid>6f3b8a4e-0c51-4a8e-9d0b-5d1f6c7a2b11</uuid></network>";

/// It boots nothing, and waits for that.
pub(crate) const DOMAIN_XML: &str = "<domain type='qemu'><name>guest</name>
    <uuid>6f3b8a4e-0c51-4a8e-9d0b-5d1f6c7a2b11</uuid><memory unit='MiB'>64</memory>
    <os><type arch='x86_64' machine='pc'>hvm</type></os>
    <devices><serial type='pty'/><graphics type='vnc' passwd='geheim'/></devices></domain>";

/// The service in system scope, with the rules above, and its four callers.
#[derive(Debug)]
pub(crate) struct People {
    pub(crate) bus: Bus,
    pub(crate) polkit: Polkit,
    pub(crate) daemon: Daemon,
    pub(crate) root: Client,
    pub(crate) owner: Client,
    pub(crate) other: Client,
    pub(crate) ruled: Client,
}

impl People {
    pub(crate) async fn new(world: &World) -> Self {
        Self::on(world, Bus::system(world)).await
    }

    /// On this bus.
    pub(crate) async fn on(world: &World, bus: Bus) -> Self {
        let polkit = Polkit::start(world, &bus, RULES).await;
        let daemon = Daemon::system(world, &bus).await;
        Self {
            root: bus.connect(0).await,
            owner: bus.connect(ALICE.uid).await,
            other: bus.connect(BOB.uid).await,
            ruled: bus.connect(CAROL.uid).await,
            bus,
            polkit,
            daemon,
        }
    }

    fn all(&self) -> [(&'static str, &Client); 4] {
        [
            ("root", &self.root),
            ("owner", &self.owner),
            ("other", &self.other),
            ("other with rule", &self.ruled),
        ]
    }
}

/// The service and the paths of its objects.
struct Table {
    people: People,
    job: String,
}

impl Table {
    fn path(&self, place: Place) -> String {
        let object = |kind| format!("/org/warren1/{kind}/{}", UUID.replace('-', "_"));
        match place {
            Place::Root => "/org/warren1".into(),
            Place::Network => object("network"),
            Place::Domain => object("domain"),
            Place::Job => self.job.clone(),
            Place::Log => "/org/freedesktop/LogControl1".into(),
        }
    }

    /// The object's state as everybody sees it; empty where there is no such object.
    async fn state(&self, place: Place) -> String {
        let interface = match place {
            Place::Network => "org.warren1.Network",
            Place::Domain => "org.warren1.Domain",
            Place::Job => "org.warren1.Job",
            Place::Root | Place::Log => return String::new(),
        };
        let args = (interface, "State");
        let get = "org.freedesktop.DBus.Properties.Get";
        let answer = self.people.other.call::<_, OwnedVariant>(&self.path(place), get, &args).await;
        answer.map_or_else(|_| String::new(), |state| text(&state))
    }

    /// Brings everything into the state that a row begins with.
    async fn settle(&mut self, place: Place, given: Given) {
        if self.state(Place::Network).await.is_empty() {
            self.people.root.define_network(NETWORK_XML).await.expect("root may define");
        }
        if self.state(Place::Domain).await.is_empty() {
            self.people.owner.define_domain(DOMAIN_XML).await.expect("the owner may define");
        }
        let object = match place {
            Place::Network => self.people.root.network("lab").await.expect("it is defined"),
            _ => self.people.owner.domain("guest").await.expect("it is defined"),
        };
        let state = object.state().await;
        match given {
            Given::Anything => {}
            Given::Inactive if state == "inactive" || state == "shutoff" => {}
            Given::Inactive => object.stop().await,
            Given::Active if state == "active" || state == "running" => {}
            Given::Active if state == "paused" => object.ask("Resume").await.expect("the owner may"),
            Given::Active => object.start().await,
            Given::Paused if state == "paused" => {}
            Given::Paused => object.ask("Suspend").await.expect("the owner may, and it runs"),
        }
        if place == Place::Job && given == Given::Inactive {
            let no_wait = [("no-wait", Variant::from(true))].into();
            let job: OwnedObjectPath = object.ask_with("Start", no_wait).await.expect("the owner may start");
            self.job = job.as_str().to_owned();
        }
    }

    async fn send(&self, client: &Client, row: &Row) -> Result<Message, zbus::Error> {
        let path = self.path(row.place);
        let prefix = match row.method.split('.').next() {
            Some("Manager" | "Network" | "Domain" | "Job") => "org.warren1",
            _ => "org.freedesktop.DBus",
        };
        let member = format!("{prefix}.{}", row.method);
        let none = Options::new;
        match row.args {
            Args::Nothing => client.send(&path, &member, &()).await,
            Args::Text(a) => client.send(&path, &member, &a).await,
            Args::Texts(a, b) => client.send(&path, &member, &(a, b)).await,
            Args::Value(a, b, value) => client.send(&path, &member, &(a, b, Variant::from(value))).await,
            Args::Options => client.send(&path, &member, &none()).await,
            Args::TextOptions(a) => client.send(&path, &member, &(a, none())).await,
            Args::FlagOptions(a) => client.send(&path, &member, &(a, none())).await,
            Args::WordsOptions(a) => client.send(&path, &member, &(vec![a], none())).await,
            Args::RuleOptions => client.send(&path, &member, &(none(), none())).await,
            Args::SectionOptions => client.send(&path, &member, &("modify", "ip", -1, "<ip/>", none())).await,
        }
    }

    /// The methods that there really are.
    async fn methods(&self) -> BTreeSet<(Place, String)> {
        let mut found = BTreeSet::new();
        for place in Place::ALL {
            let member = "org.freedesktop.DBus.Introspectable.Introspect";
            let path = self.path(place);
            let xml: String = self.people.root.call(&path, member, &()).await.expect("root may introspect");
            let node = Node::from_reader(xml.as_bytes()).expect("introspection is XML");
            for interface in node.interfaces() {
                let name = interface.name().to_string();
                let short =
                    name.trim_start_matches("org.warren1.").trim_start_matches("org.freedesktop.DBus.");
                found.extend(interface.methods().map(|m| (place, format!("{short}.{}", m.name()))));
            }
        }
        found
    }

    /// Makes the calls of a row; what was not as it says.
    async fn try_row(&mut self, row: &Row, wrong: &mut Vec<String>) {
        for (index, answer) in row.answers.into_iter().enumerate() {
            self.settle(row.place, row.given).await;
            let before = self.state(row.place).await;
            let (who, client) = self.people.all()[index];
            let real = self.send(client, row).await;
            let real = real.as_ref().map_or_else(error_name, |_| "ok".to_owned());
            if real != answer {
                wrong
                    .push(format!("{:?} {} by {who}: {answer} expected, {real} came", row.place, row.method));
                continue;
            }
            let then = if answer == "ok" { row.then } else { &before };
            // A job ends by itself, and a moment after it was cancelled.
            if row.place == Place::Job && answer == "ok" && then != "*" {
                eventually("the job ends", Duration::from_secs(10), async || {
                    (self.state(Place::Job).await == then).then_some(())
                })
                .await;
            } else if row.place != Place::Job && then != "*" {
                let now = self.state(row.place).await;
                if now != then {
                    wrong.push(format!(
                        "{:?} {} by {who}: '{then}' expected, '{now}' is",
                        row.place, row.method
                    ));
                }
            }
        }
    }
}

#[test]
fn every_method_answers_each_caller_as_it_should() {
    world(async |world: World| {
        let mut table = Table { people: People::new(&world).await, job: String::new() };
        table.settle(Place::Job, Given::Inactive).await;
        let written: BTreeSet<_> = rows().iter().map(|row| (row.place, row.method.to_owned())).collect();
        let real = table.methods().await;
        let without_row: Vec<_> = real.difference(&written).collect();
        let without_method: Vec<_> = written.difference(&real).collect();
        assert!(
            without_row.is_empty() && without_method.is_empty(),
            "methods without a row: {without_row:#?}\nrows without a method: {without_method:#?}"
        );
        assert_eq!(rows().len(), written.len(), "each method has one row");
        let mut wrong = Vec::new();
        for row in rows() {
            table.try_row(&row, &mut wrong).await;
        }
        assert!(wrong.is_empty(), "{} answers are not as the table says:\n{}", wrong.len(), wrong.join("\n"));
    });
}

#[test]
fn root_alone_sets_the_log_level() {
    world(async |world: World| {
        let people = People::new(&world).await;
        let address = &people.bus.address;
        let busctl = |what: &str| {
            format!(
                "busctl --address={address} {what} org.warren1 /org/freedesktop/LogControl1 \
                 org.freedesktop.LogControl1 LogLevel"
            )
        };
        let set = |level: &str| world.sh(&format!("{} s {level}", busctl("set-property")));
        let get = || world.sh(&busctl("get-property"));
        set("err");
        assert_eq!(get(), "s \"err\"");
        let quiet = people.daemon.log().len();
        people.root.define_network("<network><name>silent</name></network>").await.expect("root may define");
        assert_eq!(people.daemon.log()[quiet..].trim(), "", "nothing is logged below 'err'");
        set("debug");
        assert_eq!(get(), "s \"debug\"");
        people.root.network("silent").await.expect("it is defined").start().await;
        let lines = people.daemon.log()[quiet..].to_owned();
        assert!(lines.contains("DEBUG"), "the steps of a start are logged: {lines}");
        let refused = world.try_sh(&format!(
            "setpriv --reuid={uid} --regid={uid} --clear-groups {} s err",
            busctl("set-property"),
            uid = ALICE.uid
        ));
        let refused = refused.expect_err("an ordinary user may not");
        assert!(refused.contains("Access denied") || refused.contains("AccessDenied"), "{refused}");
        assert_eq!(get(), "s \"debug\"");
    });
}
