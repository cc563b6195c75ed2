//! What displays need beyond QEMU's arguments: a place for their sockets, a free port, passwords.
//!
//! Owns the order: ports and places before QEMU, passwords before the guest runs. Must never put a password
//! on a command line or into a log.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::commands::{execute, execute_with};
use super::guest::Guest;
use super::{Context, Error, Loopback, loopback};
use crate::desk::off_thread;
use crate::model::{
    Device, DisplayPassword, DomainDef, GraphicsDef, GraphicsKind, Listen, MemballoonModel, SpicePort, Vnc,
    Websocket,
};
use crate::plan::qemu::{DisplayPlace, DisplayPlaces, has_display_socket};
use crate::sys::dirs::Dir;
use crate::sys::qmp::Qmp;
use crate::sys::resolve::resolve;

/// Where the sockets of displays are, in the guest's runtime directory.
pub(super) const DIR: &str = "displays";

/// How long the name of an address to listen on may take.
const LOOK_UP: Duration = Duration::from_secs(2);
/// The ports that displays have.
const PORTS: std::ops::RangeInclusive<u16> = 5900..=65535;
/// How far a websocket is below its display.
const BELOW_VNC: u16 = 200;

fn graphics(def: &DomainDef) -> impl Iterator<Item = &GraphicsDef> {
    def.devices.iter().filter_map(|d| match d {
        Device::Graphics(graphics) => Some(graphics),
        _ => None,
    })
}

/// The directory in which QEMU, which runs with the guest's uid, makes the sockets of its displays.
pub(super) fn place(dir: &Path, def: &DomainDef, guest: &mut Guest) -> Result<Option<OwnedFd>, Error> {
    if !has_display_socket(def) {
        return Ok(None);
    }
    guest.live.display_dir = Some(dir.join(DIR));
    let uid = guest.live.uid;
    let made = Dir::open(dir).and_then(|dir| dir.make(DIR, 0o700, uid.map(|uid| (uid, uid)))?.place());
    made.map(Some).map_err(Error::Run)
}

/// Where the displays on TCP will listen: chosen by us, so that the rules of the loopback are there before QEMU is.
/// Whatever is found is noted.
pub(super) async fn places(
    context: &Context,
    uuid: &Uuid,
    def: &DomainDef,
    guest: &mut Guest,
) -> Result<DisplayPlaces, Error> {
    let owner = guest.live.owner.unwrap_or(0);
    let mut wishes = Vec::new();
    for display in graphics(def) {
        if let Some((port, websocket)) = wish(display) {
            let address = address(display, owner).await?;
            let (path, vnc) = (display.info.path.clone(), matches!(display.kind, GraphicsKind::Vnc(_)));
            wishes.push(Wish { path, vnc, address, port, websocket });
        }
    }
    let mut places = DisplayPlaces::default();
    loop {
        let mut taken = Vec::new();
        for wish in &wishes {
            let place = choose(wish.clone(), context.loopback.clone(), taken.clone()).await?;
            taken.extend(sockets(&place));
            *(if wish.vnc { &mut places.vnc } else { &mut places.spice }) = Some(place);
        }
        if context.loopback.hold(uuid, loopback::reach(def, &guest.live, taken.clone())) {
            guest.live.displays = taken;
            break;
        }
        // Another start was faster; at the next look it is seen.
    }
    guest.live.vnc_port = places.vnc.as_ref().map(|place| place.port);
    guest.live.vnc_websocket = places.vnc.as_ref().and_then(|place| place.websocket);
    guest.live.spice_port = places.spice.as_ref().map(|place| place.port);
    guest.save(context, uuid)?;
    context.loopback.open(uuid).await?;
    Ok(places)
}

/// A display on TCP, and what the document says of its ports; `None`: a free one.
#[derive(Debug, Clone)]
struct Wish {
    path: String,
    vnc: bool,
    address: IpAddr,
    port: Option<u16>,
    websocket: Option<Option<u16>>,
}

fn wish(display: &GraphicsDef) -> Option<(Option<u16>, Option<Option<u16>>)> {
    if !display.is_on_tcp() {
        return None;
    }
    match &display.kind {
        GraphicsKind::Vnc(vnc) => {
            let websocket = vnc.websocket.map(|websocket| match websocket {
                Websocket::Auto => None,
                Websocket::Port(port) => Some(port),
            });
            Some((vnc.port, websocket))
        }
        GraphicsKind::Spice(spice) => match spice.port {
            SpicePort::Port(port) => Some((Some(port), None)),
            SpicePort::Auto => Some((None, None)),
            SpicePort::None => None,
        },
        _ => None,
    }
}

