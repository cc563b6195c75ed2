//! What comes of one conformance document.

use std::fmt;
use std::path::{Path, PathBuf};

/// One document, or one update, with the verdict on it.
#[derive(Debug)]
pub(crate) struct Case {
    /// Folder and name, as `libvirt/network/nat-network`.
    pub(crate) name: String,
    /// What came of it.
    pub(crate) verdict: Verdict,
}

/// The verdict of a judge.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As the README of the documents says.
    Right,
    /// Refused, and the reason is true.
    RefusedWithReason(String),
    /// Not as libvirt, and that is meant; why.
    DifferentOnPurpose(String),
    /// Neither; what is wrong.
    Wrong(String),
}

impl Case {
    /// A case of `folder` that is right unless something was found.
    pub(crate) fn new(folder: &str, name: &str, problems: &[String]) -> Self {
        let verdict =
            if problems.is_empty() { Verdict::Right } else { Verdict::Wrong(problems.join("\n    ")) };
        Self { name: format!("{folder}/{name}"), verdict }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Right => write!(f, "right      {}", self.name),
            Verdict::RefusedWithReason(why) => write!(f, "refused    {}: {why}", self.name),
            Verdict::DifferentOnPurpose(why) => write!(f, "different  {}: {why}", self.name),
            Verdict::Wrong(why) => write!(f, "WRONG      {}\n    {why}", self.name),
        }
    }
}

/// Files of `dir` with that ending, but for those with a dot more in their name, each with its stem.
pub(crate) fn documents(dir: &Path, extension: &str) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = std::fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path))
        .filter(|(stem, _)| !stem.ends_with(".out"))
        .collect();
    found.sort();
    found
}
