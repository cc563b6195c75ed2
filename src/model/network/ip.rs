//! Reads `<ip>` and `<route>`. Owns their words and the default length of a prefix; must never judge one
//! against another.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::doc::required;
use super::{DhcpDef, YES_NO, dhcp};
use crate::xml::view::View;

/// One `<ip>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpDef {
    /// Path of the element, for findings.
    pub path: String,
    /// The host's address with its prefix length; `None` where `address` is empty: Warren chooses.
    pub net: Option<IpNet>,
    /// `@localPtr`: addresses of the subnet are never asked for upstream.
    pub local_ptr: bool,
    /// `<tftp root>`: a directory of the host whose files guests may read; IPv4 only.
    pub tftp_root: Option<String>,
    /// `<dhcp>`.
    pub dhcp: Option<DhcpDef>,
}

/// One `<route>`: what is reached through a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDef {
    /// Path of the element, for findings.
    pub path: String,
    /// `@address` with its length: where to.
    pub dst: IpNet,
    /// `@gateway`: through whom.
    pub gateway: IpAddr,
    /// `@metric`, from 1: the smaller, the rather. Absent means 1.
    pub metric: Option<u32>,
}

const FAMILIES: &[(&str, u8)] = &[("ipv4", 4), ("ipv6", 6)];

/// `<ip>`.
pub(super) fn ip(view: &View<'_>) -> IpDef {
    let family = view.one_of("family", FAMILIES);
    let address: Option<IpAddr> = view.parsed("address");
    let net = match address {
        Some(address) => ip_net(view, address, family),
        None => {
            free_net(view, family);
            None
        }
    };
    let is_ipv6 = address.is_some_and(|a| a.is_ipv6());
    IpDef {
        path: view.path().to_owned(),
        net,
        local_ptr: view.one_of("localPtr", YES_NO).unwrap_or(false),
        tftp_root: view.child("tftp").and_then(|t| tftp_root(&t, is_ipv6)),
        dhcp: view.child("dhcp").map(|d| dhcp::dhcp(&d, is_ipv6)),
    }
}

/// What may stand beside an address that Warren chooses: it chooses an IPv4 /24.
fn free_net(view: &View<'_>, family: Option<u8>) {
    let remedy = "give the address, or leave family, netmask and prefix out";
    if family == Some(6) {
        view.error_at("address", "an IPv6 address is not chosen by Warren", remedy);
    }
    for (attr, only) in [("netmask", "255.255.255.0"), ("prefix", "24")] {
        if view.filled(attr).is_some_and(|v| v != only) {
            view.error_at(attr, "where Warren chooses the address, the subnet is a /24", remedy);
        }
    }
}

fn ip_net(view: &View<'_>, address: IpAddr, family: Option<u8>) -> Option<IpNet> {
    match (address, family) {
        (IpAddr::V4(_), Some(6)) => {
            view.error_at("family", format!("{address} is not an IPv6 address"), "");
        }
        (IpAddr::V6(_), Some(4)) => {
            view.error_at("family", format!("{address} is not an IPv4 address"), "");
        }
        // libvirt's rule: without a family it is IPv4.
        (IpAddr::V6(_), None) => {
            view.error_at("family", format!("{address} is an IPv6 address"), "add family='ipv6'");
        }
        _ => {}
    }
    let netmask: Option<IpAddr> = view.parsed("netmask");
    // A prefix of 0 is none at all.
    let prefix: Option<u8> = view.parsed("prefix").filter(|p| *p > 0);
    if netmask.is_some() && prefix.is_some() {
        view.error_at("netmask", "both netmask and prefix are given", "leave one out");
        return None;
    }
    if let Some(mask) = netmask {
        return with_netmask(view, address, mask);
    }
    let has_zero = view.filled("prefix").is_some_and(|p| p.bytes().all(|b| b == b'0'));
    if view.filled("netmask").is_some() || (prefix.is_none() && view.filled("prefix").is_some() && !has_zero)
    {
        return None;
    }
    let prefix = prefix.unwrap_or_else(|| default_prefix(address));
    let net = IpNet::new(address, prefix).ok();
    if net.is_none() {
        view.error_at("prefix", format!("{address} cannot have a prefix of {prefix} bits"), "");
    }
    net
}

fn with_netmask(view: &View<'_>, address: IpAddr, mask: IpAddr) -> Option<IpNet> {
    let net = IpNet::with_netmask(address, mask).ok().filter(|_| address.is_ipv4());
    if net.is_none() {
        let remedy = if address.is_ipv4() { "write it like 255.255.255.0" } else { "give a prefix" };
        view.error_at("netmask", format!("{mask} is not a netmask for {address}"), remedy);
    }
    net
}

/// libvirt's rule: the address class of old, and 64 bits in IPv6.
fn default_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(a) if a.octets()[0] < 128 => 8,
        IpAddr::V4(a) if a.octets()[0] < 192 => 16,
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 64,
    }
}

fn tftp_root(view: &View<'_>, is_ipv6: bool) -> Option<String> {
    if is_ipv6 {
        view.error("<tftp> belongs to an IPv4 <ip>", "move it there");
    }
    let Some(root) = view.filled("root") else {
        view.warning("<tftp> without root has no effect", "give the directory");
        return None;
    };
    if root.chars().any(char::is_control) {
        view.error_at("root", format!("'{}' is not a directory", root.escape_debug()), "");
    } else if !root.starts_with('/') {
        let message = format!("the directory '{root}' is not absolute");
        view.unsupported_at("root", message, "write the whole path, from /");
    }
    Some(root.to_owned())
}

/// `<route>`; `None` with a remark that says what is wrong.
pub(super) fn route(view: &View<'_>) -> Option<RouteDef> {
    let family = view.one_of("family", FAMILIES);
    let address: Option<IpAddr> = required(view.parsed("address"), view, "address", "say where it leads");
    let gateway: Option<IpAddr> =
        required(view.parsed("gateway"), view, "gateway", "give the address of a guest");
    let metric: Option<u32> = view.parsed("metric");
    if metric == Some(0) {
        view.error_at("metric", "a metric begins at 1", "give 1 or more");
    }
    let (address, gateway) = (address?, gateway?);
    let wants_ipv6 = family == Some(6);
    for (attr, given) in [("address", address), ("gateway", gateway)] {
        if given.is_ipv6() != wants_ipv6 {
            let word = if wants_ipv6 { "IPv6" } else { "IPv4" };
            let remedy = if wants_ipv6 { "" } else { "add family='ipv6', if that is meant" };
            view.error_at(attr, format!("{given} is not an {word} address"), remedy);
            return None;
        }
    }
    let (netmask, prefix): (Option<IpAddr>, Option<u8>) = (view.parsed("netmask"), view.parsed("prefix"));
    let dst = match (netmask, prefix) {
        (Some(_), Some(_)) => {
            view.error_at("netmask", "both netmask and prefix are given", "leave one out");
            return None;
        }
        (Some(mask), None) => with_netmask(view, address, mask)?,
        // Without a length it is a default route.
        (None, prefix) => {
            let prefix = prefix.unwrap_or(0);
            let dst = IpNet::new(address, prefix).ok();
            if dst.is_none() {
                let message = format!("{address} cannot have a prefix of {prefix} bits");
                view.error_at("prefix", message, "");
            }
            dst?
        }
    };
    if dst != dst.trunc() {
        let message = format!("{address} is not the address of a network of {} bits", dst.prefix_len());
        view.error_at("address", message, format!("write {}", dst.network()));
    }
    Some(RouteDef { path: view.path().to_owned(), dst, gateway, metric })
}
