//! Documents survive: what is read is written back, in order, and completing changes nothing twice.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "xml_roundtrip/generate.rs"]
#[expect(unreachable_pub, reason = "a test has no outside")]
mod generate;

use std::collections::HashSet;
use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rand::SeedableRng;
use rand::rngs::StdRng;
use warren::model::{DomainDoc, NetworkDoc, Severity};
use warren::plan::check;
use warren::plan::complete::{self, DomainFacts, NetworkFacts};
use warren::xml::Document;

/// Text with what needs escaping, and what a careless writer would lose.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("&amp;"),
        Just("&lt;"),
        Just("&#10;"),
        Just("&#x41;"),
        Just("<!-- c -->"),
        Just("<?pi x?>"),
        Just("<![CDATA[<&]]>"),
        Just("\n  "),
        Just("\r\n"),
        Just("ä€𝄞"),
        Just(" a b "),
        Just("'\">"),
        Just(""),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|v| v.concat())
}

fn attributes() -> impl Strategy<Value = String> {
    let value =
        prop_oneof![Just("1"), Just(""), Just("&lt;&amp;&gt;"), Just("a  b"), Just("&#9;&#10;"), Just("ß\n")];
    let one = (value, any::<bool>(), prop_oneof![Just(" "), Just("\n  ")]);
    prop::collection::vec(one, 0..4).prop_map(|all| {
        let mut out = String::new();
        for (i, (value, double, space)) in all.into_iter().enumerate() {
            let quote = if double { '"' } else { '\'' };
            let _ = write!(out, "{space}q:a{i}{}{quote}{value}{quote}", if double { "=" } else { " = " });
        }
        out
    })
}

