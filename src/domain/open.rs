//! Descriptors of a running guest's consoles and displays.
//!
//! Owns which device a caller means. Must never hand out a descriptor of QEMU's own sockets: a caller gets one
//! end of a pair made for it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::Error;
use super::actor::{Actor, Reply};
use super::commands::{DEADLINE, execute_with};
use super::consoles::{self, Attached};
use super::state::Denial;
use crate::ledger::Resource;
use crate::sys::qmp::Qmp;

/// QEMU holds each descriptor under a name of its own until it is a display's client: one of the same name would
/// take the place of another caller's.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Actor {
    /// One end of a console for the user `by`. `force`: those who have it open are cut off.
    pub(super) fn open_console(&self, device: &str, force: bool, by: u32) -> Result<OwnedFd, Error> {
        let Some(guest) = &self.guest else { return Err(self.denied(Denial::NotRunning)) };
        let consoles = &guest.consoles;
        let asked = |a: &&Attached| device.is_empty() || a.alias == device;
        let Some(Attached { console, .. }) = consoles.iter().find(asked) else {
            let known = list(consoles.iter().map(|a| a.alias.as_str()));
            let socket = consoles::socket(if device.is_empty() { "serial0" } else { device });
            if let Some(lost) = self.lost(&socket) {
                return Err(lost);
            }
            return Err(Error::NoSuchConsole { name: self.name(), device: device.to_owned(), known });
        };
        if force {
            console.cut_off();
        }
        let share = self.context.ledger.take(by, Resource::Descriptors, 1)?;
        console.open(share).map_err(Error::Run)
    }

    /// One end of a connection to a display, which need not know its password: who may open it was asked
    /// already. QEMU is asked beside the actor.
    pub(super) fn open_graphics(&self, device: &str, by: u32, reply: Reply<OwnedFd>) {
        let Some(guest) = &self.guest else { return drop(reply.send(Err(self.denied(Denial::NotRunning)))) };
        let displays = self.live.as_ref().map_or(&[][..], |running| running.displays());
        let Some(&kind) = displays.iter().find(|kind| device.is_empty() || **kind == device) else {
            let known = list(displays.iter());
            let (name, device) = (self.name(), device.to_owned());
            return drop(reply.send(Err(Error::NoSuchDisplay { name, device, known })));
        };
        let Some(qmp) = guest.qmp.clone() else { return drop(reply.send(Err(self.no_monitor()))) };
        // Both ends are the service's until QEMU has one, and it need not answer.
        let share = match self.context.ledger.take(by, Resource::Descriptors, 2) {
            Ok(share) => share,
            Err(e) => return drop(reply.send(Err(e.into()))),
        };
        tokio::spawn(async move {
            let _share = share;
            let _ = reply.send(connect(&qmp, kind).await);
        });
    }
}

async fn connect(qmp: &Qmp, kind: &str) -> Result<OwnedFd, Error> {
    let (ours, theirs) = UnixStream::pair().map_err(Error::Run)?;
    let (command, name) = ("getfd", format!("warren-display-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    qmp.execute_with_fd(command, json!({ "fdname": name }), Some(theirs.into()), DEADLINE)
        .await
        .map_err(|source| Error::Qmp { command, source })?;
    let client = json!({ "protocol": kind, "fdname": name, "skipauth": true });
    if let Err(e) = execute_with(qmp, "add_client", client).await {
        // It would be kept until QEMU ends. Where it was taken all the same, there is none of that name.
        let _ = execute_with(qmp, "closefd", json!({ "fdname": name })).await;
        return Err(e);
    }
    Ok(ours.into())
}

fn list(known: impl Iterator<Item: AsRef<str>>) -> String {
    let known: Vec<String> = known.map(|k| k.as_ref().to_owned()).collect();
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}
