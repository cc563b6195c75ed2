//! From a domain to QEMU's arguments.
//!
//! Owns the choice of the program, every argument and the guest's PCI addresses. Devices stand in the
//! order of the document. Descriptors come as numbers: paths of the host never reach QEMU. Must never open
//! anything, and never leave out silently what the document asks for: that is a finding.

mod args;
mod boot;
mod disk;
mod disk_image;
mod disk_network;
mod disk_place;
mod display;
mod filesystem;
mod handed;
mod hostdev;
mod machine;
mod nic;
mod redirdev;
mod serial;
mod shmem;

use std::path::Path;

use super::host::QemuFacts;
use crate::model::{Device, DeviceInfo, DomainDef, DomainKind, Finding, InterfaceKind, Severity, Uuid};
use args::{Args, Slots};
pub use handed::{Handed, ImageFd, MAX_QUEUES, NicFd, queues};
pub use nic::alias as nic_alias;

/// The program that runs the domain: the one that `<emulator>` names, else the first of `found` that has
/// the guest's architecture. A 32 bit guest also runs on the 64 bit program.
pub fn choose<'a>(def: &DomainDef, found: &'a [QemuFacts]) -> Result<&'a QemuFacts, Finding> {
    let arch = def.os.arch.as_str();
    // The program made for the architecture goes first.
    let wanted: &[&str] = match arch {
        "i686" | "i386" => &["i386", "x86_64"],
        "x86_64" => &["x86_64"],
        _ => &[],
    };
    let serving = wanted.iter().find_map(|w| found.iter().find(|q| q.arch == *w));
    let chosen = match &def.emulator {
        None => serving.ok_or_else(|| no_program(arch, wanted))?,
        Some(path) => match found.iter().find(|q| q.path == *path) {
            Some(named) if wanted.contains(&named.arch.as_str()) => named,
            Some(named) => {
                let message =
                    format!("'{}' runs {} guests, and this one is {arch}", path.display(), named.arch);
                return Err(finding(Severity::Error, EMULATOR, message, other_program(serving)));
            }
            None => {
                let message = format!("there is no QEMU at '{}'", path.display());
                return Err(finding(Severity::Error, EMULATOR, message, other_program(serving)));
            }
        },
    };
    if def.kind == DomainKind::Kvm && !chosen.kvm {
        let message = format!("'{}' cannot use KVM on this host", chosen.path.display());
        let remedy = "write <domain type='qemu'>, which emulates, or give access to a working /dev/kvm";
        return Err(finding(Severity::Unsupported, "/domain/@type", message, remedy));
    }
    Ok(chosen)
}

const EMULATOR: &str = "/domain/devices/emulator";

fn other_program(serving: Option<&QemuFacts>) -> String {
    match serving {
        Some(q) => format!("'{}' would serve: name it, or leave <emulator> out", q.path.display()),
        None => "install the package qemu-system-x86 (Debian) or qemu-kvm (Fedora)".into(),
    }
}

fn no_program(arch: &str, wanted: &[&str]) -> Finding {
    let (message, remedy) = if wanted.is_empty() {
        (format!("guests of architecture '{arch}' are not supported"), "x86_64 and i686 are".to_owned())
    } else {
        (format!("no QEMU for {arch} guests is installed"), other_program(None))
    };
    finding(Severity::Unsupported, "/domain/os/type/@arch", message, remedy)
}

/// Where a disk sits on its disk controller: as the document says, or as its target stands for. `None` where it
/// sits on none.
pub(super) fn drive_address(disk: &crate::model::DiskDef) -> Option<crate::model::DriveAddress> {
    use crate::model::DiskBus;
    let on_controller = matches!(disk.bus, DiskBus::Ide | DiskBus::Sata | DiskBus::Scsi | DiskBus::Fdc);
    let number = disk_place::number(&disk.target).filter(|_| on_controller)?;
    Some(disk_place::address(disk, number))
}

/// The texts that QEMU is to read from descriptors, since arguments can be seen by everybody. In the order of
/// [`Handed::secrets`].
pub fn secrets(def: &DomainDef) -> Vec<String> {
    disk_network::secrets(def)
}

