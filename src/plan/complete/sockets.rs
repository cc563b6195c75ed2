//! What an empty `address` of a socket NIC stands for. Owns the words; what runs without them is `plan::qemu`'s.

use crate::xml::{Document, Element};

/// Whether an interface of the document has an empty address.
pub(super) fn has_empty(tree: &Document) -> bool {
    let devices = tree.root().child("devices").into_iter();
    let mut nics = devices.flat_map(|d| d.children_named("interface"));
    nics.any(|nic| {
        let source = nic.child("source");
        [source, source.and_then(|s| s.child("local"))].into_iter().flatten().any(|e| meant(nic, e).is_some())
    })
}

/// Fills the empty addresses of an interface.
pub(super) fn fill(nic: &mut Element) {
    let Some(source) = nic.child("source") else { return };
    let (remote, local) = (meant(nic, source), source.child("local").and_then(|local| meant(nic, local)));
    let Some(source) = nic.child_mut("source") else { return };
    if let Some(address) = remote {
        source.set_attr("address", address);
    }
    if let (Some(address), Some(local)) = (local, source.child_mut("local")) {
        local.set_attr("address", address);
    }
}

/// What is meant by the empty address of an element; nothing where it has none, or not an empty one.
fn meant(nic: &Element, of: &Element) -> Option<&'static str> {
    if of.attr("address") != Some("") {
        return None;
    }
    match nic.attr("type")? {
        "server" => Some("0.0.0.0"),
        "client" | "udp" => Some("127.0.0.1"),
        "mcast" => Some("239.0.0.1"),
        _ => None,
    }
}
