//! Where a disk's content is: `<source>`, `<backingStore>`, and what `<driver>` says of the image. Owns libvirt's
//! words and defaults for them; must never open what they name.

use std::path::{Path, PathBuf};

use super::disk_network::{self, NetworkSource, VhostUserDisk};
use super::disk_secret::{Encryption, encryption};
use super::filesystem::bytes;
use super::words::{YES_NO, words};
use super::{DiskDevice, PciAddress, device, seclabel};
use crate::model::doc::{host_path, required, text_of};
use crate::xml::view::View;

/// One image, with what lies below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Path of the element that names it, for findings.
    pub path: String,
    /// Where it is.
    pub location: Location,
    /// `<driver type>` or `<format type>`, default raw (never probed).
    pub format: DiskFormat,
    /// `<metadata_cache><max_size>` in bytes, of qcow2.
    pub metadata_cache: Option<u64>,
    /// `<slices><slice type='storage'>`: the part of the file that is the image.
    pub slice: Option<Slice>,
    /// `<encryption>`.
    pub encryption: Option<Encryption>,
    /// `<reservations>`: persistent SCSI reservations.
    pub reservations: Option<Reservations>,
    /// `@startupPolicy`, default mandatory.
    pub startup: StartupPolicy,
    /// `@fdgroup`: descriptors that a caller has given before.
    pub fd_group: Option<String>,
    /// What lies below.
    pub backing: Backing,
}

impl Image {
    /// The images from this one down, as far as the document names them.
    pub fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |image| match &image.backing {
            Backing::Image(below) => Some(below),
            _ => None,
        })
    }
}

/// What lies below an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing {
    /// What the image itself names.
    AsImageSays,
    /// Nothing: an empty `<backingStore/>`.
    Nothing,
    /// `<backingStore>`.
    Image(Box<Image>),
}

/// Where an image is, by the type of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `type='file'`: a regular file.
    File(PathBuf),
    /// `type='block'`: a block device.
    Block(PathBuf),
    /// `type='dir'`: a directory, shown as a FAT file system.
    Dir(PathBuf),
    /// `type='network'`.
    Network(Box<NetworkSource>),
    /// `type='volume'`: a volume of a storage pool.
    Volume {
        /// `@pool`.
        pool: String,
        /// `@volume`.
        volume: String,
        /// `@mode`: how a volume on iSCSI is reached.
        mode: Option<VolumeMode>,
    },
    /// `type='nvme'`: a controller of the host.
    Nvme {
        /// `<address>`.
        address: PciAddress,
        /// `@namespace`, from 1.
        namespace: u64,
        /// `@managed`.
        managed: bool,
    },
    /// `type='vhostuser'`: another process on the host.
    VhostUser(VhostUserDisk),
    /// `type='vhostvdpa'`: a device of the host's kernel.
    VhostVdpa(PathBuf),
}

impl Location {
    /// What Warren opens itself and hands to QEMU: a file, a block device, the socket of a server on this
    /// host.
    pub fn opened(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Block(path) => Some(path),
            Self::Network(source) => source.socket(),
            _ => None,
        }
    }

    /// What it is, for people: a path, a name, an address.
    pub fn shown(&self) -> String {
        match self {
            Self::File(p) | Self::Block(p) | Self::Dir(p) | Self::VhostVdpa(p) => p.display().to_string(),
            Self::Network(source) => source.shown(),
            Self::Volume { pool, volume, .. } => format!("{pool}/{volume}"),
            Self::Nvme { address: a, namespace, .. } => {
                format!("{:04x}:{:02x}:{:02x}.{:x}/{namespace}", a.domain, a.bus, a.slot, a.function)
            }
            Self::VhostUser(source) => source.path.display().to_string(),
        }
    }
}

words! {
    /// `<disk type>`.
    ImageKind {
        File = "file", Block = "block", Dir = "dir", Network = "network", Volume = "volume", Nvme = "nvme",
        VhostUser = "vhostuser", VhostVdpa = "vhostvdpa",
    }
}

words! {
    /// `<source mode>` of a volume.
    VolumeMode { Host = "host", Direct = "direct" }
}

words! {
    /// `<source startupPolicy>`.
    StartupPolicy { Mandatory = "mandatory", Requisite = "requisite", Optional = "optional" }
}

