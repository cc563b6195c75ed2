//! The two kinds of object, and how each is called on the bus. Must never call anything.

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A virtual network.
    Network,
    /// A virtual machine.
    Domain,
}

impl Kind {
    /// The interface of its objects.
    pub(super) fn interface(self) -> &'static str {
        match self {
            Self::Network => "org.warren1.Network",
            Self::Domain => "org.warren1.Domain",
        }
    }

    /// The word that the Manager's methods and errors have for it, as in `DefineNetwork`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Network => "Network",
            Self::Domain => "Domain",
        }
    }

    /// The kind whose objects have this interface.
    pub(super) fn of(interface: &str) -> Option<Self> {
        [Self::Network, Self::Domain].into_iter().find(|kind| kind.interface() == interface)
    }

    /// The word for people.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Domain => "machine",
        }
    }

    /// The command that has its verbs.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::Domain => "vm",
        }
    }

    /// The states that its objects can be in: the closed list of the contract.
    pub(super) fn states(self) -> &'static [&'static str] {
        match self {
            Self::Network => &["inactive", "starting", "active", "stopping"],
            Self::Domain => {
                &["shutoff", "starting", "running", "paused", "pmsuspended", "stopping", "crashed"]
            }
        }
    }

    /// Its properties in the order in which they are shown; what a newer service has besides comes after.
    pub(super) fn properties(self) -> &'static [&'static str] {
        match self {
            Self::Network => &[
                "Name",
                "Uuid",
                "State",
                "StateReason",
                "ForwardMode",
                "Bridge",
                "Persistent",
                "Autostart",
                "PendingChanges",
                "Access",
                "Owner",
                "Generation",
                "Warnings",
            ],
            Self::Domain => &[
                "Name",
                "Uuid",
                "Title",
                "State",
                "StateReason",
                "Vcpus",
                "MemoryBytes",
                "Pid",
                "Persistent",
                "Autostart",
                "PendingChanges",
                "Owner",
                "Generation",
            ],
        }
    }
}
