//! Judges a network's definition: what belongs together, what excludes each other, what cannot be run yet.
//!
//! Owns the rules that need more than one place of a network's document; [`ports`] has those on what NICs
//! get, [`subnets`] those on addresses. Must never look at the host or at other documents.

mod ports;
mod subnets;
#[cfg(test)]
mod tests;

use super::Check;
use crate::model::{
    Finding, Forward, ForwardMode, IfName, Mac, MacTableManager, NetworkDef, NetworkDoc, Severity,
};
use crate::plan::taps;

/// Everything there is to say about a network's document, with what was noticed while reading it.
/// Complete or not: what Warren chooses later is not missed.
pub fn network(doc: &NetworkDoc) -> Vec<Finding> {
    let mut check = Check::new(doc);
    let def = doc.def();
    if let Some(forward) = &def.forward {
        if forward.mode.owns_bridge() {
            ways_out(&mut check, def, forward);
        } else {
            host_network(&mut check, doc, forward);
        }
        pools(&mut check, forward);
    }
    if def.mac.is_some_and(Mac::is_multicast) {
        check.error("/network/mac/@address", "a bridge cannot have a multicast MAC address", "");
    }
    if def.owns_bridge() {
        bridge_name(&mut check, def);
        not_yet(&mut check, def);
    }
    ports::check(&mut check, def);
    subnets::check(&mut check, def);
    check.findings
}

/// What a bridge that Warren makes is called.
fn bridge_name(check: &mut Check<'_, NetworkDef>, def: &NetworkDef) {
    let Some(name) = def.bridge.name.as_ref().map(IfName::as_str).or(def.bridge.template.as_deref()) else {
        return;
    };
    let remedy = "choose another, or leave it out and Warren does";
    if name.starts_with(taps::GENERATED) {
        let message = format!("'{name}' is what Warren calls the interfaces of guests");
        check.error("/network/bridge/@name", message, remedy);
    } else if !taps::is_plain(&name.replace("%d", "0")) {
        let message = format!("'{name}' has more than letters, digits, '.', '_', '-' and '+'");
        check.error("/network/bridge/@name", message, remedy);
    }
}

/// Where packets leave, in the modes whose bridge is Warren's.
fn ways_out(check: &mut Check<'_, NetworkDef>, def: &NetworkDef, forward: &Forward) {
    let word = forward.mode.as_str();
    if forward.mode == ForwardMode::Open {
        if forward.dev.is_some() {
            let message = "an open network does not name a device to forward through";
            check.error("/network/forward/@dev", message, "leave dev out, or use mode='route'");
        }
    } else {
        if def.ips.is_empty() {
            let message = format!("a network of forward mode '{word}' needs an address");
            check.error("/network/forward/@mode", message, "add <ip>");
        }
        if forward.interfaces.len() > 1 {
            let message = "more than one way out is named";
            check.error("/network/forward/interface[2]", message, "leave one <interface>");
        }
    }
    if forward.pf.is_some() {
        let message = format!("a network of forward mode '{word}' has no pool of devices");
        check.add(Severity::Unsupported, "/network/forward/pf", message, "leave <pf> out");
    }
    if forward.managed || forward.driver.name.is_some() || forward.driver.model.is_some() {
        let place = if forward.managed { "@managed" } else { "driver" };
        let message = "it has an effect in forward mode 'hostdev' only".to_owned();
        check.add(Severity::Warning, &format!("/network/forward/{place}"), message, "leave it out");
    }
}

