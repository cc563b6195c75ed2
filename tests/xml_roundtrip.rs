//! Documents survive: what is read is written back, in order, and completing changes nothing twice.

use std::collections::HashSet;
use std::fmt::Write as _;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use warren::model::{DomainDoc, NetworkDoc};
use warren::plan::complete::{self, DomainFacts, NetworkFacts};
use warren::xml::Document;

/// Text with what needs escaping, and what a careless writer would lose.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("&amp;"),
        Just("&lt;"),
        Just("&#10;"),
        Just("&#x41;"),
        Just("<!-- c -->"),
        Just("<?pi x?>"),
        Just("<![CDATA[<&]]>"),
        Just("\n  "),
        Just("\r\n"),
        Just("ä€𝄞"),
        Just(" a b "),
        Just("'\">"),
        Just(""),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|v| v.concat())
}

fn attributes() -> impl Strategy<Value = String> {
    let value =
        prop_oneof![Just("1"), Just(""), Just("&lt;&amp;&gt;"), Just("a  b"), Just("&#9;&#10;"), Just("ß\n")];
    let one = (value, any::<bool>(), prop_oneof![Just(" "), Just("\n  ")]);
    prop::collection::vec(one, 0..4).prop_map(|all| {
        let mut out = String::new();
        for (i, (value, double, space)) in all.into_iter().enumerate() {
            let quote = if double { '"' } else { '\'' };
            let _ = write!(out, "{space}q:a{i}{}{quote}{value}{quote}", if double { "=" } else { " = " });
        }
        out
    })
}

fn element() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("a"), Just("b-1"), Just("q:c"), Just("é.x")];
    let leaf = (name.clone(), attributes(), prop_oneof![Just("/>"), Just(" />"), Just("></")]).prop_map(
        |(name, attributes, end)| match end {
            "></" => format!("<{name}{attributes}></{name} >"),
            end => format!("<{name}{attributes}{end}"),
        },
    );
    leaf.prop_recursive(5, 40, 4, move |inner| {
        let content = prop::collection::vec((text(), inner), 0..4);
        (name.clone(), attributes(), content, text()).prop_map(|(name, attributes, content, tail)| {
            let content: String = content.into_iter().flat_map(|(t, e)| [t, e]).collect();
            format!("<{name}{attributes}>{content}{tail}</{name}>")
        })
    })
}

/// An `<interface>` of some type, with and without what Warren completes.
fn interface() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("<interface type='user'/>"),
        Just("<interface type='user'><mac address=''/></interface>"),
        Just("<interface type='network'><source network='default'/><model type='e1000'/></interface>"),
        Just("<interface type='bridge'><source dev='br0'/></interface>"),
        Just("<interface type='mcast'><source address='' port='5558'/></interface>"),
        Just("<interface type='direct'><source dev='eth0' mode='vepa'/></interface>"),
        Just("<disk type='file'><source file='/a'/><target dev='vda'/></disk>"),
        Just("<hub type='usb'/>"),
    ]
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_as_it_was(root in element(), declared in any::<bool>()) {
        let head = if declared { "<?xml version='1.0'?>\n<!-- head -->\n" } else { "" };
        let text = format!("{head}{root}\n<!-- tail -->\n");
        let doc = Document::parse(&text).unwrap();
        prop_assert_eq!(doc.to_string(), text);
        prop_assert_eq!(Document::parse(&doc.to_string()).unwrap(), doc);
    }

    #[test]
    fn edits_are_read_back(root in element(), value in "\\PC*", index in 0usize..6) {
        let mut doc = Document::parse(&root).unwrap();
        let child = warren::xml::Element::new("new").with_attr("v", &value).with_text(&value);
        doc.root_mut().insert(index, child);
        doc.root_mut().set_attr("v", &value);
        let read = Document::parse(&doc.to_string()).unwrap();
        prop_assert_eq!(read.root().attr("v"), Some(value.as_str()));
        let new = read.root().child("new").unwrap();
        prop_assert_eq!(new.text(), value.as_str());
        prop_assert_eq!(read.root().children().count(), doc.root().children().count());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(<|>|/|&|;|'|=|a|!|\\[|\\]|-|\\?| |é|#x1){0,40}") {
        if let Ok(doc) = Document::parse(&text) {
            prop_assert_eq!(doc.to_string(), text);
        }
    }

    #[test]
    fn domains_keep_their_devices_and_complete_once(devices in prop::collection::vec(interface(), 0..8), seed in any::<u64>()) {
        let text = format!(
            "<domain type='qemu'>\n  <name>n</name>\n  <memory>1</memory>\n  <os><type>hvm</type></os>\n  \
             <devices>\n    {}\n  </devices>\n</domain>\n",
            devices.join("\n    ")
        );
        let mut doc = DomainDoc::parse(&text).unwrap();
        prop_assert_eq!(doc.to_xml(), &text[..]);
        let before: Vec<String> = devices_of(&doc);
        let taken = HashSet::new();
        let facts = DomainFacts { uuid: None, macs: &[], taken: &taken };
        complete::domain(&mut doc, &facts, &mut StdRng::seed_from_u64(seed)).unwrap();
        let once = doc.to_xml();
        prop_assert_eq!(devices_of(&doc), before);
        prop_assert!(complete::interface_macs(&doc).iter().all(Option::is_some));
        complete::domain(&mut doc, &facts, &mut StdRng::seed_from_u64(!seed)).unwrap();
        prop_assert_eq!(doc.to_xml(), &once[..]);
        let again = DomainDoc::parse(&once).unwrap();
        prop_assert_eq!(again.def(), doc.def());
    }

    #[test]
    fn networks_complete_once(ips in prop::collection::vec(0usize..4, 0..3), seed in any::<u64>()) {
        const IPS: [&str; 4] = [
            "<ip/>",
            "<ip address='' prefix=''><dhcp><range/></dhcp></ip>",
            "<ip address=\"10.0.0.1\" netmask=\"255.255.0.0\"/>",
            "<ip address='10.1.0.1'><dhcp><range start='' end=''/><host name='a' ip='10.1.0.9'/></dhcp></ip>",
        ];
        let ips: String = ips.into_iter().map(|i| IPS[i]).collect();
        let mut doc = NetworkDoc::parse(&format!("<network><name>n</name>{ips}</network>")).unwrap();
        let facts = NetworkFacts { uuid: None, used: &[] };
        complete::network(&mut doc, &facts, &mut StdRng::seed_from_u64(seed)).unwrap();
        let once = doc.to_xml();
        prop_assert!(doc.def().uuid.is_some() && doc.def().mac.is_some());
        prop_assert!(doc.def().ips.iter().all(|ip| ip.net.is_some()));
        complete::network(&mut doc, &facts, &mut StdRng::seed_from_u64(!seed)).unwrap();
        prop_assert_eq!(doc.to_xml(), once);
    }
}

/// Name and type of the children of `<devices>`, in document order.
fn devices_of(doc: &DomainDoc) -> Vec<String> {
    let devices = doc.tree().root().child("devices").into_iter();
    devices.flat_map(|d| d.children()).map(|d| format!("{} {:?}", d.name(), d.attr("type"))).collect()
}
