//! Reservations and ranges of `<ip><dhcp>`.

use std::net::IpAddr;

use super::{Command, Result, Update, UpdateError, replace};
use crate::model::{DhcpDef, DhcpHost, IpDef, Mac, NetworkDef, NetworkDoc};
use crate::xml::Element;

const HOST: &str = "reservation";
const RANGE: &str = "range";

impl Update<'_> {
    pub(super) fn dhcp_host(&self) -> Result<NetworkDoc> {
        self.must_be("host")?;
        let at = self.ip()?;
        let Some(ip) = self.doc.def().ips.get(at) else { return Err(UpdateError::NotFound("<ip>")) };
        let hosts = ip.dhcp.as_ref().map_or(&[][..], |dhcp| &dhcp.hosts);
        if self.command == Command::Delete {
            let found = self.host_to_delete(ip, hosts)?;
            return self.edited(|root| in_dhcp(root, at, |dhcp| replace(dhcp, "host", found, None)));
        }
        // Read where it will stand, so that a fragment that is not whole is refused.
        let added = self.edited(|root| in_dhcp(root, at, |dhcp| self.insert(dhcp, &["range"])))?;
        let read = added.def().ips.get(at).and_then(|ip| ip.dhcp.as_ref());
        let read = read.and_then(|dhcp| match self.command {
            Command::AddFirst => dhcp.hosts.first(),
            _ => dhcp.hosts.last(),
        });
        let Some(new) = read else { return Err(UpdateError::NotFound(HOST)) };
        if let Some(address) = new.ip.filter(|a| a.is_ipv6() != is_ipv6(ip)) {
            let message = format!("{address} is of another family than the <ip> it is reserved in");
            return Err(UpdateError::Incomplete(message));
        }
        let same = hosts.iter().position(|old| is_same(old, new));
        if self.command == Command::Modify {
            let found = same.ok_or(UpdateError::NotFound(HOST))?;
            let by = self.fragment.clone();
            return self.edited(|root| in_dhcp(root, at, |dhcp| replace(dhcp, "host", found, Some(by))));
        }
        only_dhcp_of_its_family(self.doc.def(), at)?;
        match same {
            Some(_) => {
                let message = "a reservation has the same mac, name or ip already".to_owned();
                Err(UpdateError::Exists(message))
            }
            None => Ok(added),
        }
    }

    /// All that the fragment says must be true of a reservation; one without a MAC may have any.
    fn host_to_delete(&self, ip: &IpDef, hosts: &[DhcpHost]) -> Result<usize> {
        let (mac, address): (Option<Mac>, Option<IpAddr>) = (self.parsed("mac")?, self.parsed("ip")?);
        let name = self.attr("name");
        if mac.is_none() && name.is_none() && address.is_none() {
            return Err(UpdateError::Incomplete("it needs mac, name or ip".into()));
        }
        if mac.is_some() && is_ipv6(ip) {
            return Err(UpdateError::Incomplete("in IPv6 a guest is not known by its MAC address".into()));
        }
        let matches = |host: &DhcpHost| {
            (mac.is_none() || host.mac.is_none() || host.mac == mac)
                && (name.is_none() || host.name.as_deref() == name)
                && (address.is_none() || host.ip == address)
        };
        hosts.iter().position(matches).ok_or(UpdateError::NotFound(HOST))
    }

    pub(super) fn dhcp_range(&self) -> Result<NetworkDoc> {
        self.must_be("range")?;
        let at = self.ip()?;
        self.cannot_modify("a range")?;
        let Some(ip) = self.doc.def().ips.get(at) else { return Err(UpdateError::NotFound("<ip>")) };
        let (start, end): (Option<IpAddr>, Option<IpAddr>) = (self.parsed("start")?, self.parsed("end")?);
        let (Some(start), Some(end)) = (start, end) else {
            return Err(UpdateError::Incomplete("it needs start and end".into()));
        };
        let ranges = ip.dhcp.as_ref().map_or(&[][..], |dhcp| &dhcp.ranges);
        let same = ranges.iter().position(|range| range.is_some_and(|r| (r.start, r.end) == (start, end)));
        if self.command == Command::Delete {
            let found = same.ok_or(UpdateError::NotFound(RANGE))?;
            return self.edited(|root| in_dhcp(root, at, |dhcp| replace(dhcp, "range", found, None)));
        }
        only_dhcp_of_its_family(self.doc.def(), at)?;
        if same.is_some() {
            return Err(UpdateError::Exists(format!("there is a range from {start} to {end} already")));
        }
        self.edited(|root| in_dhcp(root, at, |dhcp| self.insert(dhcp, &[])))
    }

    /// The number of the `<ip>` that is meant.
    fn ip(&self) -> Result<usize> {
        let ips = &self.doc.def().ips;
        if let Ok(index) = usize::try_from(self.index) {
            let missing = || UpdateError::NoParent(format!("the network has no <ip> number {index}"));
            return if index < ips.len() { Ok(index) } else { Err(missing()) };
        }
        let first = |is: fn(&IpDef) -> bool| ips.iter().position(is);
        first(serves_dhcp)
            .or_else(|| first(|ip| !is_ipv6(ip)))
            .or_else(|| first(|_| true))
            .ok_or_else(|| UpdateError::NoParent("the network has no <ip>".into()))
    }
}

fn is_ipv6(ip: &IpDef) -> bool {
    ip.net.is_some_and(|net| net.addr().is_ipv6())
}

fn serves_dhcp(ip: &IpDef) -> bool {
    ip.dhcp.as_ref().is_some_and(|DhcpDef { ranges, hosts, .. }| !ranges.is_empty() || !hosts.is_empty())
}

/// Whether both reserve for the same guest, or the same address.
fn is_same(old: &DhcpHost, new: &DhcpHost) -> bool {
    let same_mac = new.mac.is_some() && new.mac == old.mac;
    let same_name = new.name.is_some() && new.name == old.name;
    let same_ip = new.ip.is_some() && new.ip == old.ip;
    same_mac || same_name || same_ip
}

fn only_dhcp_of_its_family(def: &NetworkDef, at: usize) -> Result<()> {
    let Some(ip) = def.ips.get(at) else { return Ok(()) };
    let other =
        def.ips.iter().enumerate().find(|(i, o)| *i != at && is_ipv6(o) == is_ipv6(ip) && serves_dhcp(o));
    match other {
        Some((_, other)) => {
            let family = if is_ipv6(ip) { "IPv6" } else { "IPv4" };
            let message = format!("one {family} <ip> of a network has DHCP, and that is {}", other.path);
            Err(UpdateError::Exists(message))
        }
        None => Ok(()),
    }
}

/// Edits the `<dhcp>` of the `<ip>` number `at`, which is made if need be and goes when it is empty.
fn in_dhcp(root: &mut Element, at: usize, edit: impl FnOnce(&mut Element)) {
    let Some(ip) = root.children_mut().filter(|e| e.name() == "ip").nth(at) else { return };
    if ip.child("dhcp").is_none() {
        ip.append(Element::new("dhcp"));
    }
    if let Some(dhcp) = ip.child_mut("dhcp") {
        edit(dhcp);
    }
    if let Some(index) = ip.child_index("dhcp")
        && ip.child("dhcp").is_some_and(|dhcp| dhcp.children().next().is_none())
    {
        ip.remove_child(index);
    }
}
