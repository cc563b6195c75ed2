//! Nothing that a document says is ignored in silence: whatever word is replaced by nonsense, either a
//! finding says so or what the document means is another thing. Read over the corpus, and over the documents
//! in `$WARREN_CONFORMANCE` where that is set.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use warren::model::{Definition, Doc, DocError, DomainDef, Finding, NetworkDef, Severity};
use warren::plan::check;
use warren::xml::{Document, Element};

/// A word that no list of words has, and that is no number, address or path.
const NONSENSE: &str = "xyzzy";

/// What says nothing about how an object is run, on purpose. Paths without indexes, `*` for one step.
const NOTES: &[(&str, &str)] = &[
    ("/*/metadata", "of other programs"),
    ("/*/title", "for people; told as a property"),
    ("/*/description", "for people"),
    ("/domain/@id", "the number of a guest that ran, which libvirt writes and does not read"),
    ("/domain/devices/*/alias", "a name that is not the user's (ua-…) libvirt gives anew"),
    ("/domain/devices/console/source", "of the console that is the first serial port, as on libvirt"),
    ("/domain/devices/interface/guest", "for containers; a warning of the element says so"),
    ("/domain/devices/memory/target/current", "what a running guest has, which libvirt writes"),
    ("/domain/devices/graphics/@passwd", "shown by nothing that is printed; the plan's settings have it"),
    ("/domain/devices/interface/source/@connectionid", "of VMware's switches: the plan refuses the type"),
    ("/domain/devices/interface/source/@portgroupid", "as above"),
    ("/domain/devices/interface/source/@portid", "as above; of a network it is looked at and not needed"),
    ("/domain/devices/interface/source/@switchid", "as above"),
    (
        "/domain/devices/interface/source/@name",
        "of type internal, which libvirt runs as a user network; a warning says so",
    ),
    ("/network/@connections", "a count at run time, which libvirt writes and does not read"),
];

fn documents(folder: &str) -> Vec<PathBuf> {
    let mut roots = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder)];
    if let Some(data) = std::env::var_os("WARREN_CONFORMANCE") {
        roots.extend(["libvirt", "virt-manager"].map(|from| Path::new(&data).join(from).join(folder)));
    }
    let files = roots.iter().filter_map(|r| std::fs::read_dir(r).ok()).flatten().map(|e| e.unwrap().path());
    let mut files: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "xml")).collect();
    files.sort();
    files
}

/// One word of a document: the steps to its element, and the attribute or, without one, the text.
#[derive(Debug, Clone)]
struct Word {
    steps: Vec<usize>,
    attribute: Option<String>,
    path: String,
}

fn words(element: &Element, steps: &[usize], path: &str, found: &mut Vec<Word>) {
    let path = format!("{path}/{}", element.name());
    let word = |attribute: Option<&str>| Word {
        steps: steps.to_vec(),
        attribute: attribute.map(str::to_owned),
        path: attribute.map_or_else(|| path.clone(), |a| format!("{path}/@{a}")),
    };
    for (name, _) in element.attrs().filter(|(name, _)| !name.starts_with("xmlns")) {
        found.push(word(Some(name)));
    }
    if element.children().next().is_none() && !element.text().trim().is_empty() {
        found.push(word(None));
    }
    for (i, child) in element.children().enumerate() {
        words(child, &[steps, &[i]].concat(), &path, found);
    }
}

fn replaced(tree: &Document, word: &Word) -> Document {
    let mut tree = tree.clone();
    let mut at = tree.root_mut();
    for step in &word.steps {
        at = at.children_mut().nth(*step).unwrap();
    }
    match &word.attribute {
        Some(name) => at.set_attr(name, NONSENSE),
        None => at.set_text(NONSENSE),
    }
    tree
}

fn is_in(table: &[(&str, &str)], path: &str) -> bool {
    table.iter().any(|(note, _)| {
        let mut steps = path.split('/');
        note.split('/').all(|n| steps.next().is_some_and(|s| n == "*" || n == s))
    })
}

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
        let mut all = Vec::new();
        words(doc.tree().root(), &[], "", &mut all);
        for word in all.into_iter().filter(|w| !is_in(NOTES, &w.path)) {
            match Doc::<D>::from_tree(replaced(doc.tree(), &word)) {
                Ok(changed) if !ignored.contains_key(&word.path) && meaning(&changed) == before => {
                    let told = is_told(&word.path, &check(&changed));
                    if !told {
                        ignored.insert(word.path, file.display().to_string());
                    }
                }
                Ok(_) | Err(DocError::Config(_)) => {}
                Err(DocError::Xml(e)) => panic!("{}: {e}", word.path),
            }
        }
    }
    ignored
}

/// Whether a finding is about this very word; or the element that has it, or one around it, is refused as a
/// whole, for itself or its type.
fn is_told(path: &str, findings: &[Finding]) -> bool {
    findings.iter().any(|f| {
        let at = bare(&f.path);
        if at == path {
            return true;
        }
        let whole = at.strip_suffix("/@type").unwrap_or(&at);
        f.severity != Severity::Warning
            && path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// A path of a finding without its indexes.
fn bare(path: &str) -> String {
    let step = |s: &str| s.split('[').next().unwrap_or_default().to_owned();
    path.split('/').map(step).collect::<Vec<_>>().join("/")
}

fn shown(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|f| format!("{} {} {}", f.severity.as_str(), f.path, f.message)).collect()
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
