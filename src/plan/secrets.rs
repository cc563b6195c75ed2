//! Passwords in documents. Owns the list of places where a document keeps one; must never know who may read
//! them.

use crate::xml::{Document, Element};

/// The document without its passwords: those of displays, and what a web server is to know a guest's disk by.
pub fn without(tree: &Document) -> Document {
    let mut tree = tree.clone();
    if let Some(devices) = tree.root_mut().child_mut("devices") {
        for display in devices.children_mut().filter(|d| d.name() == "graphics") {
            display.remove_attr("passwd");
        }
        devices.children_mut().filter(|d| d.name() == "disk").for_each(cookies);
    }
    tree
}

/// Of an image and of those below it.
fn cookies(image: &mut Element) {
    if let Some(source) = image.child_mut("source")
        && let Some(index) = source.child_index("cookies")
    {
        source.remove_child(index);
    }
    if let Some(below) = image.child_mut("backingStore") {
        cookies(below);
    }
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

    #[test]
    fn cookies_are_left_out_of_the_whole_chain() {
        let text = "<domain><devices><disk><source name='a'><cookies><cookie name='k'>v</cookie></cookies>\
                    <host name='h'/></source><backingStore><source name='b'><cookies/></source></backingStore>\
                    </disk></devices></domain>";
        let left = without(&Document::parse(text).unwrap()).to_string();
        assert!(!left.contains("cookie") && left.contains("<host name='h'/>"), "{left}");
    }
}
