//! Keeps the arrows of the house: a room imports its own level or a lower one, never a higher. Also keeps
//! files short and each with a module doc. Reads the source text, so it sees what a compiler would allow.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Level of each room; data falls from the higher to the lower.
const LEVELS: [(&str, u32); 22] = [
    ("xml", 0),
    ("model", 1),
    ("plan", 2),
    ("sys", 2),
    ("store", 2),
    ("mailbox", 2),
    ("pace", 2),
    ("reason", 2),
    ("scope", 2),
    ("logging", 2),
    ("ledger", 2),
    ("uids", 2),
    ("names", 2),
    ("desk", 2),
    ("network", 3),
    ("domain", 3),
    ("manager", 4),
    ("auth", 4),
    ("dbus", 5),
    ("cli", 5),
    ("daemon", 6),
    ("bin", 7),
];

/// Arrows that the levels would allow and the house does not, each with its reason.
const FORBIDDEN: [(&str, &str, &str); 8] = [
    ("sys", "model", "effects are told plain names, addresses and descriptors"),
    ("sys", "xml", "effects are told plain names, addresses and descriptors"),
    ("plan", "sys", "compilers touch nothing"),
    ("plan", "store", "compilers touch nothing"),
    ("plan", "scope", "compilers are told what differs"),
    ("manager", "auth", "who may do what is settled at the bus, before the manager is asked"),
    ("auth", "manager", "authorisation knows callers and actions, no objects"),
    ("dbus", "cli", "the service does not know its client"),
];

/// Longest file.
const LINES: usize = 500;

#[test]
fn rooms_import_downwards_only() {
    let mut broken = Vec::new();
    for file in sources() {
        let room = room_of(&file);
        for target in imports(&code(&fs::read_to_string(&file).unwrap()), &module_of(&file)) {
            if let Some(reason) = objection(&room, &target) {
                broken.push(format!("{}: {room} imports {target}: {reason}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_room_has_a_level() {
    let rooms: BTreeSet<String> = sources().iter().map(|file| room_of(file)).collect();
    let unknown: Vec<_> = rooms.iter().filter(|room| *room != "lib" && level(room).is_none()).collect();
    assert!(unknown.is_empty(), "give these rooms a level: {unknown:?}");
}

#[test]
fn files_are_short_and_say_what_they_own() {
    let mut wrong = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        if text.lines().count() >= LINES {
            wrong.push(format!(
                "{} has {} lines, {LINES} are too many",
                file.display(),
                text.lines().count()
            ));
        }
        if !text.starts_with("//! ") {
            wrong.push(format!("{} does not begin with a module doc", file.display()));
        }
    }
    for file in rust_files(&root().join("tests")) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        if lines >= LINES {
            wrong.push(format!("{} has {lines} lines, {LINES} are too many", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where the service starts children, each with a record. `warrenctl`, which is a person's own, may run an editor.
const STARTS_CHILDREN: [&str; 2] = ["src/sys/process/launch.rs", "src/sys/process/sweep.rs"];

#[test]
fn children_are_started_in_one_place() {
    let mut found = Vec::new();
    for file in sources() {
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        if room_of(&file) == "cli" || name.ends_with("tests.rs") || STARTS_CHILDREN.contains(&&*name) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code = code(text.split("#[cfg(test)]\nmod tests {").next().unwrap());
        for word in ["Command::new", "process::Command", "tokio::process", "libc::fork", "posix_spawn"] {
            if code.contains(word) {
                found.push(format!("{name} has '{word}': start children by sys::process::Spawn"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Why a room must not import another, if so.
fn objection(room: &str, target: &str) -> Option<String> {
    if room == target || room == "lib" {
        return None;
    }
    if room == "cli" {
        return Some("the client speaks only D-Bus".into());
    }
    if let Some((.., reason)) = FORBIDDEN.iter().find(|(from, to, _)| (*from, *to) == (room, target)) {
        return Some((*reason).into());
    }
    // A name that is no room is an item of the crate's root, of which there are none to import.
    let to = level(target)?;
    (level(room)? < to).then(|| "the arrow points upwards".into())
}

fn level(room: &str) -> Option<u32> {
    LEVELS.iter().find(|(name, _)| *name == room).map(|(_, level)| *level)
}

/// The rooms that a file's code names, by `crate::x`, `warren::x` (binaries), `super::…::x` beyond its own
/// room, or a braced list of them.
fn imports(code: &str, module: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for prefix in ["crate::", "warren::"] {
        for (at, _) in code.match_indices(prefix) {
            if preceded_by_name(code, at) {
                continue;
            }
            found.extend(heads(&code[at + prefix.len()..]));
        }
    }
    for (at, _) in code.match_indices("super::") {
        if preceded_by_name(code, at) || code[..at].ends_with("super::") {
            continue;
        }
        let mut rest = &code[at..];
        let mut ups = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            rest = next;
            ups += 1;
        }
        // As many steps up as the module is deep lead to the crate's root; fewer stay in the room.
        if ups == module.len() {
            found.extend(heads(rest));
        }
    }
    found
}

fn preceded_by_name(code: &str, at: usize) -> bool {
    code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// The first names of a path or of each path in braces: `a::b` is a, `{a::{b, c}, d}` is a and d.
fn heads(path: &str) -> Vec<String> {
    let path = path.trim_start();
    let Some(list) = path.strip_prefix('{') else {
        let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
        return vec![path[..end].to_owned()];
    };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.extend(heads(&list[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// A file's text without comments and doc comments, whose links are no imports.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<PathBuf> {
    rust_files(&root().join("src"))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// `src/sys/nft.rs` is the module sys, nft; `src/cli/mod.rs` is cli; `src/lib.rs` is the root, without name.
fn module_of(file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(root().join("src")).unwrap().with_extension("");
    let mut names: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|name| name == "mod" || name == "lib") {
        names.pop();
    }
    names
}

fn room_of(file: &Path) -> String {
    module_of(file).first().cloned().unwrap_or_else(|| "lib".into())
}

#[test]
fn the_reader_sees_every_form_of_import() {
    let see = |code: &str| imports(code, &["sys".into(), "tap".into()]).into_iter().collect::<Vec<_>>();
    assert_eq!(see("use crate::model::{IfName, Mac};"), ["model"]);
    assert_eq!(see("use crate::{plan::qemu, xml};"), ["plan", "xml"]);
    assert_eq!(see("let x = crate::store::open();"), ["store"]);
    assert_eq!(see("use super::super::manager::Manager;"), ["manager"]);
    assert_eq!(see("use super::netlink::Link;"), Vec::<String>::new());
    assert!(objection("model", "plan").is_some());
    assert!(objection("cli", "model").is_some());
    assert!(objection("domain", "network").is_none());
    assert!(objection("bin", "cli").is_none());
}
