//! Virtual networks: one state machine and one actor for each.
//!
//! Owns what a network is while it runs: its bridge, addresses, rules, dnsmasq and ports, and the
//! ground they stand on (the host, or the namespaces of a session). Must never be reached except
//! through [`Handle`], know the bus, or decide who may call.
//!
//! [`state`] says what may happen, `actor` makes it happen in the order in which it was asked,
//! `bring_up` holds the steps and their undoing, [`ground`] is where the links live.

mod actor;
mod bring_up;
mod change;
mod definition;
pub mod forwarding;
pub mod ground;
mod handle;
mod leases;
mod live;
mod port;
mod presence;
mod record;
mod recover;
pub mod state;
mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use uuid::Uuid;

use crate::desk::Desk;
use crate::ledger::{Exceeded, Ledger};
use crate::model::{DocError, Finding};
use crate::scope::Scope;
use crate::store::{Store, StoreError};
use crate::sys::dnsmasq::DnsmasqError;
use crate::sys::netlink::NetlinkError;
use crate::sys::netspace::SysctlError;
use crate::sys::nft::NftError;
use crate::uids::{Exhausted, Uids};

pub use actor::{Info, PortRequest, Seed, spawn};
pub use bring_up::alias;
pub use definition::Definition;
pub use handle::Handle;
pub use leases::{LeaseChange, NetworkLease};
pub use port::{Port, PortError, plug};
pub use record::recorded_uid;
pub use recover::{Left, left, standing, what_stands};
pub use state::State;
pub use view::View;

