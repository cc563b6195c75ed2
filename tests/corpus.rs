//! Documents of our own, `tests/corpus/`: each is written back to the byte, stays as it is once complete, keeps its
//! devices in their order, and is accepted or refused as its last line says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "conformance/kept.rs"]
#[expect(unreachable_pub, reason = "shared by two tests")]
mod kept;
#[path = "conformance/planned.rs"]
#[expect(unreachable_pub, reason = "shared by two tests")]
#[expect(dead_code, reason = "what is compared with libvirt is asked for there alone")]
mod planned;

use std::path::PathBuf;

use rand::SeedableRng;
use rand::rngs::StdRng;
use warren::model::{DocError, Finding, NetworkDoc, Severity};
use warren::plan::check;
use warren::plan::complete::{self, CompleteError, NetworkFacts};
use warren::xml::Document;

/// What the last line of a document says.
#[derive(Debug)]
enum Expected {
    Runs,
    Accepted,
    Refused(String),
}

fn corpus(kind: &str) -> Vec<(String, String, Expected)> {
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus")).join(kind);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let last = text.lines().last().unwrap();
            let said = last.strip_prefix("<!-- expected: ").and_then(|l| l.strip_suffix(" -->"));
            let said = said.unwrap_or_else(|| panic!("{}: nothing is expected", path.display()));
            let expected = match said.split(';').next().unwrap() {
                "runs" => Expected::Runs,
                "accepted" => Expected::Accepted,
                other => match other.strip_prefix("refused ") {
                    Some(place) => Expected::Refused(place.to_owned()),
                    None => panic!("{}: '{said}' is no expectation", path.display()),
                },
            };
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), text, expected)
        })
        .collect()
}

/// Judges every document and tells all that is not as expected.
fn judge(kind: &str, define: impl Fn(&str, bool) -> Result<Vec<Finding>, Vec<Finding>>) {
    let mut wrong = Vec::new();
    for (name, text, expected) in corpus(kind) {
        assert_eq!(Document::parse(&text).unwrap().to_string(), text, "{name}");
        let list = |f: &[Finding]| f.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
        match (&expected, define(&text, matches!(expected, Expected::Runs))) {
            (Expected::Accepted, Ok(_)) => {}
            (Expected::Runs, Ok(beyond)) if beyond.is_empty() => {}
            (Expected::Refused(place), Err(errors)) if errors.iter().any(|e| is_at(e, place)) => {}
            (_, Ok(beyond)) => {
                wrong.push(format!("{name}: {expected:?}; taken, beyond it: {}", list(&beyond)));
            }
            (_, Err(errors)) => wrong.push(format!("{name}: {expected:?}; refused: {}", list(&errors))),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Whether a finding is at a place, or at a part of it; or at the element whose attribute is meant.
fn is_at(finding: &Finding, place: &str) -> bool {
    let element = place.split("/@").next().unwrap();
    let below = |path: &str, place: &str| {
        path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(&finding.path, place) || finding.path == element
}

#[test]
fn there_are_enough_of_them() {
    assert!(corpus("network").len() >= 60 && corpus("domain").len() >= 120);
}

#[test]
fn domains() {
    judge("domain", |text, runs| {
        let doc = planned::define(text)?;
        Ok(if runs { planned::argv(&doc, &[]).findings } else { planned::unsupported(&doc) })
    });
}

#[test]
fn networks() {
    judge("network", |text, _| {
        let refused = |error: DocError| match error {
            DocError::Config(findings) => {
                findings.into_iter().filter(|f| f.severity == Severity::Error).collect()
            }
            DocError::Xml(e) => panic!("{e}"),
        };
        let mut doc = NetworkDoc::parse(text).map_err(refused)?;
        assert_eq!(doc.to_xml(), text);
        let given = doc.tree().clone();
        let facts = NetworkFacts { uuid: None, used: &[] };
        match complete::network(&mut doc, &facts, &mut StdRng::seed_from_u64(1)) {
            Ok(()) => {}
            Err(CompleteError::Doc(e)) => return Err(refused(e)),
            Err(e) => panic!("{e}"),
        }
        assert_eq!(kept::lost(given.root(), doc.tree().root()), None);
        let once = doc.to_xml();
        complete::network(&mut doc, &facts, &mut StdRng::seed_from_u64(2)).unwrap();
        assert_eq!(doc.to_xml(), once, "completing twice changes nothing");
        assert_eq!(NetworkDoc::parse(&once).unwrap().def(), doc.def());
        let (errors, rest): (Vec<_>, Vec<_>) =
            check::network(&doc).into_iter().partition(|f| f.severity == Severity::Error);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(rest.into_iter().filter(|f| f.severity == Severity::Unsupported).collect())
    });
}
