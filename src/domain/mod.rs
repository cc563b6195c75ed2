//! Domains (virtual machines): one state machine and one actor for each.
//!
//! Owns what a domain is while it runs: its QEMU, TAPs, sockets, console and uid. Must never be reached
//! except through [`Handle`], know the bus, or decide who may call; and never open what a document names
//! on the host with rights that the owner has not.
//!
//! [`state`] says what may happen, `actor` and `life` make it happen, `change` changes what is stored, `start` holds
//! the steps of a start, `nics` those of each NIC, `guest` what a running guest holds and its undoing, `demand` what it
//! counts for, `recover` the adoption of guests that a previous daemon started, `find` and `lost` that of guests whose
//! records are lost, `resync` how much of QEMU's news is taken, and `report` and `events` what it means.

mod actor;
mod change;
mod commands;
mod confine;
mod consoles;
mod definition;
mod demand;
mod displays;
mod early;
mod events;
mod files;
mod find;
mod firmware;
mod guest;
mod handle;
mod info;
mod kept;
mod life;
mod live;
mod loopback;
mod lost;
mod nics;
mod nvram;
mod open;
mod recover;
mod remains;
mod report;
mod resync;
mod start;
pub mod state;
mod view;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use crate::desk::Desk;
use crate::ledger::{Exceeded, Ledger};
use crate::model::{DocError, Finding, Mac};
use crate::names::Names;
use crate::network;
use crate::scope::Scope;
use crate::store::{Store, StoreError};
use crate::sys::bridge_helper::BridgeHelperError;
use crate::sys::images::ImagesError;
use crate::sys::netlink::NetlinkError;
use crate::sys::nft::NftError;
use crate::sys::process::{ProcessError, SpawnError};
use crate::sys::qmp::QmpError;
use crate::sys::tap::TapError;
use crate::uids::{Exhausted, Uids};

pub use actor::{Seed, spawn};
pub use commands::Command;
pub use definition::{Definition, Edition, Xml};
pub use files::images_of;
pub use find::{Found, running};
pub use handle::{Compared, Handle, NetworkRights, StartOptions};
pub use info::{ConsoleInfo, DiskInfo, GraphicsInfo, Info, NicInfo};
pub use kept::Kept;
pub use loopback::Loopback;
pub use recover::{Recovered, recorded_uid, recover, what_runs};
pub use start::planned;
pub use state::State;
pub use view::View;

/// Who owns a domain of which no record says whose it is: a user with no rights.
pub const NOBODY: u32 = 65_534;

