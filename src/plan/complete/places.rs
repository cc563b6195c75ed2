//! Where a guest's devices sit, written into its document as libvirt writes it, with the controllers that are
//! needed for it. Owns the words; who sits where is the rule of `plan::qemu`. Must never move what has a place.

use crate::model::{Address, ControllerDef, ControllerKind, DomainDef, DomainDoc, PciAddress};
use crate::plan::qemu::{Places, places};
use crate::xml::{Document, Element};

/// Gives every device its place. A document of which not everything has one is left as it is: what is amiss is
/// told when it is checked or started. `old`: the definition that is replaced, whose devices keep their places.
pub(super) fn give(doc: &mut DomainDoc, old: Option<&DomainDef>) {
    if doc.tree().root().child("devices").is_none() {
        return;
    }
    let Some(places) = places(doc.def(), old).filter(|places| *places != Places::default()) else { return };
    // One that is not right in itself, as its check says, may not take its places: it is left as it is too.
    let _ = doc.edit(|tree| write(tree, &places));
}

fn write(tree: &mut Document, places: &Places) {
    for (path, at) in &places.given {
        if let Some(device) = tree.find_mut(path) {
            write_address(device, at);
        }
    }
    for (path, index) in &places.indexes {
        if let Some(controller) = tree.find_mut(path) {
            controller.set_attr("index", &index.to_string());
        }
    }
    let Some(devices) = tree.root_mut().child_mut("devices") else { return };
    let last = devices.children().enumerate().filter(|(_, e)| e.name() == "controller").last();
    let first = last.map_or(devices.children().count(), |(at, _)| at + 1);
    for (at, added) in (first..).zip(&places.controllers) {
        devices.insert(at, controller(added));
    }
    for at in &places.hubs {
        devices.append(placed(Element::new("hub").with_attr("type", "usb"), Some(at)));
    }
    if let Some(at) = places.video {
        devices.append(placed(Element::new("video"), Some(&Address::Pci(at))));
    }
    if let Some(at) = places.memballoon {
        let balloon = Element::new("memballoon").with_attr("model", "virtio");
        devices.append(placed(balloon, Some(&Address::Pci(at))));
    }
}

fn placed(mut device: Element, at: Option<&Address>) -> Element {
    if let Some(at) = at {
        write_address(&mut device, at);
    }
    device
}

fn controller(added: &ControllerDef) -> Element {
    let mut element = Element::new("controller").with_attr("type", added.kind.as_str());
    element.set_attr("index", &added.index.unwrap_or(0).to_string());
    // The others have one model, for which there is no word in every libvirt.
    let has_models = matches!(added.kind, ControllerKind::Pci | ControllerKind::Usb | ControllerKind::Scsi);
    if let Some(model) = added.model.as_deref().filter(|_| has_models) {
        element.set_attr("model", model);
    }
    if let Some(name) = &added.model_name {
        element.append(Element::new("model").with_attr("name", name));
    }
    let target = &added.target;
    let numbers = [
        ("chassisNr", target.chassis_nr.map(|n| n.to_string())),
        ("chassis", target.chassis.map(|n| n.to_string())),
        ("port", target.port.map(|n| format!("{n:#x}"))),
    ];
    if numbers.iter().any(|(_, number)| number.is_some()) {
        let mut target = Element::new("target");
        for (name, number) in &numbers {
            number.iter().for_each(|number| target.set_attr(name, number));
        }
        element.append(target);
    }
    placed(element, added.info.address.as_ref())
}

