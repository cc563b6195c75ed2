//! A domain's definition. Owns what `<domain>` means; must never know how QEMU is told.

mod audio;
mod chardev;
mod charsource;
mod clock;
mod controller;
mod cpu;
mod crypto;
mod device;
mod direct;
mod disk;
mod disk_driver;
mod disk_network;
mod disk_secret;
mod disk_source;
mod disk_tuning;
mod feature;
mod filesystem;
mod graphics;
mod hostdev;
mod hub;
mod input;
mod interface;
mod iommu;
mod lease;
mod listen;
mod memballoon;
mod memory;
mod memory_device;
mod nvram;
mod os;
mod outer;
mod panic;
mod pstore;
mod read;
mod redirdev;
mod rng;
mod seclabel;
mod shmem;
mod smartcard;
mod sound;
mod spice;
mod sysinfo;
mod tpm;
mod tune;
mod video;
mod virtio;
mod vsock;
mod watchdog;
mod words;

use std::path::PathBuf;

use super::{MemorySize, ObjectName, Uuid};

pub use audio::*;
pub use chardev::*;
pub use charsource::*;
pub use clock::*;
pub use controller::*;
pub use cpu::*;
pub use crypto::*;
pub use device::*;
pub use direct::*;
pub use disk::*;
pub use disk_driver::*;
pub use disk_network::*;
pub use disk_secret::*;
pub use disk_source::*;
pub use disk_tuning::*;
pub use feature::*;
pub use filesystem::*;
pub use graphics::*;
pub use hostdev::*;
pub use hub::*;
pub use input::*;
pub use interface::*;
pub use iommu::*;
pub use lease::*;
pub use listen::*;
pub use memballoon::*;
pub use memory::*;
pub use memory_device::*;
pub use nvram::*;
pub use os::*;
pub use outer::*;
pub use panic::*;
pub use pstore::*;
pub use redirdev::*;
pub use rng::*;
pub use shmem::*;
pub use smartcard::*;
pub use sound::*;
pub use spice::*;
pub use sysinfo::*;
pub use tpm::*;
pub use tune::*;
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
    /// `<memory>`: with what `<memory>` devices add.
    pub memory: MemorySize,
    /// `<memory dumpCore>`: whether a core dump of QEMU has the guest's memory in it.
    pub dump_core: bool,
    /// `<currentMemory>`: what the guest has at its start, the balloon taking the rest.
    pub current_memory: Option<MemorySize>,
    /// `<maxMemory>`.
    pub max_memory: Option<MaxMemory>,
    /// `<memoryBacking>`.
    pub memory_backing: MemoryBacking,
    /// `<numatune>`.
    pub numatune: NumaTune,
    /// `<vcpu>`, default 1: how many there can be.
    pub vcpus: u32,
    /// `<vcpu current>`: how many there are at the start.
    pub vcpus_at_start: u32,
    /// `<iothreads>` and `<iothreadids>`.
    pub iothreads: Vec<IoThread>,
    /// `<defaultiothread>`.
    pub default_iothread: Option<DefaultIoThread>,
    /// `<cpu>`.
    pub cpu: CpuDef,
    /// `<os>`.
    pub os: OsDef,
    /// `<features>`.
    pub features: Features,
    /// `<clock>`.
    pub clock: ClockDef,
    /// `<pm>`.
    pub pm: PmDef,
    /// `<sysinfo>`, of which there may be one of each type.
    pub sysinfo: Vec<SysinfoDef>,
    /// `<genid>`.
    pub genid: Option<GenidDef>,
    /// What is said to QEMU directly.
    pub direct: DirectDef,
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

impl DomainDef {
    /// The controllers in document order.
    pub fn controllers(&self) -> impl Iterator<Item = &ControllerDef> {
        self.devices.iter().filter_map(|d| match d {
            Device::Controller(controller) => Some(controller),
            _ => None,
        })
    }

    /// What is plugged in at the start of the guest, besides memory devices: what the cells have, else
    /// what `<memory>` says without the devices.
    pub fn initial_memory(&self) -> MemorySize {
        if !self.cpu.cells.is_empty() {
            return MemorySize(self.cpu.cells.iter().map(|c| c.memory.0).fold(0, u64::saturating_add));
        }
        let plugged = self.memory_devices().map(|d| d.size.0).fold(0, u64::saturating_add);
        MemorySize(self.memory.0.saturating_sub(plugged))
    }

    /// The memory devices in document order.
    pub fn memory_devices(&self) -> impl Iterator<Item = &MemoryDeviceDef> {
        self.devices.iter().filter_map(|d| match d {
            Device::MemoryDevice(memory) => Some(memory),
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
