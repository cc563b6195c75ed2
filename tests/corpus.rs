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

use std::collections::HashSet;
use std::path::PathBuf;

use rand::SeedableRng;
use rand::rngs::StdRng;
use warren::model::{DocError, DomainDoc, Finding, NetworkDoc, Severity};
use warren::plan::check;
use warren::plan::complete::{self, CompleteError, DomainFacts, NetworkFacts};
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

/// Where each value is in a document that can be changed: its element and attribute (none of a text), and its end.
fn values(text: &str) -> Vec<((String, String), usize)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let Some(end) = rest[start..].find('>').map(|end| start + end) else { break };
        let (tag, at) = (&rest[start + 1..end], text.len() - rest.len() + start + 1);
        rest = &rest[end + 1..];
        if tag.starts_with(['!', '?', '/']) {
            continue;
        }
        let name = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
        let mut from = 0;
        while let Some(equals) = tag[from..].find('=').map(|equals| from + equals) {
            let quote = &tag[equals + 1..equals + 2];
            let Some(close) = tag[equals + 2..].find(quote).map(|close| equals + 2 + close) else { break };
            let attribute = tag[..equals].rsplit(char::is_whitespace).next().unwrap_or_default();
            found.push(((name.to_owned(), attribute.to_owned()), at + close));
            from = close + 1;
        }
        let inner = &rest[..rest.find('<').unwrap_or(0)];
        if !inner.trim().is_empty() {
            found.push(((name.to_owned(), String::new()), text.len() - rest.len() + inner.trim_end().len()));
        }
    }
    found
}

/// A comma in a document must not begin another option of QEMU, wherever it is.
#[test]
fn no_value_becomes_an_option() {
    const MARK: &str = ",injected=on";
    let mut tried = std::collections::HashMap::<(String, String), u32>::new();
    let (mut planned, mut wrong) = (0, Vec::new());
    for (name, text, _) in corpus("domain") {
        for (place, end) in values(&text) {
            // Arguments of the user's own are what they are, and a kernel's command line has no options of QEMU.
            let free = place.0.starts_with("qemu:") || place.0 == "cmdline";
            if free || place.1.starts_with("xmlns") {
                continue;
            }
            let times = tried.entry(place.clone()).or_default();
            *times += 1;
            if *times > 8 {
                continue;
            }
            let changed = format!("{}{MARK}{}", &text[..end], &text[end..]);
            let Ok(mut doc) = DomainDoc::parse_with_errors(&changed) else { continue };
            let facts = DomainFacts { uuid: None, macs: &[], taken: &HashSet::new(), old: None };
            if doc.has_errors() || complete::domain(&mut doc, &facts, &mut StdRng::seed_from_u64(1)).is_err()
            {
                continue;
            }
            planned += 1;
            for argument in planned::argv(&doc, &[]).argv {
                if !argument.starts_with('{') && argument.replace(",,", "").contains(MARK) {
                    wrong.push(format!("{name}, {place:?}: {argument}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(planned >= 150, "only {planned} documents were planned");
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
