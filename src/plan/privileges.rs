//! What a document needs beyond the right to define it: the networks of its NICs, and `host-access` for what it
//! names on the host.
//!
//! Owns the list of everything by which a document can name a file, a socket, a device, a program or an interface
//! of the host ([`PathField`]), and whose rights each is used with ([`Rights`]). Every way in (define, check, start)
//! asks this module. Its rules:
//! - Nothing is free by default. Every variant and struct of the model is taken apart to the last field, without
//!   `_ =>` and without rest patterns, so that a new device or field does not compile until it is judged here.
//! - What is opened with the rights of the domain's owner is free to the owner. Another caller may keep it, but may
//!   not add or change it: the whole device must be as it was.
//! - It is pure, and must never know who may have `host-access`.

mod chars;
mod compare;
mod devices;
mod disk;
mod domain;
mod network;
mod nic;
mod plain;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use self::compare::{Before, Named};
use crate::model::{DomainDef, NetworkDef};

/// With whose rights something on the host is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Those of the domain's owner: a file that the owner cannot open is not opened.
    Owner,
    /// More than those, or those of a process that is not the owner's: always `host-access`.
    Host,
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $rights:ident,)+) => {
        /// A part of a document that names something of the host.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum PathField { $($(#[$doc])* $name,)+ }

        impl PathField {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// With whose rights it is used.
            pub fn rights(self) -> Rights {
                match self { $(Self::$name => Rights::$rights,)+ }
            }
        }
    };
}

fields! {
    /// `<emulator>`, unless Warren would choose it itself.
    Emulator = Host,
    /// `<qemu:arg>`.
    QemuArgument = Host,
    /// `<qemu:env>`.
    QemuEnvironment = Host,
    /// `<qemu:override>`.
    QemuOverride = Host,
    /// `<kernel>`
    Kernel = Owner,
    /// `<initrd>`
    Initrd = Owner,
    /// `<loader>`
    Loader = Owner,
    /// `<nvram>`
    Nvram = Owner,
    /// `<nvram template>`
    NvramTemplate = Owner,
    /// `<smbios mode='host'>`
    SmbiosOfHost = Host,
    /// `<sysinfo type='fwcfg'><entry file>`
    FwCfgFile = Owner,
    /// `<disk type='file'>`
    DiskFile = Owner,
    /// `<backingStore type='file'>`
    BackingFile = Owner,
    /// `<disk type='block'>`, and below it.
    DiskBlock = Owner,
    /// `<disk type='volume'>`, and below it.
    DiskVolume = Owner,
    /// `<source fdgroup>` of a disk: descriptors that somebody handed over.
    DiskDescriptors = Owner,
    /// `<secret>` of a disk's `<auth>` or `<encryption>`.
    DiskSecret = Owner,
    /// `<disk type='dir'>`
    DiskDirectory = Host,
    /// `<disk type='nvme'>`
    DiskNvme = Host,
    /// `<disk type='vhostuser'>`
    DiskVhostUser = Host,
    /// `<disk type='vhostvdpa'>`
    DiskVdpa = Host,
    /// `<host socket>` of a disk on the network.
    DiskSocket = Host,
    /// `<config file>` of a disk on the network.
    DiskConfig = Host,
    /// `<knownHosts path>` of a disk on the network.
    DiskKnownHosts = Host,
    /// `<identity keyfile>` of a disk on the network.
    DiskKeyFile = Host,
    /// `<identity agentsock>` of a disk on the network.
    DiskAgent = Host,
    /// `<reservations>` of a disk.
    DiskReservations = Host,
    /// `<disk device='lun'>`, `rawio` and `sgio`: SCSI commands to the host's device.
    DiskCommands = Host,
    /// `<filesystem>`: QEMU's uid, not the owner, looks at what is in the directory.
    Filesystem = Host,
    /// `<interface type='bridge'>`
    NicBridge = Host,
    /// `<interface type='ethernet'>`: its script.
    NicEthernet = Host,
    /// `<interface type='direct'>`
    NicDirect = Host,
    /// `<interface type='vdpa'>`
    NicVdpa = Host,
    /// `<interface type='hostdev'>`
    NicHostdev = Host,
    /// `<interface type='vhostuser'>` with a socket.
    NicVhostUser = Host,
    /// `<source dev>` of a NIC on passt.
    NicPasstDevice = Host,
    /// `<backend logFile>`
    NicPasstLog = Host,
    /// `<backend tap>`
    NicTapDevice = Host,
    /// `<backend vhost>`
    NicVhostDevice = Host,
    /// `<rom file>` of a NIC.
    NicRom = Host,
    /// `<portForward>` of an interface of the host, or of ports that only root opens.
    NicPortForward = Host,
    /// `<target dev>`: which names are free depends on the owner.
    NicTarget = Owner,
    /// `<source path>` of a character device on the host.
    CharDevice = Host,
    /// `<source path>` of a file that a character device is written to.
    CharFile = Host,
    /// `<source path>` of a FIFO.
    CharPipe = Host,
    /// `<source path>` of a socket.
    CharSocket = Host,
    /// `type='dbus'`: a channel of the host's bus.
    CharDbus = Host,
    /// `type='nmdm'`: a pair of devices of the host.
    CharNullModem = Host,
    /// `<log file>`
    CharLog = Host,
    /// `<listen type='socket' socket>` of a display.
    DisplaySocket = Host,
    /// A display that draws with the host's GPU.
    DisplayGpu = Host,
    /// A display that is a window on the host.
    DisplayWindow = Host,
    /// `<graphics type='dbus'>`
    DisplayDbus = Host,
    /// `<acceleration rendernode>` of a video.
    VideoGpu = Host,
    /// `<video><driver name='vhostuser'>`: a program of the host.
    VideoProgram = Host,
    /// `<audio>` that plays on the host, or into a file.
    Audio = Host,
    /// `<input><source dev>`
    InputDevice = Host,
    /// `<rng><backend model='random'>` of a device that not everybody may read.
    RngDevice = Host,
    /// `<tpm><backend type='passthrough'>`
    TpmDevice = Host,
    /// `<tpm><backend type='external'>`
    TpmSocket = Host,
    /// `<source path>` of an emulated TPM.
    TpmState = Host,
    /// `<profile source>` of an emulated TPM.
    TpmProfile = Host,
    /// `<encryption secret>` of an emulated TPM.
    TpmSecret = Owner,
    /// `<smartcard>` of the host, or certificates of the host.
    Smartcard = Host,
    /// `<hostdev>`
    Hostdev = Host,
    /// `<shmem>`
    Shmem = Host,
    /// `<lease>`
    Lease = Host,
    /// `<pstore>`
    PstoreFile = Host,
    /// `<source><path>` of a memory device.
    MemoryFile = Owner,
    /// `<memory model='sgx-epc'>`
    MemoryEnclave = Host,
    /// `<tftp root>` of a network.
    NetworkTftp = Host,
    /// `<dnsmasq:option>`
    NetworkOption = Host,
    /// `<forward>` to a bridge or to devices of the host.
    NetworkForward = Host,
}

