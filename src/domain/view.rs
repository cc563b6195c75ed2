//! What everybody may know of a domain: the cached answer to every property. Owns no more than a
//! snapshot; must never hold what only authorised callers may see.

use uuid::Uuid;

use super::State;
use crate::reason::Reason;

/// A domain's public properties at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the property of that name in dbus/org.warren1.Domain.xml")]
pub struct View {
    pub name: String,
    pub uuid: Uuid,
    pub title: String,
    pub state: State,
    pub reason: Reason,
    pub autostart: bool,
    pub pending_changes: bool,
    pub generation: u64,
    pub owner: u32,
    pub pid: u32,
    pub vcpus: u32,
    pub memory_bytes: u64,
    /// No property: when QEMU was started, in clock ticks since the boot.
    pub started_ticks: Option<u64>,
}

impl View {
    /// Of a domain of which nothing is known yet.
    pub(super) fn empty(uuid: Uuid) -> Self {
        Self {
            name: String::new(),
            uuid,
            title: String::new(),
            state: State::Shutoff,
            reason: Reason::None,
            autostart: false,
            pending_changes: false,
            generation: 0,
            owner: 0,
            pid: 0,
            vcpus: 0,
            memory_bytes: 0,
            started_ticks: None,
        }
    }
}
