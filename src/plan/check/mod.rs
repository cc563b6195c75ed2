//! Judges whole definitions: what belongs together, what excludes each other, what cannot be run yet.
//!
//! Owns the rules that need more than one place of a document, or its meaning. Rules are libvirt's
//! unless said otherwise. Must never look at the host or at other documents.

mod consoles;
mod displays;
mod domain;
mod host_devices;
mod interface;
mod network;
mod small;
mod storage;
mod storage_start;

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::hash::Hash;

use crate::model::{Definition, Doc, Finding, Severity};
use crate::xml::Document;

pub use domain::domain;
pub use network::network;

/// Line and column of a path. What is missing is placed at the nearest element that is there.
fn position(tree: &Document, path: &str) -> (u32, u32) {
    let mut place = path;
    let element = loop {
        match (tree.find(place), place.rsplit_once('/')) {
            (Some(element), _) => break element,
            (None, Some((parent, _))) => place = parent,
            (None, None) => break tree.root(),
        }
    };
    (element.line(), element.column())
}

/// All findings on a document in one list, by their lines: `beyond` are those that it takes more than the document
/// to find, which have no place yet. What only follows from a part that could not be read is left out.
pub fn together<D: Definition>(doc: &Doc<D>, judged: Vec<Finding>, beyond: Vec<Finding>) -> Vec<Finding> {
    let unread: Vec<&Finding> = doc.findings().iter().filter(|f| f.severity == Severity::Error).collect();
    let within =
        |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let follows = |f: &Finding| {
        let read = doc.findings().contains(f);
        !read && unread.iter().any(|e| within(&e.path, &f.path) || within(&f.path, &e.path))
    };
    let mut all: Vec<Finding> = Vec::new();
    let placed = beyond.into_iter().map(|mut f| {
        if f.line == 0 {
            (f.line, f.column) = position(doc.tree(), &f.path);
        }
        f
    });
    all.extend(judged.into_iter().filter(|f| !follows(f)));
    add_news(&mut all, placed.filter(|f| !follows(f)));
    // Parts that Warren has made, which have no line, go last.
    all.sort_by_key(|f| (f.line == 0, f.line, f.column));
    all
}

/// Adds findings on what none of that severity is about yet: a place is told of once.
pub fn add_news(findings: &mut Vec<Finding>, more: impl IntoIterator<Item = Finding>) {
    let mut told: HashSet<(String, Severity)> =
        findings.iter().map(|f| (f.path.clone(), f.severity)).collect();
    findings.extend(more.into_iter().filter(|f| told.insert((f.path.clone(), f.severity))));
}

/// Findings on one document, each placed by its path.
struct Check<'a, D> {
    doc: &'a Doc<D>,
    findings: Vec<Finding>,
}

impl<'a, D: Definition> Check<'a, D> {
    fn new(doc: &'a Doc<D>) -> Self {
        Self { doc, findings: doc.findings().to_vec() }
    }

    /// Beyond so many of one severity a document is not helped, and each is looked for in it.
    const MOST: usize = 500;

    fn add(&mut self, severity: Severity, path: &str, message: String, remedy: &str) {
        if self.findings.iter().filter(|f| f.severity == severity).nth(Self::MOST - 1).is_some() {
            return;
        }
        let (line, column) = position(self.doc.tree(), path);
        self.findings.push(Finding {
            severity,
            path: path.to_owned(),
            line,
            column,
            message,
            remedy: remedy.to_owned(),
        });
    }

    fn error(&mut self, path: &str, message: impl Into<String>, remedy: &str) {
        self.add(Severity::Error, path, message.into(), remedy);
    }

    fn unsupported(&mut self, path: &str, message: impl Into<String>, remedy: &str) {
        self.add(Severity::Unsupported, path, message.into(), remedy);
    }

    fn warning(&mut self, path: &str, message: impl Into<String>, remedy: &str) {
        self.add(Severity::Warning, path, message.into(), remedy);
    }

    /// Every value may stand once; the error stands at the later place and names the first.
    fn unique<V: Eq + Hash + Display>(&mut self, what: &str, values: impl Iterator<Item = (String, V)>) {
        let mut seen: HashMap<V, String> = HashMap::new();
        for (path, value) in values {
            if let Some(first) = seen.get(&value) {
                self.error(&path, format!("{what}, '{value}', is given twice; first at {first}"), "");
            } else {
                seen.insert(value, path);
            }
        }
    }
}

fn at(path: &str, step: &str) -> String {
    format!("{path}/{step}")
}

/// Findings as lines, for tests.
#[cfg(test)]
fn show(findings: &[Finding]) -> String {
    let line = |f: &Finding| format!("{} {f}", f.severity.as_str());
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DocError, DomainDoc};

    #[test]
    fn all_findings_come_in_one_answer_by_their_lines() {
        let text = "<domain type='qemu'>\n<name>n</name>\n<memory unit='furlong'>1</memory>\n<os><type>hvm</type></os>\n\
                    <devices>\n<shmem name='s'/>\n<interface type='user' trustGuestRxFilters='yes'/>\n</devices>\n</domain>";
        let Err(DocError::Config(told)) = DomainDoc::parse(text) else { panic!("it is wrong") };
        assert!(told.iter().any(|f| f.severity == Severity::Error));
        let doc = DomainDoc::parse_with_errors(text).unwrap();
        let beyond = |path: &str| Finding {
            severity: Severity::Unsupported,
            path: path.to_owned(),
            line: 0,
            column: 0,
            message: "no".to_owned(),
            remedy: String::new(),
        };
        let plan = vec![
            beyond("/domain/devices/shmem/model"),
            beyond("/domain/memory"),
            beyond("/domain/os/type/@machine"),
        ];
        insta::assert_snapshot!(show(&together(&doc, domain(&doc), plan)), @"
        error /domain/memory/@unit (line 3, column 1): unknown unit 'furlong'; b, KiB, MiB, GiB and TiB are known
        unsupported /domain/os/type/@machine (line 4, column 5): no
        unsupported /domain/devices/shmem (line 6, column 1): Warren does not share memory between guests yet; leave the device out
        unsupported /domain/devices/shmem/model (line 6, column 1): no
        warning /domain/devices/interface/@trustGuestRxFilters (line 7, column 1): a TAP on a bridge gets all frames, so that there is no filter to follow
        ");
        // What refuses the document tells its errors alone.
        let wrong = DocError::Config(told).to_string();
        insta::assert_snapshot!(wrong, @"/domain/memory/@unit (line 3, column 1): unknown unit 'furlong'; b, KiB, MiB, GiB and TiB are known");
    }
}