/// The address that a display listens on, of a name the first.
async fn address(display: &GraphicsDef, owner: u32) -> Result<IpAddr, Error> {
    let Some(Listen::Address(Some(host))) = display.listens.first() else {
        return Ok(Ipv4Addr::LOCALHOST.into());
    };
    let (path, host) = (|| format!("{}/listen", display.info.path), host.clone());
    match tokio::time::timeout(LOOK_UP, resolve(&host, 0, owner)).await {
        Err(_) => Err(Error::DisplayNameSlow { path: path(), host }),
        Ok(Err(source)) => Err(Error::DisplayName { path: path(), host, source }),
        Ok(Ok(found)) => found.first().map(SocketAddr::ip).ok_or_else(|| {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            Error::DisplayName { path: path(), host, source }
        }),
    }
}

fn sockets(place: &DisplayPlace) -> impl Iterator<Item = SocketAddr> + use<> {
    let address = place.address;
    std::iter::once(place.port).chain(place.websocket).map(move |port| SocketAddr::new(address, port))
}

/// Ports on which nobody listens and that no other display is given. A port of the document must be so, too: rules for
/// one that somebody else has would keep others from him.
async fn choose(wish: Wish, loopback: Loopback, taken: Vec<SocketAddr>) -> Result<DisplayPlace, Error> {
    off_thread(move || {
        let address = wish.address;
        let free = |port: u16| {
            let at = SocketAddr::new(address, port);
            if loopback.is_held(&at) || taken.contains(&at) {
                return Ok(false);
            }
            match TcpListener::bind(at) {
                Ok(_) => Ok(true),
                Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Ok(false),
                // What fails for another reason fails for all ports.
                Err(source) => {
                    Err(Error::DisplayAddress { path: format!("{}/listen", wish.path), address, source })
                }
            }
        };
        let must = |name: &str, port: u16| match free(port)? {
            true => Ok(()),
            false => {
                let path = format!("{}/@{name}", wish.path);
                Err(Error::DisplayPort { path, at: SocketAddr::new(address, port) })
            }
        };
        wish.port.into_iter().try_for_each(|port| must("port", port))?;
        wish.websocket.flatten().into_iter().try_for_each(|port| must("websocket", port))?;
        let candidates = wish.port.map_or(PORTS, |port| port..=port);
        for port in candidates {
            // As QEMU counts, the websocket of a display is so far below it.
            let websocket = match wish.websocket {
                Some(None) => Some(port - BELOW_VNC),
                Some(Some(port)) => Some(port),
                None => None,
            };
            let both = [Some(port), websocket.filter(|_| wish.websocket == Some(None))];
            let mut all = both.into_iter().flatten();
            if Some(port) != websocket
                && all.try_fold(true, |good, port| Ok::<_, Error>(good && free(port)?))?
            {
                return Ok(DisplayPlace { address, port, websocket });
            }
        }
        Err(Error::NoDisplayPort { path: wish.path.clone(), address })
    })
    .await
}

/// What is set by QMP before the CPUs run.
pub(super) async fn settle(def: &DomainDef, qmp: &Qmp, guest: &mut Guest) -> Result<(), Error> {
    for display in graphics(def) {
        match &display.kind {
            GraphicsKind::Vnc(vnc) => {
                if let Some(password) = &vnc.password {
                    set_password(qmp, "vnc", password).await?;
                }
                let state = execute(qmp, "query-vnc").await?;
                guest.live.vnc_port = port_of_vnc(&state, vnc).filter(|_| display.is_on_tcp());
            }
            GraphicsKind::Spice(spice) => {
                if let Some(password) = &spice.password {
                    set_password(qmp, "spice", password).await?;
                }
            }
            _ => {}
        }
    }
    balloon(def, qmp).await
}

fn port_of_vnc(state: &Value, vnc: &Vnc) -> Option<u16> {
    state["service"].as_str().and_then(|port| port.parse().ok()).or(vnc.port)
}

/// An empty password, and one that has had its time, let nobody in.
async fn set_password(qmp: &Qmp, protocol: &str, password: &DisplayPassword) -> Result<(), Error> {
    if !password.password.is_empty() {
        let connected = password.connected.map_or("keep", |c| c.as_str());
        let arguments =
            json!({ "protocol": protocol, "password": password.password, "connected": connected });
        execute_with(qmp, "set_password", arguments).await?;
    }
    let time = match password.valid_to {
        _ if password.password.is_empty() => "now".to_owned(),
        // QEMU compares it with its clock.
        Some(seconds) => seconds.to_string(),
        None => "never".to_owned(),
    };
    execute_with(qmp, "expire_password", json!({ "protocol": protocol, "time": time })).await?;
    Ok(())
}

/// How often the guest tells of its memory.
async fn balloon(def: &DomainDef, qmp: &Qmp) -> Result<(), Error> {
    let asked = def.devices.iter().find_map(|d| match d {
        Device::Memballoon(b) if b.model != MemballoonModel::None => Some((b, b.stats_period?)),
        _ => None,
    });
    let Some((balloon, period)) = asked else { return Ok(()) };
    let name = balloon.info.alias.as_deref().unwrap_or("balloon0");
    let arguments = json!({ "path": format!("/machine/peripheral/{name}"),
                            "property": "guest-stats-polling-interval", "value": period });
    execute_with(qmp, "qom-set", arguments).await?;
    Ok(())
}
