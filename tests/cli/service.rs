//! A private dbus-daemon, and on it a stand-in for the service with one network and one machine whose
//! answers the tests know.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd as StdFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedFd, OwnedObjectPath, OwnedVariant, Variant, fdo, interface};

/// UUID of the stand-in's network.
pub(crate) const UUID: &str = "d237ce44-8efa-452c-b8e6-1ae9cf53aeb1";
const NETWORK: &str = "/org/warren1/network/d237ce44_8efa_452c_b8e6_1ae9cf53aeb1";
const DOMAIN: &str = "/org/warren1/domain/c7a5fdbd_edaf_9455_926a_d65c16db1809";
const ENDLESS: &str = "/org/warren1/job/3";

type Map = HashMap<String, OwnedVariant>;
type Options = HashMap<String, OwnedVariant>;

/// A bus of its own for one test; it and what it serves end with it.
pub(crate) struct Bus {
    daemon: Child,
    address: String,
    /// Asks the stand-in to end.
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The next start is a job without end.
    slow: AtomicBool,
    /// Somebody has looked at that job.
    watched: AtomicBool,
}

impl Bus {
    /// A bus on which nobody has Warren's name.
    pub(crate) fn empty() -> Self {
        let mut daemon = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nosyslog", "--print-address"])
            .stdout(Stdio::piped())
            // It complains where it may not raise its own limits, which does not matter here.
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        Self { daemon, address, stop: None, thread: None, state: Arc::default() }
    }

    /// A bus with the stand-in on it.
    pub(crate) fn with_service() -> Self {
        let mut bus = Self::empty();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let (address, state) = (bus.address.clone(), Arc::clone(&bus.state));
        bus.thread = Some(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let _connection = serve(&address, state).await.unwrap();
                ready.send(()).unwrap();
                let _ = stopped.await;
            });
        }));
        is_ready.recv_timeout(Duration::from_secs(10)).expect("the stand-in serves");
        bus.stop = Some(stop);
        bus
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Until `warrenctl` follows the job without end.
    pub(crate) fn wait_for_endless_job(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.state.watched.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "nobody follows the job");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

async fn serve(address: &str, state: Arc<State>) -> zbus::Result<Connection> {
    zbus::connection::Builder::address(address)
        .serve_at("/org/warren1", fdo::ObjectManager)
        .serve_at("/org/warren1", Manager { state: Arc::clone(&state) })
        .serve_at(NETWORK, Network { state: Arc::clone(&state) })
        .serve_at(DOMAIN, Domain)
        .serve_at(ENDLESS, Job { state })
        .name("org.warren1")
        .build()
        .await
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.warren1.Error")]
enum Error {
    #[zbus(error)]
    ZBus(zbus::Error),
    NoSuchNetwork(String),
    InvalidConfig(String),
}

struct Manager {
    state: Arc<State>,
}

#[interface(name = "org.warren1.Manager")]
impl Manager {
    fn define_network(&self, xml: &str, _options: Options) -> Result<OwnedObjectPath, Error> {
        if xml.contains("<nonsense/>") {
            return Err(Error::InvalidConfig("/network/nonsense (line 2, column 3): no such thing".into()));
        }
        self.state.slow.store(xml.contains("<slow/>"), Ordering::SeqCst);
        Ok(path(NETWORK))
    }

    fn check_network(&self, _xml: &str, _options: Options) -> Map {
        let finding = Map::from([
            ("severity".into(), text("error")),
            ("path".into(), text("/network/odd")),
            ("line".into(), OwnedVariant::from(2_u32)),
            ("column".into(), OwnedVariant::from(3_u32)),
            ("message".into(), text("it is odd")),
            ("remedy".into(), text("make it even")),
        ]);
        Map::from([("findings".into(), Variant::from(vec![finding]).try_into().unwrap())])
    }

    fn get_network_by_name(&self, name: &str) -> Result<OwnedObjectPath, Error> {
        match name {
            "private" => Ok(path(NETWORK)),
            _ => Err(Error::NoSuchNetwork(format!("there is no network '{name}'"))),
        }
    }

    fn get_network_by_uuid(&self, uuid: &str) -> Result<OwnedObjectPath, Error> {
        match uuid {
            UUID => Ok(path(NETWORK)),
            _ => Err(Error::NoSuchNetwork(format!("there is no network '{uuid}'"))),
        }
    }

    fn get_domain_by_name(&self, _name: &str) -> OwnedObjectPath {
        path(DOMAIN)
    }
}

struct Network {
    state: Arc<State>,
}

#[interface(name = "org.warren1.Network")]
impl Network {
    fn start(&self, _options: Options) -> OwnedObjectPath {
        if self.state.slow.load(Ordering::SeqCst) { path(ENDLESS) } else { path("/") }
    }

    async fn stop(
        &self,
        options: Options,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        if options.contains_key("force") {
            end(connection, "/org/warren1/job/2", "completed", "", "").await?;
            return Ok(path("/org/warren1/job/2"));
        }
        let connection = connection.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            end(&connection, ENDLESS, "failed", "org.warren1.Error.InUse", "guests are on it").await
        });
        Ok(path(ENDLESS))
    }

    fn undefine(&self, _options: Options) -> fdo::Result<OwnedObjectPath> {
        Err(fdo::Error::AccessDenied("not you".into()))
    }

    fn get_xml(&self, _options: Options) -> &str {
        "<network/>"
    }

    fn get_leases(&self, _options: Options) -> Vec<Map> {
        vec![Map::from([
            ("address".into(), text("192.168.122.5")),
            ("prefix".into(), OwnedVariant::from(24_u32)),
            ("mac".into(), text("52:54:00:00:00:01")),
            ("hostname".into(), text("guest")),
            ("expires-usec".into(), OwnedVariant::from(0_u64)),
            ("interface".into(), text("eth0")),
        ])]
    }

    #[zbus(property)]
    fn name(&self) -> &str {
        "private"
    }
    #[zbus(property)]
    fn uuid(&self) -> &str {
        UUID
    }
    #[zbus(property)]
    fn bridge(&self) -> &str {
        "virbr0"
    }
    #[zbus(property)]
    fn forward_mode(&self) -> &str {
        "isolated"
    }
    #[zbus(property)]
    fn state(&self) -> &str {
        "inactive"
    }
    #[zbus(property)]
    fn state_reason(&self) -> &str {
        "none"
    }
    #[zbus(property)]
    fn autostart(&self) -> bool {
        false
    }
    #[zbus(property)]
    fn pending_changes(&self) -> bool {
        false
    }
    #[zbus(property)]
    fn generation(&self) -> u64 {
        7
    }
    #[zbus(property)]
    fn warnings(&self) -> Vec<String> {
        vec!["be careful".into()]
    }
}

