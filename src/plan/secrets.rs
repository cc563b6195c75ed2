//! Passwords in documents. Owns the list of places where a document keeps one; must never know who may read
//! them.

use crate::xml::Document;

/// The document without its passwords: those of displays.
pub fn without(tree: &Document) -> Document {
    let mut tree = tree.clone();
    if let Some(devices) = tree.root_mut().child_mut("devices") {
        for display in devices.children_mut().filter(|d| d.name() == "graphics") {
            display.remove_attr("passwd");
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_passwords_of_displays_are_left_out_and_nothing_else() {
        let text = "<domain><devices><graphics type='vnc' passwd='secret' connected='keep'/>\
                    <graphics type='spice'/></devices></domain>";
        let tree = Document::parse(text).unwrap();
        assert_eq!(without(&tree).to_string(), text.replace(" passwd='secret'", ""));
        assert_eq!(tree.to_string(), text);
    }
}