/// Why a network did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("the network '{name}' {denial}")]
    Denied { name: String, denial: state::Denial },
    #[error("the network '{name}' is used by {}; stop them first, or use the option 'force'", .domains.join(", "))]
    InUse { name: String, domains: Vec<String> },
    #[error("the subnet {subnet} of the network '{name}' overlaps {other}, which the host already uses")]
    SubnetInUse { name: String, subnet: ipnet::IpNet, other: ipnet::IpNet },
    #[error(
        "the bridge '{bridge}' of the network '{name}' is an interface that is there already and not Warren's"
    )]
    BridgeInUse { name: String, bridge: String },
    #[error(
        "the MAC address {mac} is in use on the network '{network}' by the domain '{domain}', which is running"
    )]
    MacInUse { mac: crate::model::Mac, network: String, domain: String },
    #[error("the network '{network}' is not the guest's to change: {}", list(.findings))]
    Port { network: String, findings: Vec<Finding> },
    #[error("the network '{name}' uses what Warren cannot run yet: {}", list(.findings))]
    NotSupported { name: String, findings: Vec<Finding> },
    #[error(
        "/network/forward/@dev: in session scope the network '{name}' has no way out through '{dev}'; leave the \
        attribute out, and guests leave as the programs of the user do"
    )]
    NoSuchWayOut { name: String, dev: String },
    #[error(
        "/network/forward/nat/address: in session scope the network '{name}' leaves under the address of the host; \
        leave the element out"
    )]
    NoSuchAddress { name: String },
    #[error("networks cannot run here")]
    Ground(#[from] ground::GroundError),
    #[error("{step} failed")]
    Netlink { step: &'static str, source: NetlinkError },
    #[error("the kernel setting could not be made")]
    Sysctl(#[from] SysctlError),
    #[error(
        "the interface '{interface}' has its IPv6 routes from router advertisements, and would lose them once the host \
        forwards IPv6; set net.ipv6.conf.{interface}.accept_ra to 2, or leave the IPv6 addresses out of the network"
    )]
    AcceptRa { interface: String, source: SysctlError },
    #[error("the settings of the host's interfaces cannot be read")]
    Forwarding(#[source] std::io::Error),
    #[error("the firewall rules could not be loaded")]
    Firewall(#[from] NftError),
    #[error("DHCP and DNS could not be started")]
    Dnsmasq(#[from] DnsmasqError),
    #[error("the TAP '{tap}' cannot be put on the bridge of the network '{network}'")]
    Plug { tap: String, network: String, source: PortError },
    #[error("the bridge '{bridge}' came up without {what}")]
    NotVerified { bridge: String, what: String },
    #[error("the leases of the network '{name}' cannot be read")]
    Leases { name: String, source: std::io::Error },
    #[error(transparent)]
    NoUid(#[from] Exhausted),
    #[error("the definition of the network '{name}' cannot be read any more")]
    Unreadable { name: String, source: Box<DocError> },
    #[error(transparent)]
    Limit(#[from] Exceeded),
    #[error("what the network needs could not be kept on disk")]
    Store(#[from] StoreError),
    #[error("the network was stopped, but not all of it is gone: {}", .0.join("; "))]
    TearDown(Vec<String>),
    #[error("the network '{name}' stays defined, since something of it is left: {}", .left.join("; "))]
    Remains { name: String, left: Vec<String> },
    #[error("it is not known whether the network '{name}' is up: {why}; try again")]
    Unsure { name: String, why: String },
    #[error("the network '{0}' is gone")]
    Gone(String),
}

impl Error {
    /// The kind of failure, for the `Completed` of a job: that is public, so it has no address and no name of a file.
    pub fn in_public(&self) -> &'static str {
        match self {
            Self::SubnetInUse { .. } => "its subnet is in use",
            Self::BridgeInUse { .. } => "its bridge is in use",
            Self::NotSupported { .. } | Self::NoSuchWayOut { .. } | Self::NoSuchAddress { .. } => {
                "it uses what cannot be run here"
            }
            Self::Ground(_) => "networks cannot run here",
            Self::Firewall(_) => "the firewall rules could not be loaded",
            Self::Dnsmasq(_) => "DHCP and DNS could not be started",
            Self::AcceptRa { .. } => "the host would lose its IPv6 routes",
            Self::Netlink { .. } | Self::Sysctl(_) | Self::Forwarding(_) | Self::NotVerified { .. } => {
                "the bridge could not be made"
            }
            Self::TearDown(_) | Self::Remains { .. } => "not all of it is gone",
            Self::Port { .. } => "a guest cannot be on it as it is defined",
            Self::Denied { .. } | Self::InUse { .. } => "its state does not allow it",
            _ => "it could not be done",
        }
    }
}

/// Findings in one line.
pub(crate) fn list(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Called with the UUID, the view before and the view after each change.
pub type Announcer = Arc<dyn Fn(Uuid, &Arc<View>, &Arc<View>) + Send + Sync>;

/// What every network's actor works with.
#[derive(Clone)]
pub struct Context {
    /// Where files are and who runs what.
    pub scope: Arc<Scope>,
    /// Definitions on disk.
    pub store: Store,
    /// Where links live.
    pub ground: ground::Ground,
    /// The uids of running guests and of networks.
    pub uids: Uids,
    /// What networks need of the host's forwarding.
    pub forwarding: forwarding::Forwarding,
    /// What each owner takes of the machine.
    pub ledger: Ledger,
    /// Where documents are read.
    pub desk: Desk,
    /// Where changes are told.
    pub announce: Announcer,
    /// Where leases that come and go are told.
    pub leases: Arc<dyn Fn(Uuid, LeaseChange) + Send + Sync>,
    /// The id of this boot, which live state carries.
    pub boot_id: Arc<str>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// The networks by name, for domains that have a NIC on one.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    by_name: Arc<RwLock<BTreeMap<String, Handle>>>,
}

impl Directory {
    /// The network of that name.
    pub fn get(&self, name: &str) -> Option<Handle> {
        self.by_name.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(name).cloned()
    }

    /// Enters a network, or takes one out (`None`).
    pub fn set(&self, name: &str, handle: Option<Handle>) {
        let mut names = self.by_name.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        match handle {
            Some(handle) => names.insert(name.to_owned(), handle),
            None => names.remove(name),
        };
    }
}
