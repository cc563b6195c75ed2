//! What the guest reads of its maker and itself.

use super::Plan;
use super::args::escaped;
use crate::model::{SmbiosMode, SysinfoDef};

pub(super) fn add(plan: &mut Plan<'_>) {
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
    for info in &def.sysinfo {
        match info {
            SysinfoDef::Smbios(tables) if told == SmbiosMode::Sysinfo => {
                for table in tables {
                    let mut line = format!("type={}", table.kind);
                    for (word, value) in &table.values {
                        line.push_str(&format!(",{word}={}", escaped(value)));
                    }
                    plan.args.pair("-smbios", line);
                }
            }
            SysinfoDef::Smbios(_) => {
                let message = "the guest is told of <sysinfo> only where <os> says so";
                plan.unsupported("/domain/sysinfo", message, "add <smbios mode='sysinfo'/> to <os>");
            }
            SysinfoDef::FwCfg(entries) => {
                for entry in entries {
                    match &entry.content {
                        Ok(text) => {
                            let line = format!("name={},string={}", entry.name, escaped(text));
                            plan.args.pair("-fw_cfg", line);
                        }
                        Err(_) => {
                            let message = "Warren does not hand a file to the firmware yet";
                            plan.unsupported(&entry.path, message, "give the text itself");
                        }
                    }
                }
            }
        }
    }
}
