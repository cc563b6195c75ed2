//! `<backend>` and `<portForward>` of a NIC: who carries its traffic on the host. Owns their words; must
//! never know how passt is told.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::model::IfName;
use crate::model::doc::{host_path, required};
use crate::xml::view::View;

/// `<backend>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NicBackend {
    /// `@type='passt'`: a process of its own in the place of QEMU's user-mode network.
    pub passt: Option<PasstBackend>,
    /// `@tap`: the device that TAPs are made with, in place of `/dev/net/tun`.
    pub tap: Option<PathBuf>,
    /// `@vhost`: the device of the kernel's virtio, in place of `/dev/vhost-net`.
    pub vhost: Option<PathBuf>,
}

/// What `<backend type='passt'>` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PasstBackend {
    /// `@logFile`.
    pub log_file: Option<PathBuf>,
    /// `@hostname`: told to the guest by DHCP.
    pub hostname: Option<String>,
    /// `@fqdn`: told to the guest by DHCP.
    pub fqdn: Option<String>,
}

/// `<portForward>`: ports of the host that lead to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortForward {
    /// Path of the element, for findings.
    pub path: String,
    /// `@proto`: UDP, else TCP.
    pub udp: bool,
    /// `@address` of the host; absent: all.
    pub address: Option<IpAddr>,
    /// `@dev` of the host; absent: all.
    pub dev: Option<IfName>,
    /// `<range>`; none: all ports.
    pub ranges: Vec<PortRange>,
}

/// `<range>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// `@start`.
    pub start: u16,
    /// `@end`, that of `start` where it is not said.
    pub end: u16,
    /// `@to`: the guest's port for `start`, the same where it is not said.
    pub to: u16,
    /// `@exclude`: these do not lead to the guest.
    pub exclude: bool,
}

/// `<backend>` of an `<interface>`.
pub(super) fn backend(view: &View<'_>) -> NicBackend {
    let Some(view) = view.child("backend") else { return NicBackend::default() };
    let passt = view.one_of("type", &[("default", false), ("passt", true)]) == Some(true);
    let told = PasstBackend {
        log_file: host_path(&view, Some("logFile")),
        hostname: view.filled("hostname").map(str::to_owned),
        fqdn: view.filled("fqdn").map(str::to_owned),
    };
    if !passt {
        for attr in ["logFile", "hostname", "fqdn"] {
            if view.filled(attr).is_some() {
                view.error_at(
                    attr,
                    format!("only passt has '{attr}'"),
                    "write type='passt', or leave it out",
                );
            }
        }
    }
    NicBackend {
        passt: passt.then_some(told),
        tap: host_path(&view, Some("tap")),
        vhost: host_path(&view, Some("vhost")),
    }
}

/// All `<portForward>` of an `<interface>`.
pub(super) fn forwards(view: &View<'_>) -> Vec<PortForward> {
    view.children("portForward").iter().filter_map(forward).collect()
}

fn forward(view: &View<'_>) -> Option<PortForward> {
    let ranges = view.children("range").iter().filter_map(range).collect();
    let (address, dev) = (view.parsed("address"), view.parsed("dev"));
    let udp =
        required(view.one_of("proto", &[("tcp", false), ("udp", true)]), view, "proto", "give tcp or udp")?;
    Some(PortForward { path: view.path().to_owned(), udp, address, dev, ranges })
}

fn range(view: &View<'_>) -> Option<PortRange> {
    let exclude = view.yes_no("exclude") == Some(true);
    let (end, to) = (view.parsed("end"), view.parsed("to"));
    let start: u16 = required(view.parsed("start"), view, "start", "give a port, 1 to 65535")?;
    let end = end.unwrap_or(start);
    if end < start {
        view.error_at(
            "end",
            format!("the range begins at {start} and ends before it"),
            "exchange start and end",
        );
        return None;
    }
    if exclude && to.is_some() {
        view.error_at("to", "ports that are left out lead nowhere", "leave to out");
    }
    let to: u16 = to.unwrap_or(start);
    if to.checked_add(end - start).is_none() {
        view.error_at("to", "the guest has no ports beyond 65535", "begin at a lower one");
        return None;
    }
    Some(PortRange { start, end, to, exclude })
}
