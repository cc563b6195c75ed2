//! The guest's firmware: as flash, whose images are block nodes, or in the place of QEMU's own BIOS. Owns how
//! QEMU is told; must never choose it.

use serde_json::json;

use super::{FlashFd, Handed, Plan, fd_path};
use crate::model::FlashFormat;
use crate::plan::firmware_choice::{self, Flash, GuestFirmware};

/// Adds the firmware; gives what the machine must be told of it, each option with its comma.
pub(super) fn add(plan: &mut Plan<'_>, handed: &Handed) -> String {
    match firmware_choice::choose(plan.def, plan.qemu) {
        Ok(None) => String::new(),
        Ok(Some(GuestFirmware::Rom(_))) => {
            match handed.code {
                Some(code) => plan.args.pair("-bios", fd_path(code.fd)),
                None => not_opened(plan, "loader"),
            }
            String::new()
        }
        Ok(Some(GuestFirmware::Flash(chosen))) => flash(plan, handed, &chosen),
        Err(finding) => {
            plan.findings.push(finding);
            String::new()
        }
    }
}

fn flash(plan: &mut Plan<'_>, handed: &Handed, chosen: &Flash) -> String {
    let mut options = String::new();
    if chosen.secure {
        plan.args.pair("-global", "driver=cfi.pflash01,property=secure,value=on");
        if plan.def.features.switch("smm").is_none() {
            options.push_str(",smm=on");
        }
    }
    match handed.code {
        Some(fd) => options.push_str(&node(plan, "pflash0", fd, chosen.code.format, chosen.readonly)),
        None => not_opened(plan, "loader"),
    }
    if let Some(vars) = &chosen.vars {
        match handed.vars {
            Some(fd) => options.push_str(&node(plan, "pflash1", fd, vars.format, false)),
            None => not_opened(plan, "nvram"),
        }
    }
    options
}

/// The nodes of one flash; gives the machine's option for it.
fn node(plan: &mut Plan<'_>, name: &str, fd: FlashFd, format: FlashFormat, readonly: bool) -> String {
    plan.args.pair("-add-fd", format!("fd={},set={}", fd.fd, fd.set));
    let storage = format!("{name}-storage");
    let file = json!({
        "driver": "file",
        "filename": format!("/dev/fdset/{}", fd.set),
        "node-name": storage,
        "read-only": readonly,
        "discard": "unmap",
    });
    plan.args.json("-blockdev", &file);
    let mut image = json!({ "node-name": name, "read-only": readonly, "driver": format.as_str() });
    image["file"] = storage.into();
    if format == FlashFormat::Qcow2 {
        // Whatever the image names, QEMU does not open it.
        image["backing"] = serde_json::Value::Null;
    }
    plan.args.json("-blockdev", &image);
    format!(",{name}={name}")
}

fn not_opened(plan: &mut Plan<'_>, element: &str) {
    plan.error(&format!("/domain/os/{element}"), "the guest's firmware was not opened", "");
}
