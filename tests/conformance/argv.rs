//! Compares the devices of two command lines: same kinds and drivers with the same properties, in the same
//! order. Ids, descriptors and paths differ from program to program and are not compared; places on a bus only
//! where the document gives them.

use std::collections::BTreeMap;

use serde_json::Value;
use warren::plan::qemu::Planned;
use warren::xml::{Document, Element};

/// A `-netdev` or `-device` with its properties, nested ones by dotted names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// `netdev` or `device`.
    option: &'static str,
    /// Kind or driver.
    kind: String,
    properties: BTreeMap<String, String>,
}

/// What stands for a name or number that each program chooses for itself.
const ANY: &str = "*";

/// Properties that hold an id of something, or a descriptor, or a path to a socket or an image.
const CHOSEN: [&str; 18] = [
    "id",
    "netdev",
    "drive",
    "chardev",
    "rng",
    "iothread",
    "memdev",
    "fsdev",
    "tpmdev",
    "audiodev",
    "device_id",
    "masterbus",
    "failover_pair_id",
    "vhostdev",
    "romfile",
    "addr.path",
    "addr.str",
    "path",
];

/// What says where a device sits.
const PLACE: [&str; 5] = ["bus", "addr", "port", "nr", "multifunction"];

/// Properties that came after QEMU 7.2, with the version: an older QEMU has to do without.
const LATER: [(&str, &str); 9] = [
    ("reconnect", "8.0, of a stream"),
    ("guest_uso4", "8.2"),
    ("guest_uso6", "8.2"),
    ("host_uso", "8.2"),
    ("dynamic-memslots", "8.2"),
    ("iothread-vq-mapping", "9.0"),
    ("reconnect-ms", "9.2"),
    ("iommufd", "9.0"),
    ("granule", "9.0, of virtio-iommu"),
];

/// The items of lines as a shell would read them: `-device '{"driver":…}'` or `-device driver,a=b`.
pub fn of_text(text: &str) -> Vec<Item> {
    text.lines()
        .filter_map(|line| {
            let (option, value) = line.trim().trim_end_matches('\\').trim().split_once(' ')?;
            item(option, value.trim().trim_matches('\''))
        })
        .collect()
}

/// The items of what is run: of the arguments, and of the options that are not among them, since everybody can see
/// arguments. Those stand before the device that they are for, as libvirt has them.
pub fn of_planned(planned: &Planned) -> Vec<Item> {
    let mut unseen: BTreeMap<String, Item> =
        planned.sealed.iter().flat_map(|file| of_options(&String::from_utf8_lossy(&file.content))).collect();
    let mut items = Vec::new();
    for pair in planned.argv.windows(2) {
        let Some(item) = item(&pair[0], &pair[1]) else { continue };
        items.extend(item.properties.get("netdev").and_then(|id| unseen.remove(id)));
        items.push(item);
    }
    items.extend(unseen.into_values());
    items
}

/// The network devices in a file for `-readconfig`, by their ids.
fn of_options(text: &str) -> Vec<(String, Item)> {
    let mut found = Vec::new();
    for section in text.split("\n[").map(|s| s.trim_start_matches('[')) {
        let Some((id, options)) = section.strip_prefix("netdev \"").and_then(|s| s.split_once("\"]")) else {
            continue;
        };
        let option = |line: &str| {
            let (name, value) = line.trim().split_once(" = ")?;
            Some((name.to_owned(), Value::from(value.trim_matches('"'))))
        };
        let mut netdev: serde_json::Map<String, Value> = options.lines().filter_map(option).collect();
        if let Some(forward) = netdev.remove("guestfwd") {
            netdev.insert("guestfwd".into(), serde_json::json!([{ "str": forward }]));
        }
        netdev.insert("id".into(), id.into());
        found.extend(item("-netdev", &Value::Object(netdev).to_string()).map(|item| (id.to_owned(), item)));
    }
    found
}

/// The drivers that the items need.
pub fn drivers(items: &[Item]) -> Vec<String> {
    items.iter().filter(|i| i.option == "device").map(|i| i.kind.clone()).collect()
}

fn item(option: &str, value: &str) -> Option<Item> {
    let option = ["netdev", "device"].into_iter().find(|o| option.strip_prefix('-') == Some(o))?;
    let mut properties = BTreeMap::new();
    match serde_json::from_str::<Value>(value) {
        Ok(json) => flatten("", &json, &mut properties),
        Err(_) => {
            let mut parts = value.split(',');
            properties.insert("driver".to_owned(), parts.next()?.to_owned());
            for part in parts {
                let (name, value) = part.split_once('=').unwrap_or((part, "on"));
                properties.insert(name.to_owned(), plain(value));
            }
        }
    }
    let kind = properties.remove(if option == "netdev" { "type" } else { "driver" });
    let kind = kind.or_else(|| properties.remove("driver"))?;
    // One descriptor or several: what counts is how many queues there are.
    for (one, many) in [("fd", "fds"), ("vhostfd", "vhostfds")] {
        let given = properties.remove(one).or_else(|| properties.remove(many));
        if let Some(given) = given {
            let each: Vec<&str> = given.split(':').map(|_| ANY).collect();
            properties.insert(many.to_owned(), each.join(":"));
        }
    }
    Some(Item { option, kind, properties })
}

