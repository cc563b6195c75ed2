//! libvirt's RELAX NG schemas as an outside judge: what they take when it is given to Warren, they take when Warren has
//! completed and written it. The documents of 2007 they take once completed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::SeedableRng;
use rand::rngs::StdRng;
use warren::model::{DomainDoc, NetworkDoc};
use warren::plan::complete::{self, DomainFacts, NetworkFacts};
use warren::xml::Document;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A document and what it becomes.
struct Case {
    path: PathBuf,
    text: String,
    /// `None` where it is refused.
    written: Option<String>,
}

/// The documents of a kind, in the directories and below.
fn documents(kind: &str, dirs: &[PathBuf]) -> Vec<Case> {
    let mut found = Vec::new();
    let mut dirs = dirs.to_vec();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "xml") {
                let text = std::fs::read_to_string(&path).unwrap();
                if Document::parse(&text).is_ok_and(|doc| doc.root().name() == kind) {
                    let written = if kind == "domain" { domain(&text) } else { network(&text) };
                    found.push(Case { path, text, written });
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn domain(text: &str) -> Option<String> {
    let mut doc = DomainDoc::parse(text).ok()?;
    let taken = HashSet::new();
    let facts = DomainFacts { uuid: None, macs: &[], taken: &taken, old: None };
    complete::domain(&mut doc, &facts, &mut StdRng::seed_from_u64(1)).ok()?;
    Some(doc.to_xml())
}

fn network(text: &str) -> Option<String> {
    let mut doc = NetworkDoc::parse(text).ok()?;
    complete::network(&mut doc, &NetworkFacts { uuid: None, used: &[] }, &mut StdRng::seed_from_u64(1))
        .ok()?;
    Some(doc.to_xml())
}

/// For each text what the schema has against it; nothing where it takes it. One process for all.
fn validate(kind: &str, texts: &[&str]) -> Vec<String> {
    let fetched = Command::new(format!("{ROOT}/scripts/schemas.sh")).output().unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let schemas = String::from_utf8(fetched.stdout).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..texts.len()).map(|n| format!("d{n}.xml")).collect();
    for (name, text) in names.iter().zip(texts) {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let schema = Path::new(schemas.trim()).join(format!("{kind}.rng"));
    let mut xmllint = Command::new("xmllint");
    xmllint.args(["--noout", "--relaxng"]).arg(schema).args(&names);
    let output =
        xmllint.current_dir(dir.path()).output().expect("xmllint runs: scripts/setup.sh installs it");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut against: BTreeMap<&str, String> = BTreeMap::new();
    let mut validated = HashSet::new();
    for line in told.lines() {
        if let Some(name) = line.strip_suffix(" validates") {
            validated.insert(name);
        } else if let Some((name, what)) = line.split_once(':') {
            against.entry(name).or_default().push_str(&format!("{what}\n"));
        }
    }
    let verdict = |name: &String| match validated.contains(name.as_str()) {
        true => String::new(),
        false => against.get(name.as_str()).cloned().unwrap_or_else(|| "fails to validate".into()),
    };
    names.iter().map(verdict).collect()
}

fn conformance() -> Vec<PathBuf> {
    match std::env::var_os("WARREN_CONFORMANCE").map(PathBuf::from) {
        Some(dir) => vec![dir.join("libvirt"), dir.join("virt-manager")],
        None => {
            use std::io::Write as _;
            // Past the harness, which keeps what a passing test prints.
            let _ = std::io::stdout().write_all(b"NOT RUN: no conformance data for the schemas\n");
            Vec::new()
        }
    }
}

/// What is taken before is taken after. Gives how many were taken before.
fn taken_before_and_after(kind: &str, dirs: &[PathBuf], wrong: &mut Vec<String>) -> usize {
    let cases = documents(kind, dirs);
    let given: Vec<&str> = cases.iter().map(|c| c.text.as_str()).collect();
    let before = validate(kind, &given);
    let kept: Vec<&Case> = cases
        .iter()
        .zip(&before)
        .filter(|(c, against)| against.is_empty() && c.written.is_some())
        .map(|(c, _)| c)
        .collect();
    let written: Vec<&str> = kept.iter().map(|c| c.written.as_deref().unwrap()).collect();
    for (case, against) in kept.iter().zip(validate(kind, &written)) {
        if !against.is_empty() {
            wrong.push(format!("{}: {against}", case.path.display()));
        }
    }
    kept.len()
}

#[test]
fn what_was_valid_is_written_valid() {
    let mut wrong = Vec::new();
    let ours = [format!("{ROOT}/tests/corpus").into(), format!("{ROOT}/examples").into()];
    assert!(taken_before_and_after("network", &ours, &mut wrong) >= 50);
    assert!(taken_before_and_after("domain", &ours, &mut wrong) >= 110);
    let others = conformance();
    for kind in ["network", "domain"] {
        taken_before_and_after(kind, &others, &mut wrong);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_corpus_is_of_the_format() {
    for kind in ["network", "domain"] {
        let cases = documents(kind, &[format!("{ROOT}/tests/corpus/{kind}").into()]);
        let right: Vec<&Case> = cases
            .iter()
            .filter(|c| {
                !c.text.contains("expected: refused") && !c.text.contains("the schema does not know it")
            })
            .collect();
        let texts: Vec<&str> = right.iter().map(|c| c.text.as_str()).collect();
        for (case, against) in right.iter().zip(validate(kind, &texts)) {
            assert!(against.is_empty(), "{}: {against}", case.path.display());
        }
    }
}

#[test]
fn examples_are_valid_once_complete() {
    for kind in ["network", "domain"] {
        let cases = documents(kind, &[format!("{ROOT}/examples").into()]);
        let written = |case: &Case| in_todays_words(case.written.as_deref().expect("an example is taken"));
        let texts: Vec<String> = cases.iter().map(written).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for (case, against) in cases.iter().zip(validate(kind, &texts)) {
            assert!(against.is_empty(), "{}: {against}", case.path.display());
        }
    }
}

/// One spelling of 2007 is kept as it is written, and no schema knows it any more, alone or beside today's: `dev` for
/// the name of a bridge. The schema is asked about the same document with that one attribute as it is called today.
fn in_todays_words(text: &str) -> String {
    let mut doc = Document::parse(text).unwrap();
    let devices = doc.root_mut().child_mut("devices").into_iter();
    let nics = devices.flat_map(|d| d.children_mut()).filter(|d| d.name() == "interface");
    for nic in nics.filter(|nic| nic.attr("type") == Some("bridge")) {
        let Some(source) = nic.child_mut("source") else { continue };
        if let Some(name) = source.remove_attr("dev") {
            source.set_attr("bridge", &name);
        }
    }
    doc.to_string()
}
