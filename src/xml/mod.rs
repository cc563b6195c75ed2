//! A lossless tree of an XML document.
//!
//! Owns text: attribute order, unknown elements, prefixes, comments and white space all survive a
//! parse and a write. Must never know what a domain or a network is.

mod parse;
mod tree;
pub mod view;
mod write;

pub use parse::{MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, XmlError};
pub use tree::{Document, Element, Node};
