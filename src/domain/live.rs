//! The document of a running guest: the definition as it runs, with what was assigned at the start. Owns
//! where that is written; must never change the definition itself, which stays as its owner wrote it.

use super::guest::Guest;
use crate::model::DomainDoc;
use crate::plan::qemu::nic_alias;
use crate::xml::Element;

/// The document with the names of TAPs and of the devices in QEMU. Where it could not be read any more it is
/// left as it is.
pub(super) fn document(running: &DomainDoc, guest: &Guest) -> DomainDoc {
    let def = running.def();
    let assigned: Vec<(Option<String>, String)> = (0..def.interfaces().count())
        .map(|n| (guest.live.nics.get(n).and_then(|nic| nic.target.clone()), nic_alias(def, n)))
        .collect();
    let mut doc = running.clone();
    let edited = doc.edit(|tree| {
        let devices = tree.root_mut().child_mut("devices");
        let nics = devices.into_iter().flat_map(Element::children_mut).filter(|e| e.name() == "interface");
        for (nic, (target, alias)) in nics.zip(assigned) {
            if let Some(target) = target {
                assign(nic, "target", "dev", &target);
            }
            assign(nic, "alias", "name", &alias);
        }
    });
    if let Err(e) = edited {
        tracing::warn!(domain = %def.name, "what was assigned cannot be written: {}", crate::chain(&e));
    }
    doc
}

fn assign(device: &mut Element, child: &str, attr: &str, value: &str) {
    match device.child_mut(child) {
        Some(there) => there.set_attr(attr, value),
        None => device.append(Element::new(child).with_attr(attr, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::guest::LiveNic;

    #[test]
    fn names_are_written_where_they_belong() {
        let text = "<domain type='qemu'><name>n</name><memory>1</memory><os><type>hvm</type></os><devices>\
                    <interface type='ethernet'/><interface type='user'><alias name='ua-a'/></interface>\
                    <interface type='bridge'><source bridge='b'/><target dev='t0'/></interface></devices></domain>";
        let doc = DomainDoc::parse(text).unwrap();
        let mut guest = Guest::default();
        let target = |name: Option<&str>| LiveNic { target: name.map(str::to_owned), downscript: None };
        guest.live.nics = vec![target(Some("wtap0")), target(None), target(Some("t0"))];
        let live = document(&doc, &guest).to_xml();
        for wanted in [
            "<interface type='ethernet'>",
            "<target dev='wtap0'/>",
            "<alias name='net0'/>",
            "<interface type='user'><alias name='ua-a'/></interface>",
            "<target dev='t0'/>",
            "<alias name='net1'/>",
        ] {
            assert!(live.contains(wanted), "{wanted} in {live}");
        }
        assert_eq!(doc.to_xml(), text);
        let again = DomainDoc::parse(&live).unwrap();
        assert_eq!(document(&again, &guest).to_xml(), live);
    }
}
