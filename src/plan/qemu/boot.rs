//! What the guest boots: the order of its devices, or a kernel that is handed in.

use serde_json::json;

use super::{Handed, Plan, fd_path};
use crate::model::{BootDev, DiskDevice, DomainDef};

/// The boot index of each disk and each interface, in order; 1 is tried first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes {
    pub(super) disks: Vec<Option<u32>>,
    pub(super) nics: Vec<Option<u32>>,
}

/// `<boot order>` of the devices where there is one. Else `<boot dev>`, each of which means the first
/// device of its kind, and `hd` where nothing is said.
pub(super) fn indexes(def: &DomainDef) -> Indexes {
    let mut indexes = Indexes {
        disks: def.disks().map(|d| d.info.boot_order).collect(),
        nics: def.interfaces().map(|n| n.info.boot_order).collect(),
    };
    if def.devices.iter().any(|d| d.info().boot_order.is_some()) {
        return indexes;
    }
    let by_kind = if def.os.boot.is_empty() { &[BootDev::Hd][..] } else { &def.os.boot };
    for (index, dev) in (1..).zip(by_kind) {
        let disk_of = |kinds: &[DiskDevice]| def.disks().position(|d| kinds.contains(&d.device));
        let place = match dev {
            BootDev::Hd => disk_of(&[DiskDevice::Disk, DiskDevice::Lun]).map(|at| &mut indexes.disks[at]),
            BootDev::Cdrom => disk_of(&[DiskDevice::Cdrom]).map(|at| &mut indexes.disks[at]),
            BootDev::Network => indexes.nics.first_mut(),
            BootDev::Fd => disk_of(&[DiskDevice::Floppy]).map(|at| &mut indexes.disks[at]),
        };
        if let Some(place) = place {
            place.get_or_insert(index);
        }
    }
    indexes
}

/// The firmware's own menu, and what it does when nothing can be booted.
pub(super) fn menu(plan: &mut Plan<'_>) {
    let os = &plan.def.os;
    let mut line = String::new();
    if let Some(menu) = os.boot_menu {
        line.push_str(if menu { "menu=on," } else { "menu=off," });
        if let Some(timeout) = os.boot_menu_timeout.filter(|_| menu) {
            line.push_str(&format!("splash-time={timeout},"));
        }
    }
    if let Some(timeout) = os.reboot_timeout {
        line.push_str(&format!("reboot-timeout={timeout},"));
    }
    plan.args.pair("-boot", format!("{line}strict=on"));
}

/// The kernel, the initial RAM disk and the command line. Both files are descriptors, which QEMU opens by
/// its own `/proc`.
pub(super) fn kernel(plan: &mut Plan<'_>, handed: &Handed) {
    let os = &plan.def.os;
    if os.kernel.is_none() {
        for (what, given) in [("initrd", os.initrd.is_some()), ("cmdline", os.cmdline.is_some())] {
            if given {
                let message = format!("<{what}> is there without a <kernel>");
                plan.error(&format!("/domain/os/{what}"), message, "name the <kernel> it belongs to");
            }
        }
        return;
    }
    for (flag, what, wanted, fd) in [
        ("-kernel", "kernel", true, handed.kernel),
        ("-initrd", "initrd", os.initrd.is_some(), handed.initrd),
    ] {
        match fd {
            Some(fd) if wanted => plan.args.pair(flag, fd_path(fd)),
            None if wanted => {
                plan.error(&format!("/domain/os/{what}"), format!("the {what} was not opened"), "");
            }
            _ => {}
        }
    }
    if let Some(line) = &os.cmdline {
        command_line(plan, line);
    }
}

/// The line of a kernel, which often holds what is secret.
fn command_line(plan: &mut Plan<'_>, line: &str) {
    if plan.has_preconfig() {
        let append = json!({ "path": "/machine", "property": "append", "value": line });
        plan.before_the_machine("qom-set", append);
    } else if plan.options("machine", "", &[("append", line.to_owned())]).is_err() {
        let message = "beside a display that is a window, and beside SPICE without QXL, QEMU can be handed only \
                       a short command line without quotes";
        let remedy =
            "leave the quotes out, or write <graphics type='vnc'/> or <video><model type='qxl'/></video>";
        plan.unsupported("/domain/os/cmdline", message, remedy);
    }
}
