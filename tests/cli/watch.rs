//! `watch`: what comes is shown, in its order, for as long as there is a bus.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};
use std::time::Duration;

use serde_json::Value;
use zbus::OwnedVariant;
use zbus::fdo::RequestNameFlags;

use crate::begun;
use crate::objects::{DOMAIN, ENDLESS, Map, NETWORK, end, text};
use crate::service::Bus;

/// A `watch` that runs; it is ended with the test.
struct Watch {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Watch {
    /// Starts one and waits until it listens and knows the names.
    fn start(bus: &Bus, args: &[&str]) -> Self {
        let mut child = begun(bus, &[&["watch"], args].concat());
        let lines = Some(BufReader::new(child.stdout.take().unwrap()));
        let mut watch = Self { child, lines };
        // It listens before it says that it does, and that is by showing something.
        let deadline = std::time::Instant::now() + Duration::from_secs(120);
        let shown = std::thread::scope(|scope| {
            let first = scope.spawn(|| watch.line());
            while !first.is_finished() {
                assert!(std::time::Instant::now() < deadline, "it shows nothing");
                signal_state(bus);
                std::thread::sleep(Duration::from_millis(100));
            }
            first.join().unwrap()
        });
        assert!(shown.contains("private"), "{shown}");
        watch
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next line that is not of the signal that `start` repeats.
    fn next(&mut self) -> String {
        loop {
            let line = self.line();
            if !line.contains("knock") {
                return line;
            }
        }
    }

    fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    fn status(&mut self) -> Option<i32> {
        let mut rest = String::new();
        std::io::Read::read_to_string(self.lines.as_mut().unwrap(), &mut rest).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal_state(bus: &Bus) {
    bus.signal(false, NETWORK, "org.warren1.Network", "StateChanged", ("active", "inactive", "knock"));
}

fn lease(bus: &Bus) {
    let lease = Map::from([("address".into(), text("192.168.122.5")), ("hostname".into(), text(""))]);
    bus.signal(true, NETWORK, "org.warren1.Network", "LeaseAdded", (lease,));
}

fn changed(bus: &Bus) {
    let changed = Map::from([("State".into(), text("paused")), ("Pid".into(), OwnedVariant::from(0_u32))]);
    let body = ("org.warren1.Domain", changed, Vec::<String>::new());
    bus.signal(false, DOMAIN, "org.freedesktop.DBus.Properties", "PropertiesChanged", body);
}

fn appear(bus: &Bus, path: &'static str, interface: &'static str, properties: Map) {
    let body =
        (zbus::ObjectPath::try_from(path).unwrap(), HashMap::from([(interface.to_owned(), properties)]));
    bus.signal(false, "/org/warren1", "org.freedesktop.DBus.ObjectManager", "InterfacesAdded", body);
}

fn complete(bus: &Bus) {
    bus.run(|c| {
        Box::pin(
            async move { end(&c, ENDLESS, "failed", "org.warren1.Error.InUse", "guests are on it").await },
        )
    });
}

#[test]
fn events_are_lines_of_words() {
    let bus = Bus::with_service();
    let mut watch = Watch::start(&bus, &["--topics", "leases,addresses"]);
    assert!(bus.calls().contains(&"Subscribe leases addresses".to_owned()));
    changed(&bus);
    assert_eq!(watch.next(), "machine echo: changed: pid none, state paused");
    bus.signal(false, DOMAIN, "org.warren1.Domain", "StateChanged", ("paused", "running", "requested"));
    assert_eq!(watch.next(), "machine echo: paused (was running, requested)");
    lease(&bus);
    assert_eq!(watch.next(), "network private: lease-added: address 192.168.122.5");
    complete(&bus);
    assert_eq!(watch.next(), "job 3 (Start private): failed: guests are on it");
    appear(
        &bus,
        "/org/warren1/domain/new",
        "org.warren1.Domain",
        Map::from([("Name".into(), text("fresh"))]),
    );
    assert_eq!(watch.next(), "machine fresh: added");
    let gone = (zbus::ObjectPath::try_from("/org/warren1/domain/new").unwrap(), vec!["org.warren1.Domain"]);
    bus.signal(false, "/org/warren1", "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved", gone);
    assert_eq!(watch.next(), "machine fresh: removed");
    bus.signal(false, DOMAIN, "org.warren1.Domain", "SomethingNew", ("a", 2_u32));
    assert_eq!(watch.next(), "machine echo: something-new: a, 2");
    watch.interrupt();
    assert_eq!(watch.status(), Some(0));
}

#[test]
fn events_are_lines_of_json_and_of_one_object_alone() {
    let bus = Bus::with_service();
    let mut watch = Watch::start(&bus, &["--json", "--net", "private", "--topics", "leases"]);
    let mut next = || serde_json::from_str::<Value>(&watch.next()).unwrap();
    changed(&bus);
    lease(&bus);
    complete(&bus);
    let got = next();
    assert_eq!(got["event"], "lease-added", "what is of the machine is not shown");
    assert_eq!(
        (&got["kind"], &got["name"], &got["object"]),
        (&"network".into(), &"private".into(), &NETWORK.into())
    );
    assert_eq!(got["lease"]["address"], "192.168.122.5");
    assert!(got["time-usec"].as_u64().unwrap() > 1_600_000_000_000_000);
    let got = next();
    assert_eq!(
        (&got["event"], &got["target"], &got["state"]),
        (&"completed".into(), &NETWORK.into(), &"failed".into())
    );
    assert_eq!(
        (&got["error"], &got["message"]),
        (&"org.warren1.Error.InUse".into(), &"guests are on it".into())
    );
    drop(bus);
    assert_eq!(watch.status(), Some(3), "the bus is gone");
}

#[test]
fn a_service_that_comes_back_is_subscribed_to_again() {
    let bus = Bus::with_service();
    let mut watch = Watch::start(&bus, &["--topics", "leases"]);
    bus.calls();
    bus.run(|c| Box::pin(async move { c.release_name("org.warren1").await.map(drop) }));
    assert_eq!(watch.next(), "service: ended");
    bus.run(|c| {
        Box::pin(async move {
            c.request_name_with_flags("org.warren1", RequestNameFlags::DO_NOT_QUEUE).await.map(drop)
        })
    });
    assert_eq!(watch.next(), "service: runs");
    bus.wait_for_call("Subscribe leases");
    lease(&bus);
    assert_eq!(watch.next(), "network private: lease-added: address 192.168.122.5");
}

#[test]
fn a_reader_that_has_gone_ends_it_and_strangers_are_not_heard() {
    let bus = Bus::with_service();
    let mut watch = Watch::start(&bus, &["--topics", "leases"]);
    // Somebody else sends a signal to this connection.
    let to = bus.subscriber();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stranger = zbus::connection::Builder::address(bus.address()).build().await.unwrap();
        let body = ("active", "inactive", "stranger");
        let (path, interface) = (NETWORK, "org.warren1.Network");
        stranger.emit_signal(Some(to.as_str()), path, interface, "StateChanged", &body).await.unwrap();
        // Its call is answered only after its signal has been passed on.
        zbus::fdo::DBusProxy::new(&stranger).await.unwrap().get_id().await.unwrap();
    });
    changed(&bus);
    assert_eq!(watch.next(), "machine echo: changed: pid none, state paused");
    drop(watch.lines.take());
    assert_eq!(watch.child.wait().unwrap().code(), Some(0), "without an event that it could not write");
}
