//! The guest's firmware and its variables, opened before QEMU starts. Owns what is asked for; must never open with
//! the service's rights what a document names, nor read a file on the thread that answers callers.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use uuid::Uuid;

use super::files::blob;
use super::guest::{Guest, LiveFirmware};
use super::nvram::{self, ToWrite};
use super::{Context, Error};
use crate::ledger::{Resource, Share};
use crate::model::{DomainDef, Finding, FlashFormat, Severity};
use crate::plan::firmware_choice::{self, FirmwareImage, Flash, GuestFirmware, Variables};
use crate::plan::host::{FirmwareFacts, QemuFacts};
use crate::sys::images::{ImageFormat, ImageKind, ImageRequest, ImagesError, SizeLimit};
use crate::sys::{copy, firmware};

/// Descriptors of the firmware.
#[derive(Default)]
pub(super) struct OpenedFirmware {
    pub(super) code: Option<OwnedFd>,
    pub(super) vars: Option<OwnedFd>,
    /// Where the service has chosen it.
    pub(super) told: Option<LiveFirmware>,
}

/// The firmware that a guest had before is taken again, although what is installed may have changed.
pub(super) fn pin(context: &Context, uuid: &Uuid, qemu: &mut QemuFacts) -> Result<(), Error> {
    if let Some(noted) = context.store.noted_firmware(uuid)? {
        firmware_choice::pin(qemu, noted);
    }
    Ok(())
}

