//! Reads what networks, portgroups and interfaces say alike of a port: `<bandwidth>`, `<vlan>` and
//! `<virtualport>`. Owns their words and the rules inside each; must never judge where one may stand, nor
//! know how it is put into effect.

use super::Uuid;
use super::doc::required;
use crate::xml::view::View;

/// `<bandwidth>`: how much passes, seen from the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// `<inbound>`: to the guest.
    pub inbound: Option<Rate>,
    /// `<outbound>`: from the guest.
    pub outbound: Option<Rate>,
}

/// `<inbound>` or `<outbound>`. Rates are in kibibytes a second, libvirt's unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rate {
    /// `@average`; absent only where there is a floor.
    pub average: Option<u64>,
    /// `@peak`: the most that is let through for a moment.
    pub peak: Option<u64>,
    /// `@burst` in KiB: how much may pass at the peak.
    pub burst: Option<u64>,
    /// `@floor`, inbound only: what is guaranteed.
    pub floor: Option<u64>,
}

/// `<vlan>`: the 802.1Q tags of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vlan {
    /// `@trunk`, or more than one tag: frames keep their tag.
    pub trunk: bool,
    /// `<tag id>`, 0 to 4095, in document order.
    pub tags: Vec<u16>,
    /// The tag with `nativeMode`.
    pub native: Option<NativeVlan>,
}

/// `<tag nativeMode>`: the VLAN of frames that have no tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NativeVlan {
    /// Its tag.
    pub tag: u16,
    /// Whether its frames leave with the tag (`tagged`) or without (`untagged`).
    pub tagged: bool,
}

/// `<virtualport>`: what a switch of another kind than Linux's bridge wants to know of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VirtualPort {
    /// `@type`; where it is absent, that of the network is meant.
    pub kind: Option<VirtualPortKind>,
    /// `<parameters managerid>`.
    pub manager_id: Option<u8>,
    /// `<parameters typeid>`, 24 bits.
    pub type_id: Option<u32>,
    /// `<parameters typeidversion>`.
    pub type_id_version: Option<u8>,
    /// `<parameters instanceid>`.
    pub instance_id: Option<Uuid>,
    /// `<parameters profileid>`, at most 39 bytes.
    pub profile_id: Option<String>,
    /// `<parameters interfaceid>`.
    pub interface_id: Option<Uuid>,
}

/// `<virtualport type>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum VirtualPortKind {
    Qbg,
    Qbh,
    OpenVSwitch,
    Midonet,
}

const VIRTUAL_PORT_KINDS: &[(&str, VirtualPortKind)] = &[
    ("802.1Qbg", VirtualPortKind::Qbg),
    ("802.1Qbh", VirtualPortKind::Qbh),
    ("openvswitch", VirtualPortKind::OpenVSwitch),
    ("midonet", VirtualPortKind::Midonet),
];

impl VirtualPortKind {
    /// The word in the document.
    pub fn as_str(self) -> &'static str {
        VIRTUAL_PORT_KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    /// The attributes of `<parameters>` that mean something to such a switch.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Qbg => &["managerid", "typeid", "typeidversion", "instanceid"],
            Self::Qbh => &["profileid"],
            Self::OpenVSwitch => &["interfaceid", "profileid"],
            Self::Midonet => &["interfaceid"],
        }
    }
}

/// `<bandwidth>`. Whether a floor may stand here is the caller's to say.
pub(super) fn bandwidth(view: &View<'_>) -> Bandwidth {
    if view.attr("classID").is_some() {
        view.error_at("classID", "the class is chosen when a port is made", "leave classID out");
    }
    for name in ["inbound", "outbound"] {
        if let Some(second) = view.children(name).get(1) {
            second.error(format!("a second <{name}> is given"), "leave one out");
        }
    }
    let outbound = view.child("outbound").map(|v| rate(&v));
    if outbound.as_ref().is_some_and(|rate| rate.floor.is_some())
        && let Some(view) = view.child("outbound")
    {
        view.error_at("floor", "only <inbound> can have a floor", "leave floor out");
    }
    Bandwidth { inbound: view.child("inbound").map(|v| rate(&v)), outbound }
}

fn rate(view: &View<'_>) -> Rate {
    let rate = Rate {
        average: view.parsed("average"),
        peak: view.parsed("peak"),
        burst: view.parsed("burst"),
        floor: view.parsed("floor"),
    };
    if view.filled("average").is_none() {
        let name = view.name();
        if view.filled("floor").is_none() {
            view.error_at("average", format!("<{name}> says no rate"), "give average, in KiB a second");
        }
        for attr in ["peak", "burst"] {
            if view.filled(attr).is_some() {
                view.error_at(attr, format!("{attr} means nothing without average"), "add average");
            }
        }
    }
    rate
}

