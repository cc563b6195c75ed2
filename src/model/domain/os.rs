//! `<os>`: what the guest boots and on what machine. Owns libvirt's words and defaults for it; must never
//! look for firmware or kernels.

use std::path::PathBuf;

use crate::model::doc::host_path;
use crate::xml::view::View;

const BOOT_DEVS: &[(&str, BootDev)] =
    &[("hd", BootDev::Hd), ("cdrom", BootDev::Cdrom), ("network", BootDev::Network), ("fd", BootDev::Fd)];

/// `<os>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsDef {
    /// `<type arch>`: `x86_64` or `i686`; the host's where it is not given.
    pub arch: String,
    /// `<type machine>`; absent means `pc`.
    pub machine: Option<String>,
    /// `<boot dev>` in order.
    pub boot: Vec<BootDev>,
    /// `<kernel>`.
    pub kernel: Option<PathBuf>,
    /// `<initrd>`.
    pub initrd: Option<PathBuf>,
    /// `<cmdline>`.
    pub cmdline: Option<String>,
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
    if let Some(menu) = os.child("bootmenu")
        && menu.yes_no("enable") == Some(true)
    {
        menu.unsupported("Warren has no boot menu yet", "leave it out");
    }
    let path = |name: &str| os.child(name).and_then(|v| host_path(&v, None));
    let cmdline = os.child("cmdline").map(|c| c.text().into_owned()).filter(|c| !c.is_empty());
    let (arch, machine) = arch?;
    Some(OsDef { arch, machine, boot, kernel: path("kernel"), initrd: path("initrd"), cmdline })
}

fn os_type(os: &View<'_>) -> Option<(String, Option<String>)> {
    let Some(kind) = os.child("type") else {
        os.error("<os> has no <type>", "add <type>hvm</type>");
        return None;
    };
    if kind.text() != "hvm" {
        kind.error(format!("'{}' is not a type of system that QEMU runs", kind.text()), "write hvm");
    }
    // The names of the two that Rust and libvirt call differently; others agree.
    let host = match std::env::consts::ARCH {
        "x86" => "i686",
        other => other,
    };
    let arch = kind.filled("arch").unwrap_or(host);
    if !matches!(arch, "x86_64" | "i686") {
        let message = format!("Warren does not run guests of architecture '{arch}' yet");
        kind.unsupported_at("arch", message, "x86_64 and i686 are known");
    }
    Some((arch.to_owned(), kind.filled("machine").map(str::to_owned)))
}
