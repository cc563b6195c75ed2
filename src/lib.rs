//! Warren manages QEMU virtual machines ("domains") and the virtual networks between them, as one
//! bus-activated D-Bus service.
//!
//! Data falls through the rooms of this library in one direction, and `tests/layers.rs` keeps it so:
//!
//! ```text
//! main ─► dbus, cli ─► manager ─► domain, network ─► plan, sys, store ─► model ─► xml
//! ```
//!
//! | room | what it owns |
//! |---|---|
//! | [`xml`] | a lossless document tree, edits, a typed view of an element |
//! | [`model`] | typed definitions of networks and domains |
//! | [`plan`] | pure compilers: complete, check, QEMU arguments, dnsmasq configuration, firewall rules |
//! | [`sys`] | effects: netlink, TAP devices, nft, processes, QMP, namespaces |
//! | `store` | definitions and live state on disk, atomically |
//! | `scope` | everything that differs between the system and the session service |
//! | `pace` | pauses that grow, and bounded rates |
//! | `reason` | the words for why an object is in its state |
//! | `desk` | work whose length a caller chooses, away from the thread that answers |
//! | `ledger` | what each user takes of the machine, against the limits |
//! | `uids` | which uid each guest and each dnsmasq has |
//! | `names` | which names of interfaces the definitions have taken |
//! | `logging` | where log lines go and from which level on |
//! | `auth` | who may do what: root and whom polkit lets in system scope, the owner in session scope |
//! | [`network`], [`domain`] | one state machine and one actor task per object |
//! | `manager` | the registry of objects, their definition and their autostart |
//! | [`dbus`] | the bus face: thin interfaces over handles |
//! | [`cli`] | `warrenctl`, a client of the bus |

pub mod auth;
pub mod cli;
pub mod daemon;
pub mod dbus;
pub mod desk;
pub mod domain;
pub mod ledger;
pub mod logging;
mod mailbox;
pub mod manager;
pub mod model;
pub mod names;
pub mod network;
mod pace;
pub mod plan;
pub mod reason;
pub mod scope;
pub mod store;
pub mod sys;
pub mod uids;
pub mod xml;

/// An error with all its causes in one line: `what: why: why that`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let part = e.to_string();
        // Some libraries repeat their cause in their own message.
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = e.source();
    }
    text
}
