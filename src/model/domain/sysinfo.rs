//! `<sysinfo>`: what the guest reads of its maker and itself. Owns libvirt's words for it; must never read
//! what the host says of itself.

use std::path::PathBuf;

use crate::model::doc::host_path;
use crate::xml::view::View;

/// `<sysinfo>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SysinfoDef {
    /// `type='smbios'`: tables, in order.
    Smbios(Vec<SmbiosTable>),
    /// `type='fwcfg'`: files for the firmware.
    FwCfg(Vec<FwCfgEntry>),
}

/// One table: `<bios>`, `<system>`, `<baseBoard>`, `<chassis>`, `<oemStrings>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmbiosTable {
    /// The number of its type.
    pub kind: u8,
    /// QEMU's words and values, in order.
    pub values: Vec<(&'static str, String)>,
}

/// `<sysinfo type='fwcfg'><entry>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FwCfgEntry {
    /// Path of the element, for findings.
    pub path: String,
    /// `@name`, as `opt/com.example/name`.
    pub name: String,
    /// The text, or the file it is in.
    pub content: Result<String, PathBuf>,
}

/// libvirt's and QEMU's words for the entries of a table, and whether libvirt looks at the value.
type Words = &'static [(&'static str, &'static str)];

const TABLES: &[(&str, u8, Words)] = &[
    ("bios", 0, &[("vendor", "vendor"), ("version", "version"), ("date", "date"), ("release", "release")]),
    (
        "system",
        1,
        &[
            ("manufacturer", "manufacturer"),
            ("product", "product"),
            ("version", "version"),
            ("serial", "serial"),
            ("uuid", "uuid"),
            ("sku", "sku"),
            ("family", "family"),
        ],
    ),
    (
        "baseBoard",
        2,
        &[
            ("manufacturer", "manufacturer"),
            ("product", "product"),
            ("version", "version"),
            ("serial", "serial"),
            ("asset", "asset"),
            ("location", "location"),
        ],
    ),
    (
        "chassis",
        3,
        &[
            ("manufacturer", "manufacturer"),
            ("version", "version"),
            ("serial", "serial"),
            ("asset", "asset"),
            ("sku", "sku"),
        ],
    ),
];

/// What `<entry name='uuid'>` of the system says, which must be the domain's own.
pub(super) fn system_uuid(all: &[SysinfoDef]) -> Option<&str> {
    let tables = all.iter().filter_map(|s| match s {
        SysinfoDef::Smbios(tables) => Some(tables),
        SysinfoDef::FwCfg(_) => None,
    });
    let system = tables.flatten().filter(|t| t.kind == 1);
    system.flat_map(|t| &t.values).find(|(word, _)| *word == "uuid").map(|(_, value)| value.as_str())
}

pub(super) fn read(root: &View<'_>) -> Vec<SysinfoDef> {
    let one = |view: &View<'_>| match view.filled("type") {
        Some("smbios") => Some(SysinfoDef::Smbios(tables(view))),
        Some("fwcfg") => Some(SysinfoDef::FwCfg(view.children("entry").iter().filter_map(entry).collect())),
        Some(other) => {
            view.error_at("type", format!("'{other}' is not known"), "known are smbios, fwcfg");
            None
        }
        None => {
            view.error_at("type", "<sysinfo> has no type", "add type='smbios'");
            None
        }
    };
    root.children("sysinfo").iter().filter_map(one).collect()
}

fn tables(view: &View<'_>) -> Vec<SmbiosTable> {
    let mut tables = Vec::new();
    for (name, kind, words) in TABLES {
        for table in view.children(name) {
            let mut values = Vec::new();
            for entry in table.children("entry") {
                let Some(word) = entry.filled("name") else {
                    entry.error_at("name", "the entry has no name", "");
                    continue;
                };
                match words.iter().find(|(ours, _)| *ours == word) {
                    Some((_, qemu)) => values.push((*qemu, entry.text().into_owned())),
                    None => entry.leave(),
                }
            }
            dates(&table, *kind, &values);
            tables.push(SmbiosTable { kind: *kind, values });
        }
    }
    for strings in view.children("oemStrings") {
        let values = strings.children("entry").iter().map(|e| ("value", e.text().into_owned())).collect();
        tables.push(SmbiosTable { kind: 11, values });
    }
    tables.sort_by_key(|t| t.kind);
    tables
}

/// A BIOS's date is `mm/dd/yyyy`, the year with two or four digits.
fn dates(view: &View<'_>, kind: u8, values: &[(&str, String)]) {
    let Some((_, date)) = values.iter().find(|(word, _)| kind == 0 && *word == "date") else { return };
    let parts: Vec<Option<u32>> = date.split('/').map(|p| p.parse().ok()).collect();
    let right = match parts[..] {
        [Some(month), Some(day), Some(year)] => {
            (1..=12).contains(&month)
                && (1..=31).contains(&day)
                && (year < 100 || (1900..10_000).contains(&year))
        }
        _ => false,
    };
    if !right {
        view.error(format!("'{date}' is not a date of a BIOS"), "as 02/29/2024: month, day, year");
    }
}

fn entry(view: &View<'_>) -> Option<FwCfgEntry> {
    let Some(name) = view.filled("name") else {
        view.error_at("name", "the entry has no name", "as name='opt/com.example/name'");
        return None;
    };
    if name.contains(',') || name.chars().any(char::is_control) || !name.is_ascii() {
        view.error_at("name", format!("'{}' is not a name", name.escape_debug()), "plain ASCII, no comma");
    }
    let file = host_path(view, Some("file"));
    let text = view.text().into_owned();
    let content = match file {
        Some(path) => Err(path),
        None if text.is_empty() => {
            view.error("the entry says nothing", "give text, or file='/…'");
            return None;
        }
        None => Ok(text),
    };
    Some(FwCfgEntry { path: view.path().to_owned(), name: name.to_owned(), content })
}
