//! What of a document everybody may read in the arguments of QEMU: each place whose free text occurs there is on a
//! list with the reason why it may.

use std::collections::{BTreeMap, HashSet};

use rand::SeedableRng;
use rand::rngs::StdRng;
use warren::model::{DomainDoc, Finding, Severity};
use warren::plan::check;
use warren::plan::complete::{self, DomainFacts};
use warren::xml::Document;

use crate::conformance_planned::everything;
use crate::conformance_planned::plan;
use crate::words::{covers, documents, words};

/// Occurs in no document.
const MARK: &str = "qzmark";

/// Texts with the mark, of the shapes that some places want; and addresses, which have no room for it.
const SHAPES: [&str; 10] = [
    "203.0.113.77",
    "2001:db8::77",
    "qzmark",
    "/qzmark",
    "ua-qzmark",
    "opt/qzmark",
    "vnqzmark",
    "file:///qzmark",
    "qzmark/qzmark",
    "qzmark.qzmark",
];

/// Places whose text is an argument, and why it may be. With `/**` all that is in it.
/// `*` is any device, and types are left out.
const SEEN: &[(&str, &str)] = &[
    ("/domain/name", "a name"),
    ("/domain/cpu/feature/@name", "of a model"),
    ("/domain/features/hyperv/vendor_id/@value", "of a model"),
    ("/domain/devices/*/alias/@name", "a name, which QEMU's own messages use"),
    ("/domain/devices/*/address/@port", "a place on a bus"),
    ("/domain/devices/disk/vendor", "a model; QEMU takes what a device says of itself only as an argument"),
    ("/domain/devices/disk/product", "as above"),
    ("/domain/devices/disk/serial", "as above; a number of the hardware, as a MAC is"),
    ("/domain/devices/channel/target/@name", "as above; a name"),
    ("/domain/devices/filesystem/target/@dir", "as above; a name"),
    ("/domain/devices/graphics/@keymap", "a model"),
    ("/domain/devices/graphics/@listen", "the kernel shows everybody who listens where, in /proc/net"),
    ("/domain/qemu:commandline/**", "arguments are what it asks for, and it takes host-access"),
];

/// In so many documents a place is tried.
const TRIES: usize = 3;

/// The places whose text occurs in the arguments, each with a document.
fn seen() -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let mut tried: BTreeMap<String, usize> = BTreeMap::new();
    for file in documents("domain") {
        let text = std::fs::read_to_string(&file).unwrap();
        let Some(tree) = DomainDoc::parse(&text).ok().and_then(complete) else { continue };
        if arguments(tree.clone()).is_none() {
            continue;
        }
        for word in words(&tree, true) {
            let place = word.place(&tree);
            let tries = tried.entry(place.clone()).or_default();
            if seen.contains_key(&place) || *tries >= TRIES {
                continue;
            }
            *tries += 1;
            let shows = |shape: &str| {
                let argv = arguments(word.replaced(&tree, shape)).unwrap_or_default();
                argv.iter().any(|arg| arg.contains(if shape.contains(MARK) { MARK } else { shape }))
            };
            if SHAPES.iter().any(|shape| shows(shape)) {
                seen.insert(place, file.display().to_string());
            }
        }
    }
    seen
}

/// As a definition keeps it.
fn complete(mut doc: DomainDoc) -> Option<Document> {
    let taken = HashSet::new();
    let facts = DomainFacts { uuid: None, macs: &[], taken: &taken, old: None };
    complete::domain(&mut doc, &facts, &mut StdRng::seed_from_u64(1)).ok()?;
    Some(doc.tree().clone())
}

/// The arguments, unless the document is refused: then it is not run.
fn arguments(tree: Document) -> Option<Vec<String>> {
    let doc = DomainDoc::from_tree(tree).ok()?;
    doc.def().uuid?;
    let runs = |findings: Vec<Finding>| findings.iter().all(|f| f.severity == Severity::Warning);
    let planned = plan(&doc, everything());
    (runs(check::domain(&doc)) && runs(planned.findings)).then_some(planned.argv)
}

/// Without the types in it, and without which device it is.
fn bare(place: &str) -> String {
    let steps = place.split('/').map(|step| step.split('(').next().unwrap_or_default());
    let steps: Vec<&str> = steps.collect();
    match steps[..] {
        ["", "domain", "devices", _, what @ ("alias" | "address"), ref rest @ ..] => {
            format!("/domain/devices/*/{what}/{}", rest.join("/"))
        }
        _ => steps.join("/"),
    }
}

#[test]
fn the_arguments_of_qemu_show_nothing_but_what_is_on_the_list() {
    let seen: BTreeMap<String, String> =
        seen().into_iter().map(|(place, file)| (bare(&place), file)).collect();
    let is_listed = |place: &str| SEEN.iter().any(|(path, _)| covers(path, place));
    let unlisted: Vec<_> = seen.iter().filter(|(place, _)| !is_listed(place)).collect();
    assert!(unlisted.is_empty(), "{} places are shown to everybody: {unlisted:#?}", unlisted.len());
    if std::env::var_os("WARREN_CONFORMANCE").is_some() {
        let is_met = |path: &str| seen.keys().any(|place| covers(path, place));
        let stale: Vec<_> = SEEN.iter().filter(|(path, _)| !is_met(path)).collect();
        assert!(stale.is_empty(), "these are shown to nobody: {stale:#?}");
    }
}
