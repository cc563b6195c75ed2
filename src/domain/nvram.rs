//! What the service writes for a guest's firmware: its variables, and a note of which firmware they are of.
//!
//! Owns their count against the owner, and their removal when the very start that made them fails. Must never
//! write what is not noted in RUN first, nor on the thread that answers callers.

use std::fs::File;

use uuid::Uuid;

use super::guest::Guest;
use super::{Context, Error};
use crate::desk::off_thread;
use crate::ledger::Share;
use crate::store::NvramFile;

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct ToWrite {
    /// The note, as JSON.
    pub(super) note: Option<Vec<u8>>,
    /// What new variables are made of, and its size.
    pub(super) template: Option<(File, u64)>,
    /// What the template counts for in memory, until it is written.
    pub(super) meanwhile: Option<Share>,
}

/// Writes it; the variables where they are new, for reading and writing.
pub(super) async fn write(
    context: &Context,
    uuid: &Uuid,
    owner: u32,
    to_write: ToWrite,
    guest: &mut Guest,
) -> Result<Option<File>, Error> {
    let ToWrite { note, template, meanwhile } = to_write;
    if note.is_none() && template.is_none() {
        return Ok(None);
    }
    let bytes = note.as_ref().map_or(0, |note| note.len() as u64) + template.as_ref().map_or(0, |t| t.1);
    // Whatever comes between, what is there in the end is counted.
    guest.recount = true;
    context.kept.add(uuid, owner, bytes)?;
    let new = [(note.is_some(), NvramFile::Firmware), (template.is_some(), NvramFile::Vars)];
    for (_, file) in new.into_iter().filter(|(written, _)| *written) {
        if !context.store.has_nvram(uuid, file) {
            guest.live.made.push(file);
        }
    }
    guest.save(context, uuid)?;
    let (store, domain) = (context.store.clone(), *uuid);
    let job = move || {
        // Whether or not the start is still there.
        let _meanwhile = meanwhile;
        if let Some(note) = note {
            store.note_firmware(&domain, &note)?;
        }
        let Some((template, size)) = template else { return Ok(None) };
        store.make_vars(&domain, &template, size)?;
        store.open_vars(&domain)
    };
    // A start that is cancelled meanwhile waits for it before it removes what was made.
    let written = guest.writing.insert(tokio::task::spawn_blocking(job)).await;
    guest.writing = None;
    count(context, uuid, owner).await;
    guest.recount = false;
    Ok(written.map_err(|e| Error::Run(std::io::Error::other(e)))??)
}

/// Removes what a start has made that came to nothing.
pub(super) async fn undo(context: &Context, uuid: &Uuid, guest: &mut Guest) -> Result<(), Error> {
    if let Some(writing) = guest.writing.take() {
        drop(writing.await);
    }
    let Some(owner) = guest.live.owner else { return Ok(()) };
    let made = std::mem::take(&mut guest.live.made);
    if made.is_empty() && !guest.recount {
        return Ok(());
    }
    let (store, domain) = (context.store.clone(), *uuid);
    let removed = off_thread(move || store.remove_nvram(&domain, &made)).await;
    count(context, uuid, owner).await;
    Ok(removed?)
}

async fn count(context: &Context, uuid: &Uuid, owner: u32) {
    let (context, uuid) = (context.clone(), *uuid);
    off_thread(move || context.kept.count(&context.store, &uuid, owner)).await;
}
