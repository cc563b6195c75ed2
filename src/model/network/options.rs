//! Reads `<dnsmasq:options>`, whatever prefix the document binds to its namespace. Owns that namespace;
//! must never look into the lines, which are dnsmasq's.

use std::collections::BTreeSet;

use super::super::doc::required;
use crate::xml::Element;
use crate::xml::view::View;

const NAMESPACE: &str = "http://libvirt.org/schemas/network/dnsmasq/1.0";

/// The lines, in document order.
pub(super) fn dnsmasq_options(root: &View<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for options in in_namespace(root, &[root.element()], "options") {
        let scopes = [options.element(), root.element()];
        for option in in_namespace(&options, &scopes, "option") {
            let value = required(option.filled("value"), &option, "value", "give a line for dnsmasq");
            if value.is_some_and(|v| v.chars().any(char::is_control)) {
                option.error_at("value", "a control character cannot stand in a line", "write one line each");
            }
            lines.extend(value.map(str::to_owned));
        }
    }
    lines
}

/// The children of that local name in the namespace. `scopes`, the innermost first, are where prefixes may
/// be bound beside the child itself.
fn in_namespace<'a>(parent: &View<'a>, scopes: &[&Element], local: &str) -> Vec<View<'a>> {
    let is_ours = |e: &&Element| {
        let (prefix, name) = e.name().split_once(':').unwrap_or(("", e.name()));
        let binding = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
        let bound = std::iter::once(*e).chain(scopes.iter().copied()).find_map(|e| e.attr(&binding));
        name == local && bound == Some(NAMESPACE)
    };
    let names: BTreeSet<&str> = parent.element().children().filter(is_ours).map(Element::name).collect();
    let (ours, others): (Vec<_>, Vec<_>) =
        names.into_iter().flat_map(|name| parent.children(name)).partition(|v| is_ours(&v.element()));
    others.iter().for_each(View::leave);
    ours
}
