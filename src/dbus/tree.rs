//! The tree of objects, as clients look at it: what is below a path, and all objects with their properties.
//!
//! Owns the list of objects on the bus, and the interfaces `Introspectable` (of the paths that have others below them)
//! and `ObjectManager` in place of the library's. Those nest the whole tree, with every interface, in one answer, and
//! list the paths in between as objects without interfaces. Must never be changed but by [`super::publish`].

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zbus::fdo;
use zbus::message::Header;
use zbus::names::{InterfaceName, OwnedInterfaceName};
use zbus::object_server::{Interface, SignalEmitter};
use zbus::{Connection, ObjectPath, ObjectServer, OwnedObjectPath, OwnedVariant, Variant, interface};

use super::domain::DomainInterface;
use super::job::JobInterface;
use super::log_control;
use super::manager::ManagerInterface;
use super::network::NetworkInterface;
use super::paths;

/// The paths that lead to objects. They stay while nothing is below them.
const LEADING: [&str; 5] = ["/", "/org", "/org/warren1/network", "/org/warren1/domain", "/org/warren1/job"];

/// Interfaces of every object: see "Standard Interfaces" in the D-Bus specification.
const STANDARD: &str = r#"  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
    <method name="GetMachineId">
      <arg type="s" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg type="v" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <method name="GetAll">
      <arg name="interface_name" type="s" direction="in"/>
      <arg type="a{sv}" direction="out"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface_name" type="s"/>
      <arg name="changed_properties" type="a{sv}"/>
      <arg name="invalidated_properties" type="as"/>
    </signal>
  </interface>
"#;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Network,
    Domain,
    Job,
}

/// The objects on the bus.
#[derive(Debug, Default)]
pub(super) struct Tree(Mutex<HashMap<OwnedObjectPath, Kind>>);

impl Tree {
    fn lock(&self) -> MutexGuard<'_, HashMap<OwnedObjectPath, Kind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object is on the bus.
    pub(super) fn add(&self, path: OwnedObjectPath, kind: Kind) {
        self.lock().insert(path, kind);
    }

    /// An object is no longer on the bus.
    pub(super) fn remove(&self, path: &OwnedObjectPath) {
        self.lock().remove(path);
    }

    /// The names of what is right below `path`.
    fn children(&self, path: &str) -> BTreeSet<String> {
        let objects = self.lock();
        let always = [paths::ROOT, log_control::PATH];
        let all = objects.keys().map(|path| path.as_str()).chain(always);
        let above = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let first = |below: &str| below.split('/').next().unwrap_or_default().to_owned();
        all.filter_map(|path| path.strip_prefix(above.as_str())).map(first).collect()
    }
}

/// Puts the tree on the bus, before any object is there.
pub(super) async fn serve(server: &ObjectServer, tree: &Arc<Tree>) -> zbus::Result<()> {
    for path in LEADING {
        server.at(path, Leading).await?;
    }
    for path in LEADING.into_iter().chain([paths::ROOT]) {
        server.remove::<Introspectable, _>(path).await?;
        server.at(path, Introspectable(tree.clone())).await?;
    }
    server.at(paths::ROOT, ObjectManager(tree.clone())).await?;
    Ok(())
}

/// Keeps a path on the bus while nothing is below it: the library would remove it, and with it what is here.
#[derive(Debug)]
struct Leading;

#[interface(name = "org.warren1.Leading", introspection_docs = false)]
impl Leading {}

/// `org.freedesktop.DBus.Introspectable`: the interfaces of this one object, and the names of those below it.
#[derive(Debug)]
struct Introspectable(Arc<Tree>);

