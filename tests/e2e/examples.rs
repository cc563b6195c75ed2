//! Every document of `examples/` is taken by the service, and given back with the same devices in the
//! same order.

use crate::common::{ALICE, Service, World, example, world};

/// The start tags of all elements, in order, without what the service completes.
fn elements(xml: &str) -> Vec<String> {
    let mut rest = xml;
    let mut found = Vec::new();
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        if rest.starts_with("<!--") {
            rest = rest.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        let tag = rest.split_once('>').map_or(rest, |(tag, _)| tag);
        let name = tag[1..].split([' ', '/', '>', '\n']).next().unwrap_or_default();
        // An empty name is that of an end tag; the others are what Warren may add.
        if !["", "uuid", "mac", "bridge"].contains(&name) {
            // Addresses may be completed: elements with an empty one are compared by their name.
            let empty = ["ip", "range"].contains(&name);
            found.push(if empty { name.to_owned() } else { tag.trim_end_matches('/').trim_end().to_owned() });
        }
        rest = &rest[1..];
    }
    found
}

#[test]
fn what_goes_in_comes_out() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        let mut seen = 0;
        for file in world.sh("ls /run/w/examples").lines().filter(|name| name.ends_with(".xml")) {
            let xml = example(file);
            let object = if xml.contains("<network>") {
                service.client.define_network(&xml).await
            } else {
                service.client.define_domain(&xml).await
            };
            let object = object.unwrap_or_else(|e| panic!("{file} is taken: {e}"));
            assert_eq!(elements(&object.xml().await), elements(&xml), "{file} comes back as it went in");
            seen += 1;
        }
        assert!(seen >= 12, "the examples were found");
    });
}
