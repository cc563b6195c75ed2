//! What a running guest holds, and how it is given back.
//!
//! Owns the list of everything that a start acquires: QEMU, uid, ports, TAPs' scripts, runtime files.
//! Must never forget one: each is noted, in memory and in RUN, before it is acquired, and giving back
//! goes on after a failure and tells all of them.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::consoles::Attached;
use super::demand::Demand;
use super::{Context, Error, NOBODY, nics, nvram};
use crate::desk::off_thread;
use crate::ledger::Share;
use crate::model::DomainDef;
use crate::plan::qemu::Options;
use crate::store::{self, NvramFile, StoreError};
use crate::sys::process::{Process, StderrTail};
use crate::sys::qmp::Qmp;

/// How long QEMU has between SIGTERM and SIGKILL.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// How long what was begun for a guest may take when it is to be given back.
const AT_WORK: Duration = Duration::from_secs(10);

/// What RUN says of a guest that runs, or was about to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Live {
    pub(super) boot_id: String,
    /// Whether the start was finished and its end not begun.
    pub(super) active: bool,
    pub(super) name: String,
    /// The uid of the domain's owner; not known from a record of a former version, or one that was lost.
    pub(super) owner: Option<u32>,
    /// QEMU's uid, where it is not the service's.
    pub(super) uid: Option<u32>,
    /// The guest was asked to power off in order to start again.
    pub(super) reboot: bool,
    pub(super) vnc_port: Option<u16>,
    /// The port of VNC's websocket.
    pub(super) vnc_websocket: Option<u16>,
    /// All addresses and ports on which its displays listen, or are about to.
    pub(super) displays: Vec<SocketAddr>,
    /// What each device was given at the start.
    pub(super) devices: Vec<LiveDevice>,
    pub(super) spice_port: Option<u16>,
    /// Where QEMU makes the sockets of its displays, if it has such.
    pub(super) display_dir: Option<PathBuf>,
    /// The firmware that was chosen, where the document leaves it to the service.
    pub(super) firmware: Option<LiveFirmware>,
    pub(super) nics: Vec<LiveNic>,
    /// Networks on which it has ports.
    pub(super) networks: Vec<String>,
    /// Bytes of memory that hold copies of files for it (kernel, initrd, firmware), and that QEMU keeps of images.
    pub(super) copies: u64,
    /// What this start has made in STATE; nothing once it was finished.
    pub(super) made: Vec<NvramFile>,
    /// The record was lost while the guest ran: this is what could be found again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) rebuilt: bool,
    /// The definition as it runs, in the record of a former version: now it is in a file of its own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) xml: String,
}

/// Firmware of a running guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LiveFirmware {
    /// The code's file.
    pub(super) loader: String,
    /// `pflash` or `rom`.
    pub(super) kind: String,
    /// What the variables were at first.
    pub(super) template: Option<String>,
}

/// One device of a running guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LiveDevice {
    /// Path of its element in the document as it runs.
    pub(super) path: String,
    /// Its name in QEMU.
    pub(super) alias: String,
    /// Bus, slot and function on PCI, where it sits there.
    pub(super) pci: Option<(u32, u32, u32)>,
}

/// One NIC of a running guest, in the order of the document.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct LiveNic {
    /// The TAP's name.
    pub(super) target: Option<String>,
    /// Runs with the TAP's name when the guest is gone.
    pub(super) downscript: Option<PathBuf>,
}

/// A guest, or as much of one as a start has come to.
#[derive(Debug, Default)]
pub(super) struct Guest {
    pub(super) live: Live,
    pub(super) process: Option<Process>,
    pub(super) qmp: Option<Qmp>,
    pub(super) consoles: Vec<Attached>,
    pub(super) stderr: Option<StderrTail>,
    /// What QEMU names by the line of a file, in this start.
    pub(super) options: Option<Options>,
    /// What [`Live::copies`] counts for its owner.
    pub(super) copies: Option<Share>,
    /// What is being written into STATE.
    pub(super) writing: Option<JoinHandle<Result<Option<File>, StoreError>>>,
    /// What was counted for files in STATE may not be what is there.
    pub(super) recount: bool,
    /// What it takes of its owner's.
    pub(super) shares: Vec<Share>,
    /// Held while something is done for it off the thread: files written, QEMU forked.
    pub(super) at_work: Arc<Mutex<()>>,
    /// Files of its runtime directory that are lost, and what cannot be done without them.
    pub(super) lost: Vec<PathBuf>,
}

