//! The record of a network in RUN.
//!
//! Owns `state.json` of its runtime directory: what is about to be made is written there first. It has a whole document
//! in it, so it must never be read or written on the thread that answers callers.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Context, Definition, Error};
use crate::desk::off_thread;
use crate::store;
use crate::sys::dnsmasq;
use crate::sys::unix;

/// What RUN says of a network that is up, or was about to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Live {
    pub(super) boot_id: String,
    /// Whether the start was finished.
    pub(super) active: bool,
    pub(super) bridge: String,
    /// dnsmasq's uid, where it has its own; a record of a former version has none.
    #[serde(default)]
    pub(super) uid: Option<u32>,
    /// The definition as it runs.
    pub(super) xml: String,
}

/// Writes it.
pub(super) async fn save(
    context: &Context,
    uuid: &Uuid,
    definition: &Definition,
    bridge: &str,
    uid: Option<u32>,
    active: bool,
) -> Result<(), Error> {
    let dir = context.scope.network_run_dir(uuid);
    let mode = if context.scope.is_root() { 0o711 } else { 0o700 };
    let (boot_id, bridge) = (context.boot_id.to_string(), bridge.to_owned());
    let definition = definition.clone();
    let write = move || {
        for path in [dir.parent().unwrap_or(&dir), &dir] {
            unix::make_dir(path, mode)
                .map_err(|source| store::StoreError::Write { path: path.to_owned(), source })?;
        }
        store::save_live(&dir, &Live { boot_id, active, bridge, uid, xml: definition.xml().to_owned() })
    };
    Ok(off_thread(write).await?)
}

/// dnsmasq can fill its directory, so this may take a while.
pub(super) async fn forget(dir: PathBuf) -> Result<(), store::StoreError> {
    off_thread(move || store::remove_live(&dir)).await
}

/// The uid that RUN records for a network's dnsmasq. It reads a file: not for the thread that answers callers.
pub fn recorded_uid(context: &Context, uuid: &Uuid) -> Option<u32> {
    uid_of(&context.scope.network_run_dir(uuid))
}

/// By the record, or, where that is lost, by whom the leases belong to.
pub(super) fn uid_of(dir: &Path) -> Option<u32> {
    match store::load_live::<Live>(dir) {
        Ok(Some(live)) => live.uid,
        _ => dnsmasq::owner_of_leases(dir).filter(|uid| *uid != rustix::process::geteuid().as_raw()),
    }
}

/// What RUN says of a network; it has a whole document in it.
pub(super) async fn load(context: &Context, uuid: &Uuid) -> Result<Option<Live>, store::StoreError> {
    let dir = context.scope.network_run_dir(uuid);
    off_thread(move || store::load_live::<Live>(&dir)).await
}

/// Nobody is to take it over as it is.
pub(super) async fn half_made(dir: PathBuf) -> Result<(), store::StoreError> {
    off_thread(move || match store::load_live::<Live>(&dir)? {
        Some(live) => store::save_live(&dir, &Live { active: false, ..live }),
        None => Ok(()),
    })
    .await
}
