//! `<os>`: what the guest boots and on what machine. Owns libvirt's words and defaults for it; must never
//! look for firmware or kernels.

use std::path::PathBuf;

use crate::model::doc::host_path;
use crate::xml::view::View;

const BOOT_DEVS: &[(&str, BootDev)] =
    &[("hd", BootDev::Hd), ("cdrom", BootDev::Cdrom), ("network", BootDev::Network), ("fd", BootDev::Fd)];

/// What libvirt calls systems that QEMU does not run.
const OTHER_SYSTEMS: &[&str] = &["linux", "exe", "xen", "xenpvh", "uml"];

/// `<os>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OsDef {
    /// `<type arch>`: `x86_64` or `i686`; the host's where it is not given.
    pub arch: String,
    /// `<type machine>`; absent means `pc`.
    pub machine: Option<String>,
    /// `@firmware`: firmware of this kind is chosen from what is installed.
    pub firmware: Option<Firmware>,
    /// `<firmware><feature>`: what the chosen firmware must have, or must not.
    pub firmware_features: Vec<(FirmwareFeature, bool)>,
    /// `<loader>`.
    pub loader: Option<LoaderDef>,
    /// `<nvram>`: where UEFI keeps its variables.
    pub vars: Option<VarsDef>,
    /// `<boot dev>` in order.
    pub boot: Vec<BootDev>,
    /// `<bootmenu enable>`.
    pub boot_menu: Option<bool>,
    /// `<bootmenu timeout>` in milliseconds, at most 65535.
    pub boot_menu_timeout: Option<u16>,
    /// `<smbios mode>`.
    pub smbios: SmbiosMode,
    /// `<bios useserial>`: the BIOS speaks on the first serial port.
    pub bios_serial: Option<bool>,
    /// `<bios rebootTimeout>` in milliseconds; -1 for never.
    pub reboot_timeout: Option<i32>,
    /// `<kernel>`.
    pub kernel: Option<PathBuf>,
    /// `<initrd>`.
    pub initrd: Option<PathBuf>,
    /// `<cmdline>`.
    pub cmdline: Option<String>,
}

/// `<os firmware>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum Firmware {
    Bios,
    Efi,
}

/// `<firmware><feature name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum FirmwareFeature {
    EnrolledKeys,
    SecureBoot,
}

/// `<loader>`: the guest's firmware, by name or by what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoaderDef {
    /// The image; absent where the firmware is to be chosen.
    pub path: Option<PathBuf>,
    /// `@type`; ROM where a path stands alone.
    pub kind: Option<LoaderKind>,
    /// `@readonly`.
    pub readonly: Option<bool>,
    /// `@secure`: only code in system management mode may write the flash.
    pub secure: Option<bool>,
    /// `@stateless`: there are no variables.
    pub stateless: Option<bool>,
    /// `@format`: `raw` or `qcow2`.
    pub format: Option<FlashFormat>,
}

/// `<loader type>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum LoaderKind {
    Rom,
    Pflash,
}

/// How a flash image is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are QEMU's")]
pub enum FlashFormat {
    Raw,
    Qcow2,
}

impl FlashFormat {
    /// QEMU's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// `<nvram>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VarsDef {
    /// The file that the document names; absent means a file that Warren keeps for the guest.
    pub path: Option<PathBuf>,
    /// `@template`: what the variables are at the first start.
    pub template: Option<PathBuf>,
    /// `@templateFormat`.
    pub template_format: Option<FlashFormat>,
    /// `@format`.
    pub format: Option<FlashFormat>,
}

/// `<smbios mode>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SmbiosMode {
    /// QEMU's own tables.
    #[default]
    Emulate,
    /// Those of the host.
    Host,
    /// Those of `<sysinfo>`.
    Sysinfo,
}

/// `<boot dev>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum BootDev {
    Hd,
    Cdrom,
    Network,
    Fd,
}

/// Reads `<os>`; `None` with a remark that says why.
pub(super) fn read(os: &View<'_>) -> Option<OsDef> {
    let arch = os_type(os);
    let boot = os.children("boot").iter().filter_map(|b| b.one_of("dev", BOOT_DEVS)).collect();
    let menu = os.child("bootmenu");
    let bios = os.child("bios");
    let path = |name: &str| os.child(name).and_then(|v| host_path(&v, None));
    let cmdline = os.child("cmdline").map(|c| c.text().into_owned()).filter(|c| !c.is_empty());
    not_run(os);
    let firmware = os.one_of("firmware", &[("bios", Firmware::Bios), ("efi", Firmware::Efi)]);
    let (kernel, initrd) = (path("kernel"), path("initrd"));
    let (loader, vars, firmware_features) = (loader(os), vars(os), firmware_features(os));
    let boot_menu = menu.as_ref().and_then(|m| m.yes_no("enable"));
    let boot_menu_timeout = menu.and_then(|m| m.parsed("timeout"));
    let bios_serial = bios.as_ref().and_then(|b| b.yes_no("useserial"));
    let reboot_timeout = bios.and_then(|b| reboot_timeout(&b));
    let smbios = os.child("smbios").and_then(|s| s.one_of("mode", SMBIOS)).unwrap_or_default();
    let (arch, machine) = arch?;
    Some(OsDef {
        arch,
        machine,
        firmware,
        firmware_features,
        loader,
        vars,
        boot,
        boot_menu,
        boot_menu_timeout,
        smbios,
        bios_serial,
        reboot_timeout,
        kernel,
        initrd,
        cmdline,
    })
}