words! {
    /// The format of an image.
    DiskFormat {
        None = "none", Raw = "raw", Dir = "dir", Bochs = "bochs", Cloop = "cloop", Dmg = "dmg", Iso = "iso",
        Vpc = "vpc", Vdi = "vdi", Vhdx = "vhdx", Fat = "fat", Vhd = "vhd", Ploop = "ploop", Luks = "luks",
        Cow = "cow", Qcow = "qcow", Qcow2 = "qcow2", Qed = "qed", Vmdk = "vmdk",
    }
}

/// Part of a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's attributes")]
pub struct Slice {
    pub offset: u64,
    pub size: u64,
}

/// `<reservations>`: the service that makes persistent reservations for the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservations {
    /// `@managed`: whether libvirt starts the service itself.
    pub managed: bool,
    /// `<source path>`: its socket.
    pub socket: Option<PathBuf>,
}

/// The image of a disk. The outer `Option` is whether it can be read, the inner one whether there is one.
pub(super) fn of_disk(disk: &View<'_>, kind: ImageKind, device: DiskDevice) -> Option<Option<Image>> {
    let driver = disk.child("driver");
    let format = driver.as_ref().map_or(Some(DiskFormat::Raw), |d| format(d, "type"));
    let cache = driver.as_ref().and_then(metadata_cache);
    let Some(source) = disk.child("source") else {
        return nothing(disk, kind, device);
    };
    if is_empty(&source, kind) {
        common(&source);
        source.one_of("startupPolicy", StartupPolicy::WORDS);
        // What there is beside the name says nothing without it.
        return nothing(disk, kind, device);
    }
    let location = location(&source, kind, disk)?;
    let mut image = image(&source, location, format?);
    image.metadata_cache = cache;
    image.encryption = image.encryption.or_else(|| disk.child("encryption").and_then(|e| encryption(&e)));
    image.backing = backing(disk);
    Some(Some(image))
}

fn is_empty(source: &View<'_>, kind: ImageKind) -> bool {
    match kind {
        ImageKind::File => source.filled("file").is_none(),
        ImageKind::Block => source.filled("dev").is_none(),
        ImageKind::Dir => source.filled("dir").is_none(),
        _ => false,
    }
}

fn nothing(disk: &View<'_>, kind: ImageKind, device: DiskDevice) -> Option<Option<Image>> {
    // An empty one only says that the chain ends here.
    disk.child("backingStore");
    if device != DiskDevice::Disk {
        return Some(None);
    }
    let attr = match kind {
        ImageKind::File => " file",
        ImageKind::Block | ImageKind::VhostVdpa => " dev",
        ImageKind::Dir => " dir",
        ImageKind::Network => " protocol",
        ImageKind::Volume => " pool",
        ImageKind::Nvme | ImageKind::VhostUser => "",
    };
    let message = format!("the disk has no <source{attr}>");
    disk.error(message, "name the image, or make the device a cdrom, which may be empty");
    None
}

fn image(source: &View<'_>, location: Location, format: DiskFormat) -> Image {
    common(source);
    Image {
        path: source.path().to_owned(),
        location,
        format,
        metadata_cache: None,
        slice: source.child("slices").and_then(|s| slice(&s)),
        encryption: source.child("encryption").and_then(|e| encryption(&e)),
        reservations: source.child("reservations").and_then(|r| reservations(&r)),
        startup: source.one_of("startupPolicy", StartupPolicy::WORDS).unwrap_or(StartupPolicy::Mandatory),
        fd_group: source.filled("fdgroup").map(str::to_owned),
        backing: Backing::AsImageSays,
    }
}

/// What libvirt notes of a running guest, and labels.
fn common(source: &View<'_>) {
    source.attr("index");
    source.children("seclabel").iter().for_each(seclabel::read);
}

