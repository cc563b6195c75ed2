//! What a domain's document names on the host: the parts outside of `<devices>`, and the walk over the devices.

use std::path::Path;

use super::PathField;
use super::compare::{Named, What};
use super::devices;
use crate::model::{
    DirectDef, DomainDef, FwCfgEntry, LoaderDef, MemoryBacking, MemorySource, OsDef, SmbiosMode, SysinfoDef,
    VarsDef,
};

/// What is found, in the document's order.
#[derive(Default)]
pub(super) struct Found<'a> {
    pub(super) named: Vec<Named<'a>>,
    /// The networks that devices are on.
    pub(super) networks: Vec<&'a str>,
}

impl<'a> Found<'a> {
    /// Something that needs `host-access` in any case.
    pub(super) fn host(&mut self, field: PathField, place: &str) {
        self.named.push(Named { field, place: place.to_owned(), what: What::Host });
    }

    /// The same, where it is there.
    pub(super) fn host_if(&mut self, is_there: bool, field: PathField, place: &str) {
        if is_there {
            self.host(field, place);
        }
    }

    /// Something that is used with the owner's rights.
    pub(super) fn owner(&mut self, field: PathField, place: &str, what: What<'a>) {
        self.named.push(Named { field, place: place.to_owned(), what });
    }
}

/// Everything. `standard`: the emulators that need no right of their own.
pub(super) fn found<'a>(def: &'a DomainDef, standard: &[&Path]) -> Found<'a> {
    let DomainDef {
        kind: _,
        name: _,
        uuid: _,
        title: _,
        memory: _,
        dump_core: _,
        current_memory: _,
        max_memory: _,
        memory_backing,
        numatune: _,
        vcpus: _,
        vcpus_at_start: _,
        iothreads: _,
        default_iothread: _,
        cpu: _,
        os,
        features: _,
        clock: _,
        pm: _,
        sysinfo,
        genid: _,
        direct,
        on_poweroff: _,
        on_reboot: _,
        on_crash: _,
        emulator,
        throttle_groups: _,
        redirfilter: _,
        devices,
    } = def;
    let mut found = Found::default();
    let of_its_own = emulator.as_ref().is_some_and(|path| !standard.contains(&path.as_path()));
    found.host_if(of_its_own, PathField::Emulator, "/domain/devices/emulator");
    self::direct(&mut found, direct);
    self::os(&mut found, os);
    backing(memory_backing);
    for info in sysinfo {
        match info {
            SysinfoDef::Smbios(_) => (),
            SysinfoDef::FwCfg(entries) => entries.iter().for_each(|entry| fw_cfg(&mut found, entry)),
        }
    }
    devices.iter().for_each(|device| devices::device(&mut found, device));
    found
}

/// Arguments of the document's own can name anything that there is.
fn direct(found: &mut Found<'_>, direct: &DirectDef) {
    let DirectDef { args, env, overrides, deprecation: _ } = direct;
    found.host_if(!args.is_empty(), PathField::QemuArgument, "/domain");
    found.host_if(!env.is_empty(), PathField::QemuEnvironment, "/domain");
    found.host_if(!overrides.is_empty(), PathField::QemuOverride, "/domain");
}

fn os<'a>(found: &mut Found<'a>, os: &'a OsDef) {
    let OsDef {
        arch,
        machine,
        firmware,
        firmware_features,
        loader,
        vars,
        boot: _,
        boot_menu: _,
        boot_menu_timeout: _,
        smbios,
        bios_serial: _,
        reboot_timeout: _,
        kernel,
        initrd,
        cmdline: _,
    } = os;
    let choice = firmware.map(|kind| (kind, firmware_features.as_slice(), arch.as_str(), machine.as_deref()));
    if let Some(path) = kernel {
        found.owner(PathField::Kernel, "/domain/os/kernel", What::File(path));
    }
    if let Some(path) = initrd {
        found.owner(PathField::Initrd, "/domain/os/initrd", What::File(path));
    }
    if let Some(def) = loader {
        let LoaderDef { path, kind: _, readonly: _, secure: _, stateless: _, format: _ } = def;
        if path.is_some() {
            found.owner(PathField::Loader, "/domain/os/loader", What::Loader(choice, def));
        }
    }
    if let Some(def) = vars {
        let VarsDef { path, template, template_format: _, format: _ } = def;
        let what = What::Vars(choice, loader.as_ref(), def);
        if path.is_some() {
            found.owner(PathField::Nvram, "/domain/os/nvram", what);
        }
        if template.is_some() {
            found.owner(PathField::NvramTemplate, "/domain/os/nvram/@template", what);
        }
    }
    match smbios {
        SmbiosMode::Emulate | SmbiosMode::Sysinfo => (),
        // The host's serial numbers, which root alone reads.
        SmbiosMode::Host => found.host(PathField::SmbiosOfHost, "/domain/os/smbios"),
    }
}

fn backing(backing: &MemoryBacking) {
    let MemoryBacking {
        hugepages: _,
        no_share_pages: _,
        locked: _,
        source,
        access: _,
        immediate: _,
        threads: _,
    } = backing;
    match source {
        // The document does not name the file: its directory is Warren's own.
        None | Some(MemorySource::File | MemorySource::Anonymous | MemorySource::Memfd) => (),
    }
}

fn fw_cfg<'a>(found: &mut Found<'a>, entry: &'a FwCfgEntry) {
    let FwCfgEntry { path, name, content } = entry;
    match content {
        Ok(_text) => (),
        Err(file) => found.owner(PathField::FwCfgFile, path, What::FwCfg { name, file }),
    }
}
