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
use crate::sys::process::{Identity, Process, Seen};
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

/// The process that answers at the nethost's socket, which nobody but the nethost has; `None`: nobody does.
pub(super) async fn who_answers(dir: &Path) -> io::Result<Option<Identity>> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || {
        let sender = match sender(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            sender => sender?,
        };
        let seen = sender.map_or(Ok(None), Seen::of)?;
        let is_nethost = |seen: &Seen| seen.args.get(1).is_some_and(|mode| mode == "nethost");
        Ok(seen.filter(is_nethost).map(|seen| seen.identity))
    })
    .await
    .map_err(io::Error::other)?
}

fn sender(dir: &Path) -> io::Result<Option<i32>> {
    let socket = unix::connect_seqpacket(dir, SOCKET, ANSWER_DEADLINE).map_err(|e| unreached(&e))?;
    unix::ask_for_senders(socket.as_fd())?;
    unix::send_message(socket.as_fd(), &Request::Ping.encode()?, None).map_err(|e| unreached(&e))?;
    unix::receive_sender(socket.as_fd(), MESSAGE_MAX).map_err(|e| unreached(&e))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

    /// What the service makes of a nethost that answers with this descriptor.
    async fn ask<T>(
        fd: Option<OwnedFd>,
        question: impl AsyncFnOnce(NethostClient) -> io::Result<T>,
    ) -> io::Result<T> {
        let dir = tempfile::tempdir().unwrap();
        let listener = unix::listen_seqpacket(dir.path(), SOCKET).unwrap();
        let nethost = std::thread::spawn(move || {
            let peer = rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).unwrap();
            unix::receive_message(peer.as_fd(), MESSAGE_MAX).unwrap();
            unix::send_message(peer.as_fd(), b"done\0../../etc", fd.as_ref().map(AsFd::as_fd)).unwrap();
        });
        let client = NethostClient::new(dir.path(), Identity { pid: 1, start_time: 1 });
        let answer = question(client).await;
        nethost.join().unwrap();
        answer
    }

    #[tokio::test]
    async fn only_what_was_asked_for_is_taken() {
        let pipe = || Some(OwnedFd::from(std::io::pipe().unwrap().0));
        let file =
            |path: &str| Some(OwnedFd::from(File::options().read(true).write(true).open(path).unwrap()));
        let socket =
            |family, kind, protocol| Some(socket_with(family, kind, SocketFlags::CLOEXEC, protocol).unwrap());
        let generic = rustix::net::Protocol::from_raw(16.try_into().unwrap());
        let netlink = async |client: NethostClient| client.netlink_socket().await;
        for fd in [
            None,
            pipe(),
            file("/dev/null"),
            socket(AddressFamily::UNIX, SocketType::STREAM, None),
            socket(AddressFamily::INET, SocketType::DGRAM, None),
            socket(AddressFamily::NETLINK, SocketType::RAW, Some(generic)),
        ] {
            assert!(ask(fd, netlink).await.is_err());
        }
        let routes = ask(socket(AddressFamily::NETLINK, SocketType::RAW, None), netlink).await.unwrap();
        let flags = rustix::fs::fcntl_getfl(&routes).unwrap();
        assert!(flags.contains(OFlags::NONBLOCK), "{} would stop its reader", routes.as_raw_fd());

        let tap = async |client: NethostClient| client.tap("wtap%d", true).await;
        let queue = async |client: NethostClient| client.tap_queue("wtap0", true).await;
        for path in ["/dev/null", "/dev/net/tun"] {
            assert!(ask(file(path), tap).await.is_err());
            assert!(ask(file(path), queue).await.is_err());
        }
        assert!(ask(None, tap).await.is_err());
        assert!(ask(pipe(), tap).await.is_err());
    }
}
