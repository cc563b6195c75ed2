//! Guests that run though a record of them is lost.
//!
//! Owns what is found again without it: the process, its uid, the TAPs of its NICs; and which verbs are refused since
//! they need more. Must never take the rest for known, nor end a guest because a file is missing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use super::actor::Actor;
use super::find::{self, Found};
use super::guest::{Guest, Live, LiveNic, holder, identity_file};
use super::{Context, Error, consoles, host_side};
use crate::desk::off_thread;
use crate::model::{DomainDef, InterfaceKind};
use crate::network;
use crate::store::{self, StoreError};
use crate::sys::listeners;
use crate::sys::netlink::Link;
use crate::sys::process::{self, Process};
use crate::sys::unix;

/// How long the TAPs of a guest are looked for.
const LOOK: Duration = Duration::from_secs(2);

/// What `state.json` says.
enum Record {
    Known(Box<Live>),
    /// It is of another boot.
    Former,
    Lost(String),
}

impl Record {
    fn read(context: &Context, dir: &Path) -> Result<Self, Error> {
        Ok(match store::load_live::<Live>(dir) {
            Ok(Some(live)) if live.boot_id == *context.boot_id => Self::Known(Box::new(live)),
            Ok(Some(_)) => Self::Former,
            Ok(None) => Self::Lost("there is none".to_owned()),
            Err(StoreError::Broken { reason, .. }) => Self::Lost(reason),
            // That it cannot be read now does not mean that it is lost.
            Err(e) => return Err(e.into()),
        })
    }
}

/// The guest that RUN records, running or not; or, with a record that is lost, one that runs. `running`: those that
/// run, where that is known already.
pub(super) async fn recorded(
    context: &Context,
    uuid: &Uuid,
    running: Option<&[Found]>,
) -> Result<Guest, Error> {
    let dir = context.scope.domain_run_dir(uuid);
    let record = Record::read(context, &dir)?;
    let identity = process::read_identity(&identity_file(&dir)).map_err(Error::Run)?;
    if let (Record::Known(_), Some(identity)) = (&record, identity)
        && let Some(process) = Process::adopt(identity).map_err(Error::Run)?
        && let Record::Known(live) = record
    {
        return Ok(Guest { live: *live, process: Some(process), ..Guest::default() });
    }
    let looked;
    let running = match running {
        Some(running) => running,
        None => {
            looked = find::running(context).await.map_err(Error::Run)?;
            &looked
        }
    };
    let found = find::of_domain(running, uuid).filter(|f| f.sure || Some(f.seen.identity) == identity);
    if let Some(found) = found
        && let Some(process) = Process::adopt(found.seen.identity).map_err(Error::Run)?
    {
        return Ok(without_record(context, &dir, record, identity, found, process));
    }
    let live = match record {
        Record::Known(live) => *live,
        Record::Former => Live::default(),
        Record::Lost(_) => Live { boot_id: context.boot_id.to_string(), ..Live::default() },
    };
    Ok(Guest { live, ..Guest::default() })
}

/// The guest whose QEMU was found by what it shows.
fn without_record(
    context: &Context,
    dir: &Path,
    record: Record,
    identity: Option<process::Identity>,
    found: &Found,
    process: Process,
) -> Guest {
    let mut guest = Guest { process: Some(process), ..Guest::default() };
    let pid = found.seen.identity.pid;
    let mut say = |path: PathBuf, why: &str| {
        let path_shown = path.display();
        tracing::error!(
            domain = %found.name,
            "'{path_shown}' is lost or broken ({why}); QEMU (process {pid}) runs on and is taken over"
        );
        guest.lost.push(path);
    };
    let why = match record {
        Record::Known(live) => {
            guest.live = *live;
            None
        }
        Record::Former => Some("it is of another boot".to_owned()),
        Record::Lost(why) => Some(why),
    };
    if let Some(why) = why {
        say(dir.join("state.json"), &why);
        guest.live = Live {
            boot_id: context.boot_id.to_string(),
            active: true,
            rebuilt: true,
            name: found.name.clone(),
            uid: find::own_uid(&context.scope, found),
            ..Live::default()
        };
    }
    if identity != Some(found.seen.identity) {
        let path = identity_file(dir);
        let noted =
            unix::make_dir(dir, 0o700).and_then(|()| process::note_identity(&path, found.seen.identity));
        if let Err(e) = noted {
            tracing::warn!("'{}' cannot be written again: {e}", path.display());
        }
        let path_shown = path.display();
        tracing::error!(
            domain = %found.name,
            "'{path_shown}' is lost or broken; QEMU (process {pid}) was found by its arguments and is taken over"
        );
    }
    guest
}

/// Finds the rest of a guest whose record is lost, as far as it can be found, and writes it down.
pub(super) async fn complete(context: &Context, uuid: &Uuid, def: &DomainDef, guest: &mut Guest) {
    if !guest.live.rebuilt {
        return;
    }
    if guest.live.nics.is_empty() {
        let links = tokio::time::timeout(LOOK, links(context, uuid, def)).await;
        guest.live.nics = nics(def, uuid, &links.unwrap_or_default());
    }
    guest.live.networks = networks(def);
    if let Some(uid) = guest.live.uid {
        match off_thread(move || listeners::of_user(uid)).await {
            Ok(listens) => guest.live.displays = displays(def, listens),
            Err(e) => tracing::error!(domain = %uuid, "where its displays listen is not known: {e}"),
        }
    }
    let (dir, live) = (context.scope.domain_run_dir(uuid), guest.live.clone());
    let saved = off_thread(move || {
        unix::make_dir(&dir, 0o700).map_err(|source| StoreError::Write { path: dir.clone(), source })?;
        store::save_live(&dir, &live)
    });
    if let Err(e) = saved.await {
        tracing::warn!(domain = %uuid, "{}", crate::chain(&e));
    }
}

