//! Which firmware a guest gets.
//!
//! Owns the choice among what is installed, and what an explicit `<loader>` comes to; as libvirt's, the
//! first descriptor by name that fits. Must never look at a file.

use std::path::PathBuf;

use super::host::{FirmwareFacts, FirmwareMapping, FlashFile, QemuFacts};
use super::qemu::finding;
use crate::model::{
    DomainDef, Finding, Firmware, FirmwareFeature, FlashFormat, LoaderDef, LoaderKind, OsDef, Severity,
};

/// The firmware of one guest, where it is not the BIOS that QEMU has itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestFirmware {
    /// An image that is mapped below 4 GiB.
    Rom(FirmwareImage),
    /// Flash, with variables beside the code or not.
    Flash(Flash),
}

/// Firmware in flash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flash {
    /// The code.
    pub code: FirmwareImage,
    /// Whether the guest cannot write the code.
    pub readonly: bool,
    /// The variables; `None`: stateless, or in one file with the code.
    pub vars: Option<Variables>,
    /// Only code in system management mode may write the flash.
    pub secure: bool,
}

/// Where variables are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variables {
    /// The document's file; `None`: one that the service keeps.
    pub path: Option<PathBuf>,
    /// The format of the file, and of the template.
    pub format: FlashFormat,
    /// What they are at the first start. Always there where the service keeps the file.
    pub template: Option<FirmwareImage>,
}

/// An image of firmware on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareImage {
    /// Absolute path.
    pub path: PathBuf,
    /// How it is stored.
    pub format: FlashFormat,
    /// Whether the document names it, so that it is opened as the domain's owner. Others are the system's.
    pub named: bool,
}

const FIRMWARE: &str = "/domain/os/@firmware";
const LOADER: &str = "/domain/os/loader";
const NVRAM: &str = "/domain/os/nvram";

/// The firmware that the document asks for; `None` is QEMU's own BIOS.
pub fn choose(def: &DomainDef, qemu: &QemuFacts) -> Result<Option<GuestFirmware>, Finding> {
    let os = &def.os;
    belongs_together(def)?;
    let firmware = match (os.firmware, os.loader.as_ref().filter(|l| l.path.is_some())) {
        (Some(Firmware::Efi), _) => Some(automatic(def, qemu)?),
        (_, Some(loader)) => Some(explicit(os, loader, qemu)?),
        _ => None,
    };
    let flash = matches!(firmware, Some(GuestFirmware::Flash(_)));
    if (flash || os.firmware == Some(Firmware::Efi)) && !def.features.on("acpi") {
        return Err(error(place(os), "UEFI needs ACPI", "write <features><acpi/></features>"));
    }
    if os.vars.is_some() && !flash {
        let message = "firmware that is not in flash keeps no variables in a file";
        return Err(unsupported(NVRAM, message, "leave <nvram> out, or choose UEFI in flash"));
    }
    if let Some(GuestFirmware::Flash(Flash { secure: true, .. })) = firmware {
        secure(def, qemu)?;
    }
    Ok(firmware)
}

/// What excludes each other whatever is installed.
fn belongs_together(def: &DomainDef) -> Result<(), Finding> {
    let os = &def.os;
    if os.firmware != Some(Firmware::Efi) && !os.firmware_features.is_empty() {
        let message = "features of firmware are for firmware that is chosen by them";
        return Err(error("/domain/os/firmware", message, "write <os firmware='efi'>"));
    }
    let Some(loader) = &os.loader else { return Ok(()) };
    if loader.path.is_none() && os.firmware != Some(Firmware::Efi) {
        return Err(error(LOADER, "<loader> names no file", "name it, or write <os firmware='efi'>"));
    }
    if loader.stateless == Some(true) && os.vars.is_some() {
        return Err(error(NVRAM, "stateless firmware keeps no variables", "leave <nvram> out"));
    }
    if loader.readonly == Some(false) && os.vars.is_some() {
        let message = "a loader that the guest may write keeps its variables itself";
        return Err(unsupported(NVRAM, message, "leave <nvram> out, or write <loader readonly='yes'>"));
    }
    Ok(())
}

/// System management mode is what guards the flash.
fn secure(def: &DomainDef, qemu: &QemuFacts) -> Result<(), Finding> {
    let at = place(&def.os);
    if !canonical(def, qemu).starts_with("pc-q35-") {
        return Err(error(at, "secure boot needs the machine q35", "write <type machine='q35'>"));
    }
    let asked = def.os.firmware == Some(Firmware::Efi);
    if def.features.switch("smm").is_some_and(|on| !on) || (!asked && !def.features.on("smm")) {
        let remedy = "write <features><smm state='on'/></features>";
        return Err(error(at, "secure boot needs system management mode", remedy));
    }
    Ok(())
}

/// Where the document asks for firmware.
fn place(os: &OsDef) -> &'static str {
    if os.firmware.is_some() { FIRMWARE } else { LOADER }
}

