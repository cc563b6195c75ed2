//! Reads `<dns>` and `<domain>` of a network. Owns their words, and which texts may be names; must never
//! know how names are served.

use std::net::IpAddr;

use super::super::doc::required;
use super::YES_NO;
use crate::xml::view::View;

/// `<dns>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// `@enable`, default true.
    pub enable: bool,
    /// `@forwardPlainNames`, default true: whether names without a dot are asked upstream.
    pub forward_plain_names: bool,
    /// `<forwarder>` elements: who is asked upstream.
    pub forwarders: Vec<DnsForwarder>,
    /// `<txt>` elements.
    pub txts: Vec<TxtRecord>,
    /// `<srv>` elements.
    pub srvs: Vec<SrvRecord>,
    /// `<host>` elements.
    pub hosts: Vec<DnsHost>,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            enable: true,
            forward_plain_names: true,
            forwarders: Vec::new(),
            txts: Vec::new(),
            srvs: Vec::new(),
            hosts: Vec::new(),
        }
    }
}

/// `<forwarder domain addr port>`. Without a domain it is asked for all names; without an address the
/// domain's names are asked where the host asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsForwarder {
    /// `@addr`.
    pub addr: Option<IpAddr>,
    /// `@port` of `addr`; absent means 53.
    pub port: Option<u16>,
    /// `@domain`.
    pub domain: Option<String>,
}

/// `<txt name value>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxtRecord {
    /// `@name`, without space and comma.
    pub name: String,
    /// `@value`.
    pub value: String,
}

/// `<srv service protocol domain target port priority weight>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrvRecord {
    /// `@service`, without the underscore.
    pub service: String,
    /// `@protocol`, without the underscore.
    pub protocol: String,
    /// `@domain`; absent means the network's.
    pub domain: Option<String>,
    /// `@target`; absent or `.` means that the service is not offered.
    pub target: Option<String>,
    /// `@port`, default 1.
    pub port: Option<u16>,
    /// `@priority`, default 0.
    pub priority: Option<u16>,
    /// `@weight`, default 0.
    pub weight: Option<u16>,
}

/// `<host ip>` with its `<hostname>`s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsHost {
    /// `@ip`.
    pub ip: IpAddr,
    /// `<hostname>` elements; the first is what the address is resolved to.
    pub names: Vec<String>,
}

/// `<domain name localOnly register>` of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsDomain {
    /// `@name`.
    pub name: String,
    /// `@localOnly`: never asked upstream.
    pub local_only: bool,
    /// `@register`: the host's own resolver asks this network about the domain.
    pub register: bool,
}

/// The longest service of an SRV record, in bytes.
const MAX_SERVICE: usize = 482;

