//! From text to the tree, over quick-xml's event reader. Owns what is taken for XML and how much of
//! it; must never resolve anything that the document does not contain itself.
//!
//! quick-xml leaves to its caller: elements left open at the end, one root, depth, names, characters
//! that XML forbids, and joining text around references. All of that is checked here.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::tree::{Attribute, Document, Element, Node};

/// The largest document, in bytes.
pub const MAX_BYTES: usize = 4 << 20;
/// The deepest nesting; the root has depth 1.
pub const MAX_DEPTH: usize = 64;
/// The largest number of elements.
pub const MAX_ELEMENTS: usize = 1 << 16;
/// The largest number of attributes of one element (looking for duplicates is quadratic).
const MAX_ATTRIBUTES: usize = 256;

/// Why a text is not an XML document that is taken, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", self.place())]
pub struct XmlError {
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// Line from 1; 0 where the document as a whole is meant.
    pub line: u32,
    /// Column in characters from 1; 0 as for the line.
    pub column: u32,
    /// The innermost element, as `/domain/devices`; empty outside the root.
    pub path: String,
}

impl XmlError {
    fn place(&self) -> String {
        match (self.line, self.path.as_str()) {
            (0, "") => "the document".to_owned(),
            (0, path) => path.to_owned(),
            (line, "") => format!("line {line}, column {}", self.column),
            (line, path) => format!("{path} (line {line}, column {})", self.column),
        }
    }
}

impl Document {
    /// Reads a document. It must have one root, no DOCTYPE, and stay within [`MAX_BYTES`],
    /// [`MAX_DEPTH`] and [`MAX_ELEMENTS`].
    pub fn parse(text: &str) -> Result<Self, XmlError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() > MAX_BYTES {
            return Err(XmlError {
                message: format!("the document has {} bytes, at most {MAX_BYTES} are taken", text.len()),
                line: 0,
                column: 0,
                path: String::new(),
            });
        }
        Parser::new(text).run()
    }
}

struct Parser<'t> {
    text: &'t str,
    reader: Reader<&'t [u8]>,
    /// Elements that are open, the root first.
    open: Vec<Element>,
    elements: usize,
    prolog: Vec<Node>,
    root: Option<Element>,
    epilog: Vec<Node>,
    /// Where the current event begins, and its line and the offset of that line.
    at: usize,
    line: u32,
    line_start: usize,
}