#[interface(name = "org.freedesktop.DBus.Introspectable", introspection_docs = false)]
impl Introspectable {
    #[zbus(out_args("xml_data"))]
    async fn introspect(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> fdo::Result<String> {
        let path = header.path().map(ObjectPath::as_str).unwrap_or_default();
        let mut xml = String::from(
            "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n \
             \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n",
        );
        xml.push_str(STANDARD);
        self.introspect_to_writer(&mut xml, 2);
        if path == paths::ROOT {
            server.interface::<_, ObjectManager>(path).await?.get().await.introspect_to_writer(&mut xml, 2);
            server
                .interface::<_, ManagerInterface>(path)
                .await?
                .get()
                .await
                .introspect_to_writer(&mut xml, 2);
        }
        for name in self.0.children(path) {
            // A String takes all that is written.
            let _ = writeln!(xml, "  <node name=\"{name}\"/>");
        }
        xml.push_str("</node>\n");
        Ok(xml)
    }
}

/// `org.freedesktop.DBus.ObjectManager`: the library sends its signals, since there is an interface of that name.
#[derive(Debug)]
struct ObjectManager(Arc<Tree>);

type Properties = HashMap<String, OwnedVariant>;
type Interfaces = HashMap<OwnedInterfaceName, Properties>;

#[interface(name = "org.freedesktop.DBus.ObjectManager", introspection_docs = false)]
impl ObjectManager {
    #[zbus(out_args("objpath_interfaces_and_properties"))]
    async fn get_managed_objects(
        &self,
        #[zbus(object_server)] server: &ObjectServer,
        #[zbus(connection)] connection: &Connection,
    ) -> HashMap<OwnedObjectPath, Interfaces> {
        let objects = self.0.lock().clone();
        let mut found = HashMap::with_capacity(objects.len());
        for (path, kind) in objects {
            let interfaces = match kind {
                Kind::Network => properties::<NetworkInterface>(server, connection, &path).await,
                Kind::Domain => properties::<DomainInterface>(server, connection, &path).await,
                Kind::Job => properties::<JobInterface>(server, connection, &path).await,
            };
            // One that has gone meanwhile is left out.
            if let Ok(interfaces) = interfaces {
                found.insert(path, interfaces);
            }
        }
        found
    }

    #[zbus(signal)]
    async fn interfaces_added(
        emitter: &SignalEmitter<'_>,
        object_path: ObjectPath<'_>,
        interfaces_and_properties: HashMap<InterfaceName<'_>, HashMap<&str, Variant<'_>>>,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn interfaces_removed(
        emitter: &SignalEmitter<'_>,
        object_path: ObjectPath<'_>,
        interfaces: Vec<InterfaceName<'_>>,
    ) -> zbus::Result<()>;
}

/// The one interface of our own that an object has, with its properties.
async fn properties<I: Interface>(
    server: &ObjectServer,
    connection: &Connection,
    path: &OwnedObjectPath,
) -> fdo::Result<Interfaces> {
    let interface = server.interface::<_, I>(path).await?;
    let emitter = SignalEmitter::new(connection, path)?;
    let properties = interface.get().await.get_all(server, connection, None, &emitter).await?;
    Ok(HashMap::from([(I::name().into(), properties)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_path_is_told_by_its_name() {
        let tree = Tree::default();
        let path = |path: &str| OwnedObjectPath::try_from(path).unwrap();
        assert_eq!(Vec::from_iter(tree.children("/org")), ["freedesktop", "warren1"]);
        assert!(tree.children(paths::ROOT).is_empty());
        tree.add(path("/org/warren1/job/1"), Kind::Job);
        tree.add(path("/org/warren1/job/12"), Kind::Job);
        tree.add(path("/org/warren1/network/n"), Kind::Network);
        assert_eq!(Vec::from_iter(tree.children("/")), ["org"]);
        assert_eq!(Vec::from_iter(tree.children(paths::ROOT)), ["job", "network"]);
        assert_eq!(Vec::from_iter(tree.children("/org/warren1/job")), ["1", "12"]);
        tree.remove(&path("/org/warren1/job/1"));
        assert_eq!(Vec::from_iter(tree.children("/org/warren1/job")), ["12"]);
    }
}
