//! TAP devices, and the kernel's own virtio beside them. Owns the `TUNSETIFF` call; must never make a TAP
//! persistent: the kernel removes each with its last descriptor, so none is ever left behind.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::received;

/// A TAP device: it is there as long as the descriptor is open somewhere.
#[derive(Debug)]
pub struct Tap {
    /// What QEMU gets.
    pub fd: OwnedFd,
    /// The name in its namespace.
    pub name: String,
}

/// Why there is no TAP.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum TapError {
    #[error("the interface '{0}' already exists")]
    Exists(String),
    #[error("/dev/net/tun cannot be opened; it should be readable and writable by everybody (mode 0666)")]
    Device(#[source] io::Error),
    #[error("the TAP '{name}' could not be made")]
    Make { name: String, source: io::Error },
}

/// `IFF_TUN_EXCL`: an interface of that name that is there already is an error.
const EXCLUSIVE: libc::c_int = 0x8000;
/// Major and minor number of `/dev/net/tun`.
const DEVICE: (u32, u32) = (10, 200);

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an ifreq is plain data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn name_in(request: &libc::ifreq) -> String {
    let bytes = request.ifr_name.map(i8::cast_unsigned);
    CStr::from_bytes_until_nul(&bytes).map_or_else(|_| String::new(), |n| n.to_string_lossy().into_owned())
}

/// Makes a TAP in the namespace of the calling thread; `name` may hold `%d`, for which the kernel puts
/// the first free number. `vnet_hdr`: frames carry the header by which virtio leaves checksums out.
pub fn open(name: &str, vnet_hdr: bool) -> io::Result<Tap> {
    let header = if vnet_hdr { libc::IFF_VNET_HDR } else { 0 };
    attach(name, header | EXCLUSIVE)
}

/// A queue of a TAP with several, in the namespace of the calling thread; `first`: the TAP is made.
pub fn open_queue(name: &str, first: bool) -> io::Result<Tap> {
    let exclusive = if first { EXCLUSIVE } else { 0 };
    attach(name, libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE | exclusive)
}

/// A queue of a TAP that somebody has made, with one or with several queues.
pub fn open_existing(name: &str, several: bool) -> io::Result<Tap> {
    attach(name, libc::IFF_VNET_HDR | if several { libc::IFF_MULTI_QUEUE } else { 0 })
}

/// The kernel's own virtio, for one queue of a NIC.
pub fn open_vhost() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/vhost-net", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

fn attach(name: &str, flags: libc::c_int) -> io::Result<Tap> {
    let fd =
        rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    let mut request = request(name)?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | flags;
    // The flags are a bit pattern; the kernel reads them as an unsigned short.
    request.ifr_ifru.ifru_flags = (flags as u16).cast_signed();
    // SAFETY: the descriptor is open and the request outlives the call, which writes the name into it.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Tap { fd, name: name_in(&request) })
}

/// The name of the TAP behind a descriptor.
pub fn name_of(fd: &OwnedFd) -> io::Result<String> {
    Ok(name_in(&attached(fd)?))
}

fn attached(fd: &OwnedFd) -> io::Result<libc::ifreq> {
    let mut request = request("")?;
    // SAFETY: the descriptor is open and the request outlives the call, which fills it.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(request)
}

/// The name of a TAP that another process sends; an error unless it is one, with such frames.
pub(super) fn name_of_received(fd: &OwnedFd, vnet_hdr: bool) -> io::Result<String> {
    let (major, minor) = DEVICE;
    if !received::is_character_device(fd, major, minor)? {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "what came is no TAP"));
    }
    let request = attached(fd)?;
    // SAFETY: TUNGETIFF has put the flags there; every bit pattern is a number.
    let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags }.cast_unsigned());
    let wanted = libc::IFF_TAP | if vnet_hdr { libc::IFF_VNET_HDR } else { 0 };
    if flags & (libc::IFF_TAP | libc::IFF_TUN | libc::IFF_VNET_HDR) != wanted {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "what came is a TAP of another kind"));
    }
    Ok(name_in(&request))
}

/// What an error of [`open`] means.
pub(super) fn explain(name: &str, source: io::Error) -> TapError {
    match source.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST | libc::EINVAL) if !name.contains('%') => {
            TapError::Exists(name.to_owned())
        }
        Some(libc::EACCES | libc::ENOENT | libc::ENODEV) => TapError::Device(source),
        _ => TapError::Make { name: name.to_owned(), source },
    }
}