/// What is installed of firmware, with what a guest had at its first start in front: where that fits, it is taken
/// again, whatever else has come since.
pub fn pin(qemu: &mut QemuFacts, pinned: FirmwareFacts) {
    qemu.firmware.retain(|f| f.mapping != pinned.mapping);
    qemu.firmware.insert(0, pinned);
}

/// The installed firmware that the document asks for by `<os firmware='efi'>`.
pub fn installed<'a>(def: &DomainDef, qemu: &'a QemuFacts) -> Option<&'a FirmwareFacts> {
    let mut uefi = qemu.firmware.iter().filter(|f| f.interfaces.iter().any(|i| i == "uefi"));
    uefi.find(|f| def.os.firmware == Some(Firmware::Efi) && fits(def, qemu, f))
}

fn automatic(def: &DomainDef, qemu: &QemuFacts) -> Result<GuestFirmware, Finding> {
    let Some(chosen) = installed(def, qemu) else {
        let message = format!("no installed firmware is UEFI for {}", wanted(def, qemu));
        return Err(unsupported(
            FIRMWARE,
            message,
            "install the package ovmf (Debian) or edk2-ovmf (Fedora)",
        ));
    };
    let named = def.os.loader.as_ref().is_some_and(|l| l.path.is_some());
    match &chosen.mapping {
        FirmwareMapping::Memory(path) => {
            Ok(GuestFirmware::Rom(FirmwareImage { path: path.clone(), format: FlashFormat::Raw, named }))
        }
        FirmwareMapping::Flash { executable, template } => {
            let vars = template.as_ref().map(|t| variables(&def.os, Some(t))).transpose()?;
            let secure = chosen.features.contains("requires-smm");
            let code = image(executable, named, LOADER)?;
            Ok(GuestFirmware::Flash(Flash { code, readonly: true, vars, secure }))
        }
    }
}

/// What was looked for, in words.
fn wanted(def: &DomainDef, qemu: &QemuFacts) -> String {
    let mut wanted = format!("the machine '{}' of {}", canonical(def, qemu), def.os.arch);
    for (feature, enabled) in &def.os.firmware_features {
        let with = if *enabled { "with" } else { "without" };
        wanted.push_str(&format!(", {with} {}", name_of(*feature)));
    }
    if let Some(loader) = &def.os.loader {
        if let Some(secure) = loader.secure {
            wanted.push_str(if secure { ", guarded by SMM" } else { ", not guarded by SMM" });
        }
        if loader.stateless == Some(true) {
            wanted.push_str(", stateless");
        }
        if let Some(path) = &loader.path {
            wanted.push_str(&format!(", in '{}'", path.display()));
        }
        if let Some(format) = loader.format {
            wanted.push_str(&format!(", as {}", format.as_str()));
        }
    }
    wanted
}

fn fits(def: &DomainDef, qemu: &QemuFacts, firmware: &FirmwareFacts) -> bool {
    let has = |feature: &str| firmware.features.contains(feature);
    let arch = if def.os.arch == "i686" { "i386" } else { &def.os.arch };
    let machine = canonical(def, qemu);
    let target = firmware
        .targets
        .iter()
        .any(|t| t.arch == arch && t.machines.iter().any(|pattern| glob(pattern, machine)));
    let features = def.os.firmware_features.iter().all(|(f, enabled)| has(name_of(*f)) == *enabled);
    let loader = def.os.loader.clone().unwrap_or_default();
    let smm = has("requires-smm");
    let guarded =
        loader.secure.is_none_or(|s| s == smm) && !(smm && def.features.switch("smm") == Some(false));
    target && features && guarded && mapping_fits(&def.os, &loader, &firmware.mapping)
}

fn mapping_fits(os: &OsDef, loader: &LoaderDef, mapping: &FirmwareMapping) -> bool {
    let is = |path: &PathBuf| loader.path.as_ref().is_none_or(|p| p == path);
    match mapping {
        FirmwareMapping::Memory(path) => {
            loader.kind != Some(LoaderKind::Pflash)
                && loader.stateless != Some(false)
                && loader.format != Some(FlashFormat::Qcow2)
                && os.vars.is_none()
                && is(path)
        }
        FirmwareMapping::Flash { executable, template } => {
            let of_document = os.vars.as_ref().and_then(|v| v.template.as_ref());
            let same = |t: &FlashFile| of_document.is_none_or(|path| *path == t.path);
            loader.kind != Some(LoaderKind::Rom)
                && loader.readonly != Some(false)
                && loader.format.is_none_or(|f| f.as_str() == executable.format)
                && (loader.stateless == Some(true)) == template.is_none()
                && template.iter().all(same)
                && is(&executable.path)
        }
    }
}

