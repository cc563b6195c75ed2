//! Why a network or a domain is in its state, in one word that everybody may read.
//!
//! Owns the closed list of those words. Must never carry a path, an address, a name or the text of an error: that is
//! the failure's detail, which only authorised callers get.

/// Why an object entered its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Reason {
    #[default]
    None,
    Requested,
    Autostart,
    Adopted,
    Failed,
    /// The guest switched itself off.
    Shutdown,
    /// The guest restarted itself.
    Reboot,
    /// The guest went to sleep.
    Guest,
    Halted,
    Resumed,
    /// The guest's kernel panicked.
    Panicked,
    /// There is no space left for one of its disks.
    DiskFull,
    /// One of its disks cannot be read or written.
    IoError,
}

/// Characters of a detail that are kept.
const MOST: usize = 8 << 10;

/// A reason with its detail, which is not for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cause {
    pub(crate) reason: Reason,
    /// What went wrong; empty where nothing did.
    pub(crate) failure: String,
}

impl Cause {
    /// The detail may have the words of a helper in it: it is cut, and what no string of the bus may have is left out.
    pub(crate) fn new(reason: Reason, failure: impl AsRef<str>) -> Self {
        let text = failure.as_ref().chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control());
        Self { reason, failure: text.take(MOST).collect() }
    }

    /// Of an error, with all its causes.
    pub(crate) fn failed(error: &dyn std::error::Error) -> Self {
        Self::new(Reason::Failed, crate::chain(error))
    }
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Self {
        Self::new(reason, "")
    }
}

/// The word of each reason on the bus.
const WORDS: [(Reason, &str); 13] = [
    (Reason::None, "none"),
    (Reason::Requested, "requested"),
    (Reason::Autostart, "autostart"),
    (Reason::Adopted, "adopted"),
    (Reason::Failed, "failed"),
    (Reason::Shutdown, "shutdown"),
    (Reason::Reboot, "reboot"),
    (Reason::Guest, "guest"),
    (Reason::Halted, "halted"),
    (Reason::Resumed, "resumed"),
    (Reason::Panicked, "panicked"),
    (Reason::DiskFull, "disk-full"),
    (Reason::IoError, "io-error"),
];

/// How many of [`WORDS`], from the first, networks have.
const OF_NETWORKS: usize = 5;

impl Reason {
    /// The word on the bus.
    pub fn as_str(self) -> &'static str {
        WORDS[self as usize].1
    }

    /// Every word that a network's `StateReason` can have.
    pub fn words_of_networks() -> impl Iterator<Item = &'static str> {
        Self::words_of_domains().take(OF_NETWORKS)
    }

    /// Every word that a domain's `StateReason` can have.
    pub fn words_of_domains() -> impl Iterator<Item = &'static str> {
        WORDS.iter().map(|(_, word)| *word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_word() {
        for (index, (reason, word)) in WORDS.iter().enumerate() {
            assert_eq!((*reason as usize, reason.as_str()), (index, *word));
            assert!(word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{word}");
        }
        // The last of the enum: one more does not fit into the table unnoticed.
        assert_eq!(Reason::IoError as usize, WORDS.len() - 1);
    }
}
