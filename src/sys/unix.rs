//! Small pieces of Unix: sockets in deep directories, the lock of a directory, owners of files.
//!
//! Owns the way around the 108 bytes of a socket's path (sockets are reached through a descriptor of
//! their directory) and the passing of descriptors. Must never follow a path that a caller gave.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// A listening stream socket `name` in `dir`, close-on-exec. What stood there before is removed.
pub fn listen(dir: &Path, name: &str) -> io::Result<OwnedFd> {
    let (_dir, path) = through_descriptor(dir, name)?;
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    Ok(std::os::unix::net::UnixListener::bind(&path)?.into())
}

/// Connects to the stream socket `name` in `dir`.
pub async fn connect(dir: &Path, name: &str) -> io::Result<tokio::net::UnixStream> {
    let (_dir, path) = through_descriptor(dir, name)?;
    tokio::net::UnixStream::connect(&path).await
}

/// A listening socket `name` in `dir` that keeps messages apart (`SOCK_SEQPACKET`), close-on-exec. Only
/// the caller's own uid and root can connect to it (mode 0600). What stood there before is removed.
pub fn listen_seqpacket(dir: &Path, name: &str) -> io::Result<OwnedFd> {
    let (_dir, path) = through_descriptor(dir, name)?;
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = seqpacket()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?)?;
    // Nobody gets in between: before listen() every connect() is refused.
    rustix::fs::chmod(&path, Mode::RUSR | Mode::WUSR)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

/// Connects to the `SOCK_SEQPACKET` socket `name` in `dir`. It blocks; from then on each step on the
/// socket fails with `WouldBlock` after `deadline`.
pub fn connect_seqpacket(dir: &Path, name: &str, deadline: Duration) -> io::Result<OwnedFd> {
    let (_dir, path) = through_descriptor(dir, name)?;
    let socket = seqpacket()?;
    set_deadline(socket.as_fd(), deadline)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(&path)?)?;
    Ok(socket)
}

/// Lets each blocking step on a socket fail with `WouldBlock` after `deadline`.
pub fn set_deadline(socket: BorrowedFd<'_>, deadline: Duration) -> io::Result<()> {
    set_socket_timeout(socket, Timeout::Recv, Some(deadline))?;
    set_socket_timeout(socket, Timeout::Send, Some(deadline))?;
    Ok(())
}

/// Sends one message, with a descriptor beside it if given. Tells how many bytes were taken: of a stream that may
/// be fewer than all.
pub fn send_message(socket: BorrowedFd<'_>, text: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    Ok(rustix::net::sendmsg(socket, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?)
}

/// Receives one message of at most `limit` bytes, and the descriptor beside it if there was one
/// (close-on-exec). The end of the connection is `UnexpectedEof`; what is longer is `InvalidData`.
pub fn receive_message(socket: BorrowedFd<'_>, limit: usize) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; limit];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, flags)?;
    let mut fd = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            fd = fds.next();
        }
    }
    if got.flags.contains(rustix::net::ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    if got.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    text.truncate(got.bytes);
    Ok((text, fd))
}

fn seqpacket() -> io::Result<OwnedFd> {
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    Ok(rustix::net::socket_with(kind.0, kind.1, kind.2, None)?)
}

fn through_descriptor(dir: &Path, name: &str) -> io::Result<(OwnedFd, PathBuf)> {
    let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", fd.as_raw_fd()));
    Ok((fd, path))
}

/// The lock of a service's run directory, held as long as the value lives.
#[derive(Debug)]
pub struct DirLock {
    _file: fs::File,
}

impl DirLock {
    /// Takes `dir/lock` and writes our pid into it. `Ok(Err(pid))`: another process holds it.
    pub fn take(dir: &Path) -> io::Result<Result<Self, String>> {
        use std::io::{Read, Write};
        let path = dir.join("lock");
        let mut file =
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                return Ok(Err(holder.trim().to_owned()));
            }
            Err(e) => return Err(e.into()),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Ok(Self { _file: file }))
    }
}

/// Removes files of ours; what cannot be removed is only logged.
pub(super) fn forget(dir: &Path, names: &[&str]) {
    for name in names {
        match std::fs::remove_file(dir.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("'{name}' in '{}' cannot be removed: {e}", dir.display());
            }
            _ => {}
        }
    }
}

/// The group of a file, if the file is there.
pub fn group_of_file(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|m| m.gid())
}

/// Makes `path` and what is missing above it; the last with `mode`. One that is there as it should be is not
/// touched: a disk that has become read-only is good for reading.
pub fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o7777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// A new directory that only `uid` (and root) may use, or the caller's own uid, to be handed to a process that
/// cannot reach it by its path.
pub fn make_dir_of(path: &Path, uid: Option<u32>) -> io::Result<OwnedFd> {
    make_dir(path, 0o700)?;
    if uid.is_some() {
        std::os::unix::fs::chown(path, uid, uid)?;
    }
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_in_a_very_deep_directory_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120)).join("y".repeat(120));
        make_dir(&deep, 0o700).unwrap();
        let listener = listen(&deep, "qmp.sock").unwrap();
        connect(&deep, "qmp.sock").await.unwrap();
        drop(listener);
        assert!(connect(&deep, "qmp.sock").await.is_err());
        listen(&deep, "qmp.sock").unwrap();
    }

    #[test]
    fn messages_keep_their_bounds_and_carry_a_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120));
        make_dir(&deep, 0o700).unwrap();
        let listener = listen_seqpacket(&deep, "s").unwrap();
        let client = connect_seqpacket(&deep, "s", Duration::from_millis(50)).unwrap();
        // Not for the children of other tests, which would keep it open.
        let server = rustix::net::accept_with(&listener, rustix::net::SocketFlags::CLOEXEC).unwrap();
        send_message(client.as_fd(), b"one", None).unwrap();
        send_message(client.as_fd(), b"two", Some(listener.as_fd())).unwrap();
        let (text, fd) = receive_message(server.as_fd(), 8).unwrap();
        assert_eq!((text.as_slice(), fd.is_some()), (&b"one"[..], false));
        let (text, fd) = receive_message(server.as_fd(), 8).unwrap();
        assert_eq!((text.as_slice(), fd.is_some()), (&b"two"[..], true));
        assert_eq!(receive_message(client.as_fd(), 8).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        send_message(server.as_fd(), b"much too long", None).unwrap();
        assert_eq!(receive_message(client.as_fd(), 8).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(server);
        assert_eq!(receive_message(client.as_fd(), 8).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_lock_is_held_once_and_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::take(dir.path()).unwrap().unwrap();
        assert_eq!(DirLock::take(dir.path()).unwrap().unwrap_err(), std::process::id().to_string());
        drop(held);
        DirLock::take(dir.path()).unwrap().unwrap();
    }
}
