//! What a child does to itself between fork and exec.
//!
//! Owns the order in which rights are taken off and namespaces entered. Must never allocate, lock or
//! call anything that is not async-signal-safe: the parent may have had other threads.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::sys::landlock;

use super::spawn::Limit;

/// `linux/capability.h`
const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const NETWORK_CAPABILITIES: [u32; 3] = [CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW];
/// `_LINUX_CAPABILITY_VERSION_3`
const CAPABILITY_VERSION: u32 = 0x2008_0522;
const LAST_CAPABILITY: u32 = 63;

/// The steps, numbered so that the parent can tell which of them failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    Session = 1,
    Descriptors,
    Identity,
    Rights,
    User,
    Namespaces,
    Capabilities,
    Landlock,
    Leash,
    Exec,
}

impl Stage {
    /// What could not be done, for a message.
    pub(super) fn describe(byte: u8) -> &'static str {
        match byte {
            b if b == Self::Session as u8 => "begin a session of its own",
            b if b == Self::Descriptors as u8 => "close what it was not given",
            b if b == Self::Identity as u8 => "note its identity",
            b if b == Self::Rights as u8 => "give up its rights",
            b if b == Self::User as u8 => "take its uid (in a container the range of uids may be too small)",
            b if b == Self::Namespaces as u8 => "enter the session's namespaces",
            b if b == Self::Capabilities as u8 => "keep the network capabilities",
            b if b == Self::Landlock as u8 => {
                "be kept to its files (by Landlock; on a kernel without it, where users may make namespaces and mount in them)"
            }
            b if b == Self::Leash as u8 => "be made to die with the daemon",
            _ => "be executed",
        }
    }
}

/// Everything the child needs, made ready before the fork.
#[derive(Debug)]
pub(super) struct Plan {
    /// The record that it fills.
    pub(super) identity: OwnedFd,
    /// uid, gid, supplementary groups.
    pub(super) user: Option<(u32, u32, Vec<libc::gid_t>)>,
    /// User and network namespace.
    pub(super) namespaces: Option<(OwnedFd, OwnedFd)>,
    pub(super) network_capabilities: bool,
    pub(super) no_privileges: bool,
    pub(super) no_new_privileges: bool,
    /// What it may reach by path, from [`landlock::Landlock`].
    pub(super) landlock: Option<landlock::Prepared>,
    pub(super) limits: Vec<(Limit, u64)>,
    /// The daemon's pid, if the child is to die with it.
    pub(super) dies_with: Option<libc::pid_t>,
    /// Where the stage is told.
    pub(super) stage: OwnedFd,
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Plan {
    /// Runs in the child.
    pub(super) fn run(&self) -> io::Result<()> {
        self.enter(Stage::Session);
        // SAFETY: setsid has no arguments; in a fresh child it cannot fail but by being a leader already.
        check(unsafe { libc::setsid() }.into())?;
        self.enter(Stage::Descriptors);
        // What some library opened without close-on-exec; what is given is put in place after this.
        // SAFETY: plain numbers; nothing is closed before exec.
        check(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })?;
        self.enter(Stage::Identity);
        note_identity(self.identity.as_raw_fd())?;
        self.enter(Stage::Rights);
        if self.no_privileges {
            give_up_rights()?;
        }
        for (limit, most) in &self.limits {
            set_limit(*limit, *most)?;
        }
        let keeps_host_capabilities = self.network_capabilities && self.namespaces.is_none();
        if keeps_host_capabilities {
            self.enter(Stage::Capabilities);
            reduce_bounding_set(&NETWORK_CAPABILITIES);
        }
        if let Some((uid, gid, groups)) = &self.user {
            self.enter(Stage::User);
            become_user(*uid, *gid, groups, keeps_host_capabilities || self.namespaces.is_some())?;
        }
        if let Some((user, net)) = &self.namespaces {
            self.enter(Stage::Namespaces);
            if self.user.is_some() {
                // Another user than the one who made them enters by the right that root had.
                use_what_is_permitted()?;
            }
            for (fd, kind) in [(user, libc::CLONE_NEWUSER), (net, libc::CLONE_NEWNET)] {
                // SAFETY: the descriptor is open, and the child has one thread, as setns asks.
                check(unsafe { libc::setns(fd.as_raw_fd(), kind) }.into())?;
            }
        }
        if self.network_capabilities {
            self.enter(Stage::Capabilities);
            reduce_bounding_set(&NETWORK_CAPABILITIES);
            keep_network_capabilities()?;
        }
        if self.no_new_privileges {
            self.enter(Stage::Rights);
            // SAFETY: plain numbers.
            check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
        }
        if let Some(rules) = &self.landlock {
            self.enter(Stage::Landlock);
            landlock::restrict_self(rules)?;
            if self.no_privileges {
                // A user namespace has a set of its own.
                reduce_bounding_set(&[]);
            }
        }
        if let Some(daemon) = self.dies_with {
            self.enter(Stage::Leash);
            die_with(daemon)?;
        }
        self.enter(Stage::Exec);
        Ok(())
    }

