//! `<source>` of a disk on the network. Owns libvirt's words for protocols and hosts; must never connect.

use std::path::{Path, PathBuf};

use super::disk_secret::{Auth, auth};
use super::words::{YES_NO, words};
use crate::model::doc::{host_path, required};
use crate::xml::view::View;

/// `<source>` of `type='network'`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's attributes and elements")]
pub struct NetworkSource {
    pub protocol: Protocol,
    /// An export, a volume or a path, as the protocol has it.
    pub name: Option<String>,
    /// What follows `?` in a URL.
    pub query: Option<String>,
    pub tls: Option<bool>,
    pub tls_hostname: Option<String>,
    pub hosts: Vec<NetworkHost>,
    /// `<auth>` here or in the disk.
    pub auth: Option<Auth>,
    /// `<initiator><iqn name>` of iSCSI.
    pub initiator: Option<String>,
    /// `<snapshot name>` of RBD.
    pub snapshot: Option<String>,
    /// `<config file>` of RBD.
    pub config: Option<PathBuf>,
    /// `<ssl verify>`.
    pub ssl_verify: Option<bool>,
    /// `<cookies>`: names and values.
    pub cookies: Vec<(String, String)>,
    /// `<readahead size>` in bytes.
    pub readahead: Option<u64>,
    /// `<timeout seconds>`.
    pub timeout: Option<u64>,
    /// `<reconnect delay>` in seconds.
    pub reconnect_delay: Option<u32>,
    /// `<knownHosts path>` of SSH.
    pub known_hosts: Option<PathBuf>,
    /// `<identity>` of SSH or NFS.
    pub identity: Option<Identity>,
}

words! {
    /// `<source protocol>`.
    Protocol {
        Nbd = "nbd", Rbd = "rbd", Sheepdog = "sheepdog", Gluster = "gluster", Iscsi = "iscsi", Http = "http",
        Https = "https", Ftp = "ftp", Ftps = "ftps", Tftp = "tftp", Ssh = "ssh", Vxhs = "vxhs", Nfs = "nfs",
    }
}

impl Protocol {
    /// The port of its servers where none is given.
    pub fn port(self) -> u16 {
        match self {
            Self::Nbd => 10_809,
            Self::Rbd => 6789,
            Self::Sheepdog => 7000,
            Self::Gluster => 24_007,
            Self::Iscsi => 3260,
            Self::Http => 80,
            Self::Https => 443,
            Self::Ftp => 21,
            Self::Ftps => 990,
            Self::Tftp => 69,
            Self::Ssh => 22,
            Self::Vxhs => 9999,
            Self::Nfs => 2049,
        }
    }
}

/// `<host>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkHost {
    /// `@transport`, default tcp.
    pub transport: Transport,
    /// `@name`.
    pub name: String,
    /// `@port`; absent means the protocol's.
    pub port: Option<u16>,
    /// `@socket`, of transport unix.
    pub socket: Option<PathBuf>,
}

words! {
    /// `<host transport>`.
    Transport { Tcp = "tcp", Unix = "unix", Rdma = "rdma" }
}

/// `<identity>`: as whom a server is used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's attributes")]
pub struct Identity {
    pub user: Option<String>,
    pub group: Option<String>,
    pub username: Option<String>,
    pub keyfile: Option<PathBuf>,
    pub agentsock: Option<PathBuf>,
}

/// `<source>` of a device that another process on the host serves by vhost-user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VhostUserDisk {
    /// `@path` of the socket.
    pub path: PathBuf,
    /// `<reconnect>`: seconds between attempts; `None` where it is not enabled.
    pub reconnect: Option<u32>,
}

impl NetworkSource {
    /// The unix socket of an NBD server.
    pub fn socket(&self) -> Option<&Path> {
        let host = self.hosts.first().filter(|_| self.protocol == Protocol::Nbd)?;
        host.socket.as_deref()
    }

    /// As a URL, for people.
    pub fn shown(&self) -> String {
        let host = self.hosts.first().map_or("", |h| h.name.as_str());
        format!("{}://{host}/{}", self.protocol.as_str(), self.name.as_deref().unwrap_or(""))
    }

