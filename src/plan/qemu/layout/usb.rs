//! USB ports: those that are given, then the next free ones; where there are too few, hubs.

use std::collections::BTreeSet;

use super::{Layout, Wish, Wishes};
use crate::model::{Address, ControllerDef, ControllerKind, DeviceInfo, Finding, Severity};
use crate::plan::qemu::finding;

/// How many ports a hub has.
const HUB_PORTS: u32 = 8;

/// libvirt's order of giving ports.
pub(super) fn turn(driver: &str) -> u8 {
    match driver {
        "usb-hub" => 0,
        "usb-host" => 1,
        "usb-storage" | "usb-bot" | "usb-uas" => 2,
        "usb-ccid" => 3,
        "usb-tablet" | "usb-mouse" | "usb-kbd" => 4,
        "usb-audio" => 5,
        "usb-serial" => 6,
        "usb-redir" => 7,
        _ => 8,
    }
}

/// How many ports the bus of a controller has; 0 of a companion, whose ports are its master's.
fn ports(controller: &ControllerDef) -> u32 {
    match controller.model.as_deref() {
        Some("ich9-ehci1" | "ehci") => 6,
        Some("ich9-uhci1" | "ich9-uhci2" | "ich9-uhci3" | "none") => 0,
        Some("pci-ohci") => 3,
        Some("nec-xhci" | "qemu-xhci") => controller.ports.unwrap_or(4),
        _ => 2,
    }
}

/// Gives every device its bus and port.
pub(super) fn give(layout: &mut Layout, wishes: &Wishes, findings: &mut Vec<Finding>) {
    let buses: Vec<(u32, u32)> = layout
        .controllers
        .iter()
        .filter(|c| c.kind == ControllerKind::Usb)
        .filter_map(|c| Some((c.index?, ports(c))).filter(|(_, ports)| *ports > 0))
        .collect();
    let mut taken: BTreeSet<(u32, String)> = BTreeSet::new();
    for wish in &wishes.usb {
        if let Some(Address::Usb { bus, port }) = &wish.given
            && !port.is_empty()
            && !taken.insert((*bus, port.clone()))
        {
            let message = format!("the port {port} of USB bus {bus} is taken by another device");
            findings.push(finding(Severity::Error, &format!("{}/address", wish.path), message, ""));
        }
    }
    let mut free: Vec<(u32, String)> = buses
        .iter()
        .flat_map(|(bus, ports)| (1..=*ports).map(|port| (*bus, port.to_string())))
        .filter(|place| !taken.contains(place))
        .collect();
    for hub in wishes.usb.iter().filter(|w| w.driver == "usb-hub") {
        let place = match &hub.given {
            Some(Address::Usb { bus, port }) if !port.is_empty() => (*bus, port.clone()),
            _ => match take(&mut free, hub) {
                Some(place) => place,
                None => continue,
            },
        };
        free.extend(below(&place).filter(|p| !taken.contains(p)));
        layout.usb.insert(hub.path.clone(), place);
    }
    let mut others: Vec<&Wish> = wishes.usb.iter().filter(|w| w.driver != "usb-hub").collect();
    others.sort_by_key(|w| w.turn);
    let wanting = others.iter().filter(|w| !is_given(w)).count();
    while wanting > free.len() && !free.is_empty() && layout.hubs.len() < 32 {
        let place = free.remove(0);
        free.extend(below(&place));
        let (bus, port) = place.clone();
        let path = format!("/domain/devices/hub[@port='{bus}.{port}']");
        layout.usb.insert(path.clone(), place);
        let address = Some(Address::Usb { bus, port });
        layout.hubs.push(DeviceInfo { path, address, ..DeviceInfo::default() });
    }
    for hub in wishes.usb.iter().filter(|w| w.driver == "usb-hub") {
        too_slow(layout, hub, findings);
    }
    for wish in others {
        let place = match &wish.given {
            Some(Address::Usb { bus, port }) if !port.is_empty() => Some((*bus, port.clone())),
            _ => take(&mut free, wish),
        };
        let there = |bus: u32| buses.iter().any(|(index, _)| *index == bus);
        match place.filter(|(bus, _)| there(*bus)) {
            Some(place) => {
                layout.usb.insert(wish.path.clone(), place);
                too_slow(layout, wish, findings);
            }
            None => {
                let message = "the guest has no USB bus with a free port for the device";
                let remedy = "add <controller type='usb' model='qemu-xhci'/>";
                findings.push(finding(Severity::Unsupported, &wish.path, message, remedy));
            }
        }
    }
}

/// A bus of USB 2 alone takes no device of USB 1.
fn too_slow(layout: &Layout, wish: &Wish, findings: &mut Vec<Finding>) {
    if !matches!(wish.driver.as_str(), "usb-hub" | "usb-serial" | "usb-ccid" | "usb-net" | "usb-audio") {
        return;
    }
    let Some((bus, _)) = layout.usb.get(&wish.path) else { return };
    let mut parts = layout
        .controllers
        .iter()
        .filter(|c| c.kind == ControllerKind::Usb && c.index == Some(*bus))
        .filter_map(|c| c.model.as_deref());
    if parts.all(|model| matches!(model, "ehci" | "ich9-ehci1")) {
        let message = format!("'{}' is slower than anything that the USB bus {bus} takes", wish.driver);
        let remedy = "put it on a bus of <controller type='usb' model='qemu-xhci'/>";
        findings.push(finding(Severity::Unsupported, &wish.path, message, remedy));
    }
}

fn is_given(wish: &Wish) -> bool {
    matches!(&wish.given, Some(Address::Usb { port, .. }) if !port.is_empty())
}

/// The ports of a hub at a place.
fn below(place: &(u32, String)) -> impl Iterator<Item = (u32, String)> + use<> {
    let (bus, port) = place.clone();
    (1..=HUB_PORTS).map(move |n| (bus, format!("{port}.{n}")))
}

/// The first free port, of the bus that the document names if it names one.
fn take(free: &mut Vec<(u32, String)>, wish: &Wish) -> Option<(u32, String)> {
    let bus = match &wish.given {
        Some(Address::Usb { bus, .. }) => Some(*bus),
        _ => None,
    };
    let at = free.iter().position(|(index, _)| bus.is_none_or(|b| b == *index))?;
    Some(free.remove(at))
}
