//! Tables for people and JSON for scripts. Owns how values look; must never ask the service.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::pending;
use std::io::{self, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, ContentArrangement, Table};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde_json::Value;
use tokio::sync::oneshot;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
use zbus::{OwnedVariant, Variant};

use super::colour;
use super::error::CliError;
use super::kind::Kind;
use super::proxy::Map;

/// No column of a table is cut to less.
const NARROWEST: usize = 8;

/// Writes to stdout. A reader that has gone (`| head`) is no error.
pub(super) fn write(bytes: &[u8]) -> Result<(), CliError> {
    write_while_read(bytes).map(|_| ())
}

/// Writes to stdout, and tells whether anybody reads it still.
pub(super) fn write_while_read(bytes: &[u8]) -> Result<bool, CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(CliError::Local { what: "cannot write to standard output".into(), source: e }),
        Ok(()) => Ok(true),
    }
}

/// Until nobody reads stdout any more, as after `| grep -m1`. The thread that waits for it ends with the
/// process.
pub(super) async fn reader_gone() {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let out = io::stdout();
        // Of nothing but what is always told: an error or a hang-up.
        let mut asked = [PollFd::new(&out, PollFlags::empty())];
        let said = loop {
            match poll(&mut asked, None) {
                Err(Errno::INTR) => {}
                said => break said,
            }
        };
        said.ok().and_then(|_| tell.send(()).ok())
    });
    // Where it cannot be told, writing tells.
    if told.await.is_err() {
        pending::<()>().await;
    }
}

/// Writes a line to stdout.
pub(super) fn line(text: &str) -> Result<(), CliError> {
    write(format!("{}\n", text.trim_end_matches('\n')).as_bytes())
}

/// Writes a line to stderr. Where nobody reads that, the exit status still says what happened.
pub(super) fn tell(what: impl Display) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// Writes a JSON value, indented.
pub(super) fn json(value: &Value) -> Result<(), CliError> {
    line(&format!("{value:#}"))
}

/// Plain columns under a header, without lines around them. Cells are never cut or folded, so that a
/// script that reads them sees the same on every terminal.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if colour::wanted() {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(header.iter().map(|h| h.to_string()));
    let cell = |(column, text): (usize, String)| match header.get(column) {
        Some(&"State") => colour::cell(text),
        _ => Cell::new(text),
    };
    table.add_rows(rows.into_iter().map(|row| row.into_iter().enumerate().map(cell).collect::<Vec<_>>()));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// The same for people: on a terminal, what is too long for it is cut, the longest columns first.
pub(super) fn cut_table(header: &[&str], mut rows: Vec<Vec<String>>) -> String {
    if let Some(width) = terminal_width() {
        cut(header, &mut rows, width);
    }
    table(header, rows)
}

fn terminal_width() -> Option<usize> {
    let out = io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok()).flatten();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Cuts cells until all columns, two apart, fit into `width`. No column becomes narrower than its header.
fn cut(header: &[&str], rows: &mut [Vec<String>], width: usize) {
    let wide = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..header.len()).map(|n| wide(n).max(header[n].width())).collect();
    let room = width.saturating_sub(2 * header.len().saturating_sub(1));
    while widths.iter().sum::<usize>() > room {
        let narrowable = (0..header.len()).filter(|n| widths[*n] > header[*n].width().max(NARROWEST));
        let Some(widest) = narrowable.max_by_key(|n| widths[*n]) else { break };
        widths[widest] -= 1;
    }
    for row in rows {
        for (cell, width) in row.iter_mut().zip(&widths) {
            if cell.width() > *width {
                *cell = shortened(cell, *width);
            }
        }
    }
}

