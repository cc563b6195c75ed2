//! The objects of the stand-in: what each answers, and that it writes down what it was asked.

#![expect(clippy::needless_pass_by_value, reason = "the interface macro wants it so")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd as StdFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedFd, OwnedObjectPath, OwnedVariant, Variant, fdo, interface};

use crate::service::State;

/// UUID of the stand-in's network.
pub(crate) const UUID: &str = "d237ce44-8efa-452c-b8e6-1ae9cf53aeb1";
pub(crate) const NETWORK: &str = "/org/warren1/network/d237ce44_8efa_452c_b8e6_1ae9cf53aeb1";
pub(crate) const DOMAIN: &str = "/org/warren1/domain/c7a5fdbd_edaf_9455_926a_d65c16db1809";
pub(crate) const ENDLESS: &str = "/org/warren1/job/3";

pub(crate) type Map = HashMap<String, OwnedVariant>;
type Options = HashMap<String, OwnedVariant>;

/// Options as they are written down, by name.
fn told(options: &Options) -> String {
    let mut told: Vec<String> = options.iter().map(|(k, v)| format!(" {k}={}", shown(v))).collect();
    told.sort();
    told.concat()
}

fn shown(value: &Variant<'_>) -> String {
    match value {
        Variant::Bool(b) => b.to_string(),
        Variant::U64(n) => n.to_string(),
        Variant::Str(s) => s.to_string(),
        Variant::ObjectPath(p) => p.to_string(),
        other => format!("{other:?}"),
    }
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.warren1.Error")]
enum Error {
    #[zbus(error)]
    ZBus(zbus::Error),
    NoSuchNetwork(String),
    InvalidConfig(String),
    Conflict(String),
}

pub(crate) struct Manager {
    pub(crate) state: Arc<State>,
}

#[interface(name = "org.warren1.Manager")]
impl Manager {
    fn define_network(&self, xml: &str, options: Options) -> Result<OwnedObjectPath, Error> {
        self.state.log(format!("DefineNetwork {xml}{}", told(&options)));
        if options.get("if-generation").is_some_and(|n| **n != Variant::U64(7)) {
            return Err(Error::Conflict("the generation is 7".into()));
        }
        if options.contains_key("dry-run") {
            return Ok(path("/"));
        }
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
        Map::from([("findings".into(), list(vec![finding]))])
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

    fn define_domain(&self, xml: &str, options: Options) -> OwnedObjectPath {
        self.state.log(format!("DefineDomain {xml}{}", told(&options)));
        path(DOMAIN)
    }

    fn get_domain_by_name(&self, _name: &str) -> OwnedObjectPath {
        path(DOMAIN)
    }

    fn list_domains(&self, _options: Options) -> HashMap<OwnedObjectPath, Map> {
        let stale = Map::from([
            ("address".into(), text("192.168.122.4")),
            ("stale".into(), OwnedVariant::from(true)),
        ]);
        let address = Map::from([
            ("address".into(), text("192.168.122.5")),
            ("prefix".into(), OwnedVariant::from(24_u32)),
        ]);
        let domain = Map::from([
            ("name".into(), text("echo")),
            ("uuid".into(), text("c7a5fdbd-edaf-9455-926a-d65c16db1809")),
            ("state".into(), text("running")),
            ("vcpus".into(), OwnedVariant::from(2_u32)),
            ("memory-bytes".into(), OwnedVariant::from(128_u64 << 20)),
            ("owner".into(), OwnedVariant::from(0_u32)),
            ("autostart".into(), OwnedVariant::from(false)),
            ("addresses".into(), list(vec![stale, address])),
        ]);
        HashMap::from([(path(DOMAIN), domain)])
    }

    fn list_networks(&self, _options: Options) -> HashMap<OwnedObjectPath, Map> {
        let network = Map::from([
            ("name".into(), text("private")),
            ("uuid".into(), text(UUID)),
            ("state".into(), text("inactive")),
            ("forward-mode".into(), text("isolated")),
            ("addresses".into(), list(vec!["192.168.152.1/24"])),
        ]);
        HashMap::from([(path(NETWORK), network)])
    }

    fn get_host(&self) -> Map {
        let emulator = Map::from([
            ("path".into(), text("/usr/bin/qemu-system-x86_64")),
            ("arch".into(), text("x86_64")),
            ("machines".into(), list(vec!["pc", "q35"])),
        ]);
        Map::from([
            ("cpus".into(), OwnedVariant::from(4_u32)),
            ("memory-bytes".into(), OwnedVariant::from(8_u64 << 30)),
            ("bridges".into(), list(vec!["br0", "br1"])),
            ("warnings".into(), list(vec!["no KVM", "no luck"])),
            ("emulators".into(), list(vec![emulator])),
        ])
    }

    fn get_permissions(&self, options: Options) -> HashMap<String, String> {
        self.state.log(format!("GetPermissions{}", told(&options)));
        HashMap::from([
            ("org.warren1.network.manage".into(), "challenge".into()),
            ("org.warren1.domain.console".into(), "yes".into()),
        ])
    }

    fn subscribe(&self, topics: Vec<String>, _options: Options, #[zbus(header)] header: Header<'_>) {
        *self.state.subscriber.lock().unwrap() = header.sender().unwrap().to_string();
        self.state.log(format!("Subscribe {}", topics.join(" ")));
    }

    #[zbus(property)]
    fn version(&self) -> &str {
        "1.2.3"
    }
    #[zbus(property)]
    fn scope(&self) -> &str {
        "session"
    }
    #[zbus(property)]
    fn warnings(&self) -> Vec<String> {
        vec!["host probe running".into()]
    }
}

pub(crate) struct Network {
    pub(crate) state: Arc<State>,
}

#[interface(name = "org.warren1.Network")]
impl Network {
    fn get_info(&self, _options: Options) -> Map {
        Map::from([("failure".into(), text("its bridge 'br0' is in use"))])
    }

    fn start(&self, options: Options) -> OwnedObjectPath {
        self.state.log(format!("Start{}", told(&options)));
        if options.contains_key("no-wait") || self.state.slow.load(Ordering::SeqCst) {
            path(ENDLESS)
        } else {
            path("/")
        }
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

    fn get_xml(&self, options: Options) -> &str {
        self.state.log(format!("GetXml{}", told(&options)));
        "<network/>"
    }

    fn set_autostart(&self, autostart: bool, _options: Options) {
        self.state.log(format!("SetAutostart {autostart}"));
    }

    fn set_access(&self, access: &str, _options: Options) {
        self.state.log(format!("SetAccess {access}"));
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

pub(crate) struct Domain {
    pub(crate) state: Arc<State>,
}

#[interface(name = "org.warren1.Domain")]
impl Domain {
    fn get_info(&self, _options: Options) -> Map {
        let nic = Map::from([
            ("mac".into(), text("52:54:00:00:00:01")),
            ("type".into(), text("network")),
            ("network".into(), text("private")),
        ]);
        let display = Map::from([
            ("type".into(), text("vnc")),
            ("address".into(), text("127.0.0.1")),
            ("port".into(), OwnedVariant::from(5901_u32)),
            ("socket".into(), text("")),
        ]);
        Map::from([("interfaces".into(), list(vec![nic])), ("graphics".into(), list(vec![display]))])
    }

    fn get_addresses(&self, _options: Options) -> Vec<Map> {
        vec![Map::from([
            ("address".into(), text("192.168.122.5")),
            ("prefix".into(), OwnedVariant::from(24_u32)),
            ("mac".into(), text("52:54:00:00:00:01")),
            ("interface".into(), text("wtap0")),
            ("source".into(), text("lease")),
        ])]
    }

    fn get_xml(&self, options: Options) -> &str {
        self.state.log(format!("GetXml{}", told(&options)));
        "<domain/>"
    }

    fn start(&self, options: Options) -> OwnedObjectPath {
        self.state.log(format!("Start{}", told(&options)));
        path("/")
    }

    fn stop(&self, options: Options) -> OwnedObjectPath {
        self.state.log(format!("Stop{}", told(&options)));
        path("/")
    }

    fn shutdown(&self, _options: Options) {
        self.state.log("Shutdown");
    }

    fn reboot(&self, _options: Options) {
        self.state.log("Reboot");
    }

    fn reset(&self, _options: Options) {
        self.state.log("Reset");
    }

    fn suspend(&self, _options: Options) {
        self.state.log("Suspend");
    }

    fn resume(&self, _options: Options) {
        self.state.log("Resume");
    }

    fn set_autostart(&self, autostart: bool, _options: Options) {
        self.state.log(format!("SetAutostart {autostart}"));
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
        0
    }
    #[zbus(property)]
    fn uuid(&self) -> &str {
        "c7a5fdbd-edaf-9455-926a-d65c16db1809"
    }

    /// A console that says what came before and repeats what it is told, until it is told Ctrl-D.
    fn open_console(&self, options: Options) -> OwnedFd {
        self.state.log(format!("OpenConsole{}", told(&options)));
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut ours = ours;
            ours.write_all(b"history\n").unwrap();
            let mut buffer = [0; 512];
            while let Ok(n @ 1..) = ours.read(&mut buffer) {
                if buffer[..n].contains(&4) || ours.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
        });
        StdFd::from(theirs).into()
    }
}

pub(crate) struct Job {
    pub(crate) state: Arc<State>,
}

#[interface(name = "org.warren1.Job")]
impl Job {
    async fn cancel(
        &self,
        _options: Options,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        self.state.log("Cancel");
        let name = "org.warren1.Error.Cancelled";
        Ok(end(connection, ENDLESS, "cancelled", name, "it was cancelled").await?)
    }

    #[zbus(property)]
    fn operation(&self) -> &str {
        "Start"
    }
    #[zbus(property)]
    fn object(&self) -> OwnedObjectPath {
        path(NETWORK)
    }
    #[zbus(property)]
    fn state(&self) -> &str {
        "running"
    }
    #[zbus(property)]
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

/// Ends a job.
pub(crate) async fn end(
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

fn list<T>(items: Vec<T>) -> OwnedVariant
where
    Vec<T>: Into<Variant<'static>>,
{
    items.into().try_into().unwrap()
}

pub(crate) fn text(text: &str) -> OwnedVariant {
    Variant::from(text).try_into().unwrap()
}
