//! What is known of the host's QEMU programs. Owns the shape of those facts; must never look for them
//! itself (that is `sys::qemu_probe`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One QEMU program and what it can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QemuFacts {
    /// The program, by the name under which it is run.
    pub path: PathBuf,
    /// Major, minor and micro version.
    pub version: (u32, u32, u32),
    /// The guest's architecture in QEMU's words: `x86_64` or `i386`.
    pub arch: String,
    /// The machine types it has.
    pub machines: Vec<MachineFacts>,
    /// Whether KVM can be used by it on this host.
    pub kvm: bool,
    /// Whether this host's kernel serves virtio NICs (`/dev/vhost-net`).
    pub vhost_net: bool,
    /// The names of its device drivers, for `-device`, and of its character devices, as `chardev-socket`.
    pub devices: BTreeSet<String>,
    /// The names of its CPU models, for `-cpu`.
    pub cpu_models: BTreeSet<String>,
    /// The firmware that is installed for QEMU on this host: of what fits, the first is to be used.
    pub firmware: Vec<FirmwareFacts>,
}

/// Firmware, as its descriptor tells of it. The words are those of QEMU's `docs/interop/firmware.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareFacts {
    /// What it is to the guest: `uefi`, `bios` and others.
    pub interfaces: Vec<String>,
    /// Its files, and how the guest sees them.
    pub mapping: FirmwareMapping,
    /// Where it runs.
    pub targets: Vec<FirmwareTarget>,
    /// What it can do and what it needs, as `secure-boot` and `requires-smm`.
    pub features: BTreeSet<String>,
}

/// How the guest sees firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirmwareMapping {
    /// As flash.
    Flash {
        /// The code, the same for all guests.
        executable: FlashFile,
        /// The variables of a new guest; `None`: it has none.
        template: Option<FlashFile>,
    },
    /// As a ROM.
    Memory(PathBuf),
}

/// The content of a flash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlashFile {
    /// Where it is.
    pub path: PathBuf,
    /// QEMU's name of its format.
    pub format: String,
}

/// Machines that firmware is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareTarget {
    /// The architecture, in QEMU's words.
    pub arch: String,
    /// Patterns of canonical machine types, with `*`.
    pub machines: Vec<String>,
}

/// One machine type of a QEMU program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineFacts {
    /// The canonical name, as `pc-i440fx-7.2`.
    pub name: String,
    /// Its short name, as `pc`.
    pub alias: Option<String>,
    /// Whether QEMU takes it where none is asked for.
    pub is_default: bool,
}

impl QemuFacts {
    /// The canonical name of the machine type that `name` or alias stands for.
    pub fn canonical_machine(&self, name: &str) -> Option<&str> {
        let by_alias = |m: &&MachineFacts| m.alias.as_deref() == Some(name);
        self.machines
            .iter()
            .find(|m| m.name == name)
            .or_else(|| self.machines.iter().find(by_alias))
            .map(|m| m.name.as_str())
    }
}
