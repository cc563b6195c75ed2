//! Small pieces of Unix: sockets in deep directories, the lock of a directory, owners of files.
//!
//! Owns the way around the 108 bytes of a socket's path (sockets are reached through a descriptor of
//! their directory) and the passing of descriptors. Must never follow a path that a caller gave.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::dirs::Dir;

/// A listening stream socket `name` in `dir`, close-on-exec. Only the caller's own uid and root can connect to it
/// (mode 0600). What stood there before is removed.
pub fn listen(dir: &Path, name: &str) -> io::Result<OwnedFd> {
    listen_of(SocketType::STREAM, dir, name)
}

/// Connects to the stream socket `name` in `dir`.
pub async fn connect(dir: &Path, name: &str) -> io::Result<tokio::net::UnixStream> {
    let (_dir, path) = through_descriptor(dir, name)?;
    let stream = tokio::net::UnixStream::connect(&path).await?;
    take_no_descriptors(stream.as_fd());
    Ok(stream)
}

/// Lets nobody send a descriptor to this socket (`SO_PASSRIGHTS`, Linux 6.16): one that is not fetched is closed by
/// whoever reads the bytes, which can take as long as its sender wishes. An older kernel does not know it.
pub fn take_no_descriptors(socket: BorrowedFd<'_>) {
    /// `include/uapi/asm-generic/socket.h`
    const SO_PASSRIGHTS: libc::c_int = 83;
    let (no, size) = (0i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: a descriptor that is open, and an int that lives as long as the call, with its size.
    unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_PASSRIGHTS, (&raw const no).cast(), size);
    }
}

/// As [`listen`], of a socket that keeps messages apart (`SOCK_SEQPACKET`).
pub fn listen_seqpacket(dir: &Path, name: &str) -> io::Result<OwnedFd> {
    listen_of(SocketType::SEQPACKET, dir, name)
}

fn listen_of(kind: SocketType, dir: &Path, name: &str) -> io::Result<OwnedFd> {
    let (_dir, path) = through_descriptor(dir, name)?;
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = socket(kind)?;
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
    let socket = socket(SocketType::SEQPACKET)?;
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
/// (close-on-exec). The end of the connection is `UnexpectedEof`; what is longer, or comes with more than one
/// descriptor, is `InvalidData`. Whether it waits for a message, the socket says.
pub fn receive_message(socket: BorrowedFd<'_>, limit: usize) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; limit];
    let got = loop {
        let mut into = [IoSliceMut::new(&mut text)];
        match rustix::net::recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            got => break got?,
        }
    };
    // The room for one descriptor is, rounded up, room for two: all are taken, so that all are closed.
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = message {
            fds.extend(sent);
        }
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) || fds.len() > 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    if got.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    text.truncate(got.bytes);
    Ok((text, fds.pop()))
}

/// From now on each message that comes says which process has sent it: see [`receive_sender`].
pub fn ask_for_senders(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_passcred(socket, true)?)
}

/// Receives a message, and answers the pid of its sender, which the kernel knows; `None`: of a process that is not seen
/// from here.
pub fn receive_sender(socket: BorrowedFd<'_>, limit: usize) -> io::Result<Option<i32>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; limit];
    let mut into = [IoSliceMut::new(&mut text)];
    let got = rustix::net::recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let sender = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(sender) => Some(sender.pid.as_raw_nonzero().get()),
        _ => None,
    });
    if got.bytes == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(sender) }
}

fn socket(kind: SocketType) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?)
}

fn through_descriptor(dir: &Path, name: &str) -> io::Result<(OwnedFd, PathBuf)> {
    let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", fd.as_raw_fd()));
    Ok((fd, path))
}

/// The lock of a service's run directory, held as long as the value lives.
#[derive(Debug)]
pub struct DirLock {
    _file: std::fs::File,
}

impl DirLock {
    /// Takes `dir/lock` and writes our pid into it. `Ok(Err(pid))`: another process holds it.
    pub fn take(dir: &Path) -> io::Result<Result<Self, String>> {
        use std::io::{Read, Write};
        let mut file = private_file(&dir.join("lock"), false)?;
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

/// Whether a process has this uid, one that has ended and was not waited for included.
pub fn uid_is_alive(uid: u32) -> bool {
    // The kernel looks for it: reading /proc would take as long as there are processes.
    rustix::process::getpriority_user(rustix::process::Uid::from_raw(uid)) != Err(rustix::io::Errno::SRCH)
}

/// Whether this process may enter namespaces that another user made.
pub fn may_enter_namespaces() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|has| has.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Makes `path` and what is missing above it (0700); the last with `mode`, whatever the umask is. One that is there as it
/// should be is not touched: a disk that has become read-only is good for reading.
pub fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    Dir::open(path)?.give(mode, None)
}

/// A file of ours, made if it is missing, for reading and writing: mode 0600, whatever the umask is, and whatever mode
/// it had. Where `empty`, what was in it goes.
pub fn private_file(path: &Path, empty: bool) -> io::Result<std::fs::File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(empty).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path)?;
    if file.metadata()?.mode() & 0o7777 != 0o600 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Writes a whole [`private_file`].
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    private_file(path, true)?.write_all(content)
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
        for count in [2, 3, 20] {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(20))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let fds = vec![listener.as_fd(); count];
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
            let text = [IoSlice::new(b"many")];
            rustix::net::sendmsg(&server, &text, &mut control, SendFlags::NOSIGNAL).unwrap();
            assert_eq!(receive_message(client.as_fd(), 8).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        drop(server);
        assert_eq!(receive_message(client.as_fd(), 8).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_kernel_says_who_has_sent_a_message() {
        let dir = tempfile::tempdir().unwrap();
        let listener = listen_seqpacket(dir.path(), "s").unwrap();
        let client = connect_seqpacket(dir.path(), "s", Duration::from_secs(10)).unwrap();
        let server = rustix::net::accept_with(&listener, rustix::net::SocketFlags::CLOEXEC).unwrap();
        ask_for_senders(client.as_fd()).unwrap();
        send_message(server.as_fd(), b"text", None).unwrap();
        let me = std::process::id().cast_signed();
        assert_eq!(receive_sender(client.as_fd(), 8).unwrap(), Some(me));
        drop(server);
        assert_eq!(receive_sender(client.as_fd(), 8).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn our_files_are_private_whatever_the_umask_is_and_whatever_they_were() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        let _lock = DirLock::take(dir.path()).unwrap().unwrap();
        let _socket = listen(dir.path(), "socket").unwrap();
        for name in ["lock", "socket"] {
            let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "{name}");
        }
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(private_file(&dir.path().join("link"), true).is_err());
    }

    #[tokio::test]
    async fn a_uid_lives_as_long_as_its_last_process() {
        assert!(uid_is_alive(rustix::process::getuid().as_raw()));
        assert!(!uid_is_alive(1_899_999_999));
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
