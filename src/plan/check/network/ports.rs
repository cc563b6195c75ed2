//! What NICs get on a network: bandwidth, VLANs, virtual ports, portgroups. Must never know which NIC.

use super::super::Check;
use crate::model::{
    Bandwidth, ForwardMode, NetworkDef, Portgroup, Severity, VirtualPort, VirtualPortKind, Vlan,
};

/// All findings on `<bandwidth>`, `<vlan>`, `<virtualport>` and `<portgroup>`.
pub(super) fn check(check: &mut Check<'_, NetworkDef>, def: &NetworkDef) {
    let network = Settings {
        path: "/network",
        bandwidth: def.bandwidth.as_ref(),
        vlan: def.vlan.as_ref(),
        virtual_port: def.virtual_port.as_ref(),
    };
    settings(check, def, &network, def.virtual_port.as_ref());
    trust(check, def, "/network", def.trust_guest_rx_filters);
    for group in &def.portgroups {
        let of_group = Settings {
            path: &group.path,
            bandwidth: group.bandwidth.as_ref(),
            vlan: group.vlan.as_ref(),
            virtual_port: group.virtual_port.as_ref(),
        };
        // A group completes the virtual port of its network.
        let own = group.virtual_port.as_ref().filter(|port| port.kind.is_some());
        settings(check, def, &of_group, own.or(def.virtual_port.as_ref()));
        trust(check, def, &group.path, group.trust_guest_rx_filters);
    }
    let names = |g: &Portgroup| (format!("{}/@name", g.path), g.name.clone());
    check.unique("the name of a portgroup", def.portgroups.iter().map(names));
    let mut defaults = def.portgroups.iter().filter(|g| g.is_default);
    if let (Some(first), Some(second)) = (defaults.next(), defaults.next()) {
        let message = format!("'{}' is the default, as '{}' is", second.name, first.name);
        check.error(&format!("{}/@default", second.path), message, "one portgroup can be the default");
    }
}

struct Settings<'a> {
    path: &'a str,
    bandwidth: Option<&'a Bandwidth>,
    vlan: Option<&'a Vlan>,
    virtual_port: Option<&'a VirtualPort>,
}

/// `port` is what the NICs' virtual port comes to.
fn settings(
    check: &mut Check<'_, NetworkDef>,
    def: &NetworkDef,
    settings: &Settings<'_>,
    port: Option<&VirtualPort>,
) {
    let mode = def.forward.as_ref().map(|f| f.mode);
    let word = def.forward_mode();
    let place = |name: &str| format!("{}/{name}", settings.path);
    let rates = settings.bandwidth.filter(|b| b.inbound.is_some() || b.outbound.is_some());
    if rates.is_some() {
        let has_bridge = mode == Some(ForwardMode::Bridge) && def.bridge.name.is_some();
        if def.owns_bridge() || has_bridge {
            not_yet(check, &place("bandwidth"), "limit bandwidth");
        } else {
            let message = format!("bandwidth cannot be limited in forward mode '{word}'");
            check.error(&place("bandwidth"), message, "leave it out");
        }
    }
    if settings.vlan.is_some() {
        let kind = port.and_then(|p| p.kind);
        let possible = match mode {
            Some(ForwardMode::Hostdev | ForwardMode::Passthrough) => true,
            Some(ForwardMode::Bridge) => port.is_none() || kind == Some(VirtualPortKind::OpenVSwitch),
            _ => false,
        };
        if possible {
            not_yet(check, &place("vlan"), "tag frames");
        } else {
            let message = format!("ports of a network like this ({word}) cannot be in a VLAN");
            let remedy = "VLANs are possible on a bridge of the host, on Open vSwitch and on hostdev";
            check.error(&place("vlan"), message, remedy);
        }
    }
    if settings.virtual_port.is_some() {
        not_yet(check, &place("virtualport"), "speak to switches of another kind");
    }
}

fn not_yet(check: &mut Check<'_, NetworkDef>, path: &str, what: &str) {
    check.add(Severity::Unsupported, path, format!("Warren does not {what} yet"), "leave it out");
}

/// A bridge that learns hears of a guest's new address by itself.
fn trust(check: &mut Check<'_, NetworkDef>, def: &NetworkDef, path: &str, trusted: Option<bool>) {
    if trusted == Some(true) && def.owns_bridge() {
        let message = "it has no effect: the bridge takes any address of a guest's".to_owned();
        check.add(Severity::Warning, &format!("{path}/@trustGuestRxFilters"), message, "leave it out");
    }
}