fn flatten(name: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    let below = |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
    match value {
        Value::Object(all) => all.iter().for_each(|(key, value)| flatten(&below(key), value, into)),
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(i, value)| flatten(&below(&i.to_string()), value, into));
        }
        Value::String(text) => drop(into.insert(name.to_owned(), plain(text))),
        other => drop(into.insert(name.to_owned(), plain(&other.to_string()))),
    }
}

/// Booleans and numbers in one spelling.
fn plain(text: &str) -> String {
    match text {
        "true" | "yes" => "on".into(),
        "false" | "no" => "off".into(),
        _ => match text.strip_prefix("0x").map(|hex| u64::from_str_radix(hex, 16)) {
            Some(Ok(number)) => number.to_string(),
            _ => text.to_owned(),
        },
    }
}

/// The first difference of our items to the expected ones; with `nics_only` of those for NICs.
pub fn difference(doc: &Document, expected: &[Item], ours: &[Item], nics_only: bool) -> Option<String> {
    let places = Places::of(doc.root());
    let wanted = |items: &[Item]| -> Vec<Item> {
        let is_nic = |i: &&Item| i.option == "netdev" || i.properties.contains_key("netdev");
        // A network device that is no device's has no place among them.
        let id = |i: &Item, name: &str| i.properties.get(name).cloned();
        let used: Vec<_> = items.iter().filter_map(|i| id(i, "netdev")).collect();
        let is_alone = |i: &&Item| i.option == "netdev" && id(i, "id").is_none_or(|id| !used.contains(&id));
        let wanted = items.iter().filter(|i| !nics_only || is_nic(i));
        let (alone, others): (Vec<&Item>, Vec<&Item>) = wanted.partition(is_alone);
        others.into_iter().chain(alone).cloned().collect()
    };
    let (mut expected, mut ours) = (wanted(expected), wanted(ours));
    let names = |items: &[Item]| items.iter().map(|i| i.kind.clone()).collect::<Vec<_>>();
    let (theirs, our) = (names(&expected), names(&ours));
    if theirs != our {
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        let order = sorted(theirs.clone()) == sorted(our.clone());
        let what = if order { "in another order" } else { "other devices" };
        return Some(format!("{what}: {}; libvirt: {}", our.join(" "), theirs.join(" ")));
    }
    expected.iter_mut().zip(&mut ours).find_map(|(theirs, our)| {
        let placed = places.contains(theirs);
        let neutral = |item: &mut Item| {
            item.properties.retain(|name, _| placed || !PLACE.contains(&name.as_str()));
            for (name, value) in &mut item.properties {
                let last = name.rsplit('.').next().unwrap_or(name);
                if CHOSEN.iter().any(|c| c == name || *c == last) {
                    ANY.clone_into(value);
                }
                if let Some(at) = value.find("-chardev:").filter(|_| name.starts_with("guestfwd")) {
                    value.truncate(at);
                }
                if last == "bus" {
                    *value = value.replace("pcie.0", "pci.0");
                }
            }
        };
        neutral(theirs);
        neutral(our);
        // The id itself may stand or be left out.
        theirs.properties.remove("id");
        our.properties.remove("id");
        theirs.properties.retain(|name, _| our.properties.contains_key(name) || !is_later(name));
        unequal(theirs, our)
    })
}

fn is_later(name: &str) -> bool {
    LATER
        .iter()
        .any(|(later, _)| name == *later || name.strip_prefix(later).is_some_and(|r| r.starts_with('.')))
}

fn unequal(theirs: &Item, our: &Item) -> Option<String> {
    if theirs == our {
        return None;
    }
    let show = |from: &Item, other: &Item| -> String {
        let differ = from.properties.iter().filter(|(k, v)| other.properties.get(*k) != Some(v));
        differ.map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
    };
    Some(format!("-{} {}: {}; libvirt: {}", our.option, our.kind, show(our, theirs), show(theirs, our)))
}

