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

pub(super) fn socket(alias: &str) -> String {
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

/// The names of all of them.
pub(super) fn sockets(def: &DomainDef) -> Vec<String> {
    char_devices(def).into_iter().filter(|d| d.has_socket()).map(|d| socket(&d.alias)).collect()
}

/// Begins to read all consoles. One that cannot be reached does not keep the others from it.
pub(super) async fn attach(
    context: &Context,
    uuid: &Uuid,
    def: &DomainDef,
    guest: &mut Guest,
) -> Result<(), Error> {
    let dir = context.scope.domain_run_dir(uuid);
    let mut result = Ok(());
    for device in char_devices(def).into_iter().filter(|d| d.is_read()) {
        match unix::connect(&dir, &socket(&device.alias)).await {
            Ok(stream) => {
                guest.consoles.push(Attached { alias: device.alias, console: Console::attach(stream) });
            }
            Err(e) => result = Err(Error::Run(e)),
        }
    }
    result
}
