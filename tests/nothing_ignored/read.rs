//! What is written is read: whatever word is replaced by nonsense, either a finding says so or what the document
//! means is another thing.

use std::collections::BTreeMap;
use std::fmt::Debug;

use warren::model::{Definition, Doc, DocError, DomainDef, Finding, NetworkDef};
use warren::plan::check;

use crate::words::{covers, documents, is_told, shown, words};

/// A word that no list of words has, and that is no number, address or path.
const NONSENSE: &str = "xyzzy";

/// What says nothing about how an object is run, on purpose. With `/**` all that is in it.
const NOTES: &[(&str, &str)] = &[
    ("/domain/metadata/**", "of other programs"),
    ("/network/metadata/**", "of other programs"),
    ("/domain/description", "for people"),
    ("/domain/@id", "the number of a guest that ran, which libvirt writes and does not read"),
    ("/domain/devices/memory(nvdimm)/alias/@name", "not the user's (ua-…): libvirt gives such names anew"),
    ("/domain/devices/memory(nvdimm)/target/current", "what a running guest has, which libvirt writes"),
    (
        "/domain/devices/graphics(spice)/@passwd",
        "shown by nothing that is printed; that it is used is seen there",
    ),
    ("/domain/devices/graphics(vnc)/@passwd", "as above"),
    (
        "/domain/devices/interface(vds)/source/@connectionid",
        "of VMware's switches: the plan refuses the type",
    ),
    ("/domain/devices/interface(vds)/source/@portgroupid", "as above"),
    ("/domain/devices/interface(vds)/source/@portid", "as above"),
    ("/domain/devices/interface(vds)/source/@switchid", "as above"),
    (
        "/domain/devices/interface(internal)/source/@name",
        "of type internal, which libvirt runs as a user network; a warning says so",
    ),
    ("/network/@connections", "a count at run time, which libvirt writes and does not read"),
];

/// The words of the folder's documents that may be nonsense without anyone noticing, each with a document that
/// has it.
fn ignored<D: Definition + Debug>(
    folder: &str,
    check: impl Fn(&Doc<D>) -> Vec<Finding>,
) -> BTreeMap<String, String> {
    let meaning = |doc: &Doc<D>| format!("{:?}\n{:?}", doc.def(), shown(&check(doc)));
    let mut ignored = BTreeMap::new();
    for file in documents(folder) {
        let text = std::fs::read_to_string(&file).unwrap();
        let Ok(doc) = Doc::<D>::parse(&text) else { continue };
        let before = meaning(&doc);
        for word in words(doc.tree(), false) {
            let path = word.place(doc.tree());
            if NOTES.iter().any(|(note, _)| covers(note, &path)) || ignored.contains_key(&path) {
                continue;
            }
            match Doc::<D>::from_tree(word.replaced(doc.tree(), NONSENSE)) {
                Ok(changed) if meaning(&changed) == before => {
                    if !is_told(&word.path, &check(&changed)) {
                        ignored.insert(path, file.display().to_string());
                    }
                }
                Ok(_) | Err(DocError::Config(_)) => {}
                Err(DocError::Xml(e)) => panic!("{}: {e}", word.path),
            }
        }
    }
    ignored
}

#[test]
fn no_word_of_a_network_is_ignored() {
    let ignored = ignored::<NetworkDef>("network", check::network);
    assert!(ignored.is_empty(), "{} words are ignored: {ignored:#?}", ignored.len());
}

#[test]
fn no_word_of_a_domain_is_ignored() {
    let ignored = ignored::<DomainDef>("domain", check::domain);
    assert!(ignored.is_empty(), "{} words are ignored: {ignored:#?}", ignored.len());
}
