//! Closed lists of libvirt's words. Owns how such a list is written down; must never hold one.

/// An enum of which each variant is a word of the document.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are libvirt's")]
        pub enum $name { $($variant),+ }

        impl $name {
            pub(in crate::model::domain) const WORDS: &'static [(&'static str, Self)] =
                &[$(($word, Self::$variant)),+];

            /// The word in the document.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

pub(super) use words;

/// `yes` or `no`.
pub(super) const YES_NO: &[(&str, bool)] = &[("yes", true), ("no", false)];
/// `on` or `off`.
pub(super) const ON_OFF: &[(&str, bool)] = &[("on", true), ("off", false)];
