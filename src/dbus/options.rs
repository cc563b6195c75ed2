//! The `options` of a method: named, typed, and complete. Owns the reading of `a{sv}`; must never
//! ignore a key.

use std::collections::HashMap;

use zbus::{OwnedObjectPath, OwnedVariant};

use super::error::Error;
use super::paths;
use crate::manager::Object;

/// What a caller gave.
pub(super) type Given = HashMap<String, OwnedVariant>;

/// Options while they are read; [`Self::end`] refuses what is left.
#[derive(Debug)]
pub(super) struct Options {
    left: Given,
    known: Vec<&'static str>,
}

impl Options {
    pub(super) fn new(given: Given) -> Self {
        Self { left: given, known: Vec::new() }
    }

    /// For a method that has none.
    pub(super) fn none(given: Given) -> Result<(), Error> {
        Self::new(given).end()
    }

    /// For a method that has one, which is a boolean.
    pub(super) fn only_flag(given: Given, key: &'static str) -> Result<bool, Error> {
        let mut options = Self::new(given);
        let value = options.flag(key)?;
        options.end()?;
        Ok(value)
    }

    fn take<T: TryFrom<OwnedVariant>>(&mut self, key: &'static str, what: &str) -> Result<Option<T>, Error> {
        self.known.push(key);
        let Some(value) = self.left.remove(key) else { return Ok(None) };
        let wrong = |_| Error::invalid_args(format!("the option '{key}' takes {what}"));
        T::try_from(value).map(Some).map_err(wrong)
    }

    /// A boolean; false where it is not given.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<bool, Error> {
        Ok(self.take(key, "a boolean (b)")?.unwrap_or(false))
    }

    /// A boolean that is true where it is not given.
    pub(super) fn flag_or_true(&mut self, key: &'static str) -> Result<bool, Error> {
        Ok(self.take(key, "a boolean (b)")?.unwrap_or(true))
    }

    /// Whether it is given, whatever its value is.
    pub(super) fn is_given(&mut self, key: &'static str) -> bool {
        self.known.push(key);
        self.left.remove(key).is_some()
    }

    /// A number.
    pub(super) fn number(&mut self, key: &'static str) -> Result<Option<u64>, Error> {
        self.take(key, "a number of 64 bits (t)")
    }

    /// A text; empty where it is not given.
    pub(super) fn text(&mut self, key: &'static str) -> Result<String, Error> {
        Ok(self.take(key, "a string (s)")?.unwrap_or_default())
    }

    /// The network or domain of a path.
    pub(super) fn object(&mut self, key: &'static str) -> Result<Option<Object>, Error> {
        let Some(path) = self.take::<OwnedObjectPath>(key, "an object path (o)")? else { return Ok(None) };
        let no_object = || Error::invalid_args(format!("'{path}' is no network and no domain"));
        paths::read(&path).map(Some).ok_or_else(no_object)
    }

    /// Refuses what was not asked for.
    pub(super) fn end(self) -> Result<(), Error> {
        let Some(key) = self.left.keys().min() else { return Ok(()) };
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        Err(Error::invalid_args(format!("there is no option '{key}' here; known are: {known}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(key: &str, value: impl Into<zbus::Variant<'static>>) -> Given {
        HashMap::from([(key.to_owned(), OwnedVariant::try_from(value.into()).unwrap())])
    }

    #[test]
    fn an_unknown_key_is_named() {
        let mut options = Options::new(given("forse", true));
        assert!(!options.flag("force").unwrap());
        let error = options.end().unwrap_err().to_string();
        assert!(error.contains("'forse'") && error.contains("force"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_named() {
        let error = Options::new(given("force", 3u32)).flag("force").unwrap_err().to_string();
        assert!(error.contains("'force' takes a boolean"), "{error}");
    }
}
