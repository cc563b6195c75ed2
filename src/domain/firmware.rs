//! The guest's firmware and its variables, opened before QEMU starts. Owns the making of the variables that
//! the service keeps; must never open with its own rights what a document names.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use uuid::Uuid;

use super::{Context, Error};
use crate::model::{DomainDef, Finding, FlashFormat, Severity};
use crate::plan::firmware_choice::{self, FirmwareImage, GuestFirmware, Variables};
use crate::plan::host::QemuFacts;
use crate::sys::firmware;
use crate::sys::images::{self, ImageKind, ImageRequest};

/// Descriptors of the firmware.
#[derive(Default)]
pub(super) struct OpenedFirmware {
    pub(super) code: Option<OwnedFd>,
    pub(super) vars: Option<OwnedFd>,
}

pub(super) async fn open(
    context: &Context,
    uuid: &Uuid,
    def: &DomainDef,
    qemu: &QemuFacts,
    owner: u32,
) -> Result<OpenedFirmware, Error> {
    let chosen = firmware_choice::choose(def, qemu).map_err(|finding| refused(def, finding))?;
    Ok(match chosen {
        None => OpenedFirmware::default(),
        // QEMU reopens it by its own /proc, which only works with what it owns or everybody may read.
        Some(GuestFirmware::Rom(image)) => {
            let content = content(context, &image, owner).await?;
            let code = images::sealed(&content).map_err(Error::Run)?;
            OpenedFirmware { code: Some(code), vars: None }
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
            OpenedFirmware { code, vars }
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
        return opened.ok_or_else(|| refused(def, missing(path)));
    }
    let kept = context.store.open_vars(uuid)?;
    if let Some(file) = kept {
        return Ok(file.into());
    }
    let template = vars.template.as_ref().ok_or(Error::NoVariables)?;
    let content = content(context, template, owner).await?;
    Ok(context.store.make_vars(uuid, &content)?.into())
}

fn missing(path: &Path) -> Finding {
    Finding {
        severity: Severity::Unsupported,
        path: "/domain/os/nvram".into(),
        line: 0,
        column: 0,
        message: format!("'{}' is not there, and Warren does not make it", path.display()),
        remedy: "copy the firmware's template to it, or leave the path out: Warren then keeps the variables"
            .into(),
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
