//! The list of arguments and the names in it.

use std::collections::BTreeSet;

use serde_json::Value;

/// Arguments in the making.
#[derive(Debug, Default)]
pub(super) struct Args(Vec<String>);

impl Args {
    pub(super) fn flag(&mut self, flag: &str) {
        self.0.push(flag.to_owned());
    }

    pub(super) fn pair(&mut self, flag: &str, value: impl Into<String>) {
        self.0.push(flag.to_owned());
        self.0.push(value.into());
    }

    pub(super) fn json(&mut self, flag: &str, value: &Value) {
        self.pair(flag, value.to_string());
    }

    pub(super) fn done(self) -> Vec<String> {
        self.0
    }
}

/// A value inside QEMU's `key=value,…` syntax, where a comma is written twice.
pub(super) fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

/// Whether QEMU can take a name where its syntax has no way to escape a comma: letters, digits, `-`, `_`, `.` and
/// `+`, and no option at its beginning.
pub(super) fn is_word(name: &str) -> bool {
    let in_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+');
    !name.is_empty() && !name.starts_with(['-', '.']) && name.bytes().all(in_word)
}

/// The names that devices have in QEMU.
#[derive(Debug, Default)]
pub(super) struct Slots {
    ids: BTreeSet<String>,
}

impl Slots {
    /// Takes a device's name; false when it is taken already.
    pub(super) fn take_id(&mut self, id: &str) -> bool {
        self.ids.insert(id.to_owned())
    }
}
