//! The service's side of the nethost: one request, one answer.
//!
//! Owns the deadline of a request. Must never open the namespaces of a process that is not the
//! nethost any more.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::wire::{Answer, MESSAGE_MAX, Request};
use super::{ANSWER_DEADLINE, SOCKET};
use crate::sys::process::{Identity, Process};
use crate::sys::{received, tap, unix};

/// Asks one nethost. Every request fails after 5 s.
#[derive(Debug)]
pub(crate) struct NethostClient {
    dir: PathBuf,
    identity: Identity,
}

impl NethostClient {
    pub(super) fn new(dir: &Path, identity: Identity) -> Self {
        Self { dir: dir.to_owned(), identity }
    }

    pub(super) async fn ping(&self) -> io::Result<()> {
        self.ask(Request::Ping).await.map(|_| ())
    }

    /// A `NETLINK_ROUTE` socket that was opened in its namespace.
    pub(crate) async fn netlink_socket(&self) -> io::Result<OwnedFd> {
        let (_, fd) = self.ask(Request::Netlink).await?;
        let socket = fd.ok_or_else(without_descriptor)?;
        if !received::is_route_netlink(socket.as_fd()) {
            return Err(io::Error::other("the nethost's answer carries another kind of descriptor"));
        }
        // It is read on the thread that answers callers.
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(socket)
    }

    /// A new TAP device in its namespace, and the name it got.
    pub(crate) async fn tap(&self, name: &str, vnet_hdr: bool) -> io::Result<(OwnedFd, String)> {
        let (_, fd) = self.ask(Request::Tap { name: name.to_owned(), vnet_hdr }).await?;
        named(fd, vnet_hdr)
    }

    /// A queue of a TAP device in its namespace, which has several, and the name of the device.
    pub(crate) async fn tap_queue(&self, name: &str, first: bool) -> io::Result<(OwnedFd, String)> {
        let (_, fd) = self.ask(Request::TapQueue { name: name.to_owned(), first }).await?;
        named(fd, true)
    }

    /// Sets the sysctl `key` (like `net/ipv4/ip_forward`) in its namespace, or reads it; what it is
    /// then. Only keys below `net/` are taken.
    pub(crate) async fn sysctl(&self, key: &str, value: Option<&str>) -> io::Result<String> {
        let key = key.to_owned();
        let request = match value {
            None => Request::Read { key },
            Some(value) => Request::Write { key, value: value.to_owned() },
        };
        Ok(self.ask(request).await?.0)
    }

    /// Its user namespace and its network namespace, for setns.
    pub(crate) fn namespaces(&self) -> io::Result<(File, File)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(format!("/proc/{}/ns", self.identity.pid), flags, Mode::empty())
            .map_err(|e| if e == rustix::io::Errno::NOENT { gone() } else { e.into() })?;
        // The directory stays that of the process it was opened for. Only when the nethost still
        // lives now, it was the nethost then.
        Process::adopt(self.identity)?.ok_or_else(gone)?;
        let open = |name: &str| -> io::Result<File> {
            Ok(rustix::fs::openat(&dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
        };
        Ok((open("user")?, open("net")?))
    }

    async fn ask(&self, request: Request) -> io::Result<(String, Option<OwnedFd>)> {
        let dir = self.dir.clone();
        tokio::task::spawn_blocking(move || exchange(&dir, &request)).await.map_err(io::Error::other)?
    }
}

fn exchange(dir: &Path, request: &Request) -> io::Result<(String, Option<OwnedFd>)> {
    let message = request.encode()?;
    let socket = unix::connect_seqpacket(dir, SOCKET, ANSWER_DEADLINE).map_err(|e| unreached(&e))?;
    unix::send_message(socket.as_fd(), &message, None).map_err(|e| unreached(&e))?;
    let (message, fd) = unix::receive_message(socket.as_fd(), MESSAGE_MAX).map_err(|e| unreached(&e))?;
    let answer =
        Answer::decode(&message).ok_or_else(|| io::Error::other("the nethost's answer is unclear"))?;
    let text = answer.into_result().map_err(|e| match e.raw_os_error() {
        Some(_) => e,
        None => io::Error::new(e.kind(), received::words(&e.to_string())),
    })?;
    Ok((text, fd))
}

/// An error on the way to the nethost: without an errno, so that nobody takes it for the kernel's answer to
/// the request.
fn unreached(e: &io::Error) -> io::Error {
    use io::ErrorKind as Kind;
    match e.kind() {
        Kind::WouldBlock => {
            let why = format!("the nethost gave no answer within {} seconds", ANSWER_DEADLINE.as_secs());
            io::Error::new(Kind::TimedOut, why)
        }
        Kind::NotFound | Kind::ConnectionRefused | Kind::ConnectionReset | Kind::UnexpectedEof => {
            io::Error::new(Kind::NotFound, "nobody answers at the nethost's socket")
        }
        kind => io::Error::new(kind, e.to_string()),
    }
}

/// A TAP with the name that the kernel has for it, whatever the nethost calls it.
fn named(fd: Option<OwnedFd>, vnet_hdr: bool) -> io::Result<(OwnedFd, String)> {
    let fd = fd.ok_or_else(without_descriptor)?;
    let name = tap::name_of_received(&fd, vnet_hdr)?;
    Ok((fd, name))
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the nethost has ended")
}

fn without_descriptor() -> io::Error {
    io::Error::other("the nethost's answer carries no descriptor")
}
