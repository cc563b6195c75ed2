//! Records of `<dns>`.

use std::net::IpAddr;

use super::{Command, Result, Update, UpdateError, after, replace};
use crate::model::{DnsHost, NetworkDoc, SrvRecord};
use crate::xml::Element;

const HOST: &str = "DNS host";
const SRV: &str = "SRV record";
const TXT: &str = "TXT record";

impl Update<'_> {
    pub(super) fn dns_host(&self) -> Result<NetworkDoc> {
        self.must_be("host")?;
        let ip: Option<IpAddr> = self.parsed("ip")?;
        let names: Vec<String> =
            self.fragment.children_named("hostname").map(|n| n.text().trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            return Err(UpdateError::Incomplete("a <hostname> is empty".into()));
        }
        if ip.is_none() && (self.is_add() || names.is_empty()) {
            return Err(UpdateError::Incomplete("it needs the attribute 'ip'".into()));
        }
        // Addresses are told apart by it, and what is deleted may be named by one of its names instead.
        let by_name = self.command == Command::Delete;
        let matches = |host: &DnsHost| {
            ip == Some(host.ip) || (by_name && host.names.iter().any(|name| names.contains(name)))
        };
        let hosts = &self.doc.def().dns.hosts;
        let found: Vec<usize> = (0..hosts.len()).filter(|i| matches(&hosts[*i])).collect();
        match (self.command, found.as_slice()) {
            (Command::AddFirst | Command::AddLast, []) => self.add_record(),
            (Command::AddFirst | Command::AddLast, _) => {
                Err(UpdateError::Exists("a DNS host has the same address already".into()))
            }
            (_, []) => Err(UpdateError::NotFound(HOST)),
            (Command::Delete, [one]) => self.replace_record("host", *one, None),
            (Command::Modify, [one]) => self.replace_record("host", *one, Some(self.fragment.clone())),
            (_, _) => Err(UpdateError::Ambiguous(HOST)),
        }
    }

    pub(super) fn dns_txt(&self) -> Result<NetworkDoc> {
        self.must_be("txt")?;
        let Some(name) = self.attr("name") else {
            return Err(UpdateError::Incomplete("it needs the attribute 'name'".into()));
        };
        let found = self.doc.def().dns.txts.iter().position(|txt| txt.name == name);
        match (self.command, found) {
            (Command::AddFirst | Command::AddLast, None) => self.add_record(),
            (Command::AddFirst | Command::AddLast, Some(_)) => {
                Err(UpdateError::Exists(format!("there is a TXT record '{name}' already")))
            }
            (_, None) => Err(UpdateError::NotFound(TXT)),
            (Command::Delete, Some(at)) => self.replace_record("txt", at, None),
            (Command::Modify, Some(at)) => {
                let Some(value) = self.fragment.attr("value") else {
                    return Err(UpdateError::Incomplete("it needs the attribute 'value'".into()));
                };
                self.edited(|root| {
                    let dns = root.child_mut("dns").into_iter().flat_map(Element::children_mut);
                    if let Some(txt) = dns.filter(|e| e.name() == "txt").nth(at) {
                        txt.set_attr("value", value);
                    }
                })
            }
        }
    }

    pub(super) fn dns_srv(&self) -> Result<NetworkDoc> {
        self.must_be("srv")?;
        for attr in ["port", "priority", "weight"] {
            if self.attr(attr).is_some() && self.attr("target").is_none() {
                return Err(UpdateError::Incomplete(format!("{attr} means nothing without target")));
            }
        }
        // What the fragment leaves out matches anything, also where a record is to be added.
        let same = |attr: &str, value: Option<&str>| self.attr(attr).is_none_or(|given| Some(given) == value);
        let matches = |srv: &SrvRecord| {
            same("domain", srv.domain.as_deref())
                && same("service", Some(&srv.service))
                && same("protocol", Some(&srv.protocol))
                && same("target", srv.target.as_deref())
        };
        let srvs = &self.doc.def().dns.srvs;
        let found: Vec<usize> = (0..srvs.len()).filter(|i| matches(&srvs[*i])).collect();
        match (self.command, found.as_slice()) {
            (Command::AddFirst | Command::AddLast, []) => self.add_record(),
            (Command::AddFirst | Command::AddLast, _) => {
                Err(UpdateError::Exists("an SRV record says all of it already".into()))
            }
            (_, []) => Err(UpdateError::NotFound(SRV)),
            (Command::Delete, [one]) => self.replace_record("srv", *one, None),
            (Command::Modify, [one]) => self.replace_record("srv", *one, Some(self.fragment.clone())),
            (_, _) => Err(UpdateError::Ambiguous(SRV)),
        }
    }

    /// Puts the fragment into `<dns>`, which is made if need be, before the addresses.
    fn add_record(&self) -> Result<NetworkDoc> {
        self.edited(|root| {
            if root.child("dns").is_none() {
                let before = root.child_index("ip");
                let known = ["name", "uuid", "forward", "bridge", "mac", "domain"];
                let at = before.or_else(|| after(root, &known));
                root.insert(at.unwrap_or(0), Element::new("dns"));
            }
            if let Some(dns) = root.child_mut("dns") {
                self.insert(dns, &["forwarder", "txt", "srv", "host"]);
            }
        })
    }

    fn replace_record(&self, name: &str, n: usize, by: Option<Element>) -> Result<NetworkDoc> {
        self.edited(|root| {
            if let Some(dns) = root.child_mut("dns") {
                replace(dns, name, n, by);
            }
            let is_bare = |dns: &Element| dns.children().next().is_none() && dns.attrs().next().is_none();
            if let Some(index) = root.child_index("dns")
                && root.child("dns").is_some_and(is_bare)
            {
                root.remove_child(index);
            }
        })
    }
}