    fn enter(&self, stage: Stage) {
        let byte = stage as u8;
        // SAFETY: one byte from the stack into an open pipe; a failure only makes a message poorer.
        unsafe { libc::write(self.stage.as_raw_fd(), (&raw const byte).cast(), 1) };
    }
}

/// Copies our line of `/proc` into a file: pid and start time stay the same over exec. Until that is
/// done, nobody could find us again, so we do not outlive the daemon.
fn note_identity(to: RawFd) -> io::Result<()> {
    let mut buffer = [0u8; 1024];
    // SAFETY: the path is a literal with its NUL, the buffer is as long as is said, and the descriptor is
    // closed again.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0).into())?;
        let stat = libc::open(c"/proc/self/stat".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        check(stat.into())?;
        let read = libc::read(stat, buffer.as_mut_ptr().cast(), buffer.len());
        libc::close(stat);
        check(read as libc::c_long)?;
        check(libc::write(to, buffer.as_ptr().cast(), read.unsigned_abs()) as libc::c_long)?;
        check(libc::prctl(libc::PR_SET_PDEATHSIG, 0, 0, 0, 0).into())
    }
}

/// From now on the kernel kills this process when the thread that forked it ends, which waits for it (see `launch`).
/// A change of uid or capabilities takes that back, so it comes after them.
fn die_with(daemon: libc::pid_t) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }.into())?;
    // SAFETY: getppid has no arguments. A daemon that died before the line above sends nothing any more.
    if unsafe { libc::getppid() } == daemon { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

fn set_limit(limit: Limit, most: u64) -> io::Result<()> {
    let resource = match limit {
        Limit::Memory => libc::RLIMIT_AS,
        Limit::CpuSeconds => libc::RLIMIT_CPU,
        Limit::FileSize => libc::RLIMIT_FSIZE,
        Limit::Threads => libc::RLIMIT_NPROC,
    };
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: structs that outlive their calls.
    unsafe {
        check(libc::getrlimit(resource, &raw mut limits).into())?;
        let most = most.min(limits.rlim_max);
        limits = libc::rlimit { rlim_cur: most, rlim_max: most };
        check(libc::setrlimit(resource, &raw const limits).into())
    }
}

/// Takes all but these out of what can ever be had. That is refused to those who have no rights to begin
/// with, and to them nothing can be added anyway.
fn reduce_bounding_set(kept: &[u32]) {
    for capability in (0..=LAST_CAPABILITY).filter(|c| !kept.contains(c)) {
        // SAFETY: plain numbers.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
    }
}

fn give_up_rights() -> io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    reduce_bounding_set(&[]);
    // SAFETY: plain numbers, and a struct that outlives its call.
    unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        check(libc::setrlimit(libc::RLIMIT_CORE, &raw const none).into())
    }
}

fn become_user(uid: u32, gid: u32, groups: &[libc::gid_t], keep_capabilities: bool) -> io::Result<()> {
    // SAFETY: plain numbers, and a slice with its length. The raw system calls change this thread alone,
    // which in a child is the whole process; libc's wrappers would look for other threads.
    unsafe {
        if keep_capabilities {
            check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into())?;
        }
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))
    }
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Uses again the capabilities that were kept while the user changed.
fn use_what_is_permitted() -> io::Result<()> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let mut data = [CapabilityData { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: header and data have the kernel's layout for version 3 and outlive the calls.
    unsafe {
        check(libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()))?;
        data.iter_mut().for_each(|part| part.effective = part.permitted);
        check(libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()))
    }
}

/// Reduces the capabilities to those of the network, and makes them survive exec.
fn keep_network_capabilities() -> io::Result<()> {
    let mask = NETWORK_CAPABILITIES.iter().fold(0u32, |mask, capability| mask | 1 << capability);
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let none = CapabilityData { effective: 0, permitted: 0, inheritable: 0 };
    let data = [CapabilityData { effective: mask, permitted: mask, inheritable: mask }, none];
    // SAFETY: header and data have the kernel's layout for version 3 and outlive the call.
    unsafe {
        check(libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()))?;
        for capability in NETWORK_CAPABILITIES {
            let capability = libc::c_ulong::from(capability);
            check(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0).into())?;
        }
    }
    Ok(())
}