/// The file that the document names. Firmware that is installed tells what belongs to it.
fn explicit(os: &OsDef, loader: &LoaderDef, qemu: &QemuFacts) -> Result<GuestFirmware, Finding> {
    let path = loader.path.clone().unwrap_or_default();
    let known = qemu.firmware.iter().find_map(|f| match &f.mapping {
        FirmwareMapping::Flash { executable, template } if executable.path == path => {
            Some((executable, template.as_ref()))
        }
        _ => None,
    });
    let format = match (loader.format, known) {
        (None, Some((executable, _))) => format(&executable.format, LOADER)?,
        (given, _) => given.unwrap_or(FlashFormat::Raw),
    };
    let code = FirmwareImage { path, format, named: true };
    if loader.kind != Some(LoaderKind::Pflash) {
        return rom(loader, code);
    }
    // One that says nothing is not for the guest to write: more than one guest has it.
    let readonly = loader.readonly != Some(false);
    let secure = loader.secure == Some(true);
    let vars = if loader.stateless == Some(true) || !readonly {
        None
    } else {
        Some(variables(os, known.and_then(|(_, template)| template))?)
    };
    Ok(GuestFirmware::Flash(Flash { code, readonly, vars, secure }))
}

fn rom(loader: &LoaderDef, code: FirmwareImage) -> Result<GuestFirmware, Finding> {
    let remedy = "leave it out, or write <loader type='pflash'>";
    for (attr, refused) in [
        ("readonly", loader.readonly == Some(false)),
        ("secure", loader.secure == Some(true)),
        ("stateless", loader.stateless == Some(false)),
        ("format", code.format == FlashFormat::Qcow2),
    ] {
        if refused {
            let message = format!("a ROM cannot be what '{attr}' says");
            return Err(error(&format!("{LOADER}/@{attr}"), message, remedy));
        }
    }
    Ok(GuestFirmware::Rom(code))
}

/// The variables that the document asks for, beside firmware that was installed with `template`.
fn variables(os: &OsDef, template: Option<&FlashFile>) -> Result<Variables, Finding> {
    let asked = os.vars.clone().unwrap_or_default();
    let of_system = template.filter(|t| asked.template.as_ref().is_none_or(|p| *p == t.path));
    let template = match (asked.template, of_system) {
        (Some(path), known) => {
            let of_system = known.map(|t| format(&t.format, NVRAM)).transpose()?;
            let format = asked.template_format.or(of_system).unwrap_or(FlashFormat::Raw);
            Some(FirmwareImage { path, format, named: true })
        }
        (None, Some(known)) => Some(image(known, false, NVRAM)?),
        (None, None) => None,
    };
    if let (Some(said), Some(t)) = (asked.template_format, &template)
        && said != t.format
    {
        let message = format!("the template '{}' is {}", t.path.display(), t.format.as_str());
        return Err(unsupported(&format!("{NVRAM}/@templateFormat"), message, "leave it out"));
    }
    if asked.path.is_none() && template.is_none() {
        let message = "it is not known what the variables of this firmware are at first";
        return Err(unsupported(place(os), message, "write <nvram template='FILE'/>"));
    }
    let of_template = template.as_ref().map(|t| t.format);
    if let (Some(said), Some(is)) = (asked.format, of_template)
        && said != is
    {
        let message =
            format!("Warren does not make {} variables of a {} template yet", said.as_str(), is.as_str());
        return Err(unsupported(&format!("{NVRAM}/@format"), message, "leave it out"));
    }
    let format = asked.format.or(of_template).unwrap_or(FlashFormat::Raw);
    Ok(Variables { path: asked.path, format, template })
}

fn image(file: &FlashFile, named: bool, at: &str) -> Result<FirmwareImage, Finding> {
    Ok(FirmwareImage { path: file.path.clone(), format: format(&file.format, at)?, named })
}

fn format(name: &str, at: &str) -> Result<FlashFormat, Finding> {
    match name {
        "raw" => Ok(FlashFormat::Raw),
        "qcow2" => Ok(FlashFormat::Qcow2),
        other => {
            let message = format!("the installed firmware is stored as '{other}'");
            Err(unsupported(at, message, "raw and qcow2 are known"))
        }
    }
}

fn name_of(feature: FirmwareFeature) -> &'static str {
    match feature {
        FirmwareFeature::EnrolledKeys => "enrolled-keys",
        FirmwareFeature::SecureBoot => "secure-boot",
    }
}

/// The machine type by the name that descriptors know it by.
fn canonical<'a>(def: &'a DomainDef, qemu: &'a QemuFacts) -> &'a str {
    let asked = def.os.machine.as_deref().unwrap_or("pc");
    qemu.canonical_machine(asked).unwrap_or(asked)
}

/// Whether the whole text is as the pattern says, in which `*` stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|left| {
            let ends = left.char_indices().map(|(at, _)| at).chain([left.len()]);
            ends.into_iter().any(|at| glob(rest, &left[at..]))
        }),
    }
}

fn error(path: &str, message: impl Into<String>, remedy: &str) -> Finding {
    finding(Severity::Error, path, message, remedy)
}

fn unsupported(path: &str, message: impl Into<String>, remedy: &str) -> Finding {
    finding(Severity::Unsupported, path, message, remedy)
}

#[cfg(test)]
mod tests;
