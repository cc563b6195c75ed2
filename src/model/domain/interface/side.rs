//! `<ip>` and `<route>` of a NIC, of the guest's side and of the host's. Owns their words; must never judge
//! where they may stand.

use std::net::IpAddr;

use crate::model::doc::required;
use crate::xml::view::View;

/// `<ip>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NicAddress {
    /// `@address`.
    pub address: IpAddr,
    /// `@prefix`, in bits.
    pub prefix: Option<u8>,
    /// `@peer`: the address at the other end.
    pub peer: Option<IpAddr>,
}

/// `<route>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NicRoute {
    /// `@address` with `@prefix` or `@netmask`, where it leads to; without one, everywhere.
    pub to: IpAddr,
    /// In bits.
    pub prefix: u8,
    /// `@gateway`.
    pub gateway: IpAddr,
    /// `@metric`: the less, the better.
    pub metric: Option<u32>,
}

/// The addresses in an element, in order.
pub(super) fn addresses(view: &View<'_>) -> Vec<NicAddress> {
    view.children("ip").iter().filter_map(address).collect()
}

fn address(view: &View<'_>) -> Option<NicAddress> {
    let v6 = family(view);
    let address = required(view.parsed("address"), view, "address", "give an IP address")?;
    let prefix = view.parsed("prefix");
    let peer = view.parsed("peer");
    of_family(view, v6, address, "address")?;
    in_bits(view, prefix, address);
    Some(NicAddress { address, prefix, peer })
}

/// The routes in an element, in order.
pub(super) fn routes(view: &View<'_>) -> Vec<NicRoute> {
    view.children("route").iter().filter_map(route).collect()
}

fn route(view: &View<'_>) -> Option<NicRoute> {
    let v6 = family(view);
    let gateway: IpAddr = required(view.parsed("gateway"), view, "gateway", "give the address of a router")?;
    of_family(view, v6, gateway, "gateway")?;
    let to: Option<IpAddr> = view.parsed("address");
    let netmask: Option<IpAddr> = view.parsed("netmask");
    let prefix: Option<u8> = view.parsed("prefix");
    if netmask.is_some() && prefix.is_some() {
        view.error_at("netmask", "netmask and prefix say the same", "leave one of them out");
    }
    let bits = netmask.and_then(|mask| ipnet::ip_mask_to_prefix(mask).ok());
    if netmask.is_some() && bits.is_none() {
        view.error_at("netmask", "this is not a netmask", "as 255.255.0.0");
    }
    let prefix = prefix.or(bits);
    in_bits(view, prefix, gateway);
    let everywhere = if gateway.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    if let Some(to) = to {
        of_family(view, v6, to, "address")?;
    }
    let whole = if to.is_none_or(|to| to.is_unspecified()) { 0 } else { bits_of(gateway) };
    let metric = view.parsed("metric");
    Some(NicRoute { to: to.unwrap_or(everywhere), prefix: prefix.unwrap_or(whole), gateway, metric })
}

/// `@family`; libvirt takes an address of either where it is not said.
fn family(view: &View<'_>) -> Option<bool> {
    view.one_of("family", &[("ipv4", false), ("ipv6", true)])
}

fn of_family(view: &View<'_>, v6: Option<bool>, address: IpAddr, attr: &str) -> Option<()> {
    if v6.is_some_and(|v6| v6 != address.is_ipv6()) {
        view.error_at(
            attr,
            format!("{address} is not of that family"),
            "give family='ipv4' or 'ipv6' as it is",
        );
        return None;
    }
    Some(())
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn in_bits(view: &View<'_>, prefix: Option<u8>, address: IpAddr) {
    let most = bits_of(address);
    if let Some(prefix) = prefix.filter(|prefix| *prefix > most) {
        view.error_at(
            "prefix",
            format!("{prefix} is not a length in bits here"),
            format!("give 0 to {most}"),
        );
    }
}
