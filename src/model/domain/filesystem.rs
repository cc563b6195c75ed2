//! `<filesystem>`. Owns libvirt's words and defaults for it; must never look at what it names.

use std::path::PathBuf;

use super::words::{ON_OFF, words};
use super::{DeviceInfo, VirtioModel, VirtioOptions, virtio_options};
use crate::model::MemorySize;
use crate::model::doc::{host_path, required};
use crate::xml::view::View;

/// `<filesystem>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesystemDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@type`, default mount.
    pub kind: FilesystemKind,
    /// `@accessmode`, default passthrough.
    pub access: AccessMode,
    /// `@fmode`: permissions of new files, in octal.
    pub fmode: Option<u32>,
    /// `@dmode`: permissions of new directories.
    pub dmode: Option<u32>,
    /// `@multidevs`.
    pub multidevs: Option<Multidevs>,
    /// `@model`.
    pub model: Option<VirtioModel>,
    /// `<driver>`.
    pub driver: FilesystemDriver,
    /// `<binary>` of virtiofs.
    pub binary: Option<VirtiofsBinary>,
    /// `<source>`: a directory, a file, a name, by the type.
    pub source: Option<String>,
    /// `<source socket>` of virtiofs: someone else runs the server.
    pub socket: Option<PathBuf>,
    /// `<target dir>`: the tag by which the guest mounts it.
    pub target: Option<String>,
    /// `<readonly/>`.
    pub readonly: bool,
    /// `<idmap>`: `uid` and `gid` elements in order.
    pub idmap: Vec<IdMap>,
    /// `<space_hard_limit>` in bytes.
    pub space_hard_limit: Option<MemorySize>,
    /// `<space_soft_limit>` in bytes.
    pub space_soft_limit: Option<MemorySize>,
}

impl FilesystemDef {
    /// The directory of the host that QEMU serves by 9p; `None` where another program serves it.
    pub fn source_directory(&self) -> Option<&str> {
        let nine_p = matches!(self.driver.kind, None | Some(FilesystemDriverKind::Path));
        self.source.as_deref().filter(|_| nine_p && self.kind == FilesystemKind::Mount)
    }
}

words! {
    /// `<filesystem type>`.
    FilesystemKind {
        Mount = "mount", Block = "block", File = "file", Template = "template", Ram = "ram", Bind = "bind",
        Volume = "volume",
    }
}

words! {
    /// `<filesystem accessmode>`.
    AccessMode { Passthrough = "passthrough", Mapped = "mapped", Squash = "squash" }
}

words! {
    /// `<filesystem multidevs>`: files of several devices in one directory.
    Multidevs { Default = "default", Remap = "remap", Forbid = "forbid", Warn = "warn" }
}

words! {
    /// `<driver type>` of a filesystem.
    FilesystemDriverKind {
        Path = "path", Handle = "handle", Loop = "loop", Nbd = "nbd", Ploop = "ploop", Virtiofs = "virtiofs",
        Mtp = "mtp",
    }
}

/// `<driver>` of a filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are libvirt's attributes")]
pub struct FilesystemDriver {
    pub kind: Option<FilesystemDriverKind>,
    /// `@format`, of an image.
    pub format: Option<String>,
    /// `@wrpolicy='immediate'`.
    pub write_immediately: bool,
    /// `@queue`: the length of the queue.
    pub queue: Option<u32>,
    pub virtio: VirtioOptions,
}

/// `<binary>`: the virtiofs server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are libvirt's attributes and elements")]
pub struct VirtiofsBinary {
    pub path: Option<PathBuf>,
    pub xattr: Option<bool>,
    pub cache: Option<String>,
    pub sandbox: Option<String>,
    pub posix_lock: Option<bool>,
    pub flock: Option<bool>,
    pub thread_pool: Option<u32>,
    pub open_files: Option<u64>,
}