/// The name under which a domain holds the ground.
pub(super) fn holder(uuid: &Uuid) -> String {
    format!("domain {uuid}")
}

/// The file in which QEMU notes its identity before it becomes QEMU.
pub(super) fn identity_file(dir: &Path) -> PathBuf {
    dir.join("qemu.stat")
}

/// The FIFO that is QEMU's standard error.
pub(super) fn stderr_fifo(dir: &Path) -> PathBuf {
    dir.join("stderr")
}

/// The file that has the document of a guest as it runs: written once, before anything else of it.
pub(super) fn definition_file(dir: &Path) -> PathBuf {
    dir.join("definition.xml")
}

/// The document that a guest runs with.
pub(super) fn text_as_it_runs(dir: &Path, live: &Live) -> io::Result<String> {
    if live.xml.is_empty() { fs_err::read_to_string(definition_file(dir)) } else { Ok(live.xml.clone()) }
}

impl Guest {
    /// For whom it counts, and whose rights it has.
    pub(super) fn owner(&self) -> u32 {
        self.live.owner.unwrap_or(NOBODY)
    }

    /// The file of that name, if it is lost.
    pub(super) fn lost_file(&self, name: &str) -> Option<&Path> {
        self.lost.iter().map(PathBuf::as_path).find(|path| path.file_name().is_some_and(|n| n == name))
    }

    /// Takes what it will need of its owner's share.
    pub(super) fn take_demand(&mut self, context: &Context, def: &DomainDef) -> Result<(), Error> {
        let owner = self.owner();
        self.shares = Demand::of(def).take(&context.ledger, owner)?;
        Ok(())
    }

    /// The same for a guest that runs already.
    pub(super) fn note_demand(&mut self, context: &Context, def: &DomainDef) {
        let owner = self.owner();
        self.shares = Demand::of(def).note(&context.ledger, owner);
    }

    /// Writes down what is there by now.
    pub(super) fn save(&self, context: &Context, uuid: &Uuid) -> Result<(), StoreError> {
        store::save_live(&context.scope.domain_run_dir(uuid), &self.live)
    }

    /// What QEMU said last on its stderr.
    pub(super) fn last_words(&self) -> String {
        let words = self.stderr.as_ref().map_or_else(String::new, StderrTail::tail);
        self.options.as_ref().map_or_else(|| words.clone(), |options| options.name_places_in(&words))
    }

    /// Gives everything back; QEMU is ended first if it is still there.
    pub(super) async fn give_back(mut self, context: &Context, uuid: &Uuid) -> Vec<String> {
        let mut problems = Vec::new();
        // What was begun for it may go on for a while after nobody waits for it any more.
        if tokio::time::timeout(AT_WORK, self.at_work.lock()).await.is_err() {
            problems.push("its start is still at work, on a disk that does not answer, say".to_owned());
            return problems;
        }
        self.qmp = None;
        self.consoles.clear();
        if let Some(process) = self.process.take()
            && let Err(e) = process.terminate(GRACE).await
        {
            problems.push(format!("QEMU: {}", crate::chain(&e)));
            // Its record, its ports and its uid are still in use.
            return problems;
        }
        if let Err(e) = nvram::undo(context, uuid, &mut self).await {
            problems.push(crate::chain(&e));
        }
        for nic in std::mem::take(&mut self.live.nics) {
            if let (Some(script), Some(target)) = (&nic.downscript, &nic.target)
                && let Err(e) = nics::run_script(context, uuid, "downscript", script, target).await
            {
                problems.push(crate::chain(&e));
            }
        }
        for network in std::mem::take(&mut self.live.networks) {
            if let Some(network) = context.networks.get(&network) {
                network.unplug(*uuid).await;
            }
        }
        if let Err(e) = context.loopback.close(uuid).await {
            problems.push(crate::chain(&e));
        }
        // QEMU's uid may have filled it.
        let dir = context.scope.domain_run_dir(uuid);
        match off_thread(move || store::remove_live(&dir)).await {
            Ok(()) => self.live.uid.into_iter().for_each(|uid| context.uids.give_back(uid)),
            Err(e) => {
                problems.push(format!("the runtime files: {}", crate::chain(&e)));
                // What has been given back is not given back again; the uid owns what is left.
                self.live.active = false;
                problems.extend(self.save(context, uuid).err().map(|e| crate::chain(&e)));
            }
        }
        context.ground.release(&holder(uuid)).await;
        problems
    }
}
