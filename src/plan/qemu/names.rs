//! The names of character devices. Owns the rule by which the daemon, its clients and QEMU know one from another.

use crate::model::{CharBackend, CharSource, Device, DomainDef};

/// A character device of a guest, by the name that it has in QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharDevice<'a> {
    /// The alias: the user's, or the kind with the number among its like.
    pub alias: String,
    /// `serial`, `parallel`, `channel`, `console`, `smartcard` or `rng`.
    pub kind: &'static str,
    /// The device itself.
    pub device: &'a Device,
    /// What it is joined to.
    pub source: &'a CharSource,
}

impl CharDevice<'_> {
    /// Whether the service opens a socket for it: a `pty`, or a unix socket without a path.
    pub fn has_socket(&self) -> bool {
        matches!(self.source.backend, CharBackend::Pty | CharBackend::Unix { path: None, .. })
    }

    /// Whether the service reads the socket and hands it out as a console. The socket of a channel is kept for
    /// whoever speaks with the guest's agent.
    pub fn is_read(&self) -> bool {
        matches!(self.source.backend, CharBackend::Pty)
    }
}

/// The character devices in document order.
pub fn char_devices(def: &DomainDef) -> Vec<CharDevice<'_>> {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    let mut named = Vec::new();
    for device in &def.devices {
        let kind = match device {
            Device::Serial(_) => "serial",
            Device::Parallel(_) => "parallel",
            Device::Channel(_) => "channel",
            Device::Console(_) => "console",
            Device::Smartcard(_) => "smartcard",
            Device::Rng(_) => "rng",
            _ => continue,
        };
        // Those that lean on no character device count too.
        let count = counts.entry(kind).or_default();
        let alias = device.info().alias.clone().unwrap_or_else(|| format!("{kind}{count}"));
        *count += 1;
        named.extend(device.char_source().map(|source| CharDevice { alias, kind, device, source }));
    }
    named
}
