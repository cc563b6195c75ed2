//! Names: whom dnsmasq asks, and what it knows itself. Must never write a name that is none.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Conf, quoted};
use crate::model::{DnsForwarder, NetworkDef, SrvRecord, TxtRecord, is_dns_name};

/// Where names are asked for, and which never leave the network.
pub(super) fn resolution(conf: &mut Conf, def: &NetworkDef, upstream: Option<IpAddr>) {
    let dns = &def.dns;
    if !dns.enable {
        conf.set("port", 0);
    }
    let isolated = def.forward.is_none();
    let forwarders = if dns.enable { dns.forwarders.as_slice() } else { &[] };
    for server in forwarders.iter().filter_map(server) {
        conf.set("server", server);
    }
    // A server for all names: nobody else is asked.
    let answered = forwarders.iter().any(|f| f.addr.is_some() && f.domain.is_none());
    if isolated || answered || upstream.is_some() {
        conf.flag("no-resolv");
    }
    if let Some(server) = upstream.filter(|_| !isolated && !answered) {
        conf.set("server", server);
    }
    if let Some(domain) = &def.domain
        && is_dns_name(&domain.name)
    {
        if domain.local_only {
            conf.set("local", format_args!("/{}/", domain.name));
        }
        conf.set("domain", &domain.name);
        conf.flag("expand-hosts");
    }
    if dns.enable {
        let local = def.ips.iter().filter(|ip| ip.local_ptr).filter_map(|ip| reverse_zone(ip.net?));
        local.for_each(|zone| conf.set("local", format_args!("/{zone}/")));
        if !dns.forward_plain_names {
            conf.flag("domain-needed");
            conf.set("local", "//");
        }
    }
}

/// The value of `server` for one `<forwarder>`; `#` is whoever is asked otherwise.
fn server(forwarder: &DnsForwarder) -> Option<String> {
    let mut value = String::new();
    match &forwarder.domain {
        Some(domain) if is_dns_name(domain) => value = format!("/{domain}/"),
        Some(_) => return None,
        None => {}
    }
    match (forwarder.addr, forwarder.port) {
        (Some(addr), Some(port)) => value.push_str(&format!("{addr}#{port}")),
        (Some(addr), None) => value.push_str(&addr.to_string()),
        (None, _) => value.push('#'),
    }
    Some(value)
}

/// The zone in which the addresses of a subnet are looked up; `None` where the length of its prefix does not
/// end with a label of that zone.
pub(in crate::plan) fn reverse_zone(net: IpNet) -> Option<String> {
    let length = usize::from(net.prefix_len());
    if length == 0 || length >= usize::from(net.max_prefix_len()) {
        return None;
    }
    let (labels, tail): (Vec<String>, _) = match net.network() {
        IpAddr::V4(a) if length % 8 == 0 => {
            (a.octets()[..length / 8].iter().map(u8::to_string).collect(), "in-addr.arpa")
        }
        IpAddr::V6(a) if length % 4 == 0 => {
            let digits = a.octets().into_iter().flat_map(|b| [b >> 4, b & 15]);
            (digits.take(length / 4).map(|d| format!("{d:x}")).collect(), "ip6.arpa")
        }
        _ => return None,
    };
    Some(labels.iter().rev().map(String::as_str).chain([tail]).collect::<Vec<_>>().join("."))
}

/// `<txt>` and `<srv>`.
pub(super) fn records(conf: &mut Conf, def: &NetworkDef) {
    for record in def.dns.txts.iter().filter(|t| is_dns_name(&t.name)) {
        conf.set("txt-record", txt(record));
    }
    for record in def.dns.srvs.iter().filter_map(srv) {
        conf.set("srv-host", record);
    }
}

/// As dnsmasq reads a line, a comma ends a string of the record unless it stands in quotes.
fn txt(record: &TxtRecord) -> String {
    let mut strings = vec![String::new()];
    let mut in_quotes = false;
    for c in record.value.chars() {
        match (c, strings.last_mut()) {
            ('"', _) => in_quotes = !in_quotes,
            (',', _) if !in_quotes => strings.push(String::new()),
            (c, Some(last)) => last.push(c),
            (_, None) => {}
        }
    }
    let strings: Vec<String> = strings.iter().map(|s| quoted(s)).collect();
    format!("{},{}", record.name, strings.join(","))
}

/// What is left out at the end is left to dnsmasq; what is left out before something given gets the default.
fn srv(record: &SrvRecord) -> Option<String> {
    let is_word = |w: &String| w.chars().all(|c| c.is_ascii_alphanumeric() || "_-+/*".contains(c));
    if !is_word(&record.service) || !is_word(&record.protocol) {
        return None;
    }
    let mut value = format!("_{}._{}", record.service, record.protocol);
    if let Some(domain) = record.domain.as_deref().filter(|d| is_dns_name(d)) {
        let _ = write!(value, ".{domain}");
    }
    // Without a target, or with ".", the service is told to be not there.
    let Some(target) = record.target.as_deref().filter(|t| is_dns_name(t)) else { return Some(value) };
    let _ = write!(value, ",{target}");
    let numbers = [record.port, record.priority, record.weight];
    let given = numbers.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    for (number, default) in numbers.iter().zip([1, 0, 0]).take(given) {
        let _ = write!(value, ",{}", number.unwrap_or(default));
    }
    Some(value)
}

/// `<host>` in the format of `/etc/hosts`.
pub(super) fn hosts(def: &NetworkDef) -> String {
    let mut text = String::new();
    for host in &def.dns.hosts {
        let names: Vec<&str> = host.names.iter().map(String::as_str).filter(|n| is_dns_name(n)).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "{}\t{}", host.ip, names.join("\t"));
        }
    }
    text
}
