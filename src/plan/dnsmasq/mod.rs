//! From a network to dnsmasq's configuration.
//!
//! Owns what dnsmasq offers to the guests: addresses, names, routes, files. Must never say how dnsmasq is
//! run (user, process), and never let a value of the document become a line or an option of its own: names
//! are made of letters, digits, `.`, `-` and `_`, and what may hold more is quoted. The lines of
//! `<dnsmasq:options>` are the one hole, which is why a document needs a right of its own to have them.

mod dhcp;
mod names;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter, Write};
use std::net::IpAddr;
use std::path::Path;

use crate::model::NetworkDef;
use dhcp::Subnet;

pub(super) use names::reverse_zone;

/// The files beside the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// Where leases are kept.
    pub leases: &'a Path,
    /// Where [`Plan::hosts`] will be.
    pub hosts: &'a Path,
}

/// What dnsmasq is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The configuration.
    pub conf: String,
    /// The names of `<dns><host>`, in the format of `/etc/hosts`; empty where there are none.
    pub hosts: String,
}

impl Display for Plan {
    /// Both files in one text, for people.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.conf)?;
        self.hosts.lines().try_for_each(|line| writeln!(f, "# in the file of hosts: {line}"))
    }
}

/// The plan for `def` on `bridge`; `None` where there is nothing to serve: no address, or neither DHCP, DNS,
/// TFTP nor router advertisements. With `upstream`, names that are not the network's are asked only there;
/// otherwise at the servers of the host. Servers that the document names come before both.
pub fn plan(def: &NetworkDef, bridge: &str, files: &Files<'_>, upstream: Option<IpAddr>) -> Option<Plan> {
    if !is_needed(def) {
        return None;
    }
    let subnets: Vec<Subnet<'_>> = subnets(def).collect();
    let mut conf = Conf::default();
    conf.flag("strict-order");
    listen(&mut conf, bridge);
    names::resolution(&mut conf, def, upstream);
    if def.dns.enable {
        names::records(&mut conf, def);
    }
    tftp(&mut conf, &subnets);
    for subnet in &subnets {
        dhcp::addresses(&mut conf, subnet);
    }
    dhcp::options(&mut conf, def, &subnets, files.leases);
    let hosts = if def.dns.enable { names::hosts(def) } else { String::new() };
    if !hosts.is_empty() {
        conf.set("addn-hosts", quoted(&files.hosts.display().to_string()));
    }
    dhcp::advertisements(&mut conf, def, &subnets);
    // What somebody writes for dnsmasq itself has the last word.
    for line in def.dnsmasq_options.iter().filter(|line| !line.contains(char::is_control)) {
        conf.flag(line);
    }
    Some(Plan { conf: conf.0, hosts })
}

/// Whether there is something to serve.
pub fn is_needed(def: &NetworkDef) -> bool {
    let serves = |s: Subnet<'_>| {
        def.dns.enable || s.net.addr().is_ipv6() || s.serves_dhcp() || s.ip.tftp_root.is_some()
    };
    subnets(def).any(serves)
}

fn subnets(def: &NetworkDef) -> impl Iterator<Item = Subnet<'_>> {
    def.ips.iter().filter_map(Subnet::of)
}

/// Lines in the making.
#[derive(Default)]
struct Conf(String);

impl Conf {
    fn flag(&mut self, name: &str) {
        self.0.push_str(name);
        self.0.push('\n');
    }

    fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{name}={value}");
    }
}

/// Only on the bridge, as interfaces come and go, and never on an address of the host's.
fn listen(conf: &mut Conf, bridge: &str) {
    conf.set("except-interface", "lo");
    conf.flag("bind-dynamic");
    conf.set("interface", bridge);
    conf.set("pid-file", "");
    conf.set("log-facility", "-");
}

fn tftp(conf: &mut Conf, subnets: &[Subnet<'_>]) {
    let roots: Vec<&String> = subnets.iter().filter_map(|s| s.ip.tftp_root.as_ref()).collect();
    if !roots.is_empty() {
        conf.flag("enable-tftp");
    }
    for root in roots {
        conf.set("tftp-root", quoted(root));
    }
}

/// Any text as one value: quoted, so that neither space, comma nor `#` ends it.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            // The reader refuses them; a second line must not come of one all the same.
            c if c.is_control() => text.push('?'),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
