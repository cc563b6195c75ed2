//! `<tpm>`. Owns libvirt's words, defaults and errors for it.

use super::words::{YES_NO, words};
use super::{Address, DeviceInfo};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<tpm>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@model`, default TIS; an external or emulated 2.0 one may be CRB.
    pub model: TpmModel,
    /// `<backend>`.
    pub backend: TpmBackend,
}

words! {
    /// `<tpm model>`.
    TpmModel {
        Tis = "tpm-tis",
        Crb = "tpm-crb",
        Spapr = "tpm-spapr",
        SpaprProxy = "spapr-tpm-proxy",
    }
}

words! {
    /// `<backend version>`.
    TpmVersion { V12 = "1.2", V20 = "2.0" }
}

/// `<tpm><backend>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TpmBackend {
    /// `passthrough`: the host's TPM, by default `/dev/tpm0`.
    Passthrough(String),
    /// `emulator`: an `swtpm` of its own.
    Emulator(TpmEmulator),
    /// `external`: an `swtpm` that somebody else runs, at a unix socket.
    External(String),
}

/// `<backend type='emulator'>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmEmulator {
    /// `@version`, default 2.0.
    pub version: TpmVersion,
    /// `@persistent_state`: what the TPM holds outlives a transient domain.
    pub persistent_state: bool,
    /// `@debug`: the level of swtpm's log.
    pub debug: Option<u32>,
    /// `<encryption secret>`: the UUID of the secret that its state is encrypted with.
    pub encryption: Option<String>,
    /// `<active_pcr_banks>`: `sha1`, `sha256`, `sha384`, `sha512`; empty for swtpm's own choice.
    pub pcr_banks: Vec<String>,
    /// `<profile>`: its name, from `@name` or `@source`, and what else it says.
    pub profile: Option<TpmProfile>,
    /// `<source>`: where the state is kept; absent means Warren's own place.
    pub source: Option<String>,
}

/// `<profile source name removeDisabled>` of an emulated TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub struct TpmProfile {
    pub source: Option<String>,
    pub name: Option<String>,
    pub remove_disabled: Option<String>,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<TpmDef> {
    let info = DeviceInfo::read(view);
    let model = view.one_of("model", TpmModel::WORDS);
    let Some(backend) = view.child("backend") else {
        view.error("the TPM has no <backend>", "add <backend type='emulator' version='2.0'/>");
        return None;
    };
    let kind = backend.one_of("type", &[("passthrough", 0), ("emulator", 1), ("external", 2)]);
    let kind = required(kind, &backend, "type", "give passthrough, emulator or external")?;
    let backend = match kind {
        0 => {
            let device = backend.child("device").and_then(|d| d.filled("path").map(str::to_owned));
            TpmBackend::Passthrough(device.unwrap_or_else(|| "/dev/tpm0".to_owned()))
        }
        1 => TpmBackend::Emulator(emulator(&backend)),
        _ => TpmBackend::External(external(&backend)?),
    };
    let old = matches!(&backend, TpmBackend::Emulator(e) if e.version == TpmVersion::V12);
    if old && model == Some(TpmModel::Crb) {
        view.error_at("model", "tpm-crb is for TPM 2.0 only", "write tpm-tis, or version='2.0'");
    }
    if matches!(info.address, Some(Address::Pci(_) | Address::Usb { .. })) {
        view.error("a TPM has no address on a bus of this kind", "leave <address> out");
    }
    // libvirt's choice where nothing is said: TIS for all but what is 2.0 and runs on spapr.
    Some(TpmDef { info, model: model.unwrap_or(TpmModel::Tis), backend })
}

fn emulator(view: &View<'_>) -> TpmEmulator {
    let banks = view.child("active_pcr_banks");
    let version = view.one_of("version", TpmVersion::WORDS).unwrap_or(TpmVersion::V20);
    if version == TpmVersion::V12
        && let Some(banks) = &banks
    {
        banks.error("only a TPM 2.0 has banks to choose", "leave it out, or write version='2.0'");
    }
    let bank = |bank: &View<'_>| {
        if ["sha1", "sha256", "sha384", "sha512"].contains(&bank.name()) {
            return Some(bank.name().to_owned());
        }
        bank.leave();
        None
    };
    let source = view.child("source");
    TpmEmulator {
        version,
        persistent_state: view.one_of("persistent_state", YES_NO).unwrap_or(false),
        debug: view.parsed("debug"),
        encryption: view.child("encryption").and_then(|e| {
            let remedy = "give the UUID of the secret";
            required(e.parsed::<uuid::Uuid>("secret"), &e, "secret", remedy).map(|u| u.to_string())
        }),
        pcr_banks: banks.map(|b| b.all_children().iter().filter_map(bank).collect()).unwrap_or_default(),
        profile: view.child("profile").map(|p| TpmProfile {
            source: p.filled("source").map(str::to_owned),
            name: p.filled("name").map(str::to_owned),
            remove_disabled: p.filled("removeDisabled").map(str::to_owned),
        }),
        source: source.and_then(|s| {
            s.one_of("type", &[("dir", ()), ("file", ())]);
            required(s.filled("path"), &s, "path", "give the path of the state").map(str::to_owned)
        }),
    }
}

fn external(view: &View<'_>) -> Option<String> {
    let Some(source) = view.child("source") else {
        view.error("the external TPM has no <source>", "add <source type='unix' mode='connect' path='…'/>");
        return None;
    };
    source.one_of("type", &[("unix", ())]);
    source.one_of("mode", &[("connect", ())]);
    required(source.filled("path"), &source, "path", "give the socket of swtpm").map(str::to_owned)
}