/// `<uid>` or `<gid>` of an `<idmap>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's attributes")]
pub struct IdMap {
    /// Whether it maps groups.
    pub group: bool,
    pub start: u32,
    pub target: u32,
    pub count: u32,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<FilesystemDef> {
    let kind = view.one_of("type", FilesystemKind::WORDS).unwrap_or(FilesystemKind::Mount);
    let (source, socket) = source(view, kind);
    let target = view.child("target").and_then(|t| t.filled("dir").map(str::to_owned));
    if target.is_none() && socket.is_none() {
        view.error(
            "the filesystem has no <target>",
            "add <target dir='NAME'/>, by which the guest mounts it",
        );
    }
    Some(FilesystemDef {
        info: DeviceInfo::read(view),
        kind,
        access: view.one_of("accessmode", AccessMode::WORDS).unwrap_or(AccessMode::Passthrough),
        fmode: permissions(view, "fmode"),
        dmode: permissions(view, "dmode"),
        multidevs: view.one_of("multidevs", Multidevs::WORDS),
        model: view.one_of("model", VirtioModel::WORDS),
        driver: view.child("driver").map(|d| driver(&d)).unwrap_or_default(),
        binary: view.child("binary").map(|b| binary(&b)),
        source,
        socket,
        target,
        readonly: view.child("readonly").is_some(),
        idmap: view.child("idmap").map(|i| idmap(&i)).unwrap_or_default(),
        space_hard_limit: size(view, "space_hard_limit"),
        space_soft_limit: size(view, "space_soft_limit"),
    })
}

fn source(view: &View<'_>, kind: FilesystemKind) -> (Option<String>, Option<PathBuf>) {
    let Some(source) = view.child("source") else {
        view.error("the filesystem has no <source>", "add <source dir='/directory'/>");
        return (None, None);
    };
    let socket = host_path(&source, Some("socket"));
    let name = match kind {
        FilesystemKind::Mount | FilesystemKind::Bind => "dir",
        FilesystemKind::File => "file",
        FilesystemKind::Block => "dev",
        FilesystemKind::Template => "name",
        FilesystemKind::Ram => {
            source.attr("units");
            "usage"
        }
        FilesystemKind::Volume => {
            source.attr("volume");
            "pool"
        }
    };
    let given = source.filled(name).map(str::to_owned);
    if kind == FilesystemKind::Mount {
        host_path(&source, Some(name));
    }
    if given.is_none() && socket.is_none() {
        source.error_at(name, format!("<source> needs the attribute '{name}'"), "");
    }
    (given, socket)
}

fn permissions(view: &View<'_>, name: &str) -> Option<u32> {
    let text = view.filled(name)?;
    let mode = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o777);
    if mode.is_none() {
        view.error_at(name, format!("'{text}' is no set of permissions"), "give them in octal, as 0644");
    }
    mode
}

fn driver(view: &View<'_>) -> FilesystemDriver {
    FilesystemDriver {
        kind: view.one_of("type", FilesystemDriverKind::WORDS),
        format: view.filled("format").map(str::to_owned),
        write_immediately: view.one_of("wrpolicy", &[("immediate", ())]).is_some(),
        queue: view.parsed("queue"),
        virtio: virtio_options(view),
    }
}

fn binary(view: &View<'_>) -> VirtiofsBinary {
    let lock = view.child("lock");
    let mode = |name: &str, words: &[(&str, ())]| {
        let child = view.child(name)?;
        child.one_of("mode", words)?;
        child.filled("mode").map(str::to_owned)
    };
    VirtiofsBinary {
        path: host_path(view, Some("path")),
        xattr: view.one_of("xattr", ON_OFF),
        cache: mode(
            "cache",
            &[("none", ()), ("always", ()), ("auto", ()), ("metadata", ()), ("default", ())],
        ),
        sandbox: mode("sandbox", &[("namespace", ()), ("chroot", ()), ("none", ())]),
        posix_lock: lock.as_ref().and_then(|l| l.one_of("posix", ON_OFF)),
        flock: lock.as_ref().and_then(|l| l.one_of("flock", ON_OFF)),
        thread_pool: view.child("thread_pool").and_then(|t| t.parsed("size")),
        open_files: view.child("openfiles").and_then(|o| o.parsed("max")),
    }
}

fn idmap(view: &View<'_>) -> Vec<IdMap> {
    let mut maps = Vec::new();
    for (name, group) in [("uid", false), ("gid", true)] {
        for map in view.children(name) {
            let number = |n: &str| required(map.parsed(n), &map, n, "give a number");
            let (start, target, count) = (number("start"), number("target"), number("count"));
            if let (Some(start), Some(target), Some(count)) = (start, target, count) {
                maps.push(IdMap { group, start, target, count });
            }
        }
    }
    maps
}

fn size(view: &View<'_>, name: &str) -> Option<MemorySize> {
    let child = view.child(name)?;
    bytes(&child, "bytes")
}

/// The size in an element with a `unit`; an error where it is none.
pub(super) fn bytes(view: &View<'_>, default_unit: &str) -> Option<MemorySize> {
    let unit = view.filled("unit").unwrap_or(default_unit);
    let text = view.text();
    let size = text.parse().ok().and_then(|n| MemorySize::from_unit(n, unit).ok());
    if size.is_none() {
        view.error(format!("'{text}' {unit} is not a size"), "give a whole number, and a unit beside it");
    }
    size
}
