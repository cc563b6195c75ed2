//! What the guest reads of its maker and itself. Both are texts of the document's, so they reach QEMU as files.

mod structures;

use super::Plan;
use crate::model::{FwCfgEntry, SmbiosMode, SmbiosTable, SysinfoDef, Uuid};
use structures::Maker;

/// QEMU has room for so many files of ours in the firmware's configuration.
const MOST_FILES: usize = 16;

pub(super) fn add(plan: &mut Plan<'_>, uuid: &Uuid) {
    let def = plan.def;
    let told = def.os.smbios;
    if told == SmbiosMode::Host {
        let message = "Warren does not show a guest the host's own tables";
        plan.unsupported("/domain/os/smbios/@mode", message, "write mode='sysinfo' and <sysinfo>");
    }
    let has_tables = def.sysinfo.iter().any(|s| matches!(s, SysinfoDef::Smbios(_)));
    if told == SmbiosMode::Sysinfo && !has_tables {
        let message = "the tables are to be those of <sysinfo>, and there is none";
        plan.unsupported("/domain/os/smbios/@mode", message, "add <sysinfo type='smbios'>");
    }
    let mut all: Vec<&SmbiosTable> = Vec::new();
    let mut files = 0;
    for info in &def.sysinfo {
        match info {
            SysinfoDef::Smbios(tables) if told == SmbiosMode::Sysinfo => all.extend(tables),
            SysinfoDef::Smbios(_) => {
                let message = "the guest is told of <sysinfo> only where <os> says so";
                plan.unsupported("/domain/sysinfo", message, "add <smbios mode='sysinfo'/> to <os>");
            }
            SysinfoDef::FwCfg(entries) => {
                files += entries.len();
                for entry in entries.iter().take(MOST_FILES) {
                    firmware_file(plan, entry);
                }
            }
        }
    }
    if files > MOST_FILES {
        let message =
            format!("there are {files} entries for the firmware, and QEMU has room for {MOST_FILES}");
        plan.unsupported("/domain/sysinfo", message, "leave some out");
    }
    tables(plan, uuid, &all);
}

/// One structure of each type: of tables of one type the later says what it says, as QEMU's own options do.
fn tables(plan: &mut Plan<'_>, uuid: &Uuid, all: &[&SmbiosTable]) {
    let maker = Maker::of(&plan.machine);
    for kind in [0, 1, 2, 3, 11] {
        let values = all.iter().filter(|t| t.kind == kind).flat_map(|t| &t.values);
        let values: Vec<(&str, &str)> = values.map(|(word, value)| (*word, value.as_str())).collect();
        if !all.iter().any(|t| t.kind == kind) {
            continue;
        }
        match structures::build(kind, &values, &maker, uuid) {
            Ok(content) => {
                let file = plan.sealed(content);
                plan.args.pair("-smbios", format!("file={file}"));
            }
            Err(problem) => plan.error("/domain/sysinfo", problem.message, problem.remedy),
        }
    }
}

/// A file for the firmware, whose name is no argument either.
fn firmware_file(plan: &mut Plan<'_>, entry: &FwCfgEntry) {
    let Ok(text) = &entry.content else {
        let message = "Warren does not hand a file to the firmware yet";
        plan.unsupported(&entry.path, message, "give the text itself");
        return;
    };
    let file = plan.sealed(text.clone().into_bytes());
    if plan.options("fw_cfg", "", &[("name", entry.name.clone()), ("file", file)]).is_err() {
        let message = format!("'{}' is not a name that QEMU can be given", entry.name.escape_debug());
        plan.error(&format!("{}/@name", entry.path), message, "leave quotes out");
    }
}