fn location(source: &View<'_>, kind: ImageKind, disk: &View<'_>) -> Option<Location> {
    let text = |name: &str| required(source.filled(name), source, name, "").map(str::to_owned);
    let path = |name: &str| {
        required(source.filled(name), source, name, "give a path")?;
        host_path(source, Some(name))
    };
    Some(match kind {
        ImageKind::File => Location::File(path("file")?),
        ImageKind::Block => Location::Block(path("dev")?),
        ImageKind::Dir => Location::Dir(path("dir")?),
        ImageKind::VhostVdpa => Location::VhostVdpa(path("dev")?),
        ImageKind::Network => Location::Network(Box::new(disk_network::read(source, disk)?)),
        ImageKind::Volume => {
            let mode = source.one_of("mode", VolumeMode::WORDS);
            let (pool, volume) = (text("pool"), text("volume"));
            Location::Volume { pool: pool?, volume: volume?, mode }
        }
        ImageKind::Nvme => nvme(source)?,
        ImageKind::VhostUser => Location::VhostUser(disk_network::vhost_user(source)?),
    })
}

fn nvme(source: &View<'_>) -> Option<Location> {
    if let Some(kind) = source.filled("type").filter(|t| *t != "pci") {
        source.error_at("type", format!("'{kind}' is not a way to an NVMe controller"), "write pci");
    }
    let namespace = required(source.parsed("namespace"), source, "namespace", "give its number, from 1");
    if namespace == Some(0) {
        source.error_at("namespace", "namespace 0 is not one", "give its number, from 1");
    }
    let managed = source.one_of("managed", YES_NO).unwrap_or(false);
    let address = source.child("address");
    if address.is_none() {
        source.error("the controller has no <address>", "give its PCI address on the host");
    }
    let address = device::host_pci(&address?)?;
    Some(Location::Nvme { address, namespace: namespace?, managed })
}

/// The format that an element names; raw where it does not.
fn format(view: &View<'_>, attr: &str) -> Option<DiskFormat> {
    // libvirt's former name for raw images.
    if view.filled(attr) == Some("aio") {
        return Some(DiskFormat::Raw);
    }
    let format = view.one_of(attr, DiskFormat::WORDS);
    if format.is_none() && view.filled(attr).is_some() {
        return None;
    }
    Some(format.unwrap_or(DiskFormat::Raw))
}

fn metadata_cache(format: &View<'_>) -> Option<u64> {
    let size = format.child("metadata_cache")?.child("max_size")?;
    bytes(&size, "bytes").map(|b| b.0)
}

fn slice(view: &View<'_>) -> Option<Slice> {
    let slice = view.child("slice")?;
    slice.one_of("type", &[("storage", ())]);
    let number = |name: &str| required(slice.parsed(name), &slice, name, "give a number of bytes");
    let (offset, size) = (number("offset"), number("size"));
    Some(Slice { offset: offset?, size: size? })
}

fn reservations(view: &View<'_>) -> Option<Reservations> {
    let managed = required(view.one_of("managed", YES_NO), view, "managed", "say yes or no")?;
    let Some(source) = view.child("source") else {
        if !managed {
            view.error("reservations that are not managed need the service's <source>", "");
        }
        return Some(Reservations { managed, socket: None });
    };
    source.one_of("type", &[("unix", ())]);
    source.one_of("mode", &[("client", ())]);
    Some(Reservations { managed, socket: host_path(&source, Some("path")) })
}

/// The `<backingStore>` in an element, and those in it.
fn backing(above: &View<'_>) -> Backing {
    let Some(view) = above.child("backingStore") else { return Backing::AsImageSays };
    let kind = view.one_of("type", ImageKind::WORDS);
    // Numbers that libvirt has given out.
    view.attr("index");
    text_of::<u32>(&view, "index");
    let Some(kind) = kind else { return Backing::Nothing };
    let given = view.child("format");
    if given.is_none() {
        view.error("the backing image has no <format>", "add <format type='raw'/> or the like");
    }
    let Some(source) = view.child("source") else {
        view.error(
            "the backing image has no <source>",
            "name it, or leave the attributes out: the chain ends",
        );
        return Backing::Nothing;
    };
    let format = given.as_ref().and_then(|f| format(f, "type"));
    let (Some(location), Some(format)) = (location(&source, kind, &view), format) else {
        return Backing::Nothing;
    };
    let mut image = image(&source, location, format);
    image.metadata_cache = given.as_ref().and_then(metadata_cache);
    image.backing = backing(&view);
    Backing::Image(Box::new(image))
}
