//! A place for links: the host's network namespace, or the nethost's.
//!
//! Owns the difference between the two, so that whoever makes bridges, TAPs and rules need not know it.
//! Must never enter another namespace itself: sockets and TAPs are handed over, children enter.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::nethost::NethostClient;
use super::netlink::{Netlink, NetlinkError};
use super::tap::{self, Tap, TapError};

/// Why a kernel setting was not read or made.
#[derive(Debug, thiserror::Error)]
#[error("the kernel setting '{key}'")]
pub struct SysctlError {
    /// As below `/proc/sys`.
    pub key: String,
    #[source]
    source: io::Error,
}

impl SysctlError {
    /// Whether there is no such setting: its interface is gone, or the kernel does not have it.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// A network namespace. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NetSpace {
    nethost: Option<Arc<NethostClient>>,
}

impl NetSpace {
    /// The namespace that the daemon is in.
    pub fn host() -> Self {
        Self { nethost: None }
    }

    /// The namespace that a nethost keeps.
    pub(super) fn of_nethost(client: Arc<NethostClient>) -> Self {
        Self { nethost: Some(client) }
    }

    /// Whether it is the daemon's own.
    pub fn is_host(&self) -> bool {
        self.nethost.is_none()
    }

    /// User and network namespace, for a child to enter; `None` on the host.
    pub(super) fn namespaces(&self) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
        let Some(nethost) = &self.nethost else { return Ok(None) };
        let (user, net) = nethost.namespaces()?;
        Ok(Some((user.into(), net.into())))
    }

    /// A connection to the kernel's routing netlink in it.
    pub async fn netlink(&self) -> Result<Netlink, NetlinkError> {
        let socket = match &self.nethost {
            Some(nethost) => nethost.netlink_socket().await.map_err(NetlinkError::Socket)?,
            None => open_netlink().map_err(NetlinkError::Socket)?,
        };
        Netlink::over(socket)
    }

    /// Makes a TAP in it; see [`tap::open`].
    pub async fn open_tap(&self, name: &str, vnet_hdr: bool) -> Result<Tap, TapError> {
        let opened = match &self.nethost {
            Some(nethost) => nethost.tap(name, vnet_hdr).await.map(|(fd, name)| Tap { fd, name }),
            None => tap::open(name, vnet_hdr),
        };
        opened.map_err(|source| tap::explain(name, source))
    }

    /// A queue of a TAP in it; see [`tap::open_queue`].
    pub async fn open_queue(&self, name: &str, first: bool) -> Result<Tap, TapError> {
        let opened = match &self.nethost {
            Some(nethost) => nethost.tap_queue(name, first).await.map(|(fd, name)| Tap { fd, name }),
            None => tap::open_queue(name, first),
        };
        opened.map_err(|source| tap::explain(name, source))
    }

    /// Makes a kernel setting, as `net/ipv4/ip_forward`.
    pub async fn sysctl(&self, key: &str, value: &str) -> Result<(), SysctlError> {
        let failed = |source| SysctlError { key: key.to_owned(), source };
        match &self.nethost {
            Some(nethost) => nethost.sysctl(key, Some(value)).await.map(drop).map_err(failed),
            None => {
                // Some wait for whoever else changes the network just now.
                let (path, value) = (format!("/proc/sys/{key}"), value.to_owned());
                let written = tokio::task::spawn_blocking(move || fs_err::write(path, value)).await;
                written.map_err(|e| failed(io::Error::other(e)))?.map_err(failed)
            }
        }
    }

    /// Reads a kernel setting.
    pub async fn sysctl_get(&self, key: &str) -> Result<String, SysctlError> {
        let failed = |source| SysctlError { key: key.to_owned(), source };
        match &self.nethost {
            Some(nethost) => nethost.sysctl(key, None).await.map_err(failed),
            None => fs_err::read_to_string(format!("/proc/sys/{key}")).map_err(failed),
        }
    }
}

/// A routing netlink socket in the namespace of the calling thread.
pub(super) fn open_netlink() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // The routing protocol is number 0, netlink's default.
    Ok(rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?)
}
