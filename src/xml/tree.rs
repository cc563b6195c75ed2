//! The tree and its edits. Owns what an element is and how an edit keeps the document's indentation;
//! must never read or write text (see `parse` and `write`).
//!
//! Everything read from text keeps its spelling beside its meaning, so what nobody edits is written
//! back byte for byte. Equality looks at the meaning alone: not at spelling, not at positions.

use std::borrow::Cow;

use super::write::{escape_attr, escape_text};

/// A whole document: one root, and the comments, instructions and white space around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub(super) prolog: Vec<Node>,
    pub(super) root: Element,
    pub(super) epilog: Vec<Node>,
}

impl Document {
    /// A document of one element and nothing around it.
    pub fn new(root: Element) -> Self {
        Self { prolog: Vec::new(), root, epilog: Vec::new() }
    }

    /// The root element.
    pub fn root(&self) -> &Element {
        &self.root
    }

    /// The root element, to be edited.
    pub fn root_mut(&mut self) -> &mut Element {
        &mut self.root
    }

    /// The root element alone, without what stood around it.
    pub fn into_root(self) -> Element {
        self.root
    }

    /// The element at `path`, written as findings write it: `/domain/devices/interface[2]/source`. A
    /// last step `@attr` stands for the element that has, or should have, the attribute.
    pub fn find(&self, path: &str) -> Option<&Element> {
        let mut at = &self.root;
        for (name, index) in self.steps(path)? {
            at = at.children_named(&name).nth(index)?;
        }
        Some(at)
    }

    /// The element at `path`, to be edited.
    pub fn find_mut(&mut self, path: &str) -> Option<&mut Element> {
        let steps = self.steps(path)?;
        let mut at = &mut self.root;
        for (name, index) in steps {
            at = at.children_mut().filter(|e| e.name == name).nth(index)?;
        }
        Some(at)
    }

    /// The steps of a path below the root, each with its index among the elements of its name.
    fn steps(&self, path: &str) -> Option<Vec<(String, usize)>> {
        let mut steps = path.strip_prefix('/')?.split('/');
        if steps.next()? != self.root.name {
            return None;
        }
        let step = |step: &str| match step.strip_suffix(']').and_then(|s| s.split_once('[')) {
            Some((name, n)) => Some((name.to_owned(), n.parse::<usize>().ok()?.checked_sub(1)?)),
            None => Some((step.to_owned(), 0)),
        };
        steps.take_while(|s| !s.starts_with('@')).map(step).collect()
    }
}

/// What stands in an element or around the root.
#[derive(Debug, Clone)]
pub enum Node {
    /// An element.
    Element(Element),
    /// Text: what it means, and how it is spelt.
    Text {
        /// With references resolved and line ends as `\n`.
        value: String,
        /// As it stands in the document.
        raw: String,
    },
    /// The content of a CDATA section.
    CData(String),
    /// A comment, a processing instruction or the XML declaration, verbatim.
    Other(String),
}

impl Node {
    pub(super) fn text(value: impl Into<String>) -> Self {
        let value = value.into();
        Self::Text { raw: escape_text(&value), value }
    }

    fn is_white_space(&self) -> bool {
        matches!(self, Self::Text { value, .. } if value.chars().all(char::is_whitespace))
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Element(a), Self::Element(b)) => a == b,
            (Self::Text { value: a, .. }, Self::Text { value: b, .. })
            | (Self::CData(a), Self::CData(b))
            | (Self::Other(a), Self::Other(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Node {}

#[derive(Debug, Clone)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) value: String,
    /// As it stands in the document, with the white space before it.
    pub(super) raw: String,
}

/// An element with its attributes and content.
#[derive(Debug, Clone, Default)]
pub struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<Attribute>,
    pub(super) nodes: Vec<Node>,
    /// White space before the `>` of the start tag and of the end tag.
    pub(super) start_space: String,
    pub(super) end_space: String,
    /// `<a/>`, as long as there is no content.
    pub(super) self_closing: bool,
    /// The white space before the element on its line; `None` where it does not begin its line.
    pub(super) indent: Option<String>,
    pub(super) line: u32,
    pub(super) column: u32,
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        fn attributes(e: &Element) -> impl Iterator<Item = (&str, &str)> {
            e.attributes.iter().map(|a| (a.name.as_str(), a.value.as_str()))
        }
        self.name == other.name && attributes(self).eq(attributes(other)) && self.nodes == other.nodes
    }
}