/// `<vlan>`; `None` with a remark that says what is wrong.
pub(super) fn vlan(view: &View<'_>) -> Option<Vlan> {
    let (mut tags, mut native) = (Vec::new(), None);
    for tag in view.children("tag") {
        let Some(id) = required(tag.parsed::<u16>("id"), &tag, "id", "give 0 to 4095") else { continue };
        if id > 4095 {
            tag.error_at("id", format!("{id} is not a VLAN's number"), "give 0 to 4095");
        }
        if let Some(tagged) = tag.one_of("nativeMode", &[("tagged", true), ("untagged", false)]) {
            if native.is_some() {
                tag.error_at("nativeMode", "a second native VLAN is given", "a port has one");
            }
            native = Some(NativeVlan { tag: id, tagged });
        }
        tags.push(id);
    }
    if view.element().child("tag").is_none() {
        view.error("the VLAN has no number", "add <tag id='42'/>");
    }
    // libvirt takes this one word in any case of its letters.
    let trunk = match view.attr("trunk").map(str::to_ascii_lowercase).as_deref() {
        None => tags.len() > 1,
        Some("yes") => true,
        Some("no") if tags.len() > 1 || native.is_some() => {
            let message = "more than one tag, or a native VLAN, makes a trunk of the port";
            view.error_at("trunk", message, "write trunk='yes', or leave trunk out");
            return None;
        }
        Some("no") => false,
        Some(other) => {
            view.error_at("trunk", format!("'{other}' is neither yes nor no"), "");
            return None;
        }
    };
    (!tags.is_empty()).then_some(Vlan { trunk, tags, native })
}

/// `<virtualport>`. Whether its type may be left to the network is the caller's to say.
pub(super) fn virtual_port(view: &View<'_>) -> VirtualPort {
    let kind = view.one_of("type", VIRTUAL_PORT_KINDS);
    let Some(parameters) = view.child("parameters") else {
        return VirtualPort { kind, ..VirtualPort::default() };
    };
    if let Some(kind) = kind {
        let known = kind.parameters();
        let all = ["managerid", "typeid", "typeidversion", "instanceid", "profileid", "interfaceid"];
        let is_foreign = |name: &&&str| !known.contains(name) && parameters.element().attr(name).is_some();
        let foreign = all.iter().filter(is_foreign);
        for name in foreign {
            let message = format!("a virtual port of type '{}' has no {name}", kind.as_str());
            parameters.error_at(name, message, format!("it has {}", known.join(", ")));
        }
    }
    let profile_id = parameters.filled("profileid").map(str::to_owned);
    if profile_id.as_ref().is_some_and(|id| id.len() > 39) {
        parameters.error_at("profileid", "the profile's name is too long", "at most 39 bytes fit");
    }
    VirtualPort {
        kind,
        manager_id: number(&parameters, "managerid", 0xff).and_then(|n| u8::try_from(n).ok()),
        type_id: number(&parameters, "typeid", 0xff_ffff),
        type_id_version: number(&parameters, "typeidversion", 0xff).and_then(|n| u8::try_from(n).ok()),
        instance_id: parameters.parsed("instanceid"),
        profile_id,
        interface_id: parameters.parsed("interfaceid"),
    }
}

