//! From a domain to QEMU's arguments.
//!
//! Owns the choice of the program, every argument and the guest's PCI addresses. Devices stand in the
//! order of the document. Descriptors come as numbers: paths of the host never reach QEMU. Must never open
//! anything, and never leave out silently what the document asks for: that is a finding.

mod args;
mod boot;
mod chardev;
mod console;
mod controller;
mod cpu;
mod direct;
mod disk;
mod disk_image;
mod disk_network;
mod disk_nodes;
mod disk_place;
mod display;
mod feature;
mod filesystem;
mod firmware;
mod handed;
mod hostdev;
mod implied;
mod input;
mod iommu;
mod layout;
mod machine;
mod memory;
mod memory_device;
mod names;
mod nic;
mod reach;
mod redirdev;
mod rng;
mod shmem;
mod small;
mod smbios;
mod sound;
mod spice;
mod time;
mod unseen;
mod video;
mod virtio;

use std::path::Path;

use super::host::QemuFacts;
use crate::model::{
    Address, Device, DeviceInfo, DomainDef, DomainKind, Finding, InterfaceKind, PciAddress, Severity, Uuid,
};
use args::{Args, Slots};
pub use feature::translation_cache;
pub use handed::{
    DisplayPlace, DisplayPlaces, FlashFd, Handed, ImageFd, MAX_QUEUES, NicFd, has_display_socket, queues,
};
pub(super) use layout::drive_of as drive_address;
use layout::{Layout, Wishes};
pub(super) use layout::{Places, places};
pub use names::{CharDevice, char_devices};
pub use nic::alias as nic_alias;
pub use reach::{Reach, reach, unlimited, uses_ssh};
use unseen::Unseen;
pub use unseen::{EXIT_PRECONFIG, Options, Sealed, most_sealed};
pub use video::held as video_memory;

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

/// What would be run, and all that stands against it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Planned {
    /// QEMU's arguments without the program's name; to be run only where there are no findings.
    pub argv: Vec<String>,
    /// What QEMU reads from descriptors of its own, since everybody can see its arguments.
    pub sealed: Vec<Sealed>,
    /// Of these the options that would otherwise be arguments.
    pub options: Options,
    /// QMP commands with their arguments, for when QEMU is up and before the guest runs. Those up to
    /// [`EXIT_PRECONFIG`], if it is among them, are for the time before there is a machine.
    pub settings: Vec<(&'static str, serde_json::Value)>,
    /// What each device is called in QEMU, and where it sits.
    pub assigned: Vec<Assigned>,
    /// What this QEMU, or this Warren, cannot do of what the document asks for.
    pub findings: Vec<Finding>,
}

/// What a device of the document is given at a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Path of the element.
    pub path: String,
    /// Its name in QEMU.
    pub alias: String,
    /// Its place on PCI, where it has one.
    pub pci: Option<PciAddress>,
}

/// QEMU's arguments for `def`. The guest starts stopped, and stays when it powers off, so that the reason can
/// be read.
pub fn plan(def: &DomainDef, uuid: &Uuid, qemu: &QemuFacts, handed: &Handed) -> Planned {
    let machine = match machine::resolve(def, qemu) {
        Ok(machine) => machine,
        Err(finding) => return Planned { findings: vec![finding], ..Planned::default() },
    };
    // Once to hear which places the devices want, and once with the places.
    let mut listening = Plan::new(def, qemu, machine, Layout::begin(def, machine), handed);
    listening.listening = true;
    whole(&mut listening, uuid, handed);
    let (layout, findings) = Layout::finish(def, machine, listening.wishes);
    let mut plan = Plan::new(def, qemu, machine, layout, handed);
    plan.findings = findings;
    whole(&mut plan, uuid, handed);
    let (sealed, options) = plan.point_to_the_unseen();
    direct::add(&mut plan);
    Planned {
        argv: plan.args.done(),
        sealed,
        options,
        settings: plan.settings,
        assigned: plan.assigned,
        findings: plan.findings,
    }
}

fn whole(plan: &mut Plan<'_>, uuid: &Uuid, handed: &Handed) {
    machine::head(plan, uuid, handed);
    boot::kernel(plan, handed);
    display::none(plan);
    devices(plan, handed);
    plan.args.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    plan.args.pair("-msg", "timestamp=on");
}

