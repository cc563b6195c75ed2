//! A cursor over an element that remembers what was asked for.
//!
//! Owns the account of what of a document was read: whatever nobody asked for is reported at the end,
//! so that nothing is silently ignored. Must never know what an element means.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::str::FromStr;

use super::tree::{Document, Element, Node};

/// How much a [`Remark`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Wrong.
    Error,
    /// Not understood, or not possible yet.
    Unsupported,
    /// Legal, but probably not what was meant.
    Warning,
}

/// A statement about one place of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How much it matters.
    pub weight: Weight,
    /// As `/domain/devices/interface[2]/source/@port`; `[n]` only where there are several siblings.
    pub path: String,
    /// Line from 1; 0 for an element made by an edit.
    pub line: u32,
    /// Column in characters from 1; 0 as for the line.
    pub column: u32,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// What would be right; may be empty.
    pub remedy: String,
}

/// At most so many remarks of each weight are kept; a document with more is not helped by the rest. Lesser ones never
/// stand in the way of an error, by which a document is refused.
const MAX_REMARKS: usize = 500;

/// Runs `read` over the root of `doc` and gives its answer with all remarks: those it made, and one
/// for everything it did not ask for. Ordered by place.
pub fn read<R>(doc: &Document, read: impl FnOnce(&View<'_>) -> R) -> (R, Vec<Remark>) {
    let log = Log::default();
    let root = View { element: doc.root(), log: &log, path: format!("/{}", doc.root().name()) };
    log.take(doc.root());
    let answer = read(&root);
    root.report_unread();
    let mut remarks = log.remarks.into_inner();
    remarks.sort_by_key(|r| (r.line, r.column));
    (answer, remarks)
}

#[derive(Debug, Default)]
struct Log {
    /// Addresses of elements and attributes that were asked for. The tree cannot move meanwhile.
    taken: RefCell<HashSet<usize>>,
    /// Elements whose text was asked for.
    text: RefCell<HashSet<usize>>,
    /// Elements taken with all that is in them.
    whole: RefCell<HashSet<usize>>,
    remarks: RefCell<Vec<Remark>>,
}

fn address<T>(of: &T) -> usize {
    std::ptr::from_ref(of).addr()
}

impl Log {
    fn take<T>(&self, what: &T) {
        self.taken.borrow_mut().insert(address(what));
    }

    fn is_taken<T>(&self, what: &T) -> bool {
        self.taken.borrow().contains(&address(what))
    }
}

/// An element of a document that is being read.
#[derive(Debug, Clone)]
pub struct View<'a> {
    element: &'a Element,
    log: &'a Log,
    path: String,
}