fn shortened(text: &str, width: usize) -> String {
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// A table of `aa{sv}`: the columns of `order`, then the others by name; those in which nothing stands are left
/// out.
pub(super) fn records(rows: &[Map], order: &[&str]) -> String {
    let mut keys: Vec<&str> = rows.iter().flat_map(|row| row.keys().map(String::as_str)).collect();
    keys.sort_by_key(|key| rank(order, key));
    keys.dedup();
    let cell = |row: &Map, key: &str| row.get(key).map_or(String::new(), |value| fact(key, value));
    keys.retain(|key| rows.iter().any(|row| !cell(row, key).is_empty()));
    let header: Vec<String> = keys.iter().map(|key| title(key)).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let cells = rows.iter().map(|row| keys.iter().map(|key| cell(row, key)).collect()).collect();
    table(&header, cells)
}

/// `a{sv}` as a JSON object, sorted by name.
pub(super) fn record(map: &Map) -> Value {
    let sorted: BTreeMap<&String, Value> = map.iter().map(|(key, value)| (key, to_json(value))).collect();
    Value::Object(sorted.into_iter().map(|(key, value)| (key.clone(), value)).collect())
}

/// Lines of a name and a value, the values below each other; an empty value is said to be none.
pub(super) fn lines(lines: &[(String, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count() + 1).max().unwrap_or(0);
    let said = |value: &str| if value.is_empty() { "none".to_owned() } else { value.to_owned() };
    lines.iter().map(|(name, value)| format!("{:width$}  {}\n", format!("{name}:"), said(value))).collect()
}

/// A titled table below the lines; nothing where there are no rows.
pub(super) fn section(name: &str, rows: &[Map], order: &[&str]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let table: String = records(rows, order).lines().map(|row| format!("  {row}\n")).collect();
    format!("\n{}:\n{table}", title(name))
}

/// A value that is `aa{sv}`.
pub(super) fn rows(list: &OwnedVariant) -> Option<Vec<Map>> {
    match &**list {
        Variant::Array(items) if items.element_signature() == "a{sv}" => {
            list.try_clone().ok()?.try_into().ok()
        }
        _ => None,
    }
}

/// One value as text; nothing where it is not there.
pub(super) fn part(map: &Map, key: &str) -> String {
    map.get(key).map_or(String::new(), |value| text(value))
}

/// An `address` with its `prefix`, where it has one.
pub(super) fn with_prefix(map: &Map) -> String {
    match part(map, "prefix") {
        prefix if prefix.is_empty() => part(map, "address"),
        prefix => format!("{}/{prefix}", part(map, "address")),
    }
}

/// Values in the order of their names in `order`, those that are not there behind.
pub(super) fn ordered<'a>(order: &[&str], properties: &'a Map) -> Vec<(&'a str, &'a Variant<'static>)> {
    let mut names: Vec<&str> = properties.keys().map(String::as_str).collect();
    names.sort_by_key(|name| rank(order, name));
    names.into_iter().map(|name| (name, &*properties[name])).collect()
}

/// Where a name stands: as in `order`, what is not there behind, by name.
fn rank<'a>(order: &[&str], name: &'a str) -> (usize, &'a str) {
    (order.iter().position(|o| *o == name).unwrap_or(order.len()), name)
}

/// A JSON object of properties.
pub(super) fn object(kind: Kind, properties: &Map) -> serde_json::Map<String, Value> {
    ordered(kind.properties(), properties)
        .into_iter()
        .map(|(name, value)| (kebab(name), to_json(value)))
        .collect()
}

/// `StateReason` becomes `state-reason`.
pub(super) fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// `state-reason` becomes `State reason`; what is an abbreviation is written as one.
pub(super) fn title(key: &str) -> String {
    match key {
        "uuid" => return "UUID".into(),
        "mac" => return "MAC".into(),
        "vcpus" => return "vCPUs".into(),
        "cpus" => return "CPUs".into(),
        "pid" => return "PID".into(),
        "memory-bytes" => return "Memory".into(),
        _ => {}
    }
    let mut chars = key.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars.map(|c| if c == '-' { ' ' } else { c })).collect()
}

/// A value in a table.
pub(super) fn text(value: &Variant<'_>) -> String {
    match value {
        Variant::Bool(true) => "yes".into(),
        Variant::Bool(false) => "no".into(),
        Variant::Array(items) => items.inner().iter().map(text).collect::<Vec<_>>().join(", "),
        other => match to_json(other) {
            Value::String(s) => s,
            Value::Null => String::new(),
            other => other.to_string(),
        },
    }
}