/// A number up to `max`, decimal, octal with a leading `0` or hexadecimal with a leading `0x`.
pub(super) fn number(view: &View<'_>, attr: &str, max: u32) -> Option<u32> {
    let text = view.filled(attr)?;
    let value = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(&text[1..], 8),
        None => text.parse(),
    };
    let value = value.ok().filter(|n| *n <= max);
    if value.is_none() {
        view.error_at(attr, format!("'{text}' is not a number up to {max}"), "");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Document;
    use crate::xml::view;

    fn read<R>(text: &str, f: impl FnOnce(&View<'_>) -> R) -> (R, String) {
        let (value, remarks) = view::read(&Document::parse(text).unwrap(), f);
        let lines: Vec<_> = remarks
            .iter()
            .map(|r| format!("{} {}; {}", r.path, r.message, r.remedy).trim_end().to_owned())
            .collect();
        (value, lines.join("\n"))
    }

    #[test]
    fn rates_are_read() {
        let text = "<bandwidth><inbound average='1000' peak='5000' floor='200' burst='1024'/>\
                    <outbound average='128'/></bandwidth>";
        let (found, remarks) = read(text, bandwidth);
        assert_eq!(remarks, "");
        let inbound = Rate { average: Some(1000), peak: Some(5000), burst: Some(1024), floor: Some(200) };
        assert_eq!(found.inbound, Some(inbound));
        assert_eq!(found.outbound, Some(Rate { average: Some(128), ..Rate::default() }));
        assert_eq!(read("<bandwidth/>", bandwidth), (Bandwidth::default(), String::new()));
    }

    #[test]
    fn wrong_rates_are_named() {
        let text = "<bandwidth classID='3'><inbound peak='1'/><inbound average='1'/>\
                    <outbound floor='9' average='x'/></bandwidth>";
        insta::assert_snapshot!(read(text, bandwidth).1, @r#"
        /bandwidth/@classID the class is chosen when a port is made; leave classID out
        /bandwidth/inbound[1]/@average <inbound> says no rate; give average, in KiB a second
        /bandwidth/inbound[1]/@peak peak means nothing without average; add average
        /bandwidth/inbound[2] a second <inbound> is given; leave one out
        /bandwidth/inbound[2]/@average Warren does not know the attribute 'average' of <inbound>;
        /bandwidth/outbound/@average 'x' cannot stand here: invalid digit found in string;
        /bandwidth/outbound/@floor only <inbound> can have a floor; leave floor out
        "#);
    }

    #[test]
    fn tags_make_a_trunk() {
        let one = read("<vlan><tag id='42'/></vlan>", vlan).0.unwrap();
        assert_eq!((one.trunk, one.tags, one.native), (false, vec![42], None));
        let native = "<vlan trunk='yes'><tag id='1'/><tag id='2' nativeMode='untagged'/></vlan>";
        let native = read(native, vlan).0.unwrap();
        assert_eq!((native.trunk, native.native), (true, Some(NativeVlan { tag: 2, tagged: false })));
        assert!(read("<vlan><tag id='1'/><tag id='2'/></vlan>", vlan).0.unwrap().trunk);
        assert!(!read("<vlan trunk='NO'><tag id='1'/></vlan>", vlan).0.unwrap().trunk);
    }

    #[test]
    fn wrong_tags_are_named() {
        let all = [
            "<vlan/>",
            "<vlan trunk='no'><tag id='1'/><tag id='2'/></vlan>",
            "<vlan trunk='perhaps'><tag id='4096' nativeMode='half'/></vlan>",
            "<vlan><tag/><tag id='1' nativeMode='tagged'/><tag id='2' nativeMode='tagged'/></vlan>",
        ];
        let remarks: Vec<_> = all.iter().map(|text| read(text, vlan).1).collect();
        insta::assert_snapshot!(remarks.join("\n"), @r#"
        /vlan the VLAN has no number; add <tag id='42'/>
        /vlan/@trunk more than one tag, or a native VLAN, makes a trunk of the port; write trunk='yes', or leave trunk out
        /vlan/@trunk 'perhaps' is neither yes nor no;
        /vlan/tag/@id 4096 is not a VLAN's number; give 0 to 4095
        /vlan/tag/@nativeMode 'half' is not known; known are tagged, untagged
        /vlan/tag[1]/@id <tag> needs the attribute 'id'; give 0 to 4095
        /vlan/tag[3]/@nativeMode a second native VLAN is given; a port has one
        "#);
    }

    #[test]
    fn virtual_ports_have_the_parameters_of_their_type() {
        let text = "<virtualport type='802.1Qbg'><parameters managerid='0x0b' typeid='1193047' \
            typeidversion='2' instanceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/></virtualport>";
        let (port, remarks) = read(text, virtual_port);
        assert_eq!(remarks, "");
        assert_eq!(
            (port.manager_id, port.type_id, port.type_id_version),
            (Some(11), Some(1_193_047), Some(2))
        );
        let wrong = "<virtualport type='midonet'><parameters profileid='p' managerid='256'/></virtualport>";
        insta::assert_snapshot!(read(wrong, virtual_port).1, @r#"
        /virtualport/parameters/@managerid a virtual port of type 'midonet' has no managerid; it has interfaceid
        /virtualport/parameters/@profileid a virtual port of type 'midonet' has no profileid; it has interfaceid
        /virtualport/parameters/@managerid '256' is not a number up to 255;
        "#);
        insta::assert_snapshot!(read("<virtualport type='token'/>", virtual_port).1, @"/virtualport/@type 'token' is not known; known are 802.1Qbg, 802.1Qbh, openvswitch, midonet");
    }
}
