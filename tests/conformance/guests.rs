//! Domains that a tool for people writes: taken and kept in order, or refused for a reason that is true.

use std::path::Path;

use warren::model::Finding;
use warren::xml::Document;

use crate::case::{Case, Verdict, given};
use crate::domain::{list, words};
use crate::planned;

/// Kinds of domains that QEMU does not run.
const OTHERS: [&str; 8] = ["test", "xen", "lxc", "bhyve", "vz", "vmware", "hyperv", "openvz"];

/// Judges each document of the folder; one of libvirt's test driver a second time, as QEMU's.
pub fn judge(dir: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for document in given(dir) {
        let kind = kind(&document.text);
        cases.push(case(document.name.clone(), || match OTHERS.contains(&kind.as_str()) {
            true => other(&document.text, &kind),
            false => taken(&document.text),
        }));
        if kind == "test" {
            cases.push(case(format!("{} as qemu", document.name), || taken(&as_qemu(&document.text))));
        }
    }
    cases
}

fn case(name: String, judge: impl FnOnce() -> Verdict + std::panic::UnwindSafe) -> Case {
    let verdict = std::panic::catch_unwind(judge);
    Case { name, verdict: verdict.unwrap_or_else(|panic| Verdict::Wrong(words(panic.as_ref()))) }
}

/// What `<domain type>` says.
pub fn kind(text: &str) -> String {
    let doc = Document::parse(text).unwrap_or_else(|e| panic!("{e}"));
    doc.root().attr("type").unwrap_or_default().to_owned()
}

/// The document with another `<domain type>`.
fn as_qemu(text: &str) -> String {
    let mut doc = Document::parse(text).unwrap_or_else(|e| panic!("{e}"));
    doc.root_mut().set_attr("type", "qemu");
    doc.to_string()
}

/// Another hypervisor's is refused by its name.
fn other(text: &str, kind: &str) -> Verdict {
    let names = |f: &Finding| f.path == "/domain/@type" && f.message.contains(kind);
    match planned::define(text) {
        Ok(_) => Verdict::Wrong(format!("accepted, though it is for '{kind}'")),
        Err(errors) => match errors.iter().find(|f| names(f)) {
            Some(finding) => Verdict::RefusedWithReason(finding.to_string()),
            None => Verdict::Wrong(format!("refused without naming '{kind}': {}", list(&errors))),
        },
    }
}

/// What QEMU runs is taken; without a QEMU for its architecture it is refused at start, by that name.
fn taken(text: &str) -> Verdict {
    let doc = match planned::define(text) {
        Ok(doc) => doc,
        Err(errors) => return Verdict::Wrong(format!("refused: {}", list(&errors))),
    };
    let arch = &doc.def().os.arch;
    let here = ["x86_64", "i686"].contains(&arch.to_string().as_str());
    match planned::no_program(&doc) {
        None if here => Verdict::Right,
        Some(finding) if !here && finding.path.starts_with("/domain/os/type") => Verdict::Right,
        None => Verdict::Wrong(format!("a guest of {arch} would be started on an x86 QEMU")),
        Some(finding) => Verdict::Wrong(format!("not started, for a reason that is not true: {finding}")),
    }
}