type Step = Result<(), XmlError>;

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Self {
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_comments = true;
        Self {
            text,
            reader,
            open: Vec::new(),
            elements: 0,
            prolog: Vec::new(),
            root: None,
            epilog: Vec::new(),
            at: 0,
            line: 1,
            line_start: 0,
        }
    }

    fn run(mut self) -> Result<Document, XmlError> {
        if let Some((at, c)) = self.text.char_indices().find(|(_, c)| !is_xml_char(*c)) {
            self.move_to(at);
            return self.fail(format!("the character U+{:04X} cannot stand in XML", u32::from(c)));
        }
        loop {
            let event = match self.reader.read_event() {
                Ok(event) => event,
                Err(e) => {
                    self.move_to(usize::try_from(self.reader.error_position()).unwrap_or(usize::MAX));
                    return self.fail(e.to_string());
                }
            };
            let end = usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX);
            let raw = self.text.get(self.at..end).unwrap_or_default();
            match event {
                Event::Eof => break,
                Event::Start(tag) => {
                    let element = self.element(&tag, raw)?;
                    self.open.push(element);
                }
                Event::Empty(tag) => {
                    let element = self.element(&tag, raw)?;
                    self.close(element);
                }
                Event::End(tag) => {
                    // quick-xml has checked that the tag closes the innermost open element.
                    if let Some(mut element) = self.open.pop() {
                        let inner =
                            raw.strip_prefix("</").and_then(|r| r.strip_suffix('>')).unwrap_or_default();
                        element.end_space = inner.get(tag.name().0.len()..).unwrap_or_default().to_owned();
                        self.close(element);
                    }
                }
                Event::Text(t) => self.text(&t.xml10_content(), raw)?,
                Event::GeneralRef(r) => {
                    let value = self.reference(&r)?;
                    self.text(&value, raw)?;
                }
                Event::CData(c) if self.open.is_empty() => {
                    return self.fail(format!("text '{}' stands outside the root element", shorten(&c)));
                }
                Event::CData(c) => self.add(Node::CData(c.to_string())),
                Event::Decl(_) if self.at > 0 => {
                    return self.fail("the XML declaration stands only at the very beginning");
                }
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => self.add(Node::Other(raw.to_owned())),
                Event::DocType(_) => return self.fail("a DOCTYPE is not taken; leave it out"),
            }
            self.move_to(end);
        }
        self.finish()
    }

    fn finish(self) -> Result<Document, XmlError> {
        if let Some(open) = self.open.last() {
            return self
                .fail(format!("the document ends, but <{}> of line {} is still open", open.name, open.line));
        }
        match self.root {
            Some(root) => Ok(Document { prolog: self.prolog, root, epilog: self.epilog }),
            None => self.fail("there is no element in the document"),
        }
    }

    /// Makes `at` the current place, counting lines on the way.
    fn move_to(&mut self, at: usize) {
        let at = at.min(self.text.len());
        let passed = self.text.as_bytes().get(self.at..at).unwrap_or_default();
        for (i, _) in passed.iter().enumerate().filter(|(_, b)| **b == b'\n') {
            self.line += 1;
            self.line_start = self.at + i + 1;
        }
        self.at = at;
    }

    fn before_on_line(&self) -> &'t str {
        self.text.get(self.line_start..self.at).unwrap_or_default()
    }

    fn column(&self) -> u32 {
        u32::try_from(self.before_on_line().chars().count() + 1).unwrap_or(u32::MAX)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, XmlError> {
        let mut path = String::new();
        for (i, element) in self.open.iter().enumerate() {
            let siblings = i.checked_sub(1).and_then(|p| self.open.get(p));
            let earlier = siblings.map_or(0, |p| p.children_named(&element.name).count());
            path += "/";
            path += &element.name;
            if earlier > 0 {
                path += &format!("[{}]", earlier + 1);
            }
        }
        Err(XmlError { message: message.into(), line: self.line, column: self.column(), path })
    }

    fn element(&mut self, tag: &BytesStart<'_>, raw: &str) -> Result<Element, XmlError> {
        let name = tag.name().0;
        if self.open.is_empty() && self.root.is_some() {
            return self.fail(format!("<{}> follows the root element; there is one root", shorten(name)));
        }
        if !is_name(name) {
            return self.fail(format!("'{}' is not a name for an element", shorten(name)));
        }
        if self.open.len() >= MAX_DEPTH {
            return self.fail(format!("<{name}> is nested deeper than {MAX_DEPTH} elements"));
        }
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return self.fail(format!("there are more than {MAX_ELEMENTS} elements"));
        }
        let (attributes, start_space) = self.attributes(tag)?;
        let before = self.before_on_line();
        let begins_line = before.chars().all(|c| c == ' ' || c == '\t');
        Ok(Element {
            name: name.to_owned(),
            attributes,
            start_space,
            self_closing: raw.ends_with("/>"),
            indent: begins_line.then(|| before.to_owned()),
            line: self.line,
            column: self.column(),
            ..Element::default()
        })
    }

    /// The attributes of a start tag, and the white space after them.
    fn attributes(&self, tag: &BytesStart<'_>) -> Result<(Vec<Attribute>, String), XmlError> {
        let mut rest = tag.attributes_raw();
        let mut attributes = Vec::new();
        for attribute in tag.attributes() {
            let attribute = match attribute {
                Ok(a) => a,
                Err(AttrError::Duplicated(at, _)) => {
                    let name = tag.get(at..).unwrap_or_default().split(['=', ' ']).next().unwrap_or_default();
                    return self.fail(format!("the attribute '{name}' stands twice in <{}>", tag.name().0));
                }
                Err(e) => return self.fail(format!("in the tag <{}>: {e}", tag.name().0)),
            };
            let name = attribute.key.0;
            if !is_name(name) {
                return self.fail(format!("'{}' is not a name for an attribute", shorten(name)));
            }
            if attributes.len() >= MAX_ATTRIBUTES {
                return self.fail(format!("<{}> has more than {MAX_ATTRIBUTES} attributes", tag.name().0));
            }
            if attribute.value.contains('<') {
                return self.fail(format!("'<' stands in the value of '{name}'; '&lt;' is right"));
            }
            let value = match attribute.normalized_value(XmlVersion::Implicit1_0) {
                Ok(v) if v.chars().all(is_xml_char) => v.into_owned(),
                Ok(_) => return self.fail(format!("the value of '{name}' names a character outside XML")),
                Err(e) => return self.fail(format!("in the value of '{name}': {e}")),
            };
            // White space, name, equals sign and quotes as written: quick-xml has checked them, so the
            // first quote after the name opens the value.
            let space = rest.len() - rest.trim_start().len();
            let quote = rest.get(space + name.len()..).and_then(|r| r.find(['\'', '"'])).unwrap_or(0);
            let length = space + name.len() + quote + attribute.value.len() + 2;
            let Some((raw, after)) = rest.split_at_checked(length).filter(|_| space > 0) else {
                return self.fail(format!("white space is missing before the attribute '{name}'"));
            };
            rest = after;
            attributes.push(Attribute { name: name.to_owned(), value, raw: raw.to_owned() });
        }
        Ok((attributes, rest.to_owned()))
    }

    fn reference(&self, reference: &BytesRef<'_>) -> Result<String, XmlError> {
        match reference.resolve_char_ref() {
            Ok(Some(c)) if is_xml_char(c) => Ok(c.to_string()),
            Ok(None) => match resolve_predefined_entity(reference) {
                Some(text) => Ok(text.to_owned()),
                None => self.fail(format!("the entity '&{};' is not known", shorten(reference))),
            },
            Ok(Some(_)) | Err(_) => {
                self.fail(format!("'&{};' is not a character of XML", shorten(reference)))
            }
        }
    }

    fn text(&mut self, value: &str, raw: &str) -> Step {
        if raw.contains("]]>") {
            return self.fail("']]>' stands in text; ']]&gt;' is right");
        }
        let outside = self.open.is_empty();
        if outside && (raw.starts_with('&') || !value.trim().is_empty()) {
            return self.fail(format!("text '{}' stands outside the root element", shorten(value.trim())));
        }
        match self.nodes().last_mut() {
            Some(Node::Text { value: v, raw: r }) => {
                v.push_str(value);
                r.push_str(raw);
            }
            _ => self.add(Node::Text { value: value.to_owned(), raw: raw.to_owned() }),
        }
        Ok(())
    }

    fn close(&mut self, element: Element) {
        if self.open.is_empty() {
            self.root = Some(element);
        } else {
            self.add(Node::Element(element));
        }
    }

    fn add(&mut self, node: Node) {
        self.nodes().push(node);
    }

    /// Where the next node belongs.
    fn nodes(&mut self) -> &mut Vec<Node> {
        match (self.open.last_mut(), &self.root) {
            (Some(element), _) => &mut element.nodes,
            (None, None) => &mut self.prolog,
            (None, Some(_)) => &mut self.epilog,
        }
    }
}

fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// XML's names, with all of non-ASCII allowed.
fn is_name(name: &str) -> bool {
    let start = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':' || !c.is_ascii();
    let inner = |c: char| start(c) || c.is_ascii_digit() || c == '-' || c == '.';
    name.starts_with(start) && name.chars().all(inner)
}

/// The beginning of a text of unknown length, fit for a message.
fn shorten(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Document::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn ordinary_documents_survive_byte_for_byte() {
        for text in [
            "<a/>",
            "<a></a>",
            "<?xml version='1.0' encoding='utf-8'?>\n<!-- one -->\n<a x=\"1\"  y='2' />\n<!-- two -->\n",
            "<a>\r\n\t<b c='&lt;&#65;'>t &amp; u<![CDATA[<x>&]]></b >\r\n</a>",
            "<q:a xmlns:q='urn:x'><q:b q:c='d'/>mixed <i/> text<?pi some thing?></q:a>",
            "<a><é ü='ß'/></a>",
            "<a\n  b='1'\n  c='2'\n/>",
        ] {
            let doc = Document::parse(text).unwrap();
            assert_eq!(doc.to_string(), text);
            assert_eq!(Document::parse(&doc.to_string()).unwrap(), doc);
        }
    }

    #[test]
    fn meaning_is_resolved_and_compared() {
        let doc = Document::parse("<a x='1&#10;\n2'>t &amp;&#x41;<![CDATA[&]]>\r\n</a>").unwrap();
        assert_eq!(doc.root().attr("x"), Some("1\n 2"));
        assert_eq!(doc.root().text(), "t &A&\n");
        let spelt = |t| Document::parse(t).unwrap();
        assert_eq!(spelt("<a b='&#65;'/>"), spelt("<a  b=\"A\"></a >"));
        assert_ne!(spelt("<a b='1' c='2'/>"), spelt("<a c='2' b='1'/>"));
    }

    #[test]
    fn elements_know_their_place() {
        let doc = Document::parse("<a>\n  <b/> é<c/>\n</a>").unwrap();
        let places: Vec<_> = doc.root().children().map(|e| (e.line(), e.column())).collect();
        assert_eq!(places, [(2, 3), (2, 9)]);
    }

    #[test]
    fn what_is_not_xml_is_refused_with_its_place() {
        insta::assert_snapshot!(error("<a><b/><b><c"), @"/a/b[2] (line 1, column 11): syntax error: tag not closed: `>` not found before end of input");
        insta::assert_snapshot!(error("<a>\n <b>\n"), @"/a/b (line 3, column 1): the document ends, but <b> of line 2 is still open");
        insta::assert_snapshot!(error("<a></b>"), @"/a (line 1, column 4): ill-formed document: expected `</a>`, but `</b>` was found");
        insta::assert_snapshot!(error("<a x='1' x='2'/>"), @"line 1, column 1: the attribute 'x' stands twice in <a>");
        insta::assert_snapshot!(error("<a/><b/>"), @"line 1, column 5: <b> follows the root element; there is one root");
        insta::assert_snapshot!(error("<a/>tail"), @"line 1, column 5: text 'tail' stands outside the root element");
        insta::assert_snapshot!(error("head<a/>"), @"line 1, column 1: text 'head' stands outside the root element");
        insta::assert_snapshot!(error(""), @"line 1, column 1: there is no element in the document");
        insta::assert_snapshot!(error("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"), @"line 1, column 1: a DOCTYPE is not taken; leave it out");
        insta::assert_snapshot!(error("<a>&x;</a>"), @"/a (line 1, column 4): the entity '&x;' is not known");
        insta::assert_snapshot!(error("<a b='&x;'/>"), @"line 1, column 1: in the value of 'b': at 1..2: unrecognized entity `x`");
        insta::assert_snapshot!(error("<a>&#1;</a>"), @"/a (line 1, column 4): '&#1;' is not a character of XML");
        insta::assert_snapshot!(error("<a>\u{1}</a>"), @"line 1, column 4: the character U+0001 cannot stand in XML");
        insta::assert_snapshot!(error("<a b='1'c='2'/>"), @"line 1, column 1: white space is missing before the attribute 'c'");
        insta::assert_snapshot!(error("<a b=1/>"), @r#"line 1, column 1: in the tag <a>: position 4: attribute value must be enclosed in `"` or `'`"#);
        insta::assert_snapshot!(error("<1a/>"), @"line 1, column 1: '1a' is not a name for an element");
        insta::assert_snapshot!(error("<a b='<'/>"), @"line 1, column 1: '<' stands in the value of 'b'; '&lt;' is right");
        insta::assert_snapshot!(error("<a/><?xml version='1.0'?>"), @"line 1, column 5: the XML declaration stands only at the very beginning");
        insta::assert_snapshot!(error("<a><!-- x -- y --></a>"), @"/a (line 1, column 11): ill-formed document: forbidden string `--` was found in a comment");
    }

    #[test]
    fn limits_hold() {
        let deep = |n: usize| "<a>".repeat(n) + &"</a>".repeat(n);
        assert!(Document::parse(&deep(MAX_DEPTH)).is_ok());
        assert!(error(&deep(MAX_DEPTH + 1)).contains("nested deeper"));
        assert!(error(&"<a>".repeat(200_000)).contains("nested deeper"));
        assert!(
            error(&format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS))).contains("more than 65536 elements")
        );
        assert!(error(&format!("<a>{}</a>", " ".repeat(MAX_BYTES))).contains("at most 4194304"));
        let many: String = (0..300).map(|i| format!(" a{i}=''")).collect();
        assert!(error(&format!("<a{many}/>")).contains("more than 256 attributes"));
    }
}
