//! What is wrong with a document, and where. Owns the shape of a finding; must never decide whether
//! something is wrong.

use std::fmt;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The document cannot be taken.
    Error,
    /// The document is kept, but an object made from it cannot be started by this Warren.
    Unsupported,
    /// Legal, but probably not what was meant.
    Warning,
}

impl Severity {
    /// The word used on the bus: `error`, `unsupported` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Unsupported => "unsupported",
            Self::Warning => "warning",
        }
    }
}

/// One statement about one place of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The place, as `/domain/devices/interface[2]/source/@port`; `[n]` counts siblings of that name
    /// from 1 and stands only where there are several.
    pub path: String,
    /// Line in the text that was given, from 1; 0 where the place was made by Warren.
    pub line: u32,
    /// Column in the line, in characters from 1; 0 as for `line`.
    pub column: u32,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// What would be right; empty where nothing better is known.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if self.line > 0 {
            write!(f, " (line {}, column {})", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}
