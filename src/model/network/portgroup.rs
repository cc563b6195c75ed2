//! Reads `<portgroup>`. Owns its words; must never know which NIC is in which.

use super::super::doc::required;
use super::super::shaping::{virtual_port, vlan};
use super::super::{Bandwidth, VirtualPort, Vlan};
use super::{YES_NO, bandwidth_without_floor};
use crate::xml::view::View;

/// `<portgroup>`: settings that NICs choose by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portgroup {
    /// Path of the element, for findings.
    pub path: String,
    /// `@name`.
    pub name: String,
    /// `@default`: for NICs that choose none.
    pub is_default: bool,
    /// `@trustGuestRxFilters`.
    pub trust_guest_rx_filters: Option<bool>,
    /// `<bandwidth>` of each port.
    pub bandwidth: Option<Bandwidth>,
    /// `<vlan>` of each port.
    pub vlan: Option<Vlan>,
    /// `<virtualport>`, completing the network's.
    pub virtual_port: Option<VirtualPort>,
}

/// `<portgroup>`; `None` with a remark where it has no name.
pub(super) fn portgroup(view: &View<'_>) -> Option<Portgroup> {
    let name = required(view.filled("name"), view, "name", "give the name that NICs choose it by");
    let default = view.attr("default").unwrap_or("no");
    let is_default = default.eq_ignore_ascii_case("yes");
    if !is_default && !default.eq_ignore_ascii_case("no") {
        view.warning_at("default", format!("'{default}' is read as no"), "write yes or no");
    }
    Some(Portgroup {
        path: view.path().to_owned(),
        is_default,
        trust_guest_rx_filters: view.one_of("trustGuestRxFilters", YES_NO),
        bandwidth: view.child("bandwidth").map(|b| bandwidth_without_floor(&b)),
        vlan: view.child("vlan").and_then(|v| vlan(&v)),
        virtual_port: view.child("virtualport").map(|v| virtual_port(&v)),
        name: name?.to_owned(),
    })
}
