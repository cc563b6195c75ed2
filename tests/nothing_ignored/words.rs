//! The documents, and the words in them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use warren::model::{Finding, Severity};
use warren::xml::{Document, Element};

/// The documents of the corpus, and those in `$WARREN_CONFORMANCE` where that is set.
pub fn documents(folder: &str) -> Vec<PathBuf> {
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
pub struct Word {
    pub steps: Vec<usize>,
    pub attribute: Option<String>,
    /// As in findings.
    pub path: String,
}

impl Word {
    fn find<'a>(&self, tree: &'a Document) -> &'a Element {
        self.steps.iter().fold(tree.root(), |at, step| at.children().nth(*step).unwrap())
    }

    /// The word itself; of an element with others in it there is none.
    pub fn value(&self, tree: &Document) -> Option<String> {
        let element = self.find(tree);
        match &self.attribute {
            Some(name) => element.attr(name).map(str::to_owned),
            None => element.children().next().is_none().then(|| element.text().into_owned()),
        }
    }

    /// The document with another word in its place.
    pub fn replaced(&self, tree: &Document, by: &str) -> Document {
        let mut tree = tree.clone();
        let element = self.steps.iter().fold(tree.root_mut(), |at, n| at.children_mut().nth(*n).unwrap());
        match &self.attribute {
            Some(name) => element.set_attr(name, by),
            None => element.set_text(by),
        }
        tree
    }

    /// The document without it.
    pub fn removed(&self, tree: &Document) -> Document {
        let mut tree = tree.clone();
        let (last, above) = match (&self.attribute, self.steps.split_last()) {
            (None, Some((last, above))) => (Some(*last), above),
            _ => (None, &self.steps[..]),
        };
        let element = above.iter().fold(tree.root_mut(), |at, n| at.children_mut().nth(*n).unwrap());
        match (&self.attribute, last) {
            (Some(name), _) => drop(element.remove_attr(name)),
            (None, Some(n)) => drop(element.remove_child(n)),
            (None, None) => {}
        }
        tree
    }

    /// The path with what decides what its parts mean: the types of the elements on the way.
    pub fn place(&self, tree: &Document) -> String {
        let mut place = format!("/{}", tree.root().name());
        let mut at = tree.root();
        for (i, step) in self.steps.iter().enumerate() {
            at = at.children().nth(*step).unwrap();
            place.push('/');
            place.push_str(at.name());
            let itself = i + 1 == self.steps.len() && self.attribute.as_deref() == Some("type");
            let kind = at.attr("type").filter(|_| !itself);
            let model = at.attr("model").filter(|_| {
                matches!(at.name(), "controller" | "memory" | "panic")
                    && self.attribute.as_deref() != Some("model")
            });
            let bus = at.attr("bus").filter(|_| at.name() == "input");
            for word in [kind, model, bus].into_iter().flatten() {
                place.push_str(&format!("({word})"));
            }
        }
        match &self.attribute {
            Some(name) => format!("{place}/@{name}"),
            None => place,
        }
    }
}

/// The words of a document; with `elements` its empty elements too.
pub fn words(tree: &Document, elements: bool) -> Vec<Word> {
    let mut found = Vec::new();
    let root = tree.root();
    collect(root, &[], &format!("/{}", root.name()), elements, &mut found);
    found
}

fn collect(element: &Element, steps: &[usize], path: &str, elements: bool, found: &mut Vec<Word>) {
    let word = |attribute: Option<&str>| Word {
        steps: steps.to_vec(),
        attribute: attribute.map(str::to_owned),
        path: attribute.map_or_else(|| path.to_owned(), |a| format!("{path}/@{a}")),
    };
    for (name, _) in element.attrs().filter(|(name, _)| !name.starts_with("xmlns")) {
        found.push(word(Some(name)));
    }
    let is_empty = element.children().next().is_none() && element.attrs().next().is_none();
    let has_text = element.children().next().is_none() && !element.text().trim().is_empty();
    if has_text || elements && is_empty {
        found.push(word(None));
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (i, child) in element.children().enumerate() {
        let n = seen.entry(child.name()).or_default();
        *n += 1;
        let several = element.children_named(child.name()).nth(1).is_some();
        let index = if several { format!("[{n}]") } else { String::new() };
        let path = format!("{path}/{}{index}", child.name());
        collect(child, &[steps, &[i]].concat(), &path, elements, found);
    }
}

/// Whether a finding is about this very word; or the element that has it, or one around it, is refused as a
/// whole, for itself or its type; or a warning says that a part of a device is without effect.
pub fn is_told(path: &str, findings: &[Finding]) -> bool {
    findings.iter().any(|f| {
        let at = &f.path;
        if at == path {
            return true;
        }
        let whole = ["/@type", "/@mode"].iter().find_map(|a| at.strip_suffix(a)).unwrap_or(at);
        let depth = whole.split('/').count();
        let is_part = depth > if whole.starts_with("/domain/devices/") { 4 } else { 2 };
        (f.severity != Severity::Warning || is_part)
            && path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Whether a place is the exception's; with `/**` all that is in it is.
pub fn covers(exception: &str, path: &str) -> bool {
    exception == path
        || exception.strip_suffix("/**").is_some_and(|whole| {
            path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
}

/// A path of a finding without its indexes.
pub fn bare(path: &str) -> String {
    let step = |s: &str| s.split('[').next().unwrap_or_default().to_owned();
    path.split('/').map(step).collect::<Vec<_>>().join("/")
}

pub fn shown(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|f| format!("{} {} {}", f.severity.as_str(), f.path, f.message)).collect()
}
