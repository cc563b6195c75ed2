//! What a domain's document names on the host, opened before QEMU starts. Owns what is asked for; must never
//! open a path itself: the helper does, with the owner's rights.

use std::os::fd::OwnedFd;
use std::path::Path;

use uuid::Uuid;

use super::firmware::{self, OpenedFirmware};
use super::guest::Guest;
use super::{Context, Error};
use crate::ledger::Resource;
use crate::model::{Backing, DiskDef, DomainDef, Image, Location};
use crate::plan::host::QemuFacts;
use crate::plan::qemu::secrets as secrets_of;
use crate::sys::copy;
use crate::sys::images::{ImageKind, ImageRequest, OpenedImage, SizeLimit};

/// Descriptors of what the document names.
pub(super) struct OpenedFiles {
    /// For each disk its chain, top first; empty without a medium.
    pub(super) disks: Vec<Vec<OpenedImage>>,
    /// For each filesystem its directory, where QEMU itself serves it.
    pub(super) filesystems: Vec<Option<OwnedFd>>,
    /// The content of each of [`secrets_of`].
    pub(super) secrets: Vec<OwnedFd>,
    pub(super) firmware: OpenedFirmware,
    pub(super) kernel: Option<OwnedFd>,
    pub(super) initrd: Option<OwnedFd>,
}

pub(super) async fn open_files(
    context: &Context,
    uuid: &Uuid,
    def: &DomainDef,
    qemu: &QemuFacts,
    owner: u32,
    guest: &mut Guest,
) -> Result<OpenedFiles, Error> {
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
        opener.open(&requests, &mut copies).await?
    }
    .into_iter();
    guest.live.copies = copies.amount();
    guest.copies = Some(copies);
    let disks = counts.into_iter().map(|count| opened.by_ref().take(count).flatten().collect()).collect();
    let mut single =
        |wanted: bool| opened.by_ref().take(wanted.into()).flatten().next().map(|image| image.fd);
    let mut singles: Vec<Option<OwnedFd>> = wanted.into_iter().map(&mut single).collect();
    let initrd = singles.pop().flatten();
    let kernel = singles.pop().flatten();
    let secrets = secrets_of(def);
    let secrets: Result<_, _> =
        secrets.iter().map(|s| copy::sealed_text(s.as_bytes()).map(OwnedFd::from)).collect();
    let secrets = secrets.map_err(Error::Run)?;
    Ok(OpenedFiles { disks, filesystems: singles, secrets, firmware, kernel, initrd })
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
            path: image.location.opened()?.to_owned(),
            format_qcow2: image.format == crate::model::DiskFormat::Qcow2,
            readonly: depth > 0 || disk.readonly,
            optional: depth == 0 && image.startup == crate::model::StartupPolicy::Optional,
            kind,
            limit: None,
        })
    };
    chain.filter_map(request).collect()
}

/// A file whose content the guest gets as it is now.
pub(super) fn blob(path: &Path, limit: SizeLimit) -> ImageRequest {
    let (path, limit) = (path.to_owned(), Some(limit));
    ImageRequest { path, format_qcow2: false, readonly: true, optional: false, kind: ImageKind::Blob, limit }
}

fn directory(path: &str) -> ImageRequest {
    let (path, kind) = (path.into(), ImageKind::Directory);
    ImageRequest { path, format_qcow2: false, readonly: true, optional: false, kind, limit: None }
}
