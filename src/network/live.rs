//! The document of a running network: the definition as it runs, with what was chosen at the start. Owns where
//! that is written; must never change the definition itself, which stays as its owner wrote it.

use crate::model::NetworkDoc;
use crate::xml::Element;

/// The document with the name of the bridge. Where it could not be read any more it is left as it is.
pub(super) fn document(mut doc: NetworkDoc, bridge: &str) -> NetworkDoc {
    let edited = doc.edit(|tree| {
        let root = tree.root_mut();
        if let Some(there) = root.child_mut("bridge") {
            return there.set_attr("name", bridge);
        }
        // Where libvirt writes it.
        let after = ["forward", "uuid", "name"].iter().find_map(|n| root.child_index(n));
        root.insert(after.map_or(0, |n| n + 1), Element::new("bridge").with_attr("name", bridge));
    });
    if let Err(e) = edited {
        let name = &doc.def().name;
        tracing::warn!(network = %name, "what was chosen cannot be written: {}", crate::chain(&e));
    }
    doc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bridge_is_written_where_it_belongs() {
        let live = |inner: &str| {
            let text = format!("<network><name>n</name>{inner}</network>");
            document(NetworkDoc::parse(&text).unwrap(), "wbr3").to_xml()
        };
        let chosen = live("<forward/><mac address='52:54:00:00:00:01'/>").replace('\'', "\"");
        assert!(chosen.contains("<forward/><bridge name=\"wbr3\"/><mac"), "{chosen}");
        let written = live("<bridge stp='off' name='wbr3'/>");
        assert_eq!(written.matches("<bridge").count(), 1, "{written}");
        assert!(written.contains("stp='off'"), "{written}");
    }
}
