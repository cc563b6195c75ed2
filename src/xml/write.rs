//! From the tree back to text. Owns escaping; must never change what nobody edited.

use std::fmt;

use super::tree::{Document, Element, Node};

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prolog.iter().try_for_each(|n| n.fmt(f))?;
        self.root.fmt(f)?;
        self.epilog.iter().try_for_each(|n| n.fmt(f))
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.name)?;
        self.attributes.iter().try_for_each(|a| f.write_str(&a.raw))?;
        f.write_str(&self.start_space)?;
        if self.nodes.is_empty() && self.self_closing {
            return f.write_str("/>");
        }
        f.write_str(">")?;
        self.nodes.iter().try_for_each(|n| n.fmt(f))?;
        write!(f, "</{}{}>", self.name, self.end_space)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(e) => e.fmt(f),
            Self::Text { raw, .. } | Self::Other(raw) => f.write_str(raw),
            Self::CData(text) => write!(f, "<![CDATA[{text}]]>"),
        }
    }
}

/// Text as it may stand between tags.
pub(super) fn escape_text(text: &str) -> String {
    // A carriage return would be read back as a line feed.
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#13;")
}

/// Text as it may stand between `quote`s.
pub(super) fn escape_attr(text: &str, quote: char) -> String {
    let text = escape_text(text);
    let text = if quote == '"' { text.replace('"', "&quot;") } else { text.replace('\'', "&apos;") };
    // Other white space would be read back as blanks.
    text.replace('\n', "&#10;").replace('\t', "&#9;")
}
