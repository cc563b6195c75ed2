//! XML in, XML out: for every file of `examples/`, parse and write again gives the same document, with
//! the same devices in the same order.

use std::path::PathBuf;

use warren::model::{DomainDoc, NetworkDoc};

fn examples() -> Vec<(PathBuf, String)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let files = std::fs::read_dir(dir).expect("examples/ is there").map(|file| file.expect("a file").path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "xml"));
    files.map(|path| (path.clone(), std::fs::read_to_string(path).expect("a text"))).collect()
}

#[test]
fn every_example_comes_out_as_it_went_in() {
    let examples = examples();
    assert!(examples.len() >= 12, "the examples were found");
    for (path, text) in examples {
        let path = path.display();
        if text.contains("<domain") && !text.contains("<network>") {
            let first = DomainDoc::parse(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!(first.to_xml().trim_end(), text.trim_end(), "{path}");
            let again = DomainDoc::parse(&first.to_xml()).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!(format!("{:?}", again.def().devices), format!("{:?}", first.def().devices), "{path}");
        } else {
            let first = NetworkDoc::parse(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!(first.to_xml().trim_end(), text.trim_end(), "{path}");
        }
    }
}

#[test]
fn the_five_nics_keep_their_order() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/firewall.xml"));
    let text = text.expect("the example is there");
    let doc = DomainDoc::parse(&text).expect("the example is a domain");
    let kinds: Vec<_> = doc.def().interfaces().map(|nic| nic.kind.as_str()).collect();
    assert_eq!(kinds, ["network", "bridge", "ethernet", "server", "mcast"]);
    let written = doc.to_xml();
    let places: Vec<_> = kinds.iter().map(|kind| written.find(&format!("type='{kind}'"))).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "the writer keeps the order: {places:?}"
    );
}
