//! Sockets of character devices: one for each console and channel that the service reads or keeps.
//!
//! Owns their names in RUN. Must never read what a channel says: that is for whoever speaks with the agent.

use std::os::fd::OwnedFd;
use std::path::Path;

use uuid::Uuid;

use super::guest::Guest;
use super::{Context, Error};
use crate::model::DomainDef;
use crate::plan::qemu::char_devices;
use crate::sys::console::Console;
use crate::sys::unix;

/// A console of a running guest, by its alias.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) alias: String,
    pub(super) console: Console,
}

fn socket(alias: &str) -> String {
    format!("{alias}.sock")
}

/// A listening socket for each, by the path of its element.
pub(super) fn listen(dir: &Path, def: &DomainDef) -> Result<Vec<(String, OwnedFd)>, Error> {
    let open = |device: crate::plan::qemu::CharDevice<'_>| {
        let fd = unix::listen(dir, &socket(&device.alias)).map_err(Error::Run)?;
        Ok((device.source.path.clone(), fd))
    };
    char_devices(def).into_iter().filter(|d| d.has_socket()).map(open).collect()
}

/// Begins to read all consoles.
pub(super) async fn attach(
    context: &Context,
    uuid: &Uuid,
    def: &DomainDef,
    guest: &mut Guest,
) -> Result<(), Error> {
    let dir = context.scope.domain_run_dir(uuid);
    for device in char_devices(def).into_iter().filter(|d| d.is_read()) {
        let stream = unix::connect(&dir, &socket(&device.alias)).await.map_err(Error::Run)?;
        guest.consoles.push(Attached { alias: device.alias, console: Console::attach(stream) });
    }
    Ok(())
}