/// The modes in which NICs are on the host's own network, and what the host does then.
fn host_network(check: &mut Check<'_, NetworkDef>, doc: &NetworkDoc, forward: &Forward) {
    let (def, word) = (doc.def(), forward.mode.as_str());
    let message = format!("Warren does not run networks of forward mode '{word}' yet");
    let remedy = "nat, route and open are known, and no <forward> at all is an isolated network";
    check.add(Severity::Unsupported, "/network/forward/@mode", message, remedy);
    let dns = &def.dns;
    let given = [
        ("mac", def.mac.is_some()),
        ("ip", !def.ips.is_empty()),
        ("dns", !dns.txts.is_empty() || !dns.srvs.is_empty() || !dns.hosts.is_empty()),
        ("domain", def.domain.is_some()),
        ("mtu", def.mtu.is_some()),
    ];
    for (name, _) in given.iter().filter(|(_, given)| *given) {
        let message =
            format!("a network of forward mode '{word}' has no <{name}>: the host's network does that");
        check.error(&format!("/network/{name}"), message, "leave it out");
    }
    let bridge = doc.tree().root().child("bridge");
    let says = |attr: &str| bridge.and_then(|b| b.attr(attr)).is_some_and(|v| !v.is_empty());
    let stp = bridge.and_then(|b| b.attr("stp")).unwrap_or("off") != "off";
    let own = [("stp", stp), ("delay", def.bridge.delay > 0), ("zone", says("zone"))];
    let names = [("name", says("name")), ("macTableManager", says("macTableManager"))];
    let names = names.iter().filter(|_| forward.mode != ForwardMode::Bridge);
    for (attr, _) in own.iter().chain(names).filter(|(_, given)| *given) {
        let message = format!("a network of forward mode '{word}' makes no bridge that could have {attr}");
        check.error(&format!("/network/bridge/@{attr}"), message, "leave it out");
    }
    if forward.mode == ForwardMode::Bridge
        && says("name")
        && (!forward.interfaces.is_empty() || forward.pf.is_some())
    {
        let message = "NICs are put either on a bridge or on devices, and both are named";
        check.error("/network/bridge/@name", message, "leave <bridge> out, or the devices in <forward>");
    }
}

/// Of what the pool is made that ports are taken from.
fn pools(check: &mut Check<'_, NetworkDef>, forward: &Forward) {
    let word = forward.mode.as_str();
    let hostdev = forward.mode == ForwardMode::Hostdev;
    if hostdev && !forward.interfaces.is_empty() {
        let message = "a network of forward mode 'hostdev' lists devices by their PCI address";
        let place = if check.doc.tree().find("/network/forward/interface").is_some() {
            "/network/forward/interface"
        } else {
            "/network/forward/@dev"
        };
        check.error(place, message, "write <address type='pci'>, or <pf>");
    }
    if !hostdev && !forward.addresses.is_empty() && forward.interfaces.is_empty() {
        let message = format!("devices are listed by PCI address in forward mode 'hostdev', not in '{word}'");
        check.error("/network/forward/address", message, "write <interface dev>, or mode='hostdev'");
    }
    let kinds = [
        ("interface", !forward.interfaces.is_empty()),
        ("address", !forward.addresses.is_empty()),
        ("pf", forward.pf.is_some()),
    ];
    // What libvirt writes of an active network has the pool beside the device that it was found by.
    let mut given = kinds.iter().filter(|(_, given)| *given).map(|(name, _)| *name);
    if let Some(first) = given.next() {
        for other in given {
            let message = format!("<{other}> has no effect beside <{first}>: a pool is of one kind");
            check.add(Severity::Warning, &format!("/network/forward/{other}"), message, "leave it out");
        }
    }
    let mut seen = std::collections::HashSet::new();
    if let Some(twice) = forward.interfaces.iter().find(|dev| !seen.insert(dev.as_str())) {
        check.error("/network/forward/interface", format!("'{twice}' is listed twice"), "");
    }
    let addresses = forward.addresses.iter().map(ToString::to_string).enumerate();
    let several = forward.addresses.len() > 1;
    let place = |i: usize| if several { format!("[{}]", i + 1) } else { String::new() };
    let addresses = addresses.map(|(i, a)| (format!("/network/forward/address{}", place(i)), a));
    check.unique("a PCI address", addresses);
}

/// What Warren does not do yet, although it would change what is reached.
fn not_yet(check: &mut Check<'_, NetworkDef>, def: &NetworkDef) {
    let libvirt = def.bridge.mac_table_manager == Some(MacTableManager::Libvirt);
    let given = [
        (
            "bridge/@zone",
            def.bridge.zone.is_some(),
            "Warren does not put bridges into zones of firewalld yet",
        ),
        ("bridge/@macTableManager", libvirt, "Warren leaves it to the kernel to learn guests' addresses"),
        (
            "domain/@register",
            def.domain.as_ref().is_some_and(|d| d.register),
            "Warren does not tell the host's resolver about domains yet",
        ),
    ];
    for (place, _, message) in given.iter().filter(|(_, given, _)| *given) {
        let place = format!("/network/{place}");
        check.add(Severity::Unsupported, &place, (*message).to_owned(), "leave it out");
    }
}
