//! What displays need beyond QEMU's arguments: a place for their sockets, a free port, passwords.
//!
//! Owns the order: ports and places before QEMU, passwords before the guest runs. Must never put a password
//! on a command line or into a log.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::Error;
use super::commands::{execute, execute_with};
use super::guest::Guest;
use crate::desk::off_thread;
use crate::model::{
    Device, DisplayPassword, DomainDef, GraphicsDef, GraphicsKind, Listen, MemballoonModel, SpicePort, Vnc,
};
use crate::plan::qemu::has_display_socket;
use crate::sys::dirs::Dir;
use crate::sys::qmp::Qmp;
use crate::sys::resolve::resolve;

/// Where the sockets of displays are, in the guest's runtime directory.
pub(super) const DIR: &str = "displays";

/// How long the name of an address to listen on may take.
const LOOK_UP: Duration = Duration::from_secs(2);
/// The ports that displays have.
const PORTS: std::ops::RangeInclusive<u16> = 5900..=65535;
/// The ports after those that QEMU tries for VNC.
const AFTER_VNC: std::ops::RangeInclusive<u16> = 6000..=65535;

fn graphics(def: &DomainDef) -> impl Iterator<Item = &GraphicsDef> {
    def.devices.iter().filter_map(|d| match d {
        Device::Graphics(graphics) => Some(graphics),
        _ => None,
    })
}

/// The directory in which QEMU, which runs as `uid`, makes the sockets of its displays.
pub(super) fn place(dir: &Path, def: &DomainDef, uid: Option<u32>) -> Result<Option<OwnedFd>, Error> {
    if !has_display_socket(def) {
        return Ok(None);
    }
    let made = Dir::open(dir).and_then(|dir| dir.make(DIR, 0o700, uid.map(|uid| (uid, uid)))?.place());
    made.map(Some).map_err(Error::Run)
}

/// A free port for a SPICE display that leaves it to the service: QEMU does not look for one.
pub(super) async fn spice_port(def: &DomainDef) -> Option<u16> {
    let wants = |g: &GraphicsDef| match (&g.kind, g.listens.first()) {
        (GraphicsKind::Spice(spice), Some(Listen::Address(address))) if spice.port == SpicePort::Auto => {
            Some(address.clone().unwrap_or_else(|| "127.0.0.1".to_owned()))
        }
        _ => None,
    };
    let address = graphics(def).find_map(wants)?;
    let has_vnc = graphics(def).any(|g| matches!(g.kind, GraphicsKind::Vnc(_)));
    let mut ports = if has_vnc { AFTER_VNC } else { PORTS };
    let found = tokio::time::timeout(LOOK_UP, resolve(&address, 0)).await.ok()?.ok()?;
    let address = found.first()?.ip();
    // What fails for another reason than a port that is taken fails for all of them.
    let free = move |port| match TcpListener::bind((address, port)) {
        Ok(_) => Some(Some(port)),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => None,
        Err(_) => Some(None),
    };
    off_thread(move || ports.find_map(free).flatten()).await
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
                guest.live.vnc_port = port_of_vnc(&state, vnc);
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