/// Labels of letters, digits, `-` and `_`, with dots between and perhaps one at the end: nothing that a
/// line of dnsmasq's configuration could take for something else.
pub fn is_dns_name(name: &str) -> bool {
    let label = |l: &str| {
        let ok = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && l.chars().all(ok)
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(label)
}

/// Remarks on a text that is no name. What could be taken for something else in dnsmasq's files is an error;
/// libvirt lets the rest pass, and dnsmasq does not start with it.
pub(super) fn judge_name(view: &View<'_>, attr: Option<&str>, name: &str) {
    if is_dns_name(name) {
        return;
    }
    let message = format!("'{}' is not a DNS name", name.escape_debug());
    let remedy = "letters, digits, '-' and '_' are possible, with dots between";
    let is_syntax = |c: char| c.is_control() || c.is_whitespace() || "\"#,/\\:[]=".contains(c);
    match (attr, name.is_empty() || name.contains(is_syntax)) {
        (Some(attr), true) => view.error_at(attr, message, remedy),
        (Some(attr), false) => view.unsupported_at(attr, message, remedy),
        (None, true) => view.error(message, remedy),
        (None, false) => view.unsupported(message, remedy),
    }
}

fn dns_name(view: &View<'_>, attr: &str) -> Option<String> {
    let name = view.filled(attr)?;
    judge_name(view, Some(attr), name);
    Some(name.to_owned())
}

/// `<domain>`; without a name it says nothing.
pub(super) fn domain(view: &View<'_>) -> Option<DnsDomain> {
    let local_only = view.one_of("localOnly", YES_NO).unwrap_or(false);
    let register = view.one_of("register", YES_NO).unwrap_or(false);
    if register && !local_only {
        let message = "only a domain that is this network's alone can be registered at the host";
        view.error_at("register", message, "add localOnly='yes'");
    }
    let name = dns_name(view, "name");
    if name.is_none() {
        view.warning_at("name", "a domain without a name has no effect", "give one like 'lab.example'");
    }
    Some(DnsDomain { name: name?, local_only, register })
}

/// `<dns>`.
pub(super) fn dns(view: &View<'_>) -> Dns {
    let dns = Dns {
        enable: view.one_of("enable", YES_NO).unwrap_or(true),
        forward_plain_names: view.one_of("forwardPlainNames", YES_NO).unwrap_or(true),
        forwarders: view.children("forwarder").iter().map(forwarder).collect(),
        txts: view.children("txt").iter().filter_map(txt).collect(),
        srvs: view.children("srv").iter().filter_map(srv).collect(),
        hosts: view.children("host").iter().filter_map(host).collect(),
    };
    let filled = view.element().children().any(|c| matches!(c.name(), "forwarder" | "txt" | "srv" | "host"));
    if !dns.enable && filled {
        view.error("DNS is switched off and has records all the same", "leave them out, or enable='no'");
    }
    dns
}

fn forwarder(view: &View<'_>) -> DnsForwarder {
    if view.filled("addr").is_none() && view.filled("domain").is_none() {
        view.error("the forwarder names neither a server nor a domain", "add addr or domain");
    }
    let port = view.parsed("port");
    if port == Some(0) {
        view.error_at("port", "there is no port 0", "give 1 to 65535");
    }
    let addr = view.parsed("addr");
    if port.is_some() && view.filled("addr").is_none() {
        view.warning_at("port", "a port without an address has no effect", "add addr");
    }
    DnsForwarder { addr, port: port.filter(|_| addr.is_some()), domain: dns_name(view, "domain") }
}

/// `<txt>`. Any text may be its value: it is written as one quoted word.
fn txt(view: &View<'_>) -> Option<TxtRecord> {
    let name = required(view.filled("name"), view, "name", "give the name of the record")?;
    judge_name(view, Some("name"), name);
    let value = required(view.attr("value"), view, "value", "give the text of the record")?;
    if value.chars().any(char::is_control) {
        view.error_at("value", "a control character cannot stand in a TXT record", "");
    }
    Some(TxtRecord { name: name.to_owned(), value: value.to_owned() })
}

fn srv(view: &View<'_>) -> Option<SrvRecord> {
    let word = |attr: &str, more: &str| {
        let value = required(view.filled(attr), view, attr, "a record has a service and a protocol")?;
        let known = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        if let Some(bad) = value.chars().find(|c| !known(*c)) {
            view.error_at(attr, format!("'{}' cannot stand in {attr}", bad.escape_debug()), "");
        }
        Some(value.to_owned())
    };
    let (service, protocol) = (word("service", "_-+/*"), word("protocol", "-+/"));
    if service.as_ref().is_some_and(|s| s.len() > MAX_SERVICE) {
        view.error_at("service", "the service is too long", format!("at most {MAX_SERVICE} bytes fit"));
    }
    let target = match view.filled("target") {
        Some(".") => Some(".".to_owned()),
        _ => dns_name(view, "target"),
    };
    for attr in ["port", "priority", "weight"] {
        if view.filled(attr).is_some() && view.filled("target").is_none() {
            view.error_at(attr, format!("{attr} means nothing without target"), "add target");
        }
    }
    let port = view.parsed("port");
    if port == Some(0) {
        view.error_at("port", "there is no port 0", "give 1 to 65535");
    }
    let (priority, weight) = (view.parsed("priority"), view.parsed("weight"));
    let domain = dns_name(view, "domain");
    Some(SrvRecord { service: service?, protocol: protocol?, domain, target, port, priority, weight })
}

fn host(view: &View<'_>) -> Option<DnsHost> {
    let ip = required(view.parsed("ip"), view, "ip", "give the address of the host");
    let names = view.children("hostname");
    if names.is_empty() {
        view.error("the host has no name", "add <hostname>");
    }
    let names = names.iter().map(|n| {
        let name = n.text();
        judge_name(n, None, &name);
        name.into_owned()
    });
    let names = names.collect();
    Some(DnsHost { ip: ip?, names })
}
