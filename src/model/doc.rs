//! A document together with what it means. Owns that the two never disagree: the definition is read
//! again after every edit of the tree. Must never complete or judge a definition.

use super::{DomainDef, Finding, NetworkDef, Severity};
use crate::xml::view::{self, Remark, View, Weight};
use crate::xml::{Document, XmlError};

/// A network's document and definition.
pub type NetworkDoc = Doc<NetworkDef>;
/// A domain's document and definition.
pub type DomainDoc = Doc<DomainDef>;

/// Why a text is not a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocError {
    /// Not well-formed, or about something else than it should be.
    #[error("the document cannot be read")]
    Xml(#[source] XmlError),
    /// Well-formed but wrong: every finding there is, in document order. At least one is an error; as text the
    /// errors alone are told.
    #[error("{}", list_errors(.0))]
    Config(Vec<Finding>),
}

fn list_errors(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|f| f.severity == Severity::Error);
    errors.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What can be read from a document.
pub trait Definition: Sized {
    /// The name of the root element.
    const ROOT: &'static str;
    /// Reads the root; `None` only with a remark of weight error that says why.
    fn read(root: &View<'_>) -> Option<Self>;
}

/// A document and the definition that is read from it.
#[derive(Debug, Clone)]
pub struct Doc<D> {
    tree: Document,
    def: D,
    findings: Vec<Finding>,
}

impl<D: Definition> Doc<D> {
    /// Reads a document.
    pub fn parse(text: &str) -> Result<Self, DocError> {
        Self::from_tree(Document::parse(text).map_err(DocError::Xml)?)
    }

    /// Reads a document that is a tree already.
    pub fn from_tree(tree: Document) -> Result<Self, DocError> {
        let doc = Self::with_errors(tree)?;
        if doc.has_errors() { Err(DocError::Config(doc.findings)) } else { Ok(doc) }
    }

    /// Reads a document that is only to be judged: errors are among its findings, and what they are about is
    /// missing in the definition.
    pub fn parse_with_errors(text: &str) -> Result<Self, DocError> {
        Self::with_errors(Document::parse(text).map_err(DocError::Xml)?)
    }

    fn with_errors(tree: Document) -> Result<Self, DocError> {
        let root = tree.root();
        if root.name() != D::ROOT {
            return Err(DocError::Xml(XmlError {
                message: format!("the root element is <{}>; here it must be <{}>", root.name(), D::ROOT),
                line: root.line(),
                column: root.column(),
                path: format!("/{}", root.name()),
            }));
        }
        let (def, remarks) = view::read(&tree, D::read);
        let findings: Vec<Finding> = remarks.into_iter().map(Finding::from).collect();
        match def {
            Some(def) => Ok(Self { tree, def, findings }),
            None if findings.iter().any(|f| f.severity == Severity::Error) => Err(DocError::Config(findings)),
            None => Err(DocError::Config(vec![Finding {
                severity: Severity::Error,
                path: format!("/{}", D::ROOT),
                line: tree.root().line(),
                column: tree.root().column(),
                message: format!("<{}> is incomplete", D::ROOT),
                remedy: String::new(),
            }])),
        }
    }

    /// What the document means.
    pub fn def(&self) -> &D {
        &self.def
    }

    /// What the document means, without the document.
    pub fn into_def(self) -> D {
        self.def
    }

    /// The document as written, with what edits have added.
    pub fn tree(&self) -> &Document {
        &self.tree
    }

    /// What was noticed while reading: findings of severity unsupported and warning, and errors after
    /// [`Self::parse_with_errors`].
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Whether there are errors among [`Self::findings`].
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// Whether both say the same to the letter, from the root on: an XML declaration, which the store leaves
    /// out, says nothing.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.tree.root() == other.tree.root()
    }

    /// The document as text.
    pub fn to_xml(&self) -> String {
        self.tree.to_string()
    }

    /// Edits the tree and reads it again. An edit that makes the document wrong is not kept.
    pub fn edit(&mut self, edit: impl FnOnce(&mut Document)) -> Result<(), DocError> {
        let mut tree = self.tree.clone();
        edit(&mut tree);
        *self = Self::from_tree(tree)?;
        Ok(())
    }
}

impl From<Remark> for Finding {
    fn from(r: Remark) -> Self {
        let severity = match r.weight {
            Weight::Error => Severity::Error,
            Weight::Unsupported => Severity::Unsupported,
            Weight::Warning => Severity::Warning,
        };
        let Remark { path, line, column, message, remedy, .. } = r;
        Self { severity, path, line, column, message, remedy }
    }
}

/// A value that must be there: without it, an error that names the place.
pub(super) fn required<T>(value: Option<T>, view: &View<'_>, attr: &str, remedy: &str) -> Option<T> {
    if value.is_none() && view.filled(attr).is_none() {
        view.error_at(attr, format!("<{}> needs the attribute '{attr}'", view.name()), remedy);
    }
    value
}

/// The text of a child as a `T`; wrong text is an error, an absent or empty child is `None`.
pub(super) fn text_of<T>(parent: &View<'_>, name: &str) -> Option<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let child = parent.child(name)?;
    let text = child.text();
    if text.is_empty() {
        return None;
    }
    text.parse().map_err(|e| child.error(format!("'{text}' cannot stand in <{name}>: {e}"), "")).ok()
}

/// A path on the host. One that is not absolute is kept, and nothing runs with it: whose directory it would be
/// taken from is not said.
pub(super) fn host_path(view: &View<'_>, attr: Option<&str>) -> Option<std::path::PathBuf> {
    let text = match attr {
        Some(a) => view.filled(a)?.to_owned(),
        None => view.text().into_owned(),
    };
    if text.is_empty() {
        return None;
    }
    if !text.starts_with('/') {
        let message = format!("the path '{text}' is not absolute");
        let remedy = "write the whole path, from /";
        match attr {
            Some(a) => view.unsupported_at(a, message, remedy),
            None => view.unsupported(message, remedy),
        }
    }
    Some(text.into())
}

/// Takes what says nothing about how an object is run: for people, or for other programs.
pub(super) fn accept_notes(root: &View<'_>) {
    for name in ["title", "description", "metadata"] {
        root.accept_children(name);
    }
}
