//! What a domain's document names on the host, opened before QEMU starts. Owns what is asked for; must never
//! open a path itself: the helper does, with the owner's rights.

use std::os::fd::OwnedFd;
use std::path::Path;

use uuid::Uuid;

use super::firmware::{self, OpenedFirmware};
use super::guest::Guest;
use super::{Context, Error, demand};
use crate::ledger::{Resource, Share};
use crate::model::{Backing, DiskDef, DiskFormat, DomainDef, Image, Location};
use crate::plan::host::QemuFacts;
use crate::sys::images::{ImageFormat, ImageKind, ImageRequest, OpenedImage, SizeLimit};

/// Descriptors of what the document names.
pub(super) struct OpenedFiles {
    /// For each disk its chain, top first; empty without a medium.
    pub(super) disks: Vec<Vec<OpenedImage>>,
    /// For each filesystem its directory, where QEMU itself serves it.
    pub(super) filesystems: Vec<Option<OwnedFd>>,
    pub(super) firmware: OpenedFirmware,
    pub(super) kernel: Option<OwnedFd>,
    pub(super) initrd: Option<OwnedFd>,
    /// What they and the other descriptors for QEMU count for, until QEMU has them.
    #[expect(dead_code, reason = "it counts while it is held")]
    pub(super) descriptors: Share,
}

pub(super) async fn open_files(
    context: &Context,
    uuid: &Uuid,
    def: &DomainDef,
    qemu: &QemuFacts,
    owner: u32,
    guest: &mut Guest,
) -> Result<OpenedFiles, Error> {
    let mut descriptors = context.ledger.take(owner, Resource::Descriptors, demand::to_start(def))?;
    let mut copies = context.ledger.note(owner, Resource::GuestMemory, 0);
    let firmware = firmware::open(context, uuid, def, qemu, owner, guest, &mut copies).await?;
    let of_disks: Vec<Vec<ImageRequest>> = def.disks().map(images_of).collect();
    let directories: Vec<_> = def.filesystems().map(|f| f.source_directory().map(directory)).collect();
    let limits = &context.scope.config.limits;
    let blobs = [
        (&def.os.kernel, SizeLimit { bytes: limits.kernel_bytes, key: "kernel-bytes" }),
        (&def.os.initrd, SizeLimit { bytes: limits.initrd_bytes, key: "initrd-bytes" }),
    ];
    let blobs = blobs.map(|(path, limit)| path.as_ref().map(|path| blob(path, limit)));
    let counts: Vec<usize> = of_disks.iter().map(Vec::len).collect();
    let wanted: Vec<bool> = directories.iter().chain(&blobs).map(Option::is_some).collect();
    let requests: Vec<ImageRequest> =
        of_disks.into_iter().flatten().chain(directories.into_iter().chain(blobs).flatten()).collect();
    let mut opened = if requests.is_empty() {
        Vec::new()
    } else {
        let opener = context.scope.opener(owner).await.map_err(Error::Run)?;
        opener.open(&requests, &mut copies, &mut descriptors).await?
    }
    .into_iter();
    let disks = counts.into_iter().map(|count| opened.by_ref().take(count).flatten().collect()).collect();
    let mut single =
        |wanted: bool| opened.by_ref().take(wanted.into()).flatten().next().map(|image| image.fd);
    let mut singles: Vec<Option<OwnedFd>> = wanted.into_iter().map(&mut single).collect();
    let initrd = singles.pop().flatten();
    let kernel = singles.pop().flatten();
    if let Some(kernel) = &kernel {
        // QEMU reads it into memory of its own, while it maps the initrd.
        let bytes = rustix::fs::fstat(kernel).map_err(|e| Error::Run(e.into()))?.st_size;
        copies.resize(copies.amount().saturating_add(bytes.unsigned_abs()))?;
    }
    guest.live.copies = copies.amount();
    guest.copies = Some(copies);
    Ok(OpenedFiles { disks, filesystems: singles, firmware, kernel, initrd, descriptors })
}

/// What is opened of a disk: each image that the document names, and below the last, unless the document says
/// that there is nothing, what that image names.
pub fn images_of(disk: &DiskDef) -> Vec<ImageRequest> {
    let chain = disk.source.iter().flat_map(Image::chain).enumerate();
    let request = |(depth, image): (usize, &Image)| {
        let block = matches!(image.location, Location::Block(_));
        let kind = match (&image.location, &image.backing) {
            (Location::Network(_), _) => ImageKind::Socket,
            (_, Backing::AsImageSays) => ImageKind::Disk { block },
            _ => ImageKind::Layer { block },
        };
        Some(ImageRequest {
            format: format(image),
            offset: image.slice.map_or(0, |slice| slice.offset),
            cache: image.metadata_cache,
            readonly: depth > 0 || disk.readonly,
            optional: depth == 0 && image.startup == crate::model::StartupPolicy::Optional,
            ..ImageRequest::new(image.location.opened()?, kind)
        })
    };
    chain.filter_map(request).collect()
}

/// What QEMU takes the file for; over a server's socket there is no file to look into.
fn format(image: &Image) -> ImageFormat {
    if matches!(image.location, Location::Network(_)) {
        return ImageFormat::Raw;
    }
    match image.format {
        DiskFormat::Qcow2 => ImageFormat::Qcow2,
        DiskFormat::Qcow => ImageFormat::Qcow,
        DiskFormat::Qed => ImageFormat::Qed,
        DiskFormat::Vdi => ImageFormat::Vdi,
        DiskFormat::Vpc | DiskFormat::Vhd => ImageFormat::Vpc,
        DiskFormat::Vhdx => ImageFormat::Vhdx,
        DiskFormat::Ploop => ImageFormat::Parallels,
        DiskFormat::Bochs => ImageFormat::Bochs,
        DiskFormat::Cloop => ImageFormat::Cloop,
        // These have no tables.
        DiskFormat::None | DiskFormat::Raw | DiskFormat::Iso | DiskFormat::Luks => ImageFormat::Raw,
        // A directory is no file; the others are refused before anything is opened.
        DiskFormat::Dir | DiskFormat::Fat | DiskFormat::Dmg | DiskFormat::Cow | DiskFormat::Vmdk => {
            ImageFormat::Raw
        }
    }
}

/// A file whose content the guest gets as it is now.
pub(super) fn blob(path: &Path, limit: SizeLimit) -> ImageRequest {
    ImageRequest { limit: Some(limit), ..ImageRequest::new(path, ImageKind::Blob) }
}

fn directory(path: &str) -> ImageRequest {
    ImageRequest::new(path, ImageKind::Directory)
}
