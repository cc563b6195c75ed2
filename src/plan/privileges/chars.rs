//! What a character device is joined to on the host.

use super::PathField;
use super::domain::Found;
use crate::model::{CharBackend, CharLog, CharSource};

/// QEMU opens the path itself, as the guest's uid. `place`: of the device.
pub(super) fn source(found: &mut Found<'_>, place: &str, source: &CharSource) {
    let CharSource { path: _, backend, log } = source;
    match backend {
        CharBackend::Dev(_path) => found.host(PathField::CharDevice, place),
        CharBackend::File { path: _, append: _ } => found.host(PathField::CharFile, place),
        CharBackend::Pipe(_path) => found.host(PathField::CharPipe, place),
        CharBackend::Unix { path, listen: _, reconnect: _ } => {
            found.host_if(path.is_some(), PathField::CharSocket, place);
        }
        CharBackend::Dbus(_channel) => found.host(PathField::CharDbus, place),
        CharBackend::Nmdm => found.host(PathField::CharNullModem, place),
        // Addresses and ports are open to everybody; the rest is in QEMU, or a socket that Warren keeps.
        CharBackend::Udp { bind: _, connect: _ }
        | CharBackend::Tcp { at: _, listen: _, protocol: _, tls: _, reconnect: _ }
        | CharBackend::Null
        | CharBackend::Vc
        | CharBackend::Pty
        | CharBackend::Stdio
        | CharBackend::SpiceVmc
        | CharBackend::SpicePort(_)
        | CharBackend::QemuVdagent { clipboard: _, mouse: _ } => (),
    }
    if let Some(CharLog { file: _, append: _ }) = log {
        found.host(PathField::CharLog, place);
    }
}