/// What would be run, and all that stands against it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Planned {
    /// QEMU's arguments without the program's name; to be run only where there are no findings.
    pub argv: Vec<String>,
    /// QMP commands with their arguments, for when QEMU is up and before the guest runs.
    pub settings: Vec<(&'static str, serde_json::Value)>,
    /// What this QEMU, or this Warren, cannot do of what the document asks for.
    pub findings: Vec<Finding>,
}

/// QEMU's arguments for `def`. The guest starts stopped, and stays when it powers off, so that the reason can
/// be read.
pub fn plan(def: &DomainDef, uuid: &Uuid, qemu: &QemuFacts, handed: &Handed) -> Planned {
    let machine = match machine::resolve(def, qemu) {
        Ok(machine) => machine,
        Err(finding) => return Planned { findings: vec![finding], ..Planned::default() },
    };
    let mut plan = Plan {
        def,
        qemu,
        machine,
        boot: boot::indexes(def),
        args: Args::default(),
        slots: Slots::new(machine.family, def),
        secrets: handed.secrets.clone().into_iter(),
        settings: Vec::new(),
        findings: Vec::new(),
    };
    machine::head(&mut plan, uuid, handed);
    boot::kernel(&mut plan, handed);
    devices(&mut plan, handed);
    display::none_or_default(&mut plan);
    plan.args.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    plan.args.pair("-msg", "timestamp=on");
    Planned { argv: plan.args.done(), settings: plan.settings, findings: plan.findings }
}

/// A plan under way: what it is made from, and what is made.
struct Plan<'a> {
    def: &'a DomainDef,
    qemu: &'a QemuFacts,
    machine: machine::Machine<'a>,
    boot: boot::Indexes,
    args: Args,
    slots: Slots,
    /// Descriptors of [`secrets`] that are not given out yet.
    secrets: std::vec::IntoIter<i32>,
    settings: Vec<(&'static str, serde_json::Value)>,
    findings: Vec<Finding>,
}

impl Plan<'_> {
    fn unsupported(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(finding(Severity::Unsupported, path, message, remedy));
    }

    fn error(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(finding(Severity::Error, path, message, remedy));
    }

    /// Gives a device its place on the guest's PCI bus.
    fn place(&mut self, info: &DeviceInfo, device: &mut serde_json::Value) {
        if !self.slots.other(device) {
            self.unsupported(&info.path, "the guest's PCI bus is full", "leave out devices");
        }
    }

    /// Adds a device, if this QEMU has its driver.
    fn device(&mut self, path: &str, device: &serde_json::Value) {
        let driver = device["driver"].as_str().unwrap_or_default();
        if !self.qemu.devices.contains(driver) {
            let message = format!("'{}' has no device '{driver}'", self.qemu.path.display());
            self.unsupported(path, message, "choose another model, or install QEMU with its modules");
        }
        self.args.json("-device", device);
    }
}

