//! From a domain to QEMU's arguments.
//!
//! Owns the choice of the program, every argument and the guest's PCI addresses. Devices stand in the
//! order of the document. Descriptors come as numbers: paths of the host never reach QEMU. Must never open
//! anything, and never leave out silently what the document asks for: that is a finding.

mod args;
mod boot;
mod disk;
mod display;
mod machine;
mod nic;
mod serial;

use std::path::Path;

use super::host::QemuFacts;
use crate::model::{Device, DiskFormat, DomainDef, DomainKind, Finding, Severity, Uuid};
use args::{Args, Slots};

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

/// QEMU's arguments without the program's name, or all that `qemu` cannot do of what `def` asks for. The
/// guest starts stopped, and stays when it powers off, so that the reason can be read.
pub fn argv(
    def: &DomainDef,
    uuid: &Uuid,
    qemu: &QemuFacts,
    handed: &Handed,
) -> Result<Vec<String>, Vec<Finding>> {
    let machine = machine::resolve(def, qemu).map_err(|f| vec![f])?;
    let mut plan = Plan {
        def,
        qemu,
        machine,
        boot: boot::indexes(def),
        args: Args::default(),
        slots: Slots::new(machine.family, def),
        findings: Vec::new(),
    };
    machine::head(&mut plan, uuid, handed);
    boot::kernel(&mut plan, handed);
    devices(&mut plan, handed);
    display::none_or_default(&mut plan);
    plan.args.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    plan.args.pair("-msg", "timestamp=on");
    if plan.findings.is_empty() { Ok(plan.args.done()) } else { Err(plan.findings) }
}

/// A plan under way: what it is made from, and what is made.
struct Plan<'a> {
    def: &'a DomainDef,
    qemu: &'a QemuFacts,
    machine: machine::Machine<'a>,
    boot: boot::Indexes,
    args: Args,
    slots: Slots,
    findings: Vec<Finding>,
}

impl Plan<'_> {
    fn unsupported(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(finding(Severity::Unsupported, path, message, remedy));
    }

    fn error(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(finding(Severity::Error, path, message, remedy));
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

fn devices(plan: &mut Plan<'_>, handed: &Handed) {
    let (mut nics, mut disks, mut serials) = (0, 0, 0);
    for device in &plan.def.devices {
        match device {
            Device::Interface(nic) => {
                nic::add(plan, nic, nics, handed.nics.get(nics).copied());
                nics += 1;
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
        }
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
mod tests;
