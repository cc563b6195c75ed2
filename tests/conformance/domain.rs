//! Domains with the devices that libvirt makes of them.

use std::path::Path;

use warren::model::{Finding, Severity};
use warren::xml::Document;

use crate::case::{Case, Given, Verdict, given};
use crate::{argv, planned};

/// Judges each document of the folder.
pub fn judge(dir: &Path) -> Vec<Case> {
    given(dir).into_iter().map(|document| judge_one(dir, &document)).collect()
}

fn judge_one(dir: &Path, document: &Given) -> Case {
    let name = document.name.clone();
    let expected = ["nics", "args"].into_iter().find_map(|ending| {
        Some((ending, std::fs::read_to_string(dir.join(format!("{name}.{ending}"))).ok()?))
    });
    let verdict = std::panic::catch_unwind(|| match (&document.refused, expected) {
        (Some(reason), _) => refused(&document.text, reason),
        (None, Some((ending, text))) => devices(&document.text, &text, ending == "nics"),
        (None, None) => match planned::define(&document.text) {
            Ok(_) => Verdict::Right,
            Err(errors) => Verdict::Wrong(format!("refused: {}", list(&errors))),
        },
    });
    Case { name, verdict: verdict.unwrap_or_else(|panic| Verdict::Wrong(words(panic.as_ref()))) }
}

/// What a panic said.
pub fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panics").to_owned()
}

/// Findings in one line.
pub fn list(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}

/// libvirt refuses it when it is read or when it is planned. Warren has to, and has to name the same thing.
fn refused(text: &str, reason: &str) -> Verdict {
    let findings = match planned::define(text) {
        Err(errors) => errors,
        Ok(doc) => planned::argv(&doc, &[]).findings,
    };
    if findings.is_empty() {
        return Verdict::Wrong(format!("accepted; libvirt: {}", reason.trim()));
    }
    if findings.iter().any(|finding| about(finding, reason)) {
        return Verdict::Right;
    }
    Verdict::Wrong(format!("refused for another reason: {}; libvirt: {}", list(&findings), reason.trim()))
}

/// Whether a finding speaks of what the reason speaks of: they share two words, those of its place included.
fn about(finding: &Finding, reason: &str) -> bool {
    const NO_HELP: [&str; 8] = ["interface", "domain", "devices", "this", "that", "have", "must", "here"];
    let words = |text: &str| -> std::collections::BTreeSet<String> {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_lowercase);
        words.filter(|w| w.len() > 3 && !NO_HELP.contains(&w.as_str())).collect()
    };
    let said = words(&format!("{} {} {}", finding.path, finding.message, finding.remedy));
    said.intersection(&words(reason)).count() >= 2
}

fn devices(text: &str, expected: &str, nics_only: bool) -> Verdict {
    let doc = match planned::define(text) {
        Ok(doc) => doc,
        Err(errors) => return Verdict::Wrong(format!("refused: {}", list(&errors))),
    };
    let expected = argv::of_text(expected);
    let planned = planned::argv(&doc, &argv::drivers(&expected));
    let refused = || format!("at start: {}", list(&planned.findings));
    if planned.findings.iter().any(|f| f.severity == Severity::Error) {
        return Verdict::Wrong(format!("not planned: {}", list(&planned.findings)));
    }
    // No program here runs it.
    if planned.argv.is_empty() {
        return Verdict::RefusedWithReason(refused());
    }
    // What a start cannot serve yet is planned all the same. Places that Warren has chosen are its own.
    let given = Document::parse(text).expect("what is defined is XML");
    match argv::difference(&given, &expected, &argv::of_planned(&planned), nics_only) {
        None => Verdict::Right,
        Some(difference) if planned.findings.is_empty() => Verdict::Wrong(difference),
        Some(difference) => Verdict::Wrong(format!("{difference}; {}", refused())),
    }
}
