//! What a descriptor is that another process has sent.
//!
//! Owns the looks at it before its first use. Must never read what is behind it, nor wait for a file system that
//! its sender may have made: attributes are asked of the kernel's cache alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags};
use rustix::net::sockopt;
use rustix::net::{AddressFamily, Protocol, SocketType};

use super::copy::SEALS;

/// The longest text of another process that is passed on, in characters.
const TEXT: usize = 4096 + 512;

/// What kind of file it is, and its size.
pub(super) fn kind_of(fd: BorrowedFd<'_>) -> io::Result<(FileType, u64)> {
    let found = stat(fd)?;
    Ok((FileType::from_raw_mode(found.stx_mode.into()), found.stx_size))
}

fn stat(fd: BorrowedFd<'_>) -> io::Result<rustix::fs::Statx> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    Ok(rustix::fs::statx(fd, c"", flags, StatxFlags::TYPE | StatxFlags::SIZE)?)
}

/// Whether it was opened for just this; `false` for one that only names a file.
pub(super) fn is_opened_for(fd: BorrowedFd<'_>, readonly: bool) -> io::Result<bool> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    let access = if readonly { OFlags::RDONLY } else { OFlags::RDWR };
    Ok(!flags.contains(OFlags::PATH) && flags.intersection(OFlags::RWMODE) == access)
}

/// The size of a file in memory that nobody can change any more; `None` of anything else.
pub(super) fn sealed_size(fd: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    // Only files in memory have seals, so the question alone tells that it is one.
    match rustix::fs::fcntl_get_seals(fd) {
        Ok(seals) if seals.contains(SEALS) => Ok(Some(kind_of(fd)?.1)),
        _ => Ok(None),
    }
}

/// Whether it is a connected stream between two processes of this host.
pub(super) fn is_unix_stream(fd: BorrowedFd<'_>) -> bool {
    is_socket(fd, AddressFamily::UNIX, SocketType::STREAM) && sockopt::socket_acceptconn(fd) == Ok(false)
}

/// Whether it is a socket of the kernel's routing protocol.
pub(super) fn is_route_netlink(fd: BorrowedFd<'_>) -> bool {
    let protocol: Result<Option<Protocol>, _> = sockopt::socket_protocol(fd);
    // Number 0 is NETLINK_ROUTE.
    is_socket(fd, AddressFamily::NETLINK, SocketType::RAW) && protocol == Ok(None)
}

fn is_socket(fd: BorrowedFd<'_>, family: AddressFamily, kind: SocketType) -> bool {
    sockopt::socket_domain(fd) == Ok(family) && sockopt::socket_type(fd) == Ok(kind)
}

/// Whether it is a device of that number.
pub(super) fn is_character_device(fd: impl AsFd, major: u32, minor: u32) -> io::Result<bool> {
    let found = stat(fd.as_fd())?;
    let kind = FileType::from_raw_mode(found.stx_mode.into());
    Ok(kind == FileType::CharacterDevice && (found.stx_rdev_major, found.stx_rdev_minor) == (major, minor))
}

/// Its words, fit to stand in a message: of bounded length, on one line.
pub(super) fn words(text: &str) -> String {
    let clean = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(TEXT).map(clean).collect()
}
