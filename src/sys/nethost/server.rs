//! The nethost itself: a small process that holds a user and a network namespace and hands out what
//! can only be opened inside.
//!
//! Owns the namespaces' first settings and the answers to requests. Must never have a second thread
//! (the kernel refuses a new user namespace to a process that has one), and never answer a request
//! with anything of the host's network.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::ExitCode;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::DumpableBehavior;
use rustix::thread::UnshareFlags;

use super::wire::{Answer, MESSAGE_MAX, Request, is_net_key};
use super::{ANSWER_DEADLINE, READY};
use crate::sys::{netspace, tap, unix};

/// The mode `warrend nethost FD`: enters new namespaces, tells on its output how that went, and
/// answers requests on the listening socket FD until it is told to end by SIGTERM.
///
/// Must be called before the program has a second thread. Who may ask is decided by the mode of the
/// socket's file (0600, in a directory that is 0700): seen from inside the user namespace, root and
/// every other uid but our own look alike, so the credentials of a peer say nothing here.
pub fn serve(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let number = args.next().and_then(|a| a.to_str()?.parse::<i32>().ok()).filter(|n| *n > 2);
    let Some(socket) = number.and_then(listening) else {
        eprintln!("warrend nethost: warrend starts this mode itself, with a listening socket");
        return ExitCode::from(2);
    };
    // The words go to warrend's pipe; when warrend has died meanwhile, we serve the next one.
    let mut told = io::stdout();
    if let Err((step, e)) = settle() {
        _ = writeln!(told, "{} {step}", e.raw_os_error().unwrap_or(libc::EIO));
        return ExitCode::FAILURE;
    }
    _ = writeln!(told, "{READY}");
    if let Ok(null) = fs::OpenOptions::new().write(true).open("/dev/null") {
        _ = rustix::stdio::dup2_stdout(&null);
    }
    answer_all(&socket)
}

/// The descriptor that our parent left us, if it is what it should be.
fn listening(number: i32) -> Option<OwnedFd> {
    // SAFETY: no code of this process has opened or taken descriptors yet, so nobody else owns this
    // one; if it is not open, the next line fails with EBADF and closing it once changes nothing.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    match rustix::net::sockopt::socket_acceptconn(&fd) {
        Ok(true) => Some(fd),
        _ => {
            // Whatever it is, it is not ours to close.
            std::mem::forget(fd);
            None
        }
    }
}

type Step = (&'static str, io::Error);

/// Enters the namespaces and makes the new network usable.
fn settle() -> Result<(), Step> {
    let at = |step: &'static str| move |e: io::Error| (step, e);
    // The files in /proc/self that map ids belong to root when we are not dumpable; and warrend,
    // which has our uid, could not open our namespaces.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
        .map_err(|e| ("be dumpable", e.into()))?;
    std::env::set_current_dir("/").map_err(at("leave the directory"))?;
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // SAFETY: this process has one thread and shares nothing that depends on its namespaces.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET) }
        .map_err(|e| ("make a user and a network namespace", e.into()))?;
    // Uid 0 inside would break the EXTERNAL authentication of D-Bus, so each id stays itself.
    fs::write("/proc/self/setgroups", "deny").map_err(at("give up changing groups"))?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).map_err(at("map the uid"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).map_err(at("map the gid"))?;
    loopback_up().map_err(at("bring up the loopback interface"))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(at("forward IPv4"))?;
    match fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1") {
        // A kernel without IPv6 has no such file.
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(("forward IPv6", e)),
        _ => Ok(()),
    }
}

fn loopback_up() -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: ifreq is plain data; all zero is a valid value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which `request` is, and keeps no pointer to it.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One connection after the other, one request in each.
fn answer_all(socket: &OwnedFd) -> ExitCode {
    loop {
        let peer = match rustix::net::accept_with(socket, SocketFlags::CLOEXEC) {
            Ok(peer) => peer,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => continue,
            Err(_) => return ExitCode::FAILURE,
        };
        // What goes wrong with one peer is that peer's: it sees the connection end.
        _ = answer_one(&peer);
    }
}

fn answer_one(peer: &OwnedFd) -> io::Result<()> {
    unix::set_deadline(peer.as_fd(), ANSWER_DEADLINE)?;
    let (message, _) = unix::receive_message(peer.as_fd(), MESSAGE_MAX)?;
    let (answer, fd) = match Request::decode(&message) {
        None => (Answer::Refused("this nethost does not know the request".to_owned()), None),
        Some(request) => match fulfil(&request) {
            Ok((text, fd)) => (Answer::Done(text), fd),
            Err(e) => (Answer::from_error(&e), None),
        },
    };
    // Our copy of a TAP closes here, so that the device ends with the last of its users.
    unix::send_message(peer.as_fd(), &answer.encode(), fd.as_ref().map(AsFd::as_fd)).map(drop)
}

fn fulfil(request: &Request) -> io::Result<(String, Option<OwnedFd>)> {
    match request {
        Request::Ping => Ok((String::new(), None)),
        Request::Netlink => Ok((String::new(), Some(netspace::open_netlink()?))),
        Request::Tap { name, vnet_hdr } => {
            let tap = tap::open(name, *vnet_hdr)?;
            Ok((tap.name, Some(tap.fd)))
        }
        Request::TapQueue { name, first } => {
            let tap = tap::open_queue(name, *first)?;
            Ok((tap.name, Some(tap.fd)))
        }
        Request::Read { key } => {
            let value = fs::read_to_string(sysctl_path(key)?)?;
            Ok((value.trim_end().to_owned(), None))
        }
        Request::Write { key, value } => {
            fs::write(sysctl_path(key)?, value)?;
            Ok((value.clone(), None))
        }
    }
}

/// The file shows the values of the network namespace of whoever opens it.
fn sysctl_path(key: &str) -> io::Result<String> {
    if !is_net_key(key) {
        let why = format!("'{key}' is not a setting of the network (net/…)");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(format!("/proc/sys/{key}"))
}