/// A plan under way: what it is made from, and what is made.
struct Plan<'a> {
    def: &'a DomainDef,
    qemu: &'a QemuFacts,
    machine: machine::Machine<'a>,
    boot: boot::Indexes,
    args: Args,
    slots: Slots,
    /// Where everything sits; while the devices' wishes are heard, the controllers alone.
    layout: Layout,
    wishes: Wishes,
    listening: bool,
    /// The turn in which the device that is being planned gets its place.
    turn: u8,
    unseen: Unseen,
    /// The block nodes of the disk that is being planned.
    nodes: Vec<serde_json::Value>,
    settings: Vec<(&'static str, serde_json::Value)>,
    assigned: Vec<Assigned>,
    findings: Vec<Finding>,
}

impl<'a> Plan<'a> {
    fn new(
        def: &'a DomainDef,
        qemu: &'a QemuFacts,
        machine: machine::Machine<'a>,
        layout: Layout,
        handed: &Handed,
    ) -> Self {
        Self {
            def,
            qemu,
            machine,
            boot: boot::indexes(def),
            args: Args::default(),
            slots: Slots::default(),
            layout,
            wishes: Wishes::default(),
            listening: false,
            turn: 0,
            unseen: Unseen::new(def, handed.next),
            nodes: Vec::new(),
            settings: Vec::new(),
            assigned: Vec::new(),
            findings: Vec::new(),
        }
    }
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
        self.sits_as(info, "pci", |address| matches!(address, Address::Pci(_)));
        set(device, "acpi-index", info.acpi_index);
        layout::pci(self, info, device);
    }

    /// An address of another kind than the device's place would be passed over.
    fn sits_as(&mut self, info: &DeviceInfo, kind: &str, fits: fn(&Address) -> bool) {
        if info.address.as_ref().is_some_and(|address| !fits(address)) {
            let message = "the device does not sit on what has such addresses";
            let remedy = format!("write type='{kind}', or leave <address> out");
            self.unsupported(&format!("{}/address/@type", info.path), message, remedy);
        }
        if info.acpi_index.is_some() && kind != "pci" {
            let message = "only devices on PCI have numbers in ACPI";
            self.unsupported(&format!("{}/acpi", info.path), message, "leave it out");
        }
    }

    /// Gives a USB device its `bus` and `port`.
    fn usb_place(&mut self, info: &DeviceInfo, device: &mut serde_json::Value) {
        self.sits_as(info, "usb", |address| matches!(address, Address::Usb { .. }));
        layout::usb(self, info, device);
    }

    /// Gives a drive of an IDE, SATA, SCSI or floppy controller its `bus`, and its `unit` or `channel`,
    /// `scsi-id` and `lun`.
    fn drive_place(&mut self, info: &DeviceInfo, device: &mut serde_json::Value) {
        self.sits_as(info, "drive", |address| matches!(address, Address::Drive(_)));
        layout::drive(self, info, device);
    }

    /// Gives a port of a virtio-serial controller its `bus` and `nr`, and a smartcard the `bus` of its reader.
    fn port_place(&mut self, info: &DeviceInfo, device: &mut serde_json::Value) {
        self.sits_as(info, "virtio-serial", |address| matches!(address, Address::Port { .. }));
        if let Some(Address::Port { bus: 1.., .. }) = info.address {
            let path = format!("{}/address/@bus", info.path);
            self.unsupported(&path, "a controller of ports has one bus", "write bus='0'");
        }
        layout::port(self, info, device);
    }

    /// The name of a device in QEMU: its alias, or `KIND` with its number among its like.
    fn name(&mut self, info: &DeviceInfo, kind: &str, index: usize) -> String {
        let name = info.alias.clone().unwrap_or_else(|| format!("{kind}{index}"));
        if !self.slots.take_id(&name) {
            self.error(&info.path, format!("the alias '{name}' is there twice"), "give each device its own");
        }
        name
    }

    /// Adds a device, if this QEMU has its driver.
    fn device(&mut self, path: &str, device: &serde_json::Value) {
        let mut device = device.clone();
        direct::overridden(self, &mut device);
        let driver = device["driver"].as_str().unwrap_or_default();
        if !self.qemu.devices.contains(own_name(driver)) {
            let message = format!("'{}' has no device '{driver}'", self.qemu.path.display());
            self.unsupported(path, message, "choose another model, or install QEMU with its modules");
        }
        if let Some(alias) = device["id"].as_str() {
            let pci = self.layout.pci.get(path).copied();
            self.assigned.push(Assigned { path: path.to_owned(), alias: alias.to_owned(), pci });
        }
        if virtio::is_old_behind_iommu(self, path, &device) {
            let message = "QEMU puts only a device that speaks no older virtio behind an IOMMU";
            let remedy = "write model='virtio-non-transitional', or leave iommu='on' out";
            self.unsupported(&format!("{path}/driver/@iommu"), message, remedy);
        }
        self.args.json("-device", &device);
    }
}

