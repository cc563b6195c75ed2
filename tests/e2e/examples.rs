//! Every document of `examples/` is taken by the service, and given back with the same devices in the
//! same order.

use crate::common::{ALICE, Service, World, example, world};

/// The start tags of all elements, in order.
fn tags(xml: &str) -> Vec<String> {
    let mut rest = xml;
    let mut found = Vec::new();
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        if rest.starts_with("<!--") {
            rest = rest.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let tag = rest.split_once('>').map_or(rest, |(tag, _)| tag);
        if !tag.starts_with("</") {
            found.push(tag.trim_end_matches('/').trim_end().to_owned());
        }
        rest = &rest[1..];
    }
    found
}

/// The first tag of what went in that has not come out in its place. What the service completes may stand between:
/// elements, attributes, and what is empty in what went in.
fn lost(given: &str, written: &str) -> Option<String> {
    let written = tags(written);
    let mut rest = written.iter();
    let is_kept = |tag: &str, kept: &str| {
        let empty = [r#""""#, "''"].iter().find_map(|quotes| tag.find(quotes));
        match empty.and_then(|_| tag.split(' ').next()) {
            Some(name) => kept == name || kept.starts_with(&format!("{name} ")),
            None => kept == tag || kept.starts_with(&format!("{tag} ")),
        }
    };
    tags(given).into_iter().find(|tag| !rest.any(|kept| is_kept(tag, kept)))
}

#[test]
fn what_goes_in_comes_out() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let mut seen = 0;
        for file in world.sh("ls /run/w/examples").lines().filter(|name| name.ends_with(".xml")) {
            let xml = example(file);
            let is_network = xml.contains("<network>");
            let object = if is_network {
                service.client.define_network(&xml).await
            } else {
                service.client.define_domain(&xml).await
            };
            let object = object.unwrap_or_else(|e| panic!("{file} is taken: {e}"));
            let written = object.xml().await;
            assert_eq!(lost(&xml, &written), None, "{file} comes back as it went in: {written}");
            if !is_network {
                assert!(written.contains("<address type='pci'"), "{file}: devices have places");
                let again = service.client.define_domain(&xml).await.expect("it is taken again");
                assert_eq!(again.xml().await, written, "{file}: what was completed is kept");
            }
            seen += 1;
        }
        assert!(seen >= 12, "the examples were found");
    });
}
