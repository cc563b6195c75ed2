//! Where log lines go, and from which level on.
//!
//! Owns the one subscriber of the process and the means to change its level while it runs. What is worth
//! which level is written in `docs/log-levels.md`. Must never be asked to log a password.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// syslog's words for levels, as `org.freedesktop.LogControl1` takes them, and which of ours each stands for.
const LEVELS: [(&str, &str); 8] = [
    ("emerg", "error"),
    ("alert", "error"),
    ("crit", "error"),
    ("err", "error"),
    ("warning", "warn"),
    ("notice", "info"),
    ("info", "info"),
    ("debug", "debug"),
];

/// The log of this process. Clones share it.
#[derive(Debug, Clone)]
pub struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    level: Arc<Mutex<String>>,
    target: &'static str,
}

/// A level that is none.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is no log level; known are: emerg, alert, crit, err, warning, notice, info, debug")]
pub struct UnknownLevel(String);

/// From this level on. At `info` the bus library makes no spans: each would have a whole message in it, written
/// out as text, for every call that there is.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(if level == "info" { "info,zbus=warn" } else { level })
}

impl Logging {
    /// To the journal where systemd started us with it, else to stderr; the level is `RUST_LOG`'s, else
    /// `info`. In the journal the fields `network` and `domain` of a line are `WARREN_NETWORK=` and
    /// `WARREN_DOMAIN=`.
    pub fn start() -> Self {
        let given = std::env::var("RUST_LOG").ok().filter(|words| !words.is_empty());
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| filter("info"));
        let (filter, handle) = reload::Layer::new(filter);
        let registry = tracing_subscriber::registry().with(filter);
        let journal = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
        let target = if let Some(journal) = journal {
            registry.with(journal.with_field_prefix(Some("WARREN".to_owned()))).init();
            "journal"
        } else {
            let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
            registry.with(stderr.with_target(false).with_ansi(std::io::stderr().is_terminal())).init();
            "console"
        };
        let level = LEVELS.iter().rev().find(|(_, ours)| given.as_deref() == Some(*ours));
        let level = level.map_or("info", |(word, _)| word).to_owned();
        Self { filter: handle, level: Arc::new(Mutex::new(level)), target }
    }

    /// The level that was set last, by syslog's word.
    pub fn level(&self) -> String {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the level of the whole process, by syslog's word.
    pub fn set_level(&self, word: &str) -> Result<(), UnknownLevel> {
        let known = LEVELS.iter().find(|(known, _)| *known == word);
        let (word, ours) = known.ok_or_else(|| UnknownLevel(word.to_owned()))?;
        // It fails only where the subscriber is gone, with the process.
        let _ = self.filter.reload(filter(ours));
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = (*word).to_owned();
        Ok(())
    }

    /// `journal` or `console`.
    pub fn target(&self) -> &'static str {
        self.target
    }
}