struct Domain;

#[interface(name = "org.warren1.Domain")]
impl Domain {
    fn get_info(&self, _options: Options) -> Map {
        let nic = Map::from([
            ("mac".into(), text("52:54:00:00:00:01")),
            ("type".into(), text("network")),
            ("network".into(), text("private")),
        ]);
        Map::from([("interfaces".into(), Variant::from(vec![nic]).try_into().unwrap())])
    }

    #[zbus(property)]
    fn name(&self) -> &str {
        "echo"
    }
    #[zbus(property)]
    fn state(&self) -> &str {
        "running"
    }
    #[zbus(property)]
    fn vcpus(&self) -> u32 {
        2
    }
    #[zbus(property)]
    fn memory_bytes(&self) -> u64 {
        128 << 20
    }
    #[zbus(property)]
    fn owner(&self) -> u32 {
        1000
    }
    #[zbus(property)]
    fn uuid(&self) -> &str {
        "c7a5fdbd-edaf-9455-926a-d65c16db1809"
    }

    /// A console that says what came before and repeats what it is told.
    fn open_console(&self, _options: Options) -> OwnedFd {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut ours = ours;
            ours.write_all(b"history\n").unwrap();
            let mut buffer = [0; 512];
            while let Ok(n @ 1..) = ours.read(&mut buffer) {
                if ours.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
        });
        StdFd::from(theirs).into()
    }
}

struct Job {
    state: Arc<State>,
}

#[interface(name = "org.warren1.Job")]
impl Job {
    async fn cancel(
        &self,
        _options: Options,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let name = "org.warren1.Error.Cancelled";
        Ok(end(connection, ENDLESS, "cancelled", name, "it was cancelled").await?)
    }

    #[zbus(property)]
    #[expect(clippy::needless_pass_by_value, reason = "the interface macro wants it so")]
    fn progress(&self, #[zbus(header)] header: Option<zbus::message::Header<'_>>) -> f64 {
        // Only a look at this object counts, not a reading of all.
        if header.is_some() {
            self.state.watched.store(true, Ordering::SeqCst);
        }
        0.5
    }

    #[zbus(signal)]
    async fn completed(
        emitter: &SignalEmitter<'_>,
        state: &str,
        error_name: &str,
        message: &str,
    ) -> zbus::Result<()>;
}

async fn end(
    connection: &Connection,
    job: &str,
    state: &str,
    name: &str,
    message: &str,
) -> Result<(), zbus::Error> {
    Job::completed(&SignalEmitter::new(connection, job)?, state, name, message).await
}

fn path(path: &str) -> OwnedObjectPath {
    path.try_into().unwrap()
}

fn text(text: &str) -> OwnedVariant {
    Variant::from(text).try_into().unwrap()
}