/// Devices by class in the order in which libvirt lists them, and within a class as in the document, those
/// that it leaves to be understood at the end.
fn devices(plan: &mut Plan<'_>, handed: &Handed) {
    let implied = implied::devices(plan.def);
    let mut devices: Vec<&Device> = plan.def.devices.iter().chain(&implied).collect();
    // Among the devices of the host, NICs come first.
    devices.sort_by_key(|d| (rank(d), !matches!(d, Device::Interface(_))));
    disk_image::throttle_groups(plan);
    let mut counts = [0; RANKS];
    let (mut after_controllers, mut after_hubs) = (false, false);
    for device in devices {
        if !after_controllers && rank(device) > CONTROLLERS {
            after_controllers = true;
            controller::all(plan);
        }
        if !after_hubs && rank(device) > HUBS {
            after_hubs = true;
            controller::added_hubs(plan, counts[usize::from(HUBS)]);
        }
        let count = &mut counts[usize::from(rank(device))];
        let index = *count;
        *count += 1;
        plan.turn = layout::turn(device);
        add(plan, handed, device, index);
    }
}

/// Adds a device, the `index`th of its class.
fn add(plan: &mut Plan<'_>, handed: &Handed, device: &Device, index: usize) {
    match device {
        Device::Interface(nic) => {
            let index = plan.def.interfaces().position(|other| std::ptr::eq(other, &**nic)).unwrap_or(0);
            nic::add(plan, nic, index, handed.nics.get(index));
        }
        Device::Disk(disk) => disk::add(plan, disk, index, handed.disks.get(index).map(Vec::as_slice)),
        Device::Serial(serial) => console::serial(plan, handed, serial, index),
        Device::Parallel(parallel) => console::parallel(plan, handed, parallel, index),
        Device::Channel(channel) => console::channel(plan, handed, channel, index),
        Device::Console(console) => console::console(plan, handed, console, index),
        Device::Smartcard(card) => console::smartcard(plan, handed, card, index),
        Device::Graphics(graphics) => display::add(plan, handed, graphics),
        Device::Video(video) => video::add(plan, video, index),
        Device::Input(input) => input::add(plan, input, index),
        Device::Audio(audio) => sound::audio(plan, audio),
        Device::Sound(sound) => sound::add(plan, sound, index),
        Device::Watchdog(watchdog) => small::watchdog(plan, watchdog, index),
        Device::Memballoon(balloon) => small::memballoon(plan, balloon),
        Device::Rng(rng) => rng::add(plan, handed, rng, index),
        Device::Crypto(crypto) => rng::crypto(plan, crypto, index),
        Device::Panic(panic) => small::panic(plan, panic),
        Device::Vsock(vsock) => small::vsock(plan, handed, vsock),
        Device::Pstore(pstore) => small::pstore(plan, pstore),
        Device::Tpm(tpm) => small::tpm(plan, tpm, index),
        Device::Iommu(iommu) => iommu::add(plan, iommu),
        // Those of the document and those that are needed come together.
        Device::Controller(_) => {}
        Device::MemoryDevice(memory) => memory_device::add(plan, memory, index),
        Device::Hub(hub) => controller::hub(plan, hub, index),
        Device::Filesystem(filesystem) => {
            let directory = handed.filesystems.get(index).copied().flatten();
            filesystem::add(plan, filesystem, index, directory);
        }
        Device::Redirdev(redirdev) => redirdev::add(plan, handed, redirdev, index),
        Device::Hostdev(hostdev) => hostdev::add(plan, hostdev, index),
        Device::Nvram(d) => not_yet(plan, &d.info),
        Device::Shmem(shmem) => shmem::add(plan, shmem, index),
        Device::Lease(d) => not_yet(plan, &d.info),
    }
}

/// The place of a device on the ISA bus, where the document gives one.
fn isa(info: &DeviceInfo, device: &mut serde_json::Value) {
    if let Some(Address::Isa { iobase, irq }) = info.address {
        for (name, value) in [("iobase", iobase), ("irq", irq)] {
            if let Some(value) = value {
                device[name] = value.into();
            }
        }
    }
}

/// The rank after which the controllers come.
const CONTROLLERS: u8 = 0;
/// The rank after which the hubs come that the document does not have.
const HUBS: u8 = 3;

/// The name of a driver that QEMU also knows by another one.
fn own_name(driver: &str) -> &str {
    match driver {
        "ahci" => "ich9-ahci",
        "lsi" => "lsi53c895a",
        other => other,
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

/// The classes of devices.
const RANKS: usize = 30;

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

pub(super) fn finding(
    severity: Severity,
    path: &str,
    message: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
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