impl<'a> View<'a> {
    /// The element itself; what is read past the view counts as not read.
    pub fn element(&self) -> &'a Element {
        self.element
    }

    /// The element's name.
    pub fn name(&self) -> &'a str {
        self.element.name()
    }

    /// The element's path, as in findings.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of an attribute.
    pub fn attr(&self, name: &str) -> Option<&'a str> {
        let attribute = self.element.attributes.iter().find(|a| a.name == name)?;
        self.log.take(attribute);
        Some(&attribute.value)
    }

    /// The value of an attribute, an empty one counting as absent.
    pub fn filled(&self, name: &str) -> Option<&'a str> {
        self.attr(name).filter(|v| !v.is_empty())
    }

    /// The value of an attribute as a `T`; an empty one counts as absent, a wrong one is an error.
    pub fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Option<T> {
        let value = self.filled(name)?;
        match value.parse() {
            Ok(v) => Some(v),
            Err(e) => {
                let reason = e.to_string();
                let says_what = reason.contains(&format!("'{value}'"));
                let message =
                    if says_what { reason } else { format!("'{value}' cannot stand here: {reason}") };
                self.error_at(name, message, "");
                None
            }
        }
    }

    /// The value of an attribute that is one of `known`; an empty one counts as absent, another one
    /// is an error that lists them.
    pub fn one_of<T: Copy>(&self, name: &str, known: &[(&str, T)]) -> Option<T> {
        let value = self.filled(name)?;
        let found = known.iter().find(|(word, _)| *word == value).map(|(_, t)| *t);
        if found.is_none() {
            let words: Vec<_> = known.iter().map(|(word, _)| *word).collect();
            self.error_at(name, format!("'{value}' is not known"), format!("known are {}", words.join(", ")));
        }
        found
    }

    /// The value of an attribute that says `yes` or `no` (or `on` or `off`).
    pub fn yes_no(&self, name: &str) -> Option<bool> {
        match self.filled(name)? {
            "yes" | "on" => Some(true),
            "no" | "off" => Some(false),
            other => {
                self.error_at(name, format!("'{other}' is neither yes nor no"), "");
                None
            }
        }
    }

    /// The text in the element, without white space around it.
    pub fn text(&self) -> Cow<'a, str> {
        self.log.text.borrow_mut().insert(address(self.element));
        match self.element.text() {
            Cow::Borrowed(t) => Cow::Borrowed(t.trim()),
            Cow::Owned(t) => Cow::Owned(t.trim().to_owned()),
        }
    }

    /// The text in the element, to the letter.
    pub fn untrimmed(&self) -> Cow<'a, str> {
        self.log.text.borrow_mut().insert(address(self.element));
        self.element.text()
    }

    /// The first child of this name. Further ones are reported at the end as not read.
    pub fn child(&self, name: &str) -> Option<Self> {
        let mut same = self.element.children_named(name);
        let first = same.next()?;
        let several = same.next().is_some();
        Some(self.step(first, several.then_some(1)))
    }

    /// All children of this name, in document order.
    pub fn children(&self, name: &str) -> Vec<Self> {
        let several = self.element.children_named(name).nth(1).is_some();
        let same = self.element.children_named(name).enumerate();
        same.map(|(i, e)| self.step(e, several.then_some(i + 1))).collect()
    }

    /// All children, in document order. Those that nobody knows are to be given back by
    /// [`View::leave`].
    pub fn all_children(&self) -> Vec<Self> {
        self.numbered().into_iter().map(|(e, index)| self.step(e, index)).collect()
    }

    /// Counts the element as not read after all.
    pub fn leave(&self) {
        self.log.taken.borrow_mut().remove(&address(self.element));
    }

    /// Counts the element and all that is in it as read.
    pub fn accept(&self) {
        self.log.whole.borrow_mut().insert(address(self.element));
    }

    /// Counts all children of this name and all that is in them as read.
    pub fn accept_children(&self, name: &str) {
        self.children(name).iter().for_each(Self::accept);
    }

    /// Remarks that the element is wrong.
    pub fn error(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.remark(Weight::Error, None, message.into(), remedy.into());
    }

    /// Remarks that an attribute is wrong, or missing.
    pub fn error_at(&self, attr: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.remark(Weight::Error, Some(attr), message.into(), remedy.into());
    }

    /// Remarks that the element cannot be had yet.
    pub fn unsupported(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.remark(Weight::Unsupported, None, message.into(), remedy.into());
    }

    /// Remarks that the value of an attribute cannot be had yet.
    pub fn unsupported_at(&self, attr: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.remark(Weight::Unsupported, Some(attr), message.into(), remedy.into());
    }

    /// Remarks that the element is probably not what was meant.
    pub fn warning(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.remark(Weight::Warning, None, message.into(), remedy.into());
    }

    /// Remarks that an attribute is probably not what was meant.
    pub fn warning_at(&self, attr: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.remark(Weight::Warning, Some(attr), message.into(), remedy.into());
    }

    fn remark(&self, weight: Weight, attr: Option<&str>, message: String, remedy: String) {
        let mut remarks = self.log.remarks.borrow_mut();
        if remarks.iter().filter(|remark| remark.weight == weight).nth(MAX_REMARKS - 1).is_some() {
            return;
        }
        let (line, column) = (self.element.line(), self.element.column());
        let path = attr.map_or_else(|| self.path.clone(), |a| format!("{}/@{a}", self.path));
        remarks.push(Remark { weight, path, line, column, message, remedy });
    }

    fn step(&self, element: &'a Element, index: Option<usize>) -> Self {
        self.log.take(element);
        self.at(element, index)
    }

    fn at(&self, element: &'a Element, index: Option<usize>) -> Self {
        let index = index.map_or_else(String::new, |i| format!("[{i}]"));
        Self { element, log: self.log, path: format!("{}/{}{index}", self.path, element.name()) }
    }

    /// The children with the index that their path needs.
    fn numbered(&self) -> Vec<(&'a Element, Option<usize>)> {
        let mut total: HashMap<&str, usize> = HashMap::new();
        for child in self.element.children() {
            *total.entry(child.name()).or_default() += 1;
        }
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let number = |e: &'a Element| {
            let n = seen.entry(e.name()).or_default();
            *n += 1;
            (e, (total.get(e.name()) > Some(&1)).then_some(*n))
        };
        self.element.children().map(number).collect()
    }

    /// Remarks on everything in this element that nobody asked for.
    fn report_unread(&self) {
        if self.log.whole.borrow().contains(&address(self.element)) {
            return;
        }
        for a in self.element.attributes.iter().filter(|a| !self.log.is_taken(*a)) {
            if a.name != "xmlns" && !a.name.starts_with("xmlns:") {
                let message = format!("Warren does not know the attribute '{}' of <{}>", a.name, self.name());
                self.unsupported_at(&a.name, message, "");
            }
        }
        let has_text =
            |n: &Node| matches!(n, Node::Text{value: t, ..} | Node::CData(t) if !t.trim().is_empty());
        if !self.log.text.borrow().contains(&address(self.element))
            && self.element.nodes().iter().any(has_text)
        {
            self.unsupported(format!("Warren does not know what text in <{}> means", self.name()), "");
        }
        let mut known = HashSet::new();
        for (child, index) in self.numbered() {
            let view = self.at(child, index);
            if self.log.is_taken(child) {
                known.insert(child.name());
                view.report_unread();
            } else if known.contains(child.name()) {
                let message = format!("Warren takes only the first <{}> here", child.name());
                view.unsupported(message, "");
            } else {
                view.unsupported(format!("Warren does not know <{}> here", child.name()), "");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remarks(text: &str, f: impl FnOnce(&View<'_>)) -> Vec<String> {
        let doc = Document::parse(text).unwrap();
        let ((), remarks) = read(&doc, f);
        remarks.iter().map(|r| format!("{}:{} {} {}", r.line, r.column, r.path, r.message)).collect()
    }

    #[test]
    fn many_lesser_remarks_hide_no_error() {
        let doc = Document::parse("<a/>").unwrap();
        let ((), found) = read(&doc, |view| {
            (0..2 * MAX_REMARKS).for_each(|_| view.warning("odd", ""));
            view.error("wrong", "");
        });
        assert_eq!(found.len(), MAX_REMARKS + 1);
        assert!(found.iter().any(|remark| remark.weight == Weight::Error));
    }

    #[test]
    fn what_nobody_asked_for_is_reported() {
        let text =
            "<a x='1' y='2' xmlns:q='urn:q'>\n<b u='1'/>\n<b>t</b>\n<c/>\n<c/>\n<d><e f='g'/></d>\n</a>";
        let found = remarks(text, |v| {
            assert_eq!(v.attr("x"), Some("1"));
            assert_eq!(v.children("b").len(), 2);
            assert!(v.child("c").is_some());
            v.accept_children("d");
        });
        insta::assert_snapshot!(found.join("\n"), @r#"
        1:1 /a/@y Warren does not know the attribute 'y' of <a>
        2:1 /a/b[1]/@u Warren does not know the attribute 'u' of <b>
        3:1 /a/b[2] Warren does not know what text in <b> means
        5:1 /a/c[2] Warren takes only the first <c> here
        "#);
    }

    #[test]
    fn wrong_values_are_errors_at_their_attribute() {
        let found = remarks("<a n='x' m='9' b='maybe' w='blue' e=''/>", |v| {
            assert_eq!(v.parsed::<u16>("n"), None);
            assert_eq!(v.parsed::<u16>("m"), Some(9));
            assert_eq!(v.parsed::<u16>("e"), None);
            assert_eq!(v.yes_no("b"), None);
            assert_eq!(v.one_of("w", &[("red", 1), ("green", 2)]), None);
        });
        insta::assert_snapshot!(found.join("\n"), @r#"
        1:1 /a/@n 'x' cannot stand here: invalid digit found in string
        1:1 /a/@b 'maybe' is neither yes nor no
        1:1 /a/@w 'blue' is not known
        "#);
    }

    #[test]
    fn a_child_left_is_reported_and_text_counts() {
        let found = remarks("<a>text<b/><c>x</c></a>", |v| {
            for child in v.all_children() {
                if child.name() == "b" {
                    child.leave();
                } else {
                    assert_eq!(child.text(), "x");
                }
            }
        });
        insta::assert_snapshot!(found.join("\n"), @r#"
        1:1 /a Warren does not know what text in <a> means
        1:8 /a/b Warren does not know <b> here
        "#);
    }
}