/// Writes a place, into the `<address>` that is there if there is one.
fn write_address(device: &mut Element, at: &Address) {
    let decimal = |n: u32| n.to_string();
    let words: Vec<(&str, String)> = match at {
        Address::Pci(PciAddress { domain, bus, slot, function, multifunction }) => {
            let mut words = vec![
                ("type", "pci".to_owned()),
                ("domain", format!("0x{domain:04x}")),
                ("bus", format!("0x{bus:02x}")),
                ("slot", format!("0x{slot:02x}")),
                ("function", format!("0x{function:x}")),
            ];
            if *multifunction == Some(true) {
                words.push(("multifunction", "on".to_owned()));
            }
            words
        }
        Address::Usb { bus, port } => {
            vec![("type", "usb".to_owned()), ("bus", decimal(*bus)), ("port", port.clone())]
        }
        Address::Port { controller, bus, port } => {
            let mut words = vec![("type", "virtio-serial".to_owned())];
            words.extend([("controller", decimal(*controller)), ("bus", decimal(*bus))]);
            words.extend(port.map(|port| ("port", decimal(port))));
            words
        }
        Address::Drive(at) => vec![
            ("type", "drive".to_owned()),
            ("controller", decimal(at.controller)),
            ("bus", decimal(at.bus)),
            ("target", decimal(at.target)),
            ("unit", decimal(at.unit)),
        ],
        Address::Isa { .. } | Address::Dimm { .. } | Address::Other(_) => return,
    };
    if device.child("address").is_none() {
        device.append(Element::new("address"));
    }
    if let Some(address) = device.child_mut("address") {
        words.iter().for_each(|(name, value)| address.set_attr(name, value));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::model::{DeviceInfo, Mac};
    use crate::plan::complete::{DomainFacts, domain};

    const NIC: &str = "<interface type='user'><model type='virtio'/></interface>";
    const DISK: &str = "<disk type='file'><source file='/d'/><target dev='vda' bus='virtio'/></disk>";

    fn text(machine: &str, devices: &str) -> String {
        format!(
            "<domain type='qemu'><name>n</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>\
             <memory>1</memory><os><type arch='x86_64' machine='{machine}'>hvm</type></os>\
             <devices>{devices}</devices></domain>"
        )
    }

    fn completed_after(text: &str, old: Option<&DomainDoc>) -> DomainDoc {
        let mut doc = DomainDoc::parse(text).unwrap();
        let (taken, macs) =
            (HashSet::new(), old.map(crate::plan::complete::interface_macs).unwrap_or_default());
        let facts = DomainFacts { uuid: None, macs: &macs, taken: &taken, old: old.map(DomainDoc::def) };
        domain(&mut doc, &facts, &mut StdRng::seed_from_u64(text.len() as u64)).unwrap();
        let once = doc.to_xml();
        domain(&mut doc, &facts, &mut StdRng::seed_from_u64(2)).unwrap();
        assert_eq!(doc.to_xml(), once, "completing twice changes nothing");
        doc
    }

    fn completed(machine: &str, devices: &str) -> DomainDoc {
        completed_after(&text(machine, devices), None)
    }

    fn show(doc: &DomainDoc) -> String {
        let xml = doc.to_xml();
        xml[xml.find("<devices>").unwrap()..].replace("><", ">\n<")
    }

    fn infos(doc: &DomainDoc, name: &str) -> Vec<DeviceInfo> {
        let path = format!("/domain/devices/{name}");
        let infos = doc.def().devices.iter().map(|d| d.info().clone());
        infos.filter(|info| info.path.split('[').next() == Some(&path)).collect()
    }

    /// The PCI places of the devices of a name, as `bus:slot`.
    fn slots(doc: &DomainDoc, name: &str) -> Vec<String> {
        let pci = infos(doc, name).into_iter().map(|info| info.pci());
        pci.map(|at| at.map_or("-".into(), |at| format!("{}:{:x}.{}", at.bus, at.slot, at.function)))
            .collect()
    }

    #[test]
    fn devices_of_a_pc_get_places() {
        let channel = "<channel type='unix'><target type='virtio' name='a'/></channel>";
        let hda = "<disk type='file'><source file='/h'/><target dev='hdc' bus='ide'/></disk>";
        let doc = completed(
            "pc",
            &format!(
                "{NIC}<!-- of mine -->{DISK}{hda}{channel}<input type='tablet' bus='usb'/><graphics type='vnc'/>"
            ),
        );
        insta::assert_snapshot!(show(&doc), @"
        <devices>
        <interface type='user'>
        <mac address='52:54:00:70:0e:09'/>
        <model type='virtio'/>
        <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
        </interface>
        <!-- of mine -->
        <disk type='file'>
        <source file='/d'/>
        <target dev='vda' bus='virtio'/>
        <address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>
        </disk>
        <disk type='file'>
        <source file='/h'/>
        <target dev='hdc' bus='ide'/>
        <address type='drive' controller='0' bus='1' target='0' unit='0'/>
        </disk>
        <channel type='unix'>
        <target type='virtio' name='a'/>
        <address type='virtio-serial' controller='0' bus='0' port='1'/>
        </channel>
        <input type='tablet' bus='usb'>
        <address type='usb' bus='0' port='1'/>
        </input>
        <graphics type='vnc'/>
        <controller type='pci' index='0' model='pci-root'/>
        <controller type='usb' index='0' model='piix3-uhci'>
        <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x2'/>
        </controller>
        <controller type='virtio-serial' index='0'>
        <address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/>
        </controller>
        <video>
        <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>
        </video>
        <memballoon model='virtio'>
        <address type='pci' domain='0x0000' bus='0x00' slot='0x06' function='0x0'/>
        </memballoon>
        </devices>
        </domain>
        ");
    }

    #[test]
    fn devices_of_q35_get_ports() {
        let doc = completed("q35", &format!("{NIC}{DISK}<sound model='ich9'/>"));
        insta::assert_snapshot!(show(&doc), @"
        <devices>
        <interface type='user'>
        <mac address='52:54:00:c8:a3:43'/>
        <model type='virtio'/>
        <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
        </interface>
        <disk type='file'>
        <source file='/d'/>
        <target dev='vda' bus='virtio'/>
        <address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>
        </disk>
        <sound model='ich9'>
        <address type='pci' domain='0x0000' bus='0x03' slot='0x01' function='0x0'/>
        </sound>
        <controller type='pci' index='0' model='pcie-root'/>
        <controller type='pci' index='1' model='pcie-root-port'>
        <model name='pcie-root-port'/>
        <target chassis='1' port='0x8'/>
        <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x0' multifunction='on'/>
        </controller>
        <controller type='pci' index='2' model='pcie-root-port'>
        <model name='pcie-root-port'/>
        <target chassis='2' port='0x9'/>
        <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x1'/>
        </controller>
        <controller type='pci' index='3' model='pcie-to-pci-bridge'>
        <model name='pcie-pci-bridge'/>
        <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>
        </controller>
        <controller type='pci' index='4' model='pcie-root-port'>
        <model name='pcie-root-port'/>
        <target chassis='4' port='0xa'/>
        <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x2'/>
        </controller>
        <controller type='pci' index='5' model='pcie-root-port'>
        <model name='pcie-root-port'/>
        <target chassis='5' port='0xb'/>
        <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x3'/>
        </controller>
        <controller type='pci' index='6' model='pcie-root-port'>
        <model name='pcie-root-port'/>
        <target chassis='6' port='0xc'/>
        <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x4'/>
        </controller>
        <controller type='pci' index='7' model='pcie-root-port'>
        <model name='pcie-root-port'/>
        <target chassis='7' port='0xd'/>
        <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x5'/>
        </controller>
        <controller type='usb' index='0' model='qemu-xhci'>
        <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
        </controller>
        <memballoon model='virtio'>
        <address type='pci' domain='0x0000' bus='0x06' slot='0x00' function='0x0'/>
        </memballoon>
        </devices>
        </domain>
        ");
    }

    #[test]
    fn what_comes_or_goes_moves_nobody() {
        for machine in ["pc", "q35"] {
            let doc = completed(
                machine,
                &format!(
                    "{NIC}{NIC}{NIC}{DISK}<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
                ),
            );
            let nics = slots(&doc, "interface");
            let xml = doc.to_xml();

            let more = completed_after(&xml.replace("</devices>", &format!("{NIC}</devices>")), None);
            let [kept @ .., new] = &slots(&more, "interface")[..] else { panic!("four") };
            assert_eq!(kept, nics);
            assert!(!nics.contains(new));
            for name in ["disk", "rng", "memballoon"] {
                assert_eq!(slots(&more, name), slots(&doc, name));
            }

            let (start, end) = (xml.find("<interface").unwrap(), xml.find("</interface>").unwrap() + 12);
            let fewer = completed_after(&format!("{}{}", &xml[..start], &xml[end..]), None);
            assert_eq!(slots(&fewer, "interface"), nics[1..]);
            assert_eq!(slots(&fewer, "disk"), slots(&doc, "disk"));

            let other = fewer.to_xml().replace("</devices>", &format!("{NIC}</devices>"));
            let places = infos(&completed_after(&other, None), "interface");
            let places: Vec<_> = places.iter().map(|nic| nic.pci().map(|at| (at.bus, at.slot))).collect();
            assert!(places.is_sorted(), "the new NIC is the last one in the guest too: {places:?}");
        }
    }

    #[test]
    fn a_document_without_places_keeps_those_of_the_one_before() {
        // More than a controller has ports, so that there is a hub.
        let tablets = "<input type='tablet' bus='usb'/>".repeat(5);
        for machine in ["pc", "q35"] {
            let mac = |n: u8| {
                format!("<interface type='user'><mac address='{}'/></interface>", Mac::for_guest([0, 0, n]))
            };
            let rest =
                format!("{DISK}{tablets}<graphics type='vnc'/><controller type='scsi' model='virtio-scsi'/>");
            let old = completed(machine, &format!("{}{}{rest}", mac(1), mac(2)));
            let same = completed_after(&text(machine, &format!("{}{}{rest}", mac(1), mac(2))), Some(&old));
            assert_eq!(same.to_xml(), old.to_xml());
            let new = completed_after(&text(machine, &format!("{}{}{rest}", mac(2), mac(3))), Some(&old));
            assert_eq!(slots(&new, "interface")[0], slots(&old, "interface")[1]);
            assert_eq!(infos(&new, "controller"), infos(&old, "controller"));
            for name in ["disk", "video", "memballoon"] {
                assert_eq!(slots(&new, name), slots(&old, name), "{name}");
            }
            let other = if machine == "pc" { "q35" } else { "pc" };
            let moved = completed_after(&text(other, &format!("{}{rest}", mac(2))), Some(&old));
            let fresh = completed(other, &format!("{}{rest}", mac(2)));
            assert_eq!(moved.to_xml(), fresh.to_xml(), "places of another machine say nothing");
        }
    }

    #[test]
    fn what_has_a_place_keeps_it() {
        let given = "<interface type='user'><address type='pci' slot='0x07' function='1'/></interface>\
                     <interface type='user'><address type='pci'/></interface>\
                     <disk type='file'><source file='/u'/><target dev='sda' bus='usb'/><address type='usb' bus='0'/></disk>";
        let doc = completed("pc", given);
        assert!(doc.to_xml().contains("<address type='pci' slot='0x07' function='1'/>"));
        assert_eq!(slots(&doc, "interface"), ["0:7.1", "0:8.0"], "NICs stay in the document's order");
        assert!(doc.to_xml().contains("<address type='usb' bus='0' port='1'/>"));
    }

    #[test]
    fn two_roots_have_no_places() {
        let root = "<controller type='pci' model='pcie-root'/>";
        let doc = completed("q35", &format!("{root}{root}"));
        assert!(!doc.to_xml().contains("<address"));
        let findings = crate::plan::check::domain(&doc);
        assert!(findings.iter().any(|f| f.path == "/domain/devices/controller[2]"), "{findings:?}");
    }

    #[test]
    fn where_not_everything_has_a_place_nothing_is_written() {
        let twice = "<address type='pci' slot='0x05'/>";
        let full = format!(
            "<interface type='user'>{twice}</interface><interface type='user'>{twice}</interface><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
        );
        for (machine, devices) in [("pc", full.as_str()), ("microvm", DISK), ("s390-ccw-virtio", DISK)] {
            let doc = completed(machine, devices);
            assert!(!doc.to_xml().contains("<controller"), "{machine}");
            assert_eq!(doc.to_xml().matches("<address").count(), devices.matches("<address").count());
        }
    }

    #[test]
    fn empty_addresses_of_sockets_are_what_they_mean() {
        let nic = |kind: &str, source: &str| format!("<interface type='{kind}'><source {source}</interface>");
        let all = [
            nic("server", "address=\"\" port=\"5555\"/>"),
            nic("client", "address='' port='5555'/>"),
            nic("mcast", "address='' port='5558'/>"),
            nic("udp", "address='' port='1'><local address='' port='2'/></source>"),
            nic("server", "port='5556'/>"),
            nic("bridge", "dev='xenbr0'/>"),
        ];
        let shown = show(&completed("pc", &all.concat()));
        let sources: Vec<&str> =
            shown.lines().filter(|l| l.starts_with("<source") || l.starts_with("<local")).collect();
        assert_eq!(
            sources,
            [
                "<source address=\"0.0.0.0\" port=\"5555\"/>",
                "<source address='127.0.0.1' port='5555'/>",
                "<source address='239.0.0.1' port='5558'/>",
                "<source address='127.0.0.1' port='1'>",
                "<local address='127.0.0.1' port='2'/>",
                "<source port='5556'/>",
                "<source dev='xenbr0'/>",
            ]
        );
    }
}