/// A value by its name on the bus: of an amount, of a port that is not there yet, or of anything else.
pub(super) fn fact(name: &str, value: &Variant<'_>) -> String {
    match value {
        Variant::U64(bytes) if name == "memory-bytes" => memory(*bytes),
        Variant::U32(0) | Variant::U16(0) if name == "port" => String::new(),
        Variant::Bool(up) if name == "link" => (if *up { "up" } else { "down" }).into(),
        other => text(other),
    }
}

/// A property's value in a table.
pub(super) fn property(name: &str, value: &Variant<'_>) -> String {
    match (name, value) {
        ("MemoryBytes", Variant::U64(bytes)) => memory(*bytes),
        ("Pid", Variant::U32(0)) => String::new(),
        _ => text(value),
    }
}

/// An amount of memory, in the largest unit that divides it.
fn memory(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(size, _)| bytes >= *size && bytes.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{} {unit}", bytes / size),
        None => format!("{bytes} B"),
    }
}

/// A D-Bus value as JSON; a descriptor, which has no meaning outside of a message, is `null`.
pub(super) fn to_json(value: &Variant<'_>) -> Value {
    match value {
        Variant::U8(n) => (*n).into(),
        Variant::Bool(b) => (*b).into(),
        Variant::I16(n) => (*n).into(),
        Variant::U16(n) => (*n).into(),
        Variant::I32(n) => (*n).into(),
        Variant::U32(n) => (*n).into(),
        Variant::I64(n) => (*n).into(),
        Variant::U64(n) => (*n).into(),
        Variant::F64(n) => (*n).into(),
        Variant::Str(s) => s.as_str().into(),
        Variant::Signature(s) => s.to_string().into(),
        Variant::ObjectPath(p) => p.as_str().into(),
        Variant::Variant(inner) => to_json(inner),
        Variant::Array(items) => items.inner().iter().map(to_json).collect(),
        Variant::Dict(entries) => Value::Object(entries.iter().map(|(k, v)| (text(k), to_json(v))).collect()),
        Variant::Structure(fields) => fields.fields().iter().map(to_json).collect(),
        Variant::Fd(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_its_terminal() {
        let header = ["Name", "State", "Addresses"];
        let row = |parts: [&str; 3]| parts.map(str::to_owned).to_vec();
        let mut rows = vec![
            row(["größer", "running", "192.168.122.5, fd00::5054:ff:fe00:1"]),
            row([&"n".repeat(60), "shutoff", ""]),
        ];
        cut(&header, &mut rows, 40);
        let widths = |rows: &[Vec<String>]| {
            (0..3).map(|n| rows.iter().map(|row| row[n].width()).max().unwrap()).sum::<usize>()
        };
        assert_eq!(widths(&rows) + 4, 40, "{rows:?}");
        assert_eq!((rows[0][0].as_str(), rows[0][1].as_str()), ("größer", "running"), "what fits is whole");
        assert!(rows[0][2].ends_with('…') && rows[1][0].ends_with('…'));
        let mut narrow = vec![row(["日本語の名前です", "running", "192.168.122.5"])];
        cut(&header, &mut narrow, 10);
        assert_eq!(narrow[0][0], "日本語…", "as far as it makes sense");
    }

    #[test]
    fn names_are_kebab_for_scripts_and_words_for_people() {
        assert_eq!(kebab("StateReason"), "state-reason");
        assert_eq!(kebab("Uuid"), "uuid");
        assert_eq!(title("state-reason"), "State reason");
        assert_eq!(title("uuid"), "UUID");
    }

    #[test]
    fn a_line_without_a_value_says_so() {
        let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            lines(&[line("Scope", "session"), line("Warnings", "")]),
            "Scope:     session\nWarnings:  none\n"
        );
    }

    #[test]
    fn memory_is_exact() {
        assert_eq!(memory(128 << 20), "128 MiB");
        assert_eq!(memory(219_200 << 10), "219200 KiB");
        assert_eq!(memory(2 << 30), "2 GiB");
        assert_eq!(memory(1000), "1000 B");
    }

    #[test]
    fn a_table_has_plain_columns() {
        let shown = table(&["Name", "State"], vec![vec!["private".into(), "active".into()]]);
        assert_eq!(shown, "Name     State\nprivate  active");
    }
}