/// Who defines a domain.
#[derive(Debug, Clone, Copy)]
pub enum Author<'a> {
    /// Its owner: a caller always owns a domain that is new.
    Owner,
    /// Somebody else, whose document replaces this one.
    Other(&'a DomainDef),
}

/// What a document needs beyond the right to define a domain or a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Privileges {
    /// Networks that its devices are on.
    pub networks: Vec<String>,
    /// Places that name something of the host that is not used with the owner's rights: `host-access`.
    pub host: Vec<String>,
    /// Places that somebody else than the owner added or changed, and that are used with the owner's rights:
    /// `host-access`, too.
    pub of_owner: Vec<String>,
}

impl Privileges {
    /// Every place that `host-access` is needed for.
    pub fn places(&self) -> Vec<&str> {
        self.host.iter().chain(&self.of_owner).map(String::as_str).collect()
    }

    /// Why `host-access` is needed and what would do without, for the caller who is refused. `owner`: the domain's.
    pub fn reason(&self, owner: u32) -> String {
        let of_host = "names something of this host beyond a user's own files; leave it out";
        let of_owner = format!(
            "is opened with the rights of uid {owner}, who owns the domain, and another user added or changed it; \
             leave it as it was, or let the owner change it"
        );
        let parts = [(&self.host, of_host), (&self.of_owner, of_owner.as_str())].into_iter();
        let parts = parts.filter(|(places, _)| !places.is_empty());
        parts.map(|(places, why)| format!("{}: this {why}", some(places))).collect::<Vec<_>>().join("; ")
    }
}

/// The first of these places.
fn some(places: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = places.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match places.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        Some(0) | None => shown,
    }
}

/// What a domain's document needs of its author. `standard`: the emulators that Warren would choose itself; one
/// that is not there is not among them, since it could be put there later.
pub fn of_domain(def: &DomainDef, author: Author<'_>, standard: &[&Path]) -> Privileges {
    let found = domain::found(def, standard);
    let mut before = match author {
        Author::Owner => None,
        Author::Other(before) => Some(Before::new(domain::found(before, standard).named)),
    };
    let mut needs = Privileges { networks: sorted(&found.networks), ..Privileges::default() };
    for name in found.named {
        match name.field.rights() {
            Rights::Host => push(&mut needs.host, &name),
            Rights::Owner => {
                if before.as_mut().is_some_and(|before| !before.take(&name)) {
                    push(&mut needs.of_owner, &name);
                }
            }
        }
    }
    needs
}

/// The parts of one device share its place.
fn push(places: &mut Vec<String>, name: &Named<'_>) {
    if places.last() != Some(&name.place) {
        places.push(name.place.clone());
    }
}

/// What it takes to say what a domain's document would run: the emulator is run to find out what it can do.
pub fn of_a_look(def: &DomainDef, standard: &[&Path]) -> Privileges {
    let found = domain::found(def, standard).named.into_iter();
    let emulator = found.filter(|name| name.field == PathField::Emulator);
    Privileges { host: emulator.map(|name| name.place).collect(), ..Privileges::default() }
}

/// The networks that a domain's devices are on.
pub fn networks(def: &DomainDef) -> Vec<String> {
    sorted(&domain::found(def, &[]).networks)
}

fn sorted(networks: &[&str]) -> Vec<String> {
    let networks: BTreeSet<&str> = networks.iter().copied().collect();
    networks.into_iter().map(str::to_owned).collect()
}

/// What a network's document needs. All that it names is used with the rights of the service or of dnsmasq, so
/// that it makes no difference who owns the network.
pub fn of_network(def: &NetworkDef) -> Privileges {
    let named = network::named(def);
    Privileges { host: named.into_iter().map(|(_, place)| place).collect(), ..Privileges::default() }
}

/// What a domain's document names on the host, and where, in its order.
pub fn fields_of_domain(def: &DomainDef, standard: &[&Path]) -> Vec<(PathField, String)> {
    domain::found(def, standard).named.into_iter().map(|name| (name.field, name.place)).collect()
}

/// What a network's document names on the host, and where, in its order.
pub fn fields_of_network(def: &NetworkDef) -> Vec<(PathField, String)> {
    network::named(def)
}