/// Refuses by name what of the firmware is not there, before anything is set up.
pub(super) async fn look(
    context: &Context,
    uuid: &Uuid,
    def: &DomainDef,
    qemu: &QemuFacts,
    owner: u32,
) -> Result<(), Error> {
    let chosen = firmware_choice::choose(def, qemu).map_err(|finding| refused(def, finding))?;
    let (code, vars) = match &chosen {
        None => return Ok(()),
        Some(GuestFirmware::Rom(image)) => (image, None),
        Some(GuestFirmware::Flash(flash)) => (&flash.code, flash.vars.as_ref()),
    };
    let mut findings = Vec::new();
    if !is_there(context, owner, code).await? {
        let place = if def.os.firmware.is_some() { "/domain/os/@firmware" } else { "/domain/os/loader" };
        findings.push(missing(place, &code.path, INSTALL));
    }
    if let Some(vars) = vars {
        let kept = vars.path.is_none() && context.store.open_vars(uuid)?.is_some();
        match (&vars.path, &vars.template) {
            (Some(path), _) => {
                let image = FirmwareImage { path: path.clone(), format: vars.format, named: true };
                if !is_there(context, owner, &image).await? {
                    findings.push(missing("/domain/os/nvram", path, COPY));
                }
            }
            (None, Some(template)) if !kept && !is_there(context, owner, template).await? => {
                findings.push(missing("/domain/os/nvram/@template", &template.path, INSTALL));
            }
            _ => {}
        }
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(Error::NotSupported { name: def.name.to_string(), findings })
}

async fn is_there(context: &Context, owner: u32, image: &FirmwareImage) -> Result<bool, Error> {
    if image.named {
        // Opened for reading, also where it will be for writing: only whether it is there is asked.
        let request = ImageRequest { optional: true, ..flash(context, image, true) };
        return Ok(as_owner(context, owner, request, &mut for_now(context, owner)).await?.is_some());
    }
    match installed(context, &image.path).await {
        Ok(_) => Ok(true),
        Err(Error::Firmware { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// The note on which firmware is chosen, where that has changed.
fn new_note(context: &Context, uuid: &Uuid, installed: &FirmwareFacts) -> Result<Option<Vec<u8>>, Error> {
    if context.store.noted_firmware::<FirmwareFacts>(uuid)?.as_ref() == Some(installed) {
        return Ok(None);
    }
    serde_json::to_vec_pretty(installed).map(Some).map_err(|e| Error::Run(e.into()))
}

/// The files of firmware that the service has chosen, for the live document.
fn told(chosen: Option<&GuestFirmware>) -> Option<LiveFirmware> {
    match chosen? {
        GuestFirmware::Flash(flash) => {
            let template = flash.vars.as_ref().and_then(|v| v.template.as_ref());
            let template = template.map(|t| t.path.display().to_string());
            let loader = flash.code.path.display().to_string();
            Some(LiveFirmware { loader, kind: "pflash".to_owned(), template })
        }
        GuestFirmware::Rom(image) => {
            let loader = image.path.display().to_string();
            Some(LiveFirmware { loader, kind: "rom".to_owned(), template: None })
        }
    }
}

/// Opens the firmware. What of it is copied into memory for as long as the guest runs is added to `copies`.
pub(super) async fn open(
    context: &Context,
    uuid: &Uuid,
    def: &DomainDef,
    qemu: &QemuFacts,
    owner: u32,
    guest: &mut Guest,
    copies: &mut Share,
) -> Result<OpenedFirmware, Error> {
    let chosen = firmware_choice::choose(def, qemu).map_err(|finding| refused(def, finding))?;
    let mut opened = OpenedFirmware::default();
    let mut to_write = ToWrite::default();
    if let Some(installed) = firmware_choice::installed(def, qemu) {
        to_write.note = new_note(context, uuid, installed)?;
        opened.told = told(chosen.as_ref());
    }
    match chosen {
        None => {}
        // QEMU reopens it by its own /proc, which only works with what it owns or everybody may read.
        Some(GuestFirmware::Rom(image)) => {
            let (file, size) = content(context, &image, owner, copies).await?;
            // QEMU has it twice: as it came, and as the guest sees it.
            copies.resize(copies.amount().saturating_add(2 * size))?;
            opened.code =
                Some(if image.named { file } else { copied(&image.path, file, size, copies).await? });
        }
        Some(GuestFirmware::Flash(flash)) => {
            opened.code = Some(code(context, owner, &flash, copies).await?);
            match flash.vars {
                Some(Variables { path: Some(path), format, .. }) => {
                    let image = FirmwareImage { path, format, named: true };
                    opened.vars = Some(named_variables(context, def, &image, owner, copies).await?);
                }
                Some(Variables { path: None, template, .. }) => {
                    opened.vars = context.store.open_vars(uuid)?.map(OwnedFd::from);
                    if opened.vars.is_none() {
                        let template = template.ok_or(Error::NoVariables)?;
                        // The copy in memory counts until it is on the disk, where it counts, too.
                        let mut meanwhile = for_now(context, owner);
                        let (file, size) = content(context, &template, owner, &mut meanwhile).await?;
                        to_write.template = Some((file.into(), size));
                        to_write.meanwhile = Some(meanwhile);
                    }
                }
                None => {}
            }
        }
    }
    if let Some(vars) = nvram::write(context, uuid, owner, to_write, guest).await? {
        opened.vars = Some(vars.into());
    }
    Ok(opened)
}

async fn code(context: &Context, owner: u32, flash: &Flash, copies: &mut Share) -> Result<OwnedFd, Error> {
    let image = &flash.code;
    if !image.named {
        return Ok(installed(context, &image.path).await?.0.into());
    }
    let request = self::flash(context, image, flash.readonly);
    let opened = as_owner(context, owner, request, copies).await?;
    opened.ok_or_else(|| system(&image.path, io::ErrorKind::NotFound.into()))
}

/// The guest's variables in a file of its owner's, for writing.
async fn named_variables(
    context: &Context,
    def: &DomainDef,
    image: &FirmwareImage,
    owner: u32,
    copies: &mut Share,
) -> Result<OwnedFd, Error> {
    let request = ImageRequest { optional: true, ..flash(context, image, false) };
    let opened = as_owner(context, owner, request, copies).await?;
    opened.ok_or_else(|| refused(def, missing("/domain/os/nvram", &image.path, COPY)))
}

const COPY: &str =
    "copy the firmware's template to it, or leave the path out: Warren then keeps the variables";
const INSTALL: &str =
    "install the package that has it: ovmf (Debian) or edk2-ovmf (Fedora), or name another file";

fn missing(place: &str, path: &Path, remedy: &str) -> Finding {
    Finding {
        severity: Severity::Unsupported,
        path: place.to_owned(),
        line: 0,
        column: 0,
        message: format!("'{}' is not there", path.display()),
        remedy: remedy.to_owned(),
    }
}

fn refused(def: &DomainDef, finding: Finding) -> Error {
    Error::NotSupported { name: def.name.to_string(), findings: vec![finding] }
}

fn system(path: &Path, source: io::Error) -> Error {
    Error::Firmware { path: path.to_owned(), source }
}

fn limit(context: &Context) -> SizeLimit {
    SizeLimit { bytes: context.scope.config.limits.firmware_bytes, key: "firmware-bytes" }
}

/// For what is copied nowhere, or only for a moment.
fn for_now(context: &Context, owner: u32) -> Share {
    context.ledger.note(owner, Resource::GuestMemory, 0)
}

/// A file of the system's, and its size.
async fn installed(context: &Context, path: &Path) -> Result<(File, u64), Error> {
    let limit = limit(context);
    let file = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || firmware::open(&file)).await;
    let (file, bytes) = opened.map_err(io::Error::other).flatten().map_err(|source| system(path, source))?;
    if bytes > limit.bytes {
        let what = format!("'{}'", path.display());
        return Err(ImagesError::TooLarge { what, bytes, limit: limit.bytes, key: limit.key }.into());
    }
    Ok((file, bytes))
}

/// A file in memory with what is in a file of the system's.
async fn copied(path: &Path, file: OwnedFd, size: u64, copies: &mut Share) -> Result<OwnedFd, Error> {
    copies.resize(copies.amount().saturating_add(size))?;
    let copied = tokio::task::spawn_blocking(move || copy::sealed(&file.into(), size)).await;
    let copied = copied.map_err(io::Error::other).flatten();
    copied.map(OwnedFd::from).map_err(|source| system(path, source))
}

/// All that is in an image, and its size. What the document names is a copy in memory.
async fn content(
    context: &Context,
    image: &FirmwareImage,
    owner: u32,
    copies: &mut Share,
) -> Result<(OwnedFd, u64), Error> {
    let path = &image.path;
    if !image.named {
        let (file, size) = installed(context, path).await?;
        return Ok((file.into(), size));
    }
    let before = copies.amount();
    let copy = as_owner(context, owner, blob(path, limit(context)), copies).await?;
    let copy = copy.ok_or_else(|| system(path, io::ErrorKind::NotFound.into()))?;
    Ok((copy, copies.amount() - before))
}

/// An image for flash, which must be there.
fn flash(context: &Context, image: &FirmwareImage, readonly: bool) -> ImageRequest {
    let qcow2 = image.format == FlashFormat::Qcow2;
    let format = if qcow2 { ImageFormat::Qcow2 } else { ImageFormat::Raw };
    let of_file = ImageRequest::new(&image.path, ImageKind::Layer { block: false });
    ImageRequest { format, readonly, limit: Some(limit(context)), ..of_file }
}

/// What the document names; `None` where it is optional and not there.
async fn as_owner(
    context: &Context,
    owner: u32,
    request: ImageRequest,
    copies: &mut Share,
) -> Result<Option<OwnedFd>, Error> {
    let opener = context.scope.opener(owner).await.map_err(Error::Run)?;
    let mut descriptors = context.ledger.note(owner, Resource::Descriptors, 0);
    let opened = opener.open(&[request], copies, &mut descriptors).await?;
    Ok(opened.into_iter().flatten().next().map(|image| image.fd))
}