impl Eq for Element {}

impl Element {
    /// An empty element. `name` must be an XML name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), self_closing: true, ..Self::default() }
    }

    /// The same element with an attribute more.
    #[must_use]
    pub fn with_attr(mut self, name: &str, value: &str) -> Self {
        self.set_attr(name, value);
        self
    }

    /// The same element with `text` as its content.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.set_text(text);
        self
    }

    /// The name with its prefix, as written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The prefix that this element binds to a namespace; empty for the namespace of names without prefix.
    pub fn prefix_of(&self, namespace: &str) -> Option<&str> {
        self.attributes.iter().filter(|a| a.value == namespace).find_map(|a| {
            match a.name.strip_prefix("xmlns") {
                Some("") => Some(""),
                Some(rest) => rest.strip_prefix(':'),
                None => None,
            }
        })
    }

    /// Line in the text that was parsed, from 1; 0 for an element made by an edit.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Column in the line, in characters from 1; 0 as for the line.
    pub fn column(&self) -> u32 {
        self.column
    }

    /// The value of an attribute, references resolved.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.name == name).map(|a| a.value.as_str())
    }

    /// Names and values of all attributes in document order.
    pub fn attrs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|a| (a.name.as_str(), a.value.as_str()))
    }

    /// Sets an attribute in its place, or appends it.
    pub fn set_attr(&mut self, name: &str, value: &str) {
        // One quote style for one element: that of the attribute, else of its first neighbour.
        let like = self.attributes.iter().find(|a| a.name == name).or(self.attributes.first());
        let quote = like.and_then(|a| a.raw.chars().next_back()).unwrap_or('\'');
        let written = format!("{name}={quote}{}{quote}", escape_attr(value, quote));
        match self.attributes.iter_mut().find(|a| a.name == name) {
            Some(a) => {
                let space = a.raw.len() - a.raw.trim_start().len();
                a.raw.replace_range(space.., &written);
                value.clone_into(&mut a.value);
            }
            None => self.attributes.push(Attribute {
                name: name.to_owned(),
                value: value.to_owned(),
                raw: format!(" {written}"),
            }),
        }
    }

    /// Removes an attribute and tells the value it had.
    pub fn remove_attr(&mut self, name: &str) -> Option<String> {
        let at = self.attributes.iter().position(|a| a.name == name)?;
        Some(self.attributes.remove(at).value)
    }

    /// Everything in the element, in document order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The child elements in document order.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.nodes.iter().filter_map(|n| match n {
            Node::Element(e) => Some(e),
            _ => None,
        })
    }

    /// The child elements, to be edited.
    pub fn children_mut(&mut self) -> impl Iterator<Item = &mut Self> {
        self.nodes.iter_mut().filter_map(|n| match n {
            Node::Element(e) => Some(e),
            _ => None,
        })
    }

    /// The child elements of one name, in document order.
    pub fn children_named<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Self> + use<'a, 'n> {
        self.children().filter(move |e| e.name == name)
    }

    /// The first child of this name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children().find(|e| e.name == name)
    }

    /// The first child of this name, to be edited.
    pub fn child_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.children_mut().find(|e| e.name == name)
    }

    /// The position among the child elements of the first child of this name.
    pub fn child_index(&self, name: &str) -> Option<usize> {
        self.children().position(|e| e.name == name)
    }

    /// The text directly in the element, CDATA included, white space as it stands.
    pub fn text(&self) -> Cow<'_, str> {
        let mut parts = self.nodes.iter().filter_map(|n| match n {
            Node::Text { value, .. } | Node::CData(value) => Some(value.as_str()),
            _ => None,
        });
        let first = parts.next().unwrap_or("");
        parts.fold(Cow::Borrowed(first), |all, part| Cow::Owned(all.into_owned() + part))
    }

    /// Replaces all content by `text`.
    pub fn set_text(&mut self, text: &str) {
        self.nodes.clear();
        if !text.is_empty() {
            self.nodes.push(Node::text(text));
        }
    }

    /// Appends a child after the last child element, indented as its siblings are.
    pub fn append(&mut self, child: Self) {
        self.insert(self.children().count(), child);
    }

    /// Inserts a child so that it becomes the child element number `index` (from 0; beyond the end it
    /// is appended), indented as its siblings are.
    pub fn insert(&mut self, index: usize, mut child: Self) {
        let indent = self.indent_of_children();
        if let Some(indent) = &indent {
            child.lay_out(indent);
        }
        let space = || indent.as_ref().map(|i| Node::text(format!("\n{i}")));
        let elements: Vec<usize> = (0..self.nodes.len()).filter(|i| self.is_element(*i)).collect();
        let child = Node::Element(child);
        if let Some(&at) = elements.get(index) {
            self.nodes.splice(at..at, std::iter::once(child).chain(space()));
        } else if let Some(&last) = elements.last() {
            self.nodes.splice(last + 1..last + 1, space().into_iter().chain([child]));
        } else {
            if self.nodes.last().is_some_and(Node::is_white_space) {
                self.nodes.pop();
            }
            self.nodes.extend(space());
            self.nodes.push(child);
            if let (Some(_), Some(own)) = (&indent, &self.indent) {
                self.nodes.push(Node::text(format!("\n{own}")));
            }
        }
        self.join_texts();
    }

    /// Removes child element number `index` (from 0) with the white space before it.
    pub fn remove_child(&mut self, index: usize) -> Option<Self> {
        let at = (0..self.nodes.len()).filter(|i| self.is_element(*i)).nth(index)?;
        let removed = self.nodes.remove(at);
        if at > 0 && self.nodes[at - 1].is_white_space() {
            self.nodes.remove(at - 1);
        }
        self.join_texts();
        if self.nodes.iter().all(Node::is_white_space) {
            self.nodes.clear();
        }
        match removed {
            Node::Element(e) => Some(e),
            _ => None,
        }
    }

    /// Texts that an edit has brought together become one, as they are when the document is read again.
    fn join_texts(&mut self) {
        let mut joined: Vec<Node> = Vec::with_capacity(self.nodes.len());
        for node in std::mem::take(&mut self.nodes) {
            match (joined.last_mut(), node) {
                (Some(Node::Text { value, raw }), Node::Text { value: more, raw: more_raw }) => {
                    value.push_str(&more);
                    // Two ends of lines must not become the one that `\r\n` is.
                    match more_raw.strip_prefix('\n') {
                        Some(rest) if raw.ends_with('\r') => raw.extend(["&#10;", rest]),
                        _ => raw.push_str(&more_raw),
                    }
                }
                (_, node) => joined.push(node),
            }
        }
        self.nodes = joined;
    }

    fn is_element(&self, index: usize) -> bool {
        matches!(self.nodes.get(index), Some(Node::Element(_)))
    }

    /// The white space that a child has before it on its line; `None` where children share a line.
    fn indent_of_children(&self) -> Option<String> {
        match self.children().next() {
            Some(first) => first.indent.clone(),
            None => self.indent.as_ref().map(|own| format!("{own}  ")),
        }
    }

    /// Puts a new element and what is in it on lines of their own.
    fn lay_out(&mut self, indent: &str) {
        self.indent = Some(indent.to_owned());
        let elements_only = self.nodes.iter().all(|n| matches!(n, Node::Element(_)));
        if self.nodes.is_empty() || !elements_only {
            return;
        }
        let inner = format!("{indent}  ");
        for mut node in std::mem::take(&mut self.nodes) {
            if let Node::Element(child) = &mut node {
                child.lay_out(&inner);
            }
            self.nodes.push(Node::text(format!("\n{inner}")));
            self.nodes.push(node);
        }
        self.nodes.push(Node::text(format!("\n{indent}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(text: &str) -> Document {
        Document::parse(text).unwrap()
    }

    #[test]
    fn inserts_are_indented_like_their_siblings() {
        let mut d = doc("<a>\n  <b/>\n  <d/>\n</a>\n");
        d.root_mut().insert(1, Element::new("c").with_attr("x", "1 < 2"));
        d.root_mut().append(Element::new("e").with_text("t & u"));
        d.root_mut().insert(0, Element::new("first"));
        assert_eq!(
            d.to_string(),
            "<a>\n  <first/>\n  <b/>\n  <c x='1 &lt; 2'/>\n  <d/>\n  <e>t &amp; u</e>\n</a>\n"
        );
        assert_eq!(doc(&d.to_string()), d);
    }

    #[test]
    fn an_empty_element_opens_for_its_first_child() {
        let mut d = doc("<a>\n  <nic type=\"x\"/>\n</a>");
        let mut parent = Element::new("p");
        parent.append(Element::new("q"));
        d.root_mut().child_mut("nic").unwrap().insert(0, parent);
        assert_eq!(d.to_string(), "<a>\n  <nic type=\"x\">\n    <p>\n      <q/>\n    </p>\n  </nic>\n</a>");
        let mut line = doc("<a><b/></a>");
        line.root_mut().append(Element::new("c"));
        assert_eq!(line.to_string(), "<a><b/><c/></a>");
    }

    #[test]
    fn removal_takes_the_white_space_along() {
        let mut d = doc("<a>\n  <b/>\n  <c/>\n</a>");
        assert_eq!(d.root_mut().remove_child(1).unwrap().name(), "c");
        assert_eq!(d.to_string(), "<a>\n  <b/>\n</a>");
        d.root_mut().remove_child(0);
        assert_eq!(d.to_string(), "<a></a>");
        assert!(d.root_mut().remove_child(0).is_none());
    }

    #[test]
    fn an_edit_in_mixed_text_is_read_back() {
        for text in ["<a>\n text\n</a>", "<a>\n text\r</a>", "<a>\n text\r\r</a>"] {
            let mut d = doc(text);
            d.root_mut().insert(0, Element::new("b"));
            assert_eq!(doc(&d.to_string()), d);
        }
        let mut d = doc("<a>one<b/>two</a>");
        d.root_mut().remove_child(0);
        assert_eq!(d.to_string(), "<a>onetwo</a>");
        assert_eq!(doc(&d.to_string()), d);
    }

    #[test]
    fn attributes_keep_their_place_and_quotes() {
        let mut d = doc("<a  x = \"1\" y='2' />");
        d.root_mut().set_attr("x", "a\"b");
        d.root_mut().set_attr("z", "3");
        assert_eq!(d.to_string(), "<a  x=\"a&quot;b\" y='2' z=\"3\" />");
        assert_eq!(d.root_mut().remove_attr("y").as_deref(), Some("2"));
        assert_eq!(d.root().attr("y"), None);
    }

    #[test]
    fn paths_are_found() {
        let d = doc("<a><b/><b><c x='1'/></b></a>");
        assert_eq!(d.find("/a/b[2]/c/@x").unwrap().attr("x"), Some("1"));
        for bad in ["/b", "/a/c", "/a/b[0]", "/a/b[3]", "", "/a/b[x]"] {
            assert!(d.find(bad).is_none(), "{bad}");
        }
    }
}