/// The links where the guest's TAPs are.
async fn links(context: &Context, uuid: &Uuid, def: &DomainDef) -> Vec<Link> {
    if !def.interfaces().any(|nic| nic.kind.has_tap()) {
        return Vec::new();
    }
    let Ok(space) = context.ground.hold(&holder(uuid)).await else { return Vec::new() };
    let Ok(netlink) = space.netlink().await else { return Vec::new() };
    netlink.links().await.unwrap_or_default()
}

/// What is known again of the NICs: a TAP carries the domain's UUID, and the host's side of the NIC's address.
fn nics(def: &DomainDef, uuid: &Uuid, links: &[Link]) -> Vec<LiveNic> {
    let alias = network::alias(uuid);
    let nic = |nic: &crate::model::InterfaceDef| {
        let mac = nic.mac.map(host_side);
        let is_it = |link: &&Link| link.alias.as_deref() == Some(&alias) && link.mac == mac && mac.is_some();
        let target = links.iter().find(is_it).map(|link| link.name.clone());
        let downscript = match &nic.kind {
            InterfaceKind::Ethernet(side) => side.downscript.as_deref().map(Path::to_owned),
            _ => None,
        };
        LiveNic { target, downscript }
    };
    def.interfaces().map(nic).collect()
}

fn networks(def: &DomainDef) -> Vec<String> {
    let network = |nic: &crate::model::InterfaceDef| match &nic.kind {
        InterfaceKind::Network { network, .. } => Some(network.clone()),
        _ => None,
    };
    def.interfaces().filter_map(network).collect()
}

/// What a guest listens on is its displays, unless the document says that it is a NIC: too much is kept for its owner
/// rather than too little.
fn displays(def: &DomainDef, mut listens: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let server = |nic: &crate::model::InterfaceDef| match &nic.kind {
        InterfaceKind::Server(at) => Some(at.port),
        _ => None,
    };
    let servers: Vec<u16> = def.interfaces().filter_map(server).collect();
    listens.retain(|at| !servers.contains(&at.port()));
    listens
}

/// Notes which sockets cannot be reached any more.
pub(super) fn note_sockets(dir: &Path, def: &DomainDef, guest: &mut Guest) {
    let sockets = consoles::sockets(def).into_iter().chain(["qmp.sock".to_owned()]);
    for path in sockets.map(|name| dir.join(name)).filter(|path| !path.exists()) {
        tracing::error!(domain = %guest.live.name, "'{}' is lost: QEMU cannot be reached by it", path.display());
        guest.lost.push(path);
    }
}

impl Actor {
    /// Why QEMU is not there to be told something.
    pub(super) fn no_monitor(&self) -> Error {
        self.lost("qmp.sock").unwrap_or(Error::NoMonitor)
    }

    /// The error of what needs that file of the guest, if it is lost.
    pub(super) fn lost(&self, file: &str) -> Option<Error> {
        let record = self.guest.as_ref()?.lost_file(file)?.to_owned();
        Some(Error::Lost { name: self.name(), record })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DomainDoc;

    #[test]
    fn taps_are_known_again_by_whose_they_are_and_by_their_address() {
        let text = "<domain type='qemu'><name>n</name><memory>1</memory><os><type>hvm</type></os><devices>\
                    <interface type='network'><source network='a'/><mac address='52:54:00:00:00:01'/></interface>\
                    <interface type='user'/>\
                    <interface type='ethernet'><mac address='52:54:00:00:00:02'/><downscript path='/d'/></interface>\
                    </devices></domain>";
        let doc = DomainDoc::parse(text).unwrap();
        let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let link = |name: &str, uuid: Uuid, last: u8| Link {
            index: 1,
            name: name.to_owned(),
            alias: Some(format!("warren:{uuid}")),
            kind: Some("tun".to_owned()),
            mac: Some([0xfe, 0x54, 0, 0, 0, last]),
            master: None,
            up: true,
            mtu: 1500,
        };
        let links = [link("another's", other, 1), link("wtap1", own, 2), link("wtap0", own, 1)];
        let found = nics(doc.def(), &own, &links);
        let targets: Vec<_> = found.iter().map(|nic| nic.target.as_deref()).collect();
        assert_eq!(targets, [Some("wtap0"), None, Some("wtap1")]);
        assert_eq!(found[2].downscript.as_deref(), Some(Path::new("/d")));
        assert_eq!(networks(doc.def()), ["a"]);
        let listens: Vec<SocketAddr> =
            vec!["127.0.0.1:5900".parse().unwrap(), "0.0.0.0:5558".parse().unwrap()];
        assert_eq!(displays(doc.def(), listens.clone()), listens);
        let server = text.replace(
            "<interface type='user'/>",
            "<interface type='server'><source port='5558'/></interface>",
        );
        assert_eq!(displays(DomainDoc::parse(&server).unwrap().def(), listens.clone()), listens[..1]);
    }
}
