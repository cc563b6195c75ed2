//! Reads `<dhcp>`: ranges, reservations, the boot file. Owns their words; must never judge what lies in
//! which subnet.

use std::net::IpAddr;

use super::super::Mac;
use super::super::doc::required;
use super::dns::judge_name;
use crate::xml::view::View;

/// `<dhcp>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DhcpDef {
    /// `<range>` elements; `None` where start and end are empty: Warren chooses.
    pub ranges: Vec<Option<DhcpRange>>,
    /// `<host>` elements.
    pub hosts: Vec<DhcpHost>,
    /// `<bootp>`: what guests boot from; IPv4 only.
    pub bootp: Option<Bootp>,
}

/// `<range start end>`, both inside the subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DhcpRange {
    /// First address.
    pub start: IpAddr,
    /// Last address.
    pub end: IpAddr,
    /// `<lease>`; absent means dnsmasq's hour.
    pub lease: Option<LeaseTime>,
}

/// `<host mac id name ip>`: a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpHost {
    /// `@mac`, IPv4 only.
    pub mac: Option<Mac>,
    /// `@id`: a DHCPv6 unique identifier, as `0:3:0:1:52:54:…`; IPv6 only.
    pub id: Option<String>,
    /// `@name`: identifies the guest where nothing else does, and is given to it.
    pub name: Option<String>,
    /// `@ip`.
    pub ip: Option<IpAddr>,
    /// `<lease>`.
    pub lease: Option<LeaseTime>,
}

/// `<lease expiry unit>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseTime {
    /// `expiry='0'`.
    Infinite,
    /// So many of the unit; two minutes at least.
    Of(u64, LeaseUnit),
}

/// `<lease unit>`, default minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LeaseUnit {
    Seconds,
    Minutes,
    Hours,
}

const UNITS: &[(&str, LeaseUnit)] =
    &[("seconds", LeaseUnit::Seconds), ("minutes", LeaseUnit::Minutes), ("hours", LeaseUnit::Hours)];

/// `<bootp file server>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootp {
    /// `@file`: its name at the server.
    pub file: String,
    /// `@server`; absent means the host.
    pub server: Option<IpAddr>,
}

/// `<dhcp>` of an `<ip>` of that family.
pub(super) fn dhcp(view: &View<'_>, is_ipv6: bool) -> DhcpDef {
    let bootp = view.child("bootp").and_then(|b| {
        let read = bootp(&b);
        if is_ipv6 {
            b.warning("<bootp> has no effect in IPv6", "leave it out");
            return None;
        }
        read
    });
    DhcpDef {
        ranges: view.children("range").iter().filter_map(range).collect(),
        hosts: view.children("host").iter().filter_map(|h| host(h, is_ipv6)).collect(),
        bootp,
    }
}

/// The outer `Option` is whether it can be read, the inner one whether it is given.
fn range(view: &View<'_>) -> Option<Option<DhcpRange>> {
    let remedy = "give both start and end, or neither to let Warren choose";
    let lease = view.child("lease").and_then(|l| lease(&l));
    match (view.filled("start"), view.filled("end")) {
        (None, None) => {
            if lease.is_some() {
                let message = "a range that Warren chooses has no lease time of its own yet";
                view.unsupported(message, "give start and end");
            }
            Some(None)
        }
        (Some(_), Some(_)) => {
            let (start, end) = (view.parsed("start"), view.parsed("end"));
            Some(Some(DhcpRange { start: start?, end: end?, lease }))
        }
        (start, _) => {
            let attr = if start.is_some() { "end" } else { "start" };
            view.error_at(attr, format!("the range has no {attr}"), remedy);
            None
        }
    }
}

fn host(view: &View<'_>, is_ipv6: bool) -> Option<DhcpHost> {
    let host = DhcpHost {
        mac: view.parsed("mac"),
        id: view.filled("id").map(str::to_owned),
        name: view.filled("name").map(str::to_owned),
        ip: view.parsed("ip"),
        lease: view.child("lease").and_then(|l| lease(&l)),
    };
    match host.name.as_deref() {
        Some(name) if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
            let message = format!("'{}' is not a host name", name.escape_debug());
            view.error_at("name", message, "begin it with a letter or a digit");
        }
        Some(name) => judge_name(view, Some("name"), name),
        None => {}
    }
    if let Some(id) = &host.id
        && !id.chars().all(|c| c.is_ascii_hexdigit() || c == ':')
    {
        let message = format!("'{}' is not a client's identifier", id.escape_debug());
        view.error_at("id", message, "write it like 0:3:0:1:52:54:0:12:34:56");
    }
    let has = |attr: &str| view.filled(attr).is_some();
    if is_ipv6 && has("mac") {
        view.error_at("mac", "in IPv6 a guest is not known by its MAC address", "write id or name instead");
    }
    if !is_ipv6 && has("id") {
        view.warning_at("id", "in IPv4 a guest is not known by an identifier: id has no effect", "");
    }
    if is_ipv6 && !has("id") && !has("name") {
        view.error("the reservation names no host", "add id or name");
    } else if !is_ipv6 && !has("mac") && !has("name") {
        view.error("the reservation names no host", "add mac or name");
    }
    required(host.ip, view, "ip", "give the address that is reserved");
    Some(host)
}

/// `<lease>`; without expiry it says nothing.
fn lease(view: &View<'_>) -> Option<LeaseTime> {
    let unit = view.one_of("unit", UNITS).unwrap_or(LeaseUnit::Minutes);
    let expiry: u64 = view.parsed("expiry")?;
    let too_short = match unit {
        LeaseUnit::Seconds => expiry < 120,
        LeaseUnit::Minutes => expiry < 2,
        LeaseUnit::Hours => false,
    };
    match expiry {
        0 => Some(LeaseTime::Infinite),
        _ if too_short => {
            let message = "a lease is at least two minutes long";
            view.error_at("expiry", message, "give more, or 0 for a lease that never ends");
            None
        }
        _ => Some(LeaseTime::Of(expiry, unit)),
    }
}

fn bootp(view: &View<'_>) -> Option<Bootp> {
    let file = required(view.filled("file"), view, "file", "give the name of the boot file")?;
    if file.chars().any(char::is_control) {
        view.error_at("file", format!("'{}' is not the name of a file", file.escape_debug()), "");
    }
    Some(Bootp { file: file.to_owned(), server: view.parsed("server") })
}
