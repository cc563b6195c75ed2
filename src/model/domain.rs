//! A domain's definition. Owns what `<domain>` means; must never know how QEMU is told.

use std::path::PathBuf;

use super::{IfName, Mac, MemorySize, ObjectName, Uuid};

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
    /// Children of `<devices>` in document order.
    pub devices: Vec<Device>,
}

impl DomainDef {
    /// The NICs in document order.
    pub fn interfaces(&self) -> impl Iterator<Item = &InterfaceDef> {
        self.devices.iter().filter_map(|d| match d {
            Device::Interface(nic) => Some(nic),
            _ => None,
        })
    }

    /// The disks in document order.
    pub fn disks(&self) -> impl Iterator<Item = &DiskDef> {
        self.devices.iter().filter_map(|d| match d {
            Device::Disk(disk) => Some(disk),
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

/// `<os>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsDef {
    /// `<type arch>`: `x86_64` or `i686`; the host's where it is not given.
    pub arch: String,
    /// `<type machine>`; absent means `pc`.
    pub machine: Option<String>,
    /// `<boot dev>` in order.
    pub boot: Vec<BootDev>,
    /// `<kernel>`.
    pub kernel: Option<PathBuf>,
    /// `<initrd>`.
    pub initrd: Option<PathBuf>,
    /// `<cmdline>`.
    pub cmdline: Option<String>,
}

/// `<boot dev>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum BootDev {
    Hd,
    Cdrom,
    Network,
    Fd,
}

/// A child of `<devices>` that Warren runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// `<disk>`
    Disk(DiskDef),
    /// `<interface>`
    Interface(InterfaceDef),
    /// `<serial>`, or a `<console>` that stands for one where the document has no `<serial>`.
    Serial(SerialDef),
    /// `<graphics>`
    Graphics(GraphicsDef),
    /// `<video>`
    Video(VideoDef),
}

/// `<disk>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskDef {
    /// Path of the element, for findings.
    pub path: String,
    /// `@device`.
    pub device: DiskDevice,
    /// `<source>`; absent for an empty CD-ROM drive.
    pub source: Option<DiskSource>,
    /// `<driver type>`, default raw (never probed).
    pub format: DiskFormat,
    /// `<target dev>`, as `hda` or `vdb`.
    pub target: String,
    /// `<target bus>`, else told from the target's prefix.
    pub bus: DiskBus,
    /// `<readonly/>`, and always for a CD-ROM.
    pub readonly: bool,
    /// `<boot order>`, from 1.
    pub boot_order: Option<u32>,
}

/// `<disk device>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum DiskDevice {
    Disk,
    Cdrom,
}

/// `<disk><source>`: both are paths on the host, opened with the owner's rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskSource {
    /// `type='file'`: a regular file.
    File(PathBuf),
    /// `type='block'`: a block device.
    Block(PathBuf),
}

impl DiskSource {
    /// The path, whichever kind it is.
    pub fn path(&self) -> &std::path::Path {
        match self {
            Self::File(p) | Self::Block(p) => p,
        }
    }
}

/// `<driver type>` of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are QEMU's")]
pub enum DiskFormat {
    Raw,
    Qcow2,
}

impl DiskFormat {
    /// QEMU's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// `<target bus>` of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum DiskBus {
    Ide,
    Sata,
    Scsi,
    Virtio,
}

/// `<interface>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceDef {
    /// Path of the element, for findings.
    pub path: String,
    /// `@type` with what belongs to it.
    pub kind: InterfaceKind,
    /// `<mac address>`; absent until the definition is complete.
    pub mac: Option<Mac>,
    /// `<model type>`, default virtio.
    pub model: NicModel,
    /// `<target dev>`: the TAP's name.
    pub target: Option<IfName>,
    /// `<link state>`, default up.
    pub link_up: bool,
    /// `<boot order>`, from 1.
    pub boot_order: Option<u32>,
    /// `<alias name>`: the name of the device in QEMU; `net0`, `net1` … where absent.
    pub alias: Option<String>,
    /// `<teaming>`: this NIC may share its MAC with its partner.
    pub teaming: bool,
}

/// `<interface type>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceKind {
    /// A TAP on a network's bridge.
    Network {
        /// `<source network>`.
        network: String,
    },
    /// A TAP on a bridge of the host.
    Bridge {
        /// `<source bridge>`, or `<source dev>` as in 2007.
        bridge: IfName,
    },
    /// A TAP that the user's script sets up.
    Ethernet {
        /// `<script path>`; absent: the TAP is only made and set up.
        script: Option<PathBuf>,
        /// `<downscript path>`.
        downscript: Option<PathBuf>,
    },
    /// QEMU's own user-mode network (SLIRP).
    User,
    /// A TCP socket that waits for one client.
    Server(SocketAddress),
    /// A TCP connection to a server.
    Client(SocketAddress),
    /// A UDP multicast group, the format User-Mode Linux also speaks.
    Mcast(SocketAddress),
    /// A pair of UDP sockets.
    Udp {
        /// `<source address port>`: where frames are sent to.
        remote: SocketAddress,
        /// `<source><local address port>`: where they are taken.
        local: SocketAddress,
    },
}

impl InterfaceKind {
    /// The word in the document.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Network { .. } => "network",
            Self::Bridge { .. } => "bridge",
            Self::Ethernet { .. } => "ethernet",
            Self::User => "user",
            Self::Server(_) => "server",
            Self::Client(_) => "client",
            Self::Mcast(_) => "mcast",
            Self::Udp { .. } => "udp",
        }
    }

    /// Whether it has a TAP, which `<target dev>` then names.
    pub fn has_tap(&self) -> bool {
        matches!(self, Self::Network { .. } | Self::Bridge { .. } | Self::Ethernet { .. })
    }
}

/// `<source address port>` of a socket NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketAddress {
    /// An IP address or a host name; empty means what the type says: any local address for a server,
    /// 127.0.0.1 for a client and for udp, 239.0.0.1 for mcast.
    pub address: String,
    /// 1 to 65535.
    pub port: u16,
}

/// `<model type>` of a NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are QEMU's")]
pub enum NicModel {
    Virtio,
    E1000,
    E1000e,
    Rtl8139,
    Ne2kPci,
    Pcnet,
}

impl NicModel {
    /// The word in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::E1000 => "e1000",
            Self::E1000e => "e1000e",
            Self::Rtl8139 => "rtl8139",
            Self::Ne2kPci => "ne2k_pci",
            Self::Pcnet => "pcnet",
        }
    }
}

/// `<serial>`: a socket that the daemon reads; what `type` the document gives (`pty` or `unix`)
/// makes no difference to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SerialDef {
    /// Path of the element, for findings.
    pub path: String,
    /// `<target port>`, else the one after the highest so far, from 0.
    pub port: u32,
}

/// `<graphics type='vnc'>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphicsDef {
    /// Path of the element, for findings.
    pub path: String,
    /// `@port` from 5900; `None` for `-1` or `autoport='yes'`: QEMU picks a free one.
    pub port: Option<u16>,
    /// `@listen` or `<listen type='address' address>`, default 127.0.0.1.
    pub listen: std::net::IpAddr,
}

/// `<video><model type>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoDef {
    /// Path of the element, for findings.
    pub path: String,
    /// `vga`, `cirrus`, `virtio`, `bochs` or `none`.
    pub model: String,
}
