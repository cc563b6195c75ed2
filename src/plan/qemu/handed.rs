//! Descriptors that a new QEMU inherits. Owns which device gets which; must never open one.

use crate::model::{Device, DiskFormat, DiskSource, DomainDef, InterfaceKind};

/// Descriptors that QEMU inherits, by their numbers in the new process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handed {
    /// A listening unix socket for the monitor.
    pub qmp: i32,
    /// A listening unix socket for each serial device, in order.
    pub serials: Vec<i32>,
    /// One for each interface, in order.
    pub nics: Vec<NicFd>,
    /// For each disk, in order, its image and then the chain below it; empty for a drive without medium.
    pub disks: Vec<Vec<ImageFd>>,
    /// The kernel's content.
    pub kernel: Option<i32>,
    /// The initial RAM disk's content.
    pub initrd: Option<i32>,
    /// The time at the start, in seconds since 1970, for clocks that are counted from it.
    pub now: i64,
}

/// What an interface is handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicFd {
    /// Nothing: QEMU opens its own socket.
    None,
    /// A TAP device's queue.
    Tap(i32),
    /// A connected TCP socket.
    Client(i32),
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
    /// of each disk only the image that the document names is there.
    pub fn for_a_look(def: &DomainDef, first: i32) -> Self {
        let mut next = first - 1;
        let mut number = || {
            next += 1;
            next
        };
        let qmp = number();
        let serials = def.devices.iter().filter(|d| matches!(d, Device::Serial(_)));
        let serials = serials.map(|_| number()).collect();
        let nics = def.interfaces().map(|nic| match &nic.kind {
            kind if kind.has_tap() => NicFd::Tap(number()),
            InterfaceKind::Client(_) => NicFd::Client(number()),
            _ => NicFd::None,
        });
        let nics = nics.collect();
        let image = |(set, disk): (usize, &crate::model::DiskDef)| {
            let set = u32::try_from(set).unwrap_or(0) + 1;
            let block = matches!(disk.source, Some(DiskSource::Block(_)));
            let top = ImageFd { fd: number(), set, format: disk.format, readonly: disk.readonly, block };
            if disk.source.is_some() { vec![top] } else { Vec::new() }
        };
        let disks = def.disks().enumerate().map(image).collect();
        let kernel = def.os.kernel.is_some().then(&mut number);
        let initrd = def.os.initrd.is_some().then(&mut number);
        Self { qmp, serials, nics, disks, kernel, initrd, now: 0 }
    }
}