/// Why a domain did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("the domain '{name}' {denial}")]
    Denied { name: String, denial: state::Denial },
    #[error("the domain '{name}' uses what Warren cannot run yet: {}", network::list(.findings))]
    NotSupported { name: String, findings: Vec<Finding> },
    #[error("the domain '{name}' cannot run on this host: {}", network::list(.findings))]
    Config { name: String, findings: Vec<Finding> },
    #[error("{path}: there is no network '{network}'")]
    NoSuchNetwork { path: String, network: String },
    #[error("{path}: the network '{network}' is not active")]
    NetworkInactive { path: String, network: String },
    #[error(
        "{path}: the network '{network}' is not open to uid {owner}, who owns the domain; set the network's access to \
        'users', or let somebody start the domain who may use it"
    )]
    NetworkDenied { path: String, network: String, owner: u32 },
    #[error("{path}: the network '{network}' cannot be used")]
    Network { path: String, network: String, source: Box<network::Error> },
    #[error("{path}: the session's networks cannot be used")]
    Ground { path: String, source: network::ground::GroundError },
    #[error("{path}: there is no TAP '{tap}' on this host; make it, or leave managed='no' out")]
    NoSuchTap { path: String, tap: String },
    #[error("{path}: /dev/vhost-net cannot be opened")]
    Vhost { path: String, source: std::io::Error },
    #[error("{path}: there is no bridge '{bridge}' on this host")]
    NoSuchBridge { path: String, bridge: String },
    #[error("{path}: the TAP device could not be made")]
    Tap { path: String, source: TapError },
    #[error("{path}: the TAP device could not be set up")]
    Link { path: String, source: NetlinkError },
    #[error("{path}: the TAP device could not be put on its bridge")]
    Plug { path: String, source: network::PortError },
    #[error("{path}: the TAP device could not be had from the host's bridge helper")]
    BridgeHelper { path: String, source: BridgeHelperError },
    #[error("{path}: the script '{script}' could not be run")]
    ScriptRun { path: String, script: PathBuf, source: SpawnError },
    #[error("{path}: the script '{script}' {end}{}", .stderr.trim().lines().map(|l| format!("; it said: {l}")).collect::<String>())]
    ScriptFailed { path: String, script: PathBuf, end: String, stderr: String },
    #[error("{path}: the server at {peer} is the display of a guest, and guests do not connect to these")]
    PeerIsDisplay { path: String, peer: String },
    #[error("{path}: the name '{host}' is not looked up within 2 seconds; give an address")]
    DisplayNameSlow { path: String, host: String },
    #[error("{path}: the name '{host}' has no address that can be found; give an address")]
    DisplayName { path: String, host: String, source: std::io::Error },
    #[error("{path}: the display cannot listen on {address}")]
    DisplayAddress { path: String, address: IpAddr, source: std::io::Error },
    #[error("{path}: {at} is in use on this host; give another port, or -1 for a free one")]
    DisplayPort { path: String, at: SocketAddr },
    #[error("{path}: no port for the display is free on {address}")]
    NoDisplayPort { path: String, address: IpAddr },
    #[error("who may connect to the guest's displays, and what it may reach on this host, could not be set")]
    Loopback(#[source] NftError),
    #[error("{path}: no answer from the server at {peer} within 2 seconds")]
    NoPeer { path: String, peer: String },
    #[error("{path}: the server at {peer} cannot be reached")]
    Peer { path: String, peer: String, source: std::io::Error },
    #[error("what the document names on the host cannot be opened")]
    Images(#[from] ImagesError),
    #[error("the firmware '{}' cannot be read", .path.display())]
    Firmware { path: PathBuf, source: std::io::Error },
    #[error("there is no template for the variables of the firmware")]
    NoVariables,
    #[error(transparent)]
    NoUid(#[from] Exhausted),
    #[error("the definition of the domain '{name}' was changed while the start was judged; try again")]
    Changed { name: String },
    #[error("the definition of the domain '{name}' cannot be read any more")]
    Unreadable { name: String, source: Box<DocError> },
    #[error(transparent)]
    Limit(#[from] Exceeded),
    #[error("QEMU could not be started")]
    Spawn(#[from] SpawnError),
    #[error("QEMU ended at once{}", .0.trim().lines().map(|l| format!("; it said: {l}")).collect::<String>())]
    QemuEnded(String),
    #[error("QEMU did not do what it was told ({command})")]
    Qmp { command: &'static str, source: QmpError },
    #[error("QEMU does not answer")]
    NoMonitor,
    #[error(
        "the domain '{name}' runs, but '{}', which this needs, was lost; stop it and start it again", .record.display()
    )]
    Lost { name: String, record: PathBuf },
    #[error("it is not known yet whether the domain '{0}' runs, since that cannot be found out; try again")]
    Unsure(String),
    #[error("QEMU could not be ended")]
    End(#[from] ProcessError),
    #[error("the start was cancelled")]
    Cancelled,
    #[error("the domain '{name}' has no console{}; it has {known}", named(device))]
    NoSuchConsole { name: String, device: String, known: String },
    #[error("the domain '{name}' has no display{} that can be opened; it has {known}", named(device))]
    NoSuchDisplay { name: String, device: String, known: String },
    #[error("cannot use the runtime directory")]
    Run(#[source] std::io::Error),
    #[error("what the domain needs could not be kept on disk")]
    Store(#[from] StoreError),
    #[error("something of the domain '{name}' is left from its last run: {}", .left.join("; "))]
    Remains { name: String, left: Vec<String> },
    #[error("the domain '{0}' is gone")]
    Gone(String),
}

/// A device by its name; nothing where any was asked for.
fn named(device: &str) -> String {
    if device.is_empty() { String::new() } else { format!(" '{device}'") }
}

impl Error {
    /// The kind of failure, for the `Completed` of a job: that is public, so it has no address and no name of a file.
    pub fn in_public(&self) -> &'static str {
        match self {
            Self::NotSupported { .. } | Self::Config { .. } => "its definition cannot run on this host",
            Self::NoSuchNetwork { .. } | Self::NetworkInactive { .. } | Self::Network { .. } => {
                "one of its networks is not to be had"
            }
            Self::NetworkDenied { .. } => "its owner may not use one of its networks",
            Self::Images(_) => "one of its files cannot be opened",
            Self::NoPeer { .. } | Self::Peer { .. } | Self::PeerIsDisplay { .. } => {
                "the server of a NIC does not answer"
            }
            Self::ScriptRun { .. } | Self::ScriptFailed { .. } => "one of its scripts failed",
            Self::Spawn(_) | Self::QemuEnded(_) | Self::Qmp { .. } | Self::NoMonitor => "QEMU did not start",
            Self::Cancelled => "the start was cancelled",
            Self::Remains { .. } => "not all of its last run is gone",
            Self::Denied { .. } => "its state does not allow it",
            Self::Changed { .. } => "its definition was changed meanwhile",
            Self::Limit(_) => "its owner has all that one user may have",
            _ => "the host could not do it",
        }
    }
}

/// Called with the UUID, the view before and the view after each change.
pub type Announcer = Arc<dyn Fn(Uuid, &Arc<View>, &Arc<View>) + Send + Sync>;

/// What every domain's actor works with.
#[derive(Clone)]
pub struct Context {
    /// Where files are and who runs what.
    pub scope: Arc<Scope>,
    /// Definitions on disk.
    pub store: Store,
    /// Where TAPs live.
    pub ground: network::ground::Ground,
    /// Networks by name.
    pub networks: network::Directory,
    /// The names that interfaces must not have.
    pub names: Names,
    /// Who connects to what on this host.
    pub loopback: Loopback,
    /// The uids of running guests and of networks.
    pub uids: Uids,
    /// What each owner takes of the machine.
    pub ledger: Ledger,
    /// What each domain has on the disk.
    pub kept: Kept,
    /// Where documents are read.
    pub desk: Desk,
    /// Where changes are told.
    pub announce: Announcer,
    /// The id of this boot, which live state carries.
    pub boot_id: Arc<str>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// The host side's address of a guest's NIC: the same with the first byte `fe`, so that a bridge without
/// an address of its own never takes a guest's (bridges take the lowest of their ports'). Where the guest's
/// begins so itself it is `fa`, for the two ends of a cable must differ.
fn host_side(mac: Mac) -> [u8; 6] {
    let mut bytes = mac.0;
    bytes[0] = if bytes[0] == 0xfe { 0xfa } else { 0xfe };
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_was_not_named_is_not_quoted() {
        let no_display = |device: &str| {
            Error::NoSuchDisplay { name: "web".into(), device: device.into(), known: "none".into() }
                .to_string()
        };
        assert_eq!(no_display(""), "the domain 'web' has no display that can be opened; it has none");
        assert_eq!(
            no_display("vnc"),
            "the domain 'web' has no display 'vnc' that can be opened; it has none"
        );
    }
}
