//! What everybody may know of a network: the cached answer to every property. Owns no more than a
//! snapshot; must never hold what only authorised callers may see.

use uuid::Uuid;

use super::State;
use crate::plan::ports::PortRules;
use crate::reason::Reason;

/// A network's public properties at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the property of that name in dbus/org.warren1.Network.xml")]
pub struct View {
    pub name: String,
    pub uuid: Uuid,
    pub bridge: String,
    pub forward_mode: String,
    pub state: State,
    pub reason: Reason,
    pub autostart: bool,
    pub pending_changes: bool,
    pub generation: u64,
    pub owner: u32,
    pub access: String,
    pub warnings: Vec<String>,
    /// No property: what a NIC on it is held to, as it runs.
    pub ports: PortRules,
}

impl View {
    /// Whether every user may have a NIC on it.
    pub fn is_shared(&self) -> bool {
        self.access == "users"
    }

    /// Whether a user's guest may be put on it where nobody can be asked.
    pub fn is_open_to(&self, uid: u32) -> bool {
        uid == 0 || uid == self.owner || self.is_shared()
    }
}
