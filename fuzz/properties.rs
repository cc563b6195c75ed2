//! What must hold for any bytes. The fuzz targets try new ones; `tests/fuzz_corpus.rs` tries again those that
//! were found worth keeping.

use std::collections::HashSet;

use rand::SeedableRng;
use rand::rngs::StdRng;
use warren::model::{DomainDoc, NetworkDoc};
use warren::plan::check;
use warren::plan::complete::{self, DomainFacts, NetworkFacts};
use warren::sys::dnsmasq::{Lease, parse_leases};
use warren::sys::qmp::{LineBuffer, Message, decode, read_reply};
use warren::xml::{Document, Element};

/// What is read is written back to the byte, an edit is read back, and the element of each path is found.
pub fn xml_tree(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(mut doc) = Document::parse(text) else { return };
    assert_eq!(doc.to_string(), text, "written as it was read");
    let children = doc.root().children().count();
    doc.root_mut().insert(children / 2, Element::new("w").with_attr("a", text).with_text(text));
    doc.root_mut().set_attr("edited", text);
    let read = Document::parse(&doc.to_string()).expect("an edited document is well-formed");
    assert_eq!(read, doc, "an edit is read back");
    doc.root_mut().remove_child(children / 2).expect("the child is there");
    assert_eq!(doc.root().children().count(), children);
    let read = Document::parse(&doc.to_string()).expect("a document with a child less is well-formed");
    assert_eq!(read, doc, "a removal is read back");
}

/// Completing twice changes nothing; what is complete is read back, and the judge and the planner look at it.
pub fn network(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(mut doc) = NetworkDoc::parse(text) else { return };
    assert_eq!(doc.to_xml(), text, "written as it was read");
    let facts = NetworkFacts { uuid: None, used: &[] };
    if complete::network(&mut doc, &facts, &mut StdRng::seed_from_u64(1)).is_err() {
        return;
    }
    let once = doc.to_xml();
    complete::network(&mut doc, &facts, &mut StdRng::seed_from_u64(2)).expect("what is complete stays so");
    assert_eq!(doc.to_xml(), once, "completing twice changes nothing");
    let again = NetworkDoc::parse(&once).expect("what is complete can be read");
    assert_eq!(again.def(), doc.def());
    placed(&check::network(&doc), doc.tree());
}

/// As for networks; and devices keep their order.
pub fn domain(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(mut doc) = DomainDoc::parse(text) else { return };
    assert_eq!(doc.to_xml(), text, "written as it was read");
    let order = |doc: &DomainDoc| -> Vec<String> {
        let devices = doc.tree().root().child("devices").into_iter();
        devices.flat_map(Element::children).map(|d| format!("{} {:?}", d.name(), d.attr("type"))).collect()
    };
    let before = order(&doc);
    let taken = HashSet::new();
    let facts = DomainFacts { uuid: None, macs: &[], taken: &taken, old: None };
    if complete::domain(&mut doc, &facts, &mut StdRng::seed_from_u64(1)).is_err() {
        return;
    }
    let kept = order(&doc);
    let mut rest = kept.iter();
    assert!(before.iter().all(|device| rest.any(|d| d == device)), "{before:?} became {kept:?}");
    let once = doc.to_xml();
    complete::domain(&mut doc, &facts, &mut StdRng::seed_from_u64(2)).expect("what is complete stays so");
    assert_eq!(doc.to_xml(), once, "completing twice changes nothing");
    let again = DomainDoc::parse(&once).expect("what is complete can be read");
    assert_eq!(again.def(), doc.def());
    placed(&check::domain(&doc), doc.tree());
}

/// Each finding begins at the root and says something.
fn placed(findings: &[warren::model::Finding], tree: &Document) {
    let root = format!("/{}", tree.root().name());
    for finding in findings {
        assert!(finding.path.starts_with(&root), "{finding}");
        assert!(!finding.message.is_empty(), "{finding:?}");
    }
}

/// Lines are the same however the bytes come in, and an event or reply is read back as it was.
pub fn qmp(data: &[u8]) {
    let lines = |chunk: usize| {
        let (mut buffer, mut lines) = (LineBuffer::default(), Vec::new());
        for bytes in data.chunks(chunk) {
            buffer.bytes_mut().extend_from_slice(bytes);
            while let Ok(Some(line)) = buffer.take() {
                lines.push(line);
            }
        }
        lines
    };
    let all = lines(data.len().max(1));
    assert_eq!(lines(1 + data.len() / 3), all);
    assert_eq!(lines(1), all);
    for line in all {
        match decode(line) {
            Ok(Message::Event(event)) if has_float(&event.data) => {}
            Ok(Message::Event(event)) => {
                let (seconds, rest) = (event.timestamp_usec / 1_000_000, event.timestamp_usec % 1_000_000);
                let written = serde_json::json!({
                    "event": event.name, "data": event.data,
                    "timestamp": { "seconds": seconds, "microseconds": rest },
                });
                assert_eq!(decode(written.to_string().into_bytes()), Ok(Message::Event(event)));
            }
            Ok(Message::Reply { id, line }) => {
                let Ok(reply) = read_reply(&line) else { continue };
                let again = decode(reply.to_string().into_bytes());
                assert!(matches!(again, Ok(Message::Reply { id: read, .. }) if read == id), "{again:?}");
            }
            Ok(Message::Greeting | Message::HugeEvent | Message::Other) | Err(_) => {}
        }
    }
}

/// Whether the last digit of a number in it may differ when it is read again.
fn has_float(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(n) => n.is_f64(),
        serde_json::Value::Array(all) => all.iter().any(has_float),
        serde_json::Value::Object(all) => all.values().any(has_float),
        _ => false,
    }
}

/// A lease is read back as it was, alone and among others.
pub fn leases(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let leases = parse_leases(text);
    assert!(leases.len() <= text.lines().count());
    for lease in leases {
        assert_eq!(parse_leases(&lease_line(&lease)), [lease]);
    }
}

fn lease_line(lease: &Lease) -> String {
    let seconds = lease.expires_usec / 1_000_000;
    let (before, mac) = if lease.mac.is_empty() { ("duid 00\n", "1") } else { ("", lease.mac.as_str()) };
    let or_star = |field: &Option<String>| field.clone().unwrap_or_else(|| "*".into());
    let (name, id) = (or_star(&lease.hostname), or_star(&lease.client_id));
    format!("{before}{seconds} {mac} {} {name} {id}", lease.address)
}
