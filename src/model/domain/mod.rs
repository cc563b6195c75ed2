//! A domain's definition. Owns what `<domain>` means; must never know how QEMU is told.

mod audio;
mod chardev;
mod controller;
mod crypto;
mod device;
mod disk;
mod disk_driver;
mod disk_network;
mod disk_secret;
mod disk_source;
mod disk_tuning;
mod filesystem;
mod graphics;
mod hostdev;
mod hub;
mod input;
mod interface;
mod iommu;
mod lease;
mod memballoon;
mod memory_device;
mod nvram;
mod os;
mod panic;
mod pstore;
mod read;
mod redirdev;
mod rng;
mod seclabel;
mod shmem;
mod smartcard;
mod sound;
mod tpm;
mod video;
mod virtio;
mod vsock;
mod watchdog;
mod words;

use std::path::PathBuf;

use super::{MemorySize, ObjectName, Uuid};

pub use audio::*;
pub use chardev::*;
pub use controller::*;
pub use crypto::*;
pub use device::*;
pub use disk::*;
pub use disk_driver::*;
pub use disk_network::*;
pub use disk_secret::*;
pub use disk_source::*;
pub use disk_tuning::*;
pub use filesystem::*;
pub use graphics::*;
pub use hostdev::*;
pub use hub::*;
pub use input::*;
pub use interface::*;
pub use iommu::*;
pub use lease::*;
pub use memballoon::*;
pub use memory_device::*;
pub use nvram::*;
pub use os::*;
pub use panic::*;
pub use pstore::*;
pub use redirdev::*;
pub use rng::*;
pub use shmem::*;
pub use smartcard::*;
pub use sound::*;
pub use tpm::*;
pub use video::*;
pub use virtio::*;
pub use vsock::*;
pub use watchdog::*;

/// What a `<domain>` document says, in the terms of libvirt's domain format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainDef {
    /// `@type`.
    pub kind: DomainKind,
    /// `<name>`: unique for each owner.
    pub name: ObjectName,
    /// `<uuid>`; absent until the definition is complete.
    pub uuid: Option<Uuid>,
    /// `<title>`, empty where absent.
    pub title: String,
    /// `<memory>`.
    pub memory: MemorySize,
    /// `<vcpu>`, default 1.
    pub vcpus: u32,
    /// `<os>`.
    pub os: OsDef,
    /// `<features>` that are switched on: `acpi`, `apic`, `pae`.
    pub features: Vec<String>,
    /// `<on_poweroff>`, default destroy.
    pub on_poweroff: LifecycleAction,
    /// `<on_reboot>`, default restart.
    pub on_reboot: LifecycleAction,
    /// `<on_crash>`, default destroy.
    pub on_crash: LifecycleAction,
    /// `<emulator>`.
    pub emulator: Option<PathBuf>,
    /// `<throttlegroups>`: limits that disks name in `<throttlefilters>`.
    pub throttle_groups: Vec<(String, Iotune)>,
    /// `<redirfilter>`: the rules of all its `<redirdev>` devices.
    pub redirfilter: Vec<UsbRule>,
    /// Children of `<devices>` in document order.
    pub devices: Vec<Device>,
}

impl DomainDef {
    /// The NICs in document order.
    pub fn interfaces(&self) -> impl Iterator<Item = &InterfaceDef> {
        self.devices.iter().filter_map(|d| match d {
            Device::Interface(nic) => Some(&**nic),
            _ => None,
        })
    }

    /// The filesystems in document order.
    pub fn filesystems(&self) -> impl Iterator<Item = &FilesystemDef> {
        self.devices.iter().filter_map(|d| match d {
            Device::Filesystem(filesystem) => Some(filesystem),
            _ => None,
        })
    }

    /// The disks in document order.
    pub fn disks(&self) -> impl Iterator<Item = &DiskDef> {
        self.devices.iter().filter_map(|d| match d {
            Device::Disk(disk) => Some(&**disk),
            _ => None,
        })
    }
}

/// `<domain type>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainKind {
    /// Emulation in software (TCG).
    Qemu,
    /// KVM.
    Kvm,
}

/// What happens to a guest that powers off, reboots or crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleAction {
    /// The guest ends.
    Destroy,
    /// The guest starts again.
    Restart,
    /// QEMU stays, with the guest stopped, for a look.
    Preserve,
}
