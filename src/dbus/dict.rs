//! Dictionaries `a{sv}`, put together and read by name. Owns nothing; must never lose a value silently.

use std::collections::HashMap;

use zbus::{OwnedVariant, Variant};

/// `a{sv}`.
pub(super) type Dict = HashMap<String, OwnedVariant>;

/// A dictionary of these entries.
pub(super) fn dict<const N: usize>(entries: [(&str, Variant<'_>); N]) -> Dict {
    // Only a descriptor can fail to be copied, and none is put in here.
    let own = |(key, value): (&str, Variant<'_>)| Some((key.to_owned(), OwnedVariant::try_from(value).ok()?));
    entries.into_iter().filter_map(own).collect()
}

/// A list of dictionaries as a value.
pub(super) fn list(dicts: Vec<Dict>) -> Variant<'static> {
    let dicts: Vec<HashMap<String, Variant<'static>>> =
        dicts.into_iter().map(|d| d.into_iter().map(|(k, v)| (k, v.into())).collect()).collect();
    dicts.into()
}