const SMBIOS: &[(&str, SmbiosMode)] = &[
    ("none", SmbiosMode::Emulate),
    ("emulate", SmbiosMode::Emulate),
    ("host", SmbiosMode::Host),
    ("sysinfo", SmbiosMode::Sysinfo),
];

const FORMATS: &[(&str, FlashFormat)] = &[("raw", FlashFormat::Raw), ("qcow2", FlashFormat::Qcow2)];

fn reboot_timeout(bios: &View<'_>) -> Option<i32> {
    let timeout: i32 = bios.parsed("rebootTimeout")?;
    if !(-1..=65535).contains(&timeout) {
        bios.error_at("rebootTimeout", format!("{timeout} is not a time to reboot"), "give -1 to 65535");
        return None;
    }
    Some(timeout)
}

fn loader(os: &View<'_>) -> Option<LoaderDef> {
    let view = os.child("loader")?;
    Some(LoaderDef {
        kind: view.one_of("type", &[("rom", LoaderKind::Rom), ("pflash", LoaderKind::Pflash)]),
        readonly: view.yes_no("readonly"),
        secure: view.yes_no("secure"),
        stateless: view.yes_no("stateless"),
        format: view.one_of("format", FORMATS),
        path: host_path(&view, None),
    })
}

fn vars(os: &View<'_>) -> Option<VarsDef> {
    let view = os.child("nvram")?;
    let mut path = host_path(&view, None);
    match view.filled("type") {
        None => {}
        Some("file") => {
            path = view.child("source").and_then(|s| host_path(&s, Some("file"))).or(path);
        }
        Some(other) => {
            view.accept();
            let message = format!("Warren keeps no firmware variables on '{other}' yet");
            view.unsupported_at("type", message, "give type='file', or leave <nvram> out");
        }
    }
    Some(VarsDef {
        path,
        template: host_path(&view, Some("template")),
        template_format: view.one_of("templateFormat", FORMATS),
        format: view.one_of("format", FORMATS),
    })
}

fn firmware_features(os: &View<'_>) -> Vec<(FirmwareFeature, bool)> {
    let known =
        [("enrolled-keys", FirmwareFeature::EnrolledKeys), ("secure-boot", FirmwareFeature::SecureBoot)];
    let features = os.child("firmware").map(|f| f.children("feature")).unwrap_or_default();
    let read = |f: &View<'_>| {
        let (name, enabled) = (f.one_of("name", &known), f.yes_no("enabled"));
        for (attr, given) in
            [("name", f.filled("name").is_some()), ("enabled", f.filled("enabled").is_some())]
        {
            if !given {
                f.error_at(attr, format!("a feature of firmware needs '{attr}'"), "");
            }
        }
        Some((name?, enabled?))
    };
    features.iter().filter_map(read).collect()
}

/// What libvirt's `<os>` may say and Warren does not run.
fn not_run(os: &View<'_>) {
    for (name, what) in [
        ("dtb", "a device tree of its own is for other machines than a PC"),
        ("shim", "Warren does not hand over a shim with the kernel yet"),
        ("acpi", "Warren does not hand over ACPI tables yet"),
        ("varstore", "Warren keeps firmware variables as flash, not as a store of JSON, yet"),
        ("init", "an init process is for containers"),
        ("initarg", "an init process is for containers"),
        ("initenv", "an init process is for containers"),
        ("initdir", "an init process is for containers"),
        ("inituser", "an init process is for containers"),
        ("initgroup", "an init process is for containers"),
        ("idmap", "mapped users are for containers"),
    ] {
        for child in os.children(name) {
            child.accept();
            child.unsupported(what, "leave it out");
        }
    }
}

/// What a domain without `<os>` has: a PC of the host's architecture.
pub(super) fn default() -> OsDef {
    OsDef { arch: host_arch().to_owned(), ..OsDef::default() }
}

/// libvirt's name of the host's architecture: one that Rust calls differently.
fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86" => "i686",
        other => other,
    }
}

fn os_type(os: &View<'_>) -> Option<(String, Option<String>)> {
    let Some(kind) = os.child("type") else {
        os.error("<os> has no <type>", "add <type>hvm</type>");
        return None;
    };
    let system = kind.text();
    if OTHER_SYSTEMS.contains(&system.as_ref()) {
        let message = format!("a system of type '{system}' is for another hypervisor than QEMU");
        kind.unsupported(message, "write hvm");
    } else if system != "hvm" {
        kind.error(format!("'{system}' is not a type of system that QEMU runs"), "write hvm");
    }
    let arch = kind.filled("arch").unwrap_or(host_arch());
    if !matches!(arch, "x86_64" | "i686") {
        let message = format!("Warren does not run guests of architecture '{arch}' yet");
        kind.unsupported_at("arch", message, "x86_64 and i686 are known");
    }
    Some((arch.to_owned(), kind.filled("machine").map(str::to_owned)))
}
