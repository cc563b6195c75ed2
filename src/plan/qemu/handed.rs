//! Descriptors that a new QEMU inherits. Owns which device gets which; must never open one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::names::char_devices;
use crate::model::{
    Device, DiskDef, DiskFormat, DomainDef, InterfaceDef, InterfaceKind, Listen, Location, NicBackendDriver,
};

/// Descriptors that QEMU inherits, by their numbers in the new process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handed {
    /// A listening unix socket for the monitor.
    pub qmp: i32,
    /// A listening unix socket for each character device that the daemon reads or keeps, by the path of its
    /// element.
    pub chars: BTreeMap<String, i32>,
    /// A directory in which QEMU may make the sockets of displays that have no path of their own.
    pub display_dir: Option<i32>,
    /// Where displays listen on TCP.
    pub displays: DisplayPlaces,
    /// One for each interface, in order.
    pub nics: Vec<NicFd>,
    /// For each disk, in order, what is opened of its chain from the top down: files, block devices, sockets of
    /// servers, and what the lowest image of the document names itself. Empty for a drive without medium.
    pub disks: Vec<Vec<ImageFd>>,
    /// For each filesystem, in order, its directory where QEMU itself serves it.
    pub filesystems: Vec<Option<i32>>,
    /// The firmware's code: of a ROM its content.
    pub code: Option<FlashFd>,
    /// The variables of firmware in flash.
    pub vars: Option<FlashFd>,
    /// The host's end of `<vsock>`.
    pub vsock: Option<i32>,
    /// The kernel's content.
    pub kernel: Option<i32>,
    /// The initial RAM disk's content.
    pub initrd: Option<i32>,
    /// The first number that is free, for [`super::Sealed`].
    pub next: i32,
    /// The time at the start, in seconds since 1970, for clocks that are counted from it.
    pub now: i64,
}

/// Where the displays of one guest listen that do so on TCP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "they are named after what they are of")]
pub struct DisplayPlaces {
    pub vnc: Option<DisplayPlace>,
    pub spice: Option<DisplayPlace>,
}

/// An address with a free port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayPlace {
    /// The address of the document, or the one that its name stands for.
    pub address: IpAddr,
    /// From 5900 on for VNC.
    pub port: u16,
    /// The port of VNC's websocket, if it has one.
    pub websocket: Option<u16>,
}

/// What an interface is handed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NicFd {
    /// Nothing: QEMU opens its own socket.
    None,
    /// A TAP device.
    Tap {
        /// One for each queue.
        queues: Vec<i32>,
        /// `/dev/vhost-net`, opened once for each queue; empty: QEMU moves the frames itself.
        vhost: Vec<i32>,
    },
    /// A connected TCP socket.
    Client(i32),
    /// A vDPA device.
    Vdpa {
        /// Its descriptor.
        fd: i32,
        /// The number of its descriptor set, unique in the guest.
        set: u32,
    },
}

/// An opened image of flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashFd {
    /// Its descriptor.
    pub fd: i32,
    /// The number of its descriptor set, unique in the guest.
    pub set: u32,
}

/// One opened image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageFd {
    /// Its descriptor.
    pub fd: i32,
    /// The number of its descriptor set, unique in the guest.
    pub set: u32,
    /// What it holds.
    pub format: DiskFormat,
    /// Whether the descriptor is for reading only.
    pub readonly: bool,
    /// Whether it is a block device.
    pub block: bool,
}

impl Handed {
    /// Descriptors as a start would number them from `first`, for a look at the arguments; none is open, and
    /// of each disk only the image that the document names is there. `vhost_net`: whether the host has it.
    pub fn for_a_look(def: &DomainDef, first: i32, vhost_net: bool) -> Self {
        let mut next = first - 1;
        let mut number = || {
            next += 1;
            next
        };
        let qmp = number();
        let chars = char_devices(def).into_iter().filter(|d| d.has_socket());
        let chars = chars.map(|d| (d.source.path.clone(), number())).collect();
        // The sets of disks are numbered from 1, and of this look each disk has one.
        let mut set = u32::try_from(def.disks().count()).unwrap_or(0);
        let nics = def.interfaces().map(|nic| match &nic.kind {
            kind if kind.has_tap() => {
                let (queues, vhost) = queues(nic, &def.os.arch, vhost_net);
                let queues = (0..queues).map(|_| number()).collect();
                NicFd::Tap { queues, vhost: (0..vhost).map(|_| number()).collect() }
            }
            InterfaceKind::Client(_) => NicFd::Client(number()),
            InterfaceKind::Vdpa { .. } => {
                set += 1;
                NicFd::Vdpa { fd: number(), set }
            }
            _ => NicFd::None,
        });
        let nics = nics.collect();
        let nic_sets = set;
        let mut set = 0;
        let mut image = |disk: &DiskDef| {
            let chain = disk.source.iter().flat_map(|top| top.chain().enumerate());
            let opened = chain.filter(|(_, image)| image.location.opened().is_some());
            let fd = opened.map(|(depth, image)| {
                set += 1;
                let block = matches!(image.location, Location::Block(_));
                let readonly = disk.readonly || depth > 0;
                ImageFd { fd: number(), set, format: image.format, readonly, block }
            });
            fd.collect()
        };
        let disks = def.disks().map(&mut image).collect();
        let filesystems = def.filesystems().map(|f| f.source_directory().map(|_| number())).collect();
        let mut flash_set = nic_sets.max(set);
        let has_firmware = def.os.firmware.is_some() || def.os.loader.is_some();
        let mut flash = || {
            flash_set += 1;
            FlashFd { fd: number(), set: flash_set }
        };
        let code = has_firmware.then(&mut flash);
        let vars = has_firmware.then(&mut flash);
        let kernel = def.os.kernel.is_some().then(&mut number);
        let initrd = def.os.initrd.is_some().then(&mut number);
        let vsock = def.devices.iter().any(|d| matches!(d, Device::Vsock(_))).then(&mut number);
        let display_dir = has_display_socket(def).then(&mut number);
        let next = number();
        let of_devices = Self { qmp, chars, nics, disks, filesystems, display_dir, vsock, ..Self::default() };
        Self { code, vars, kernel, initrd, next, ..of_devices }
    }
}

/// The kernel's bound for the queues of a TAP.
pub const MAX_QUEUES: u32 = 256;

/// How many queues the TAP of an interface has, and how many of them the kernel's virtio serves where it is:
/// all, unless QEMU is asked to. Both are for virtio NICs only.
pub fn queues(nic: &InterfaceDef, arch: &str, vhost_net: bool) -> (u32, u32) {
    if !nic.model_on(arch).is_some_and(|model| model.is_virtio()) {
        return (1, 0);
    }
    let queues = nic.driver.queues.unwrap_or(1).clamp(1, MAX_QUEUES);
    let vhost = vhost_net && nic.driver.name != Some(NicBackendDriver::Qemu);
    (queues, if vhost { queues } else { 0 })
}

/// Whether a display listens on a unix socket of which the path is left to the service.
pub fn has_display_socket(def: &DomainDef) -> bool {
    def.devices.iter().any(|device| match device {
        Device::Graphics(graphics) => graphics.listens.contains(&Listen::Socket(None)),
        _ => false,
    })
}
