//! What a judge says of one document.

use std::path::{Path, PathBuf};

/// One document, or one way of reading it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The name of its file without its ending.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
}

impl Case {
    /// A case that is right unless something was found.
    pub fn new(name: &str, problems: &[String]) -> Self {
        let verdict = if problems.is_empty() { Verdict::Right } else { Verdict::Wrong(problems.join("; ")) };
        Self { name: name.to_owned(), verdict }
    }
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As libvirt does it.
    Right,
    /// Refused, and the reason is true.
    RefusedWithReason(String),
    /// Not as libvirt does it, for a reason in `on_purpose.rs`.
    DifferentOnPurpose(String),
    /// What is wrong.
    Wrong(String),
}

/// What the text of a document is and, where libvirt refuses it, why.
pub struct Given {
    /// The name of its file without its ending.
    pub name: String,
    /// The document.
    pub text: String,
    /// What `NAME.refused` says.
    pub refused: Option<String>,
}

/// The documents of a folder in the order of their names, without what libvirt writes for them.
pub fn given(dir: &Path) -> Vec<Given> {
    let files = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut all: Vec<Given> = files
        .filter_map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_name()?.to_str()?.strip_suffix(".xml")?.to_owned();
            let text = std::fs::read_to_string(&path).expect("a text");
            let refused = std::fs::read_to_string(dir.join(format!("{name}.refused"))).ok();
            (!name.ends_with(".out")).then_some(Given { name, text, refused })
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Files of `dir` with that ending, each with its stem; what libvirt writes (`.out`) is left out.
pub fn documents(dir: &Path, extension: &str) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = std::fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path))
        .filter(|(stem, _)| !stem.ends_with(".out"))
        .collect();
    found.sort();
    found
}