    /// `NAME=VALUE; …`, as HTTP has it.
    pub fn cookie_text(&self) -> Option<String> {
        let pairs: Vec<_> = self.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

pub(super) fn read(source: &View<'_>, disk: &View<'_>) -> Option<NetworkSource> {
    let protocol = source.one_of("protocol", Protocol::WORDS);
    let protocol = required(protocol, source, "protocol", "write nbd, iscsi, rbd or another");
    let name = source.filled("name").map(str::to_owned);
    if let (None, Some(protocol)) = (&name, protocol)
        && protocol != Protocol::Nbd
    {
        let message = format!("a disk on {} needs a name", protocol.as_str());
        source.error_at("name", message, "name the volume or the path on the server");
    }
    let child = |name: &str| source.child(name);
    let given = child("auth").or_else(|| disk.child("auth"));
    Some(NetworkSource {
        name,
        query: source.filled("query").map(str::to_owned),
        tls: source.one_of("tls", YES_NO),
        tls_hostname: source.filled("tlsHostname").map(str::to_owned),
        hosts: source.children("host").iter().filter_map(host).collect(),
        auth: given.and_then(|a| auth(&a)),
        initiator: child("initiator").and_then(|i| initiator(&i)),
        snapshot: child("snapshot").and_then(|s| s.filled("name").map(str::to_owned)),
        config: child("config").and_then(|c| host_path(&c, Some("file"))),
        ssl_verify: child("ssl").and_then(|s| s.one_of("verify", YES_NO)),
        cookies: child("cookies").map(|c| cookies(&c)).unwrap_or_default(),
        readahead: child("readahead").and_then(|r| r.parsed("size")),
        timeout: child("timeout").and_then(|t| t.parsed("seconds")),
        reconnect_delay: child("reconnect").and_then(|r| r.parsed("delay")),
        known_hosts: child("knownHosts").and_then(|k| host_path(&k, Some("path"))),
        identity: child("identity").map(|i| identity(&i)),
        protocol: protocol?,
    })
}

/// `<source>` of a disk of `type='vhostuser'`.
pub(super) fn vhost_user(view: &View<'_>) -> Option<VhostUserDisk> {
    required(view.one_of("type", &[("unix", ())]), view, "type", "write unix");
    view.one_of("mode", &[("client", ())]);
    required(view.filled("path"), view, "path", "give the path of the socket")?;
    let reconnect = view.child("reconnect");
    let enabled = reconnect.as_ref().and_then(|r| r.one_of("enabled", YES_NO));
    let timeout = reconnect.and_then(|r| r.parsed("timeout"));
    Some(VhostUserDisk {
        path: host_path(view, Some("path"))?,
        reconnect: timeout.filter(|_| enabled == Some(true)),
    })
}

fn initiator(view: &View<'_>) -> Option<String> {
    let iqn = view.child("iqn")?;
    required(iqn.filled("name"), &iqn, "name", "as iqn.2001-01.org.example:guest").map(str::to_owned)
}

/// `<host>` of a source on the network.
pub(super) fn host(view: &View<'_>) -> Option<NetworkHost> {
    let transport = view.one_of("transport", Transport::WORDS).unwrap_or(Transport::Tcp);
    let socket = host_path(view, Some("socket"));
    match transport {
        Transport::Unix if view.filled("socket").is_none() => {
            view.error_at("socket", "transport unix needs a socket", "give the path of the server's socket");
            return None;
        }
        Transport::Tcp | Transport::Rdma if view.filled("socket").is_some() => {
            let message = format!("transport {} has no socket", transport.as_str());
            view.error_at("socket", message, "write transport='unix'");
            return None;
        }
        Transport::Unix => socket.as_ref()?,
        Transport::Tcp | Transport::Rdma => {
            required(view.filled("name"), view, "name", "give a host name or an address")?;
            return Some(NetworkHost {
                transport,
                name: view.filled("name")?.to_owned(),
                port: view.parsed("port"),
                socket,
            });
        }
    };
    Some(NetworkHost { transport, name: view.filled("name").unwrap_or_default().into(), port: None, socket })
}

/// libvirt's rules: what HTTP could not carry may not stand.
fn cookies(view: &View<'_>) -> Vec<(String, String)> {
    let mut cookies: Vec<(String, String)> = Vec::new();
    for cookie in view.children("cookie") {
        let Some(name) = required(cookie.filled("name"), &cookie, "name", "give its name") else { continue };
        let value = cookie.text().into_owned();
        let in_name = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c);
        let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(&value);
        let in_value = |c: char| c.is_ascii_graphic() && !"\",;\\".contains(c);
        if !name.chars().all(in_name) {
            let message = format!("'{}' cannot name a cookie", name.escape_debug());
            cookie.error_at("name", message, "leave out white space and separators");
        } else if value.is_empty() || !inner.chars().all(in_value) {
            // The value is a secret: it is not shown.
            cookie.error(format!("the cookie '{name}' has a value that cannot be sent"), "");
        } else if cookies.iter().any(|(other, _)| other == name) {
            cookie.error_at("name", format!("the cookie '{name}' is there twice"), "leave one out");
        } else {
            cookies.push((name.to_owned(), value));
        }
    }
    if view.children("cookie").is_empty() {
        view.error("<cookies> has no <cookie>", "leave it out");
    }
    cookies
}

fn identity(view: &View<'_>) -> Identity {
    let text = |name: &str| view.filled(name).map(str::to_owned);
    Identity {
        user: text("user"),
        group: text("group"),
        username: text("username"),
        keyfile: host_path(view, Some("keyfile")),
        agentsock: host_path(view, Some("agentsock")),
    }
}
