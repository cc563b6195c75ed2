//! The guest's firmware and its variables, opened before QEMU starts. Owns the making of the variables that
//! the service keeps; must never open with its own rights what a document names.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use uuid::Uuid;

use super::guest::LiveFirmware;
use super::{Context, Error};
use crate::model::{DomainDef, Finding, FlashFormat, Severity};
use crate::plan::firmware_choice::{self, FirmwareImage, GuestFirmware, Variables};
use crate::plan::host::{FirmwareFacts, QemuFacts};
use crate::sys::firmware;
use crate::sys::images::{self, ImageKind, ImageRequest};

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
        let kind = ImageKind::Layer { block: false };
        let owner = context.scope.opener(owner).map_err(Error::Run)?;
        let request = ImageRequest {
            path: image.path.clone(),
            format_qcow2: image.format == FlashFormat::Qcow2,
            readonly: true,
            optional: true,
            kind,
        };
        let opened = images::open_as(&context.scope.exe, owner, vec![request]).await?;
        return Ok(opened.into_iter().flatten().next().is_some());
    }
    match firmware::open(&image.path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(system(&image.path, source)),
    }
}

/// Notes which firmware was chosen, and tells its files for the live document.
fn note(
    context: &Context,
    uuid: &Uuid,
    def: &DomainDef,
    qemu: &QemuFacts,
    chosen: Option<&GuestFirmware>,
) -> Result<Option<LiveFirmware>, Error> {
    let Some(installed) = firmware_choice::installed(def, qemu) else { return Ok(None) };
    if context.store.noted_firmware::<FirmwareFacts>(uuid)?.as_ref() != Some(installed) {
        context.store.note_firmware(uuid, installed)?;
    }
    Ok(match chosen {
        Some(GuestFirmware::Flash(flash)) => {
            let template = flash.vars.as_ref().and_then(|v| v.template.as_ref());
            let template = template.map(|t| t.path.display().to_string());
            let loader = flash.code.path.display().to_string();
            Some(LiveFirmware { loader, kind: "pflash".to_owned(), template })
        }
        Some(GuestFirmware::Rom(image)) => {
            let loader = image.path.display().to_string();
            Some(LiveFirmware { loader, kind: "rom".to_owned(), template: None })
        }
        None => None,
    })
}

pub(super) async fn open(
    context: &Context,
    uuid: &Uuid,
    def: &DomainDef,
    qemu: &QemuFacts,
    owner: u32,
) -> Result<OpenedFirmware, Error> {
    let chosen = firmware_choice::choose(def, qemu).map_err(|finding| refused(def, finding))?;
    let told = note(context, uuid, def, qemu, chosen.as_ref())?;
    Ok(match chosen {
        None => OpenedFirmware::default(),
        // QEMU reopens it by its own /proc, which only works with what it owns or everybody may read.
        Some(GuestFirmware::Rom(image)) => {
            let content = content(context, &image, owner).await?;
            let code = images::sealed(&content).map_err(Error::Run)?;
            OpenedFirmware { code: Some(code), vars: None, told }
        }
        Some(GuestFirmware::Flash(flash)) => {
            let code = if flash.code.named {
                let kind = ImageKind::Layer { block: false };
                let format = flash.code.format;
                as_owner(context, owner, &flash.code.path, kind, format, flash.readonly).await?
            } else {
                Some(firmware::open(&flash.code.path).map_err(|source| system(&flash.code.path, source))?)
            };
            let vars = match &flash.vars {
                Some(vars) => Some(variables(context, uuid, def, vars, owner).await?),
                None => None,
            };
            OpenedFirmware { code, vars, told }
        }
    })
}

/// The guest's variables, for writing.
async fn variables(
    context: &Context,
    uuid: &Uuid,
    def: &DomainDef,
    vars: &Variables,
    owner: u32,
) -> Result<OwnedFd, Error> {
    if let Some(path) = &vars.path {
        let kind = ImageKind::Layer { block: false };
        let opened = as_owner(context, owner, path, kind, vars.format, false).await?;
        return opened.ok_or_else(|| refused(def, missing("/domain/os/nvram", path, COPY)));
    }
    let kept = context.store.open_vars(uuid)?;
    if let Some(file) = kept {
        return Ok(file.into());
    }
    let template = vars.template.as_ref().ok_or(Error::NoVariables)?;
    let content = content(context, template, owner).await?;
    Ok(context.store.make_vars(uuid, &content)?.into())
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

fn system(path: &Path, source: std::io::Error) -> Error {
    Error::Firmware { path: path.to_owned(), source }
}

/// All that is in an image.
async fn content(context: &Context, image: &FirmwareImage, owner: u32) -> Result<Vec<u8>, Error> {
    let path = &image.path;
    if !image.named {
        return firmware::content(path).map_err(|source| system(path, source));
    }
    let blob = as_owner(context, owner, path, ImageKind::Blob, image.format, true).await?;
    let blob = blob.ok_or_else(|| system(path, std::io::ErrorKind::NotFound.into()))?;
    let mut content = Vec::new();
    std::fs::File::from(blob).read_to_end(&mut content).map_err(|source| system(path, source))?;
    Ok(content)
}

/// What the document names; `None` where variables are not there.
async fn as_owner(
    context: &Context,
    owner: u32,
    path: &Path,
    kind: ImageKind,
    format: FlashFormat,
    readonly: bool,
) -> Result<Option<OwnedFd>, Error> {
    let owner = context.scope.opener(owner).map_err(Error::Run)?;
    let format_qcow2 = format == FlashFormat::Qcow2;
    let request = ImageRequest { path: path.to_owned(), format_qcow2, readonly, optional: !readonly, kind };
    let opened = images::open_as(&context.scope.exe, owner, vec![request]).await?;
    Ok(opened.into_iter().flatten().next().map(|image| image.fd))
}
