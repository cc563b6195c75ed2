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

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use crate::model::{Definition, Doc, Finding, Severity};

pub use domain::domain;
pub use network::network;

/// Findings on one document, each placed by its path.
struct Check<'a, D> {
    doc: &'a Doc<D>,
    findings: Vec<Finding>,
}

impl<'a, D: Definition> Check<'a, D> {
    fn new(doc: &'a Doc<D>) -> Self {
        Self { doc, findings: doc.findings().to_vec() }
    }

    fn add(&mut self, severity: Severity, path: &str, message: String, remedy: &str) {
        // What is missing is placed at the nearest element that is there.
        let tree = self.doc.tree();
        let mut place = path;
        let element = loop {
            match (tree.find(place), place.rsplit_once('/')) {
                (Some(element), _) => break element,
                (None, Some((parent, _))) => place = parent,
                (None, None) => break tree.root(),
            }
        };
        self.findings.push(Finding {
            severity,
            path: path.to_owned(),
            line: element.line(),
            column: element.column(),
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