/// The places that a document gives to its devices, as QEMU's properties.
struct Places(Vec<BTreeMap<&'static str, String>>);

impl Places {
    fn of(root: &Element) -> Self {
        let devices = root.child("devices").into_iter().flat_map(Element::children);
        Self(devices.filter_map(|d| d.child("address")).filter_map(Self::read).collect())
    }

    fn read(address: &Element) -> Option<BTreeMap<&'static str, String>> {
        let number = |name: &str| -> u64 {
            let text = address.attr(name).unwrap_or("0");
            let hex = text.strip_prefix("0x").map(|h| u64::from_str_radix(h, 16));
            hex.unwrap_or_else(|| text.parse()).unwrap_or_default()
        };
        let mut place = BTreeMap::new();
        match address.attr("type")? {
            "pci" => {
                let (slot, function) = (number("slot"), number("function"));
                let addr = match function {
                    0 => slot.to_string(),
                    _ => format!("0x{slot:x}.0x{function:x}"),
                };
                place.insert("addr", addr);
                place.insert("bus", number("bus").to_string());
            }
            "drive" => {
                place.insert("controller", number("controller").to_string());
                place.insert("bus", number("bus").to_string());
                place.insert("unit", number("unit").to_string());
            }
            "usb" => {
                place.insert("bus", number("bus").to_string());
                place.insert("port", address.attr("port").unwrap_or_default().to_owned());
            }
            "virtio-serial" => {
                place.insert("controller", number("controller").to_string());
                place.insert("nr", number("port").to_string());
            }
            _ => return None,
        }
        Some(place)
    }

    /// Whether the document gives the place that libvirt has put the item at.
    fn contains(&self, item: &Item) -> bool {
        let get = |name: &str| item.properties.get(name).map(String::as_str);
        let Some(bus) = get("bus") else { return false };
        let (kind, number) = bus.split_once('.').unwrap_or((bus, "0"));
        self.0.iter().any(|place| {
            let is = |name: &str, value: Option<&str>| place.get(name).map(String::as_str) == value;
            let controller = kind.trim_start_matches(|c: char| !c.is_ascii_digit());
            let controller = if controller.is_empty() { "0" } else { controller };
            if get("addr").is_some() {
                is("addr", get("addr")) && is("bus", Some(number))
            } else if get("nr").is_some() {
                is("nr", get("nr")) && is("controller", Some(controller))
            } else if get("port").is_some() {
                is("port", get("port")) && is("bus", Some(controller))
            } else {
                let unit = get("unit").or(get("lun")).unwrap_or(number);
                is("unit", Some(unit)) && (get("unit").is_none() || is("bus", Some(number)))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(doc: &str, theirs: &str, ours: &str) -> Option<String> {
        let doc = Document::parse(doc).expect("XML");
        difference(&doc, &of_text(theirs), &of_text(ours), false)
    }

    const PLACED: &str =
        "<domain><devices><interface><address type='pci' slot='0x5'/></interface></devices></domain>";

    #[test]
    fn both_syntaxes_and_chosen_names_are_the_same() {
        let theirs = "-netdev '{\"type\":\"tap\",\"fds\":\"3:4\",\"vhost\":true,\"id\":\"hostnet0\"}'\n\
                      -device '{\"driver\":\"e1000\",\"netdev\":\"hostnet0\",\"mac\":\"x\",\"bus\":\"pci.0\",\"addr\":\"0x2\"}'";
        let ours = "-netdev tap,fds=7:8,vhost=on,id=a\n-device e1000,mac=x,netdev=a";
        assert_eq!(compared("<domain/>", theirs, ours), None);
        let one = ours.replace("7:8", "7");
        assert_eq!(
            compared("<domain/>", theirs, &one).expect("a queue less"),
            "-netdev tap: fds=*; libvirt: fds=*:*"
        );
    }

    #[test]
    fn what_is_missing_or_more_is_told() {
        let told = |ours| compared("<domain/>", "-device e1000,mac=x,mtu=1", ours).expect("a difference");
        assert_eq!(told("-device e1000,mac=x"), "-device e1000: ; libvirt: mtu=1");
        assert_eq!(told("-device e1000,mac=x,mtu=1,y=2"), "-device e1000: y=2; libvirt: ");
        assert_eq!(told("-device rtl8139,mac=x,mtu=1"), "other devices: rtl8139; libvirt: e1000");
        let order = compared("<domain/>", "-device a\n-device b", "-device b\n-device a");
        assert_eq!(order.expect("a difference"), "in another order: b a; libvirt: a b");
        assert_eq!(compared("<domain/>", "-netdev stream,reconnect-ms=5", "-netdev stream"), None);
    }

    #[test]
    fn a_place_counts_where_the_document_gives_it() {
        let theirs = "-device e1000,bus=pci.0,addr=0x5";
        assert_eq!(compared("<domain/>", theirs, "-device e1000,bus=pci.0,addr=0x6"), None);
        assert!(compared(PLACED, theirs, "-device e1000,bus=pci.0,addr=0x6").is_some());
        assert_eq!(compared(PLACED, theirs, "-device e1000,bus=pci.0,addr=5"), None);
    }
}