/// Devices by class in the order in which libvirt lists them, and within a class as in the document.
fn devices(plan: &mut Plan<'_>, handed: &Handed) {
    let mut devices: Vec<&Device> = plan.def.devices.iter().collect();
    // Among the devices of the host, NICs come first.
    devices.sort_by_key(|d| (rank(d), !matches!(d, Device::Interface(_))));
    let (mut disks, mut serials) = (0, 0);
    let (mut filesystems, mut redirs, mut hostdevs, mut shmems) = (0, 0, 0, 0);
    disk_image::throttle_groups(plan);
    for device in devices {
        match device {
            Device::Interface(nic) => {
                let index = plan.def.interfaces().position(|other| std::ptr::eq(other, &**nic)).unwrap_or(0);
                nic::add(plan, nic, index, handed.nics.get(index));
            }
            Device::Disk(disk) => {
                disk::add(plan, disk, disks, handed.disks.get(disks).map(Vec::as_slice));
                disks += 1;
            }
            Device::Serial(serial) => {
                serial::add(plan, serial, handed.serials.get(serials).copied());
                serials += 1;
            }
            Device::Graphics(graphics) => display::graphics(plan, graphics),
            Device::Video(video) => display::video(plan, video),
            Device::Iommu(d) => not_yet(plan, &d.info),
            Device::Controller(d) => not_yet(plan, &d.info),
            Device::MemoryDevice(d) => not_yet(plan, &d.info),
            Device::Hub(d) => not_yet(plan, &d.info),
            Device::Filesystem(d) => {
                filesystem::add(plan, d, filesystems, handed.filesystems.get(filesystems).copied().flatten());
                filesystems += 1;
            }
            Device::Smartcard(d) => not_yet(plan, &d.info),
            Device::Parallel(d) => not_yet(plan, &d.info),
            Device::Channel(d) => not_yet(plan, &d.info),
            Device::Console(d) => not_yet(plan, &d.info),
            Device::Tpm(d) => not_yet(plan, &d.info),
            Device::Input(d) => not_yet(plan, &d.info),
            Device::Audio(d) => not_yet(plan, &d.info),
            Device::Sound(d) => not_yet(plan, &d.info),
            Device::Watchdog(d) => not_yet(plan, &d.info),
            Device::Redirdev(d) => {
                redirdev::add(plan, d, redirs);
                redirs += 1;
            }
            Device::Hostdev(d) => {
                hostdev::add(plan, d, hostdevs);
                hostdevs += 1;
            }
            Device::Memballoon(d) => not_yet(plan, &d.info),
            Device::Rng(d) => not_yet(plan, &d.info),
            Device::Nvram(d) => not_yet(plan, &d.info),
            Device::Panic(d) => not_yet(plan, &d.info),
            Device::Shmem(d) => {
                shmem::add(plan, d, shmems);
                shmems += 1;
            }
            Device::Vsock(d) => not_yet(plan, &d.info),
            Device::Crypto(d) => not_yet(plan, &d.info),
            Device::Pstore(d) => not_yet(plan, &d.info),
            Device::Lease(d) => not_yet(plan, &d.info),
        }
    }
}

/// Sets a property, where there is something to set it to.
fn set(device: &mut serde_json::Value, name: &str, value: Option<impl Into<serde_json::Value>>) {
    if let Some(value) = value {
        device[name] = value.into();
    }
}

/// A device that is read and cannot be run.
fn not_yet(plan: &mut Plan<'_>, info: &DeviceInfo) {
    plan.unsupported(&info.path, "Warren does not run this device yet", "");
}

/// The place of a device's class on the command line.
fn rank(device: &Device) -> u8 {
    match device {
        Device::Iommu(_) => 0,
        Device::Controller(_) => 1,
        Device::MemoryDevice(_) => 2,
        Device::Hub(_) => 3,
        Device::Disk(_) => 4,
        Device::Filesystem(_) => 5,
        Device::Interface(nic) if matches!(nic.kind, InterfaceKind::Hostdev { .. }) => 20,
        Device::Interface(_) => 6,
        Device::Smartcard(_) => 7,
        Device::Serial(_) => 8,
        Device::Parallel(_) => 9,
        Device::Channel(_) => 10,
        Device::Console(_) => 11,
        Device::Tpm(_) => 12,
        Device::Input(_) => 13,
        Device::Audio(_) => 14,
        Device::Graphics(_) => 15,
        Device::Video(_) => 16,
        Device::Sound(_) => 17,
        Device::Watchdog(_) => 18,
        Device::Redirdev(_) => 19,
        Device::Hostdev(_) => 20,
        Device::Memballoon(_) => 21,
        Device::Rng(_) => 22,
        Device::Nvram(_) => 23,
        Device::Panic(_) => 24,
        Device::Shmem(_) => 25,
        Device::Vsock(_) => 26,
        Device::Crypto(_) => 27,
        Device::Pstore(_) => 28,
        Device::Lease(_) => 29,
    }
}

fn finding(severity: Severity, path: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        severity,
        path: path.to_owned(),
        line: 0,
        column: 0,
        message: message.into(),
        remedy: remedy.into(),
    }
}

/// The path by which a process reaches its own descriptor as a file.
fn fd_path(fd: i32) -> String {
    Path::new("/proc/self/fd").join(fd.to_string()).display().to_string()
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod tests;