fn element() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("a"), Just("b-1"), Just("q:c"), Just("é.x")];
    let leaf = (name.clone(), attributes(), prop_oneof![Just("/>"), Just(" />"), Just("></")]).prop_map(
        |(name, attributes, end)| match end {
            "></" => format!("<{name}{attributes}></{name} >"),
            end => format!("<{name}{attributes}{end}"),
        },
    );
    leaf.prop_recursive(5, 40, 4, move |inner| {
        let content = prop::collection::vec((text(), inner), 0..4);
        (name.clone(), attributes(), content, text()).prop_map(|(name, attributes, content, tail)| {
            let content: String = content.into_iter().flat_map(|(t, e)| [t, e]).collect();
            format!("<{name}{attributes}>{content}{tail}</{name}>")
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_as_it_was(root in element(), declared in any::<bool>()) {
        let head = if declared { "<?xml version='1.0'?>\n<!-- head -->\n" } else { "" };
        let text = format!("{head}{root}\n<!-- tail -->\n");
        let doc = Document::parse(&text).unwrap();
        prop_assert_eq!(doc.to_string(), text);
        prop_assert_eq!(Document::parse(&doc.to_string()).unwrap(), doc);
    }

    #[test]
    fn edits_are_read_back(root in element(), value in "\\PC*", index in 0usize..6) {
        let mut doc = Document::parse(&root).unwrap();
        let child = warren::xml::Element::new("new").with_attr("v", &value).with_text(&value);
        doc.root_mut().insert(index, child);
        doc.root_mut().set_attr("v", &value);
        let read = Document::parse(&doc.to_string()).unwrap();
        prop_assert_eq!(read.root().attr("v"), Some(value.as_str()));
        let new = read.root().child("new").unwrap();
        prop_assert_eq!(new.text(), value.as_str());
        prop_assert_eq!(read.root().children().count(), doc.root().children().count());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(<|>|/|&|;|'|=|a|!|\\[|\\]|-|\\?| |é|#x1){0,40}") {
        if let Ok(doc) = Document::parse(&text) {
            prop_assert_eq!(doc.to_string(), text);
        }
    }

    #[test]
    fn domains_keep_their_devices_and_complete_once(text in generate::domain(), seed in any::<u64>()) {
        prop_assert_eq!(Document::parse(&text).unwrap().to_string(), &text[..]);
        domain_holds(&text, seed)?;
    }

    #[test]
    fn networks_complete_once(text in generate::network(), seed in any::<u64>()) {
        prop_assert_eq!(Document::parse(&text).unwrap().to_string(), &text[..]);
        network_holds(&text, seed)?;
    }

    #[test]
    fn what_is_broken_is_refused_or_holds(
        text in prop_oneof![generate::domain(), generate::network()],
        changes in prop::collection::vec(generate::change(), 1..6),
        seed in any::<u64>(),
    ) {
        let text = changes.iter().fold(text, |text, change| change.apply(&text));
        domain_holds(&text, seed)?;
        network_holds(&text, seed)?;
    }
}

/// What holds for a domain that is taken; tells whether it is.
fn domain_holds(text: &str, seed: u64) -> Result<bool, TestCaseError> {
    let Ok(mut doc) = DomainDoc::parse(text) else { return Ok(false) };
    prop_assert_eq!(doc.to_xml(), text);
    let before = devices_of(&doc);
    let taken = HashSet::new();
    let facts = DomainFacts { uuid: None, macs: &[], taken: &taken, old: None };
    if complete::domain(&mut doc, &facts, &mut StdRng::seed_from_u64(seed)).is_err() {
        return Ok(false);
    }
    let once = doc.to_xml();
    let after = devices_of(&doc);
    // What is completed may stand between.
    let mut rest = after.iter();
    prop_assert!(before.iter().all(|device| rest.any(|d| d == device)), "{:?} became {:?}", before, after);
    prop_assert!(complete::interface_macs(&doc).iter().all(Option::is_some));
    complete::domain(&mut doc, &facts, &mut StdRng::seed_from_u64(!seed)).unwrap();
    prop_assert_eq!(doc.to_xml(), &once[..]);
    let again = DomainDoc::parse(&once).unwrap();
    prop_assert_eq!(again.def(), doc.def());
    Ok(check::domain(&doc).iter().all(|f| f.severity != Severity::Error))
}

/// What holds for a network that is taken; tells whether it is.
fn network_holds(text: &str, seed: u64) -> Result<bool, TestCaseError> {
    let Ok(mut doc) = NetworkDoc::parse(text) else { return Ok(false) };
    prop_assert_eq!(doc.to_xml(), text);
    let facts = NetworkFacts { uuid: None, used: &[] };
    if complete::network(&mut doc, &facts, &mut StdRng::seed_from_u64(seed)).is_err() {
        return Ok(false);
    }
    let once = doc.to_xml();
    prop_assert!(doc.def().uuid.is_some());
    complete::network(&mut doc, &facts, &mut StdRng::seed_from_u64(!seed)).unwrap();
    prop_assert_eq!(doc.to_xml(), &once[..]);
    let again = NetworkDoc::parse(&once).unwrap();
    prop_assert_eq!(again.def(), doc.def());
    Ok(check::network(&doc).iter().all(|f| f.severity != Severity::Error))
}

/// The properties above say nothing of what is refused, so most must not be.
#[test]
fn most_of_what_is_generated_is_taken() {
    let share = |documents: BoxedStrategy<String>, holds: fn(&str, u64) -> Result<bool, TestCaseError>| {
        let mut runner = TestRunner::deterministic();
        let mut sample = || documents.new_tree(&mut runner).unwrap().current();
        (0..200).filter(|_| holds(&sample(), 1).unwrap()).count()
    };
    let (domains, networks) =
        (share(generate::domain(), domain_holds), share(generate::network(), network_holds));
    assert!(
        domains >= 120 && networks >= 120,
        "of 200 each, {domains} domains and {networks} networks are taken"
    );
}

/// Name and type of the children of `<devices>`, in document order.
fn devices_of(doc: &DomainDoc) -> Vec<String> {
    let devices = doc.tree().root().child("devices").into_iter();
    devices.flat_map(|d| d.children()).map(|d| format!("{} {:?}", d.name(), d.attr("type"))).collect()
}
