//! Opens what a document names on the host with the rights of its owner, and nobody else's.
//!
//! Owns the opener: our own program in the mode `open-images`, which becomes what has the owner's rights and is
//! out of the owner's reach before it looks at any path, and hands descriptors back over a socket pair. Must never
//! open, look at or change a path that came from a document in the calling process, never guess an image's format
//! from its content, and never believe what comes back.

mod exchange;
mod helper;
mod identity;
mod qcow2;
mod tables;
mod wire;

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::exchange::Exchange;
use super::process::{Leash, Purpose, RunAs, Spawn, SpawnError};
use crate::ledger::{Exceeded, Share};

pub use self::helper::serve;
pub use self::identity::Identity;

/// How long all files of one guest may take to open and copy.
const DEADLINE: Duration = Duration::from_secs(10);

/// One file to open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRequest {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// What the document says, whatever is in it.
    pub format: ImageFormat,
    /// Where in the file the image begins, in bytes.
    pub offset: u64,
    /// Bytes that QEMU is given for the caches of a qcow2 image, where the document says how many.
    pub cache: Option<u64>,
    /// Open without the right to write.
    pub readonly: bool,
    /// A file that is not there is no error: the answer is then empty.
    pub optional: bool,
    /// What it is for.
    pub kind: ImageKind,
    /// How large it may be, where that is limited.
    pub limit: Option<SizeLimit>,
}

/// The format of an image, as far as QEMU keeps tables of it in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are QEMU's")]
pub enum ImageFormat {
    /// Also what has no tables.
    Raw,
    Qcow2,
    Qcow,
    Qed,
    Vdi,
    Vpc,
    Vhdx,
    Parallels,
    Bochs,
    Cloop,
}

impl ImageRequest {
    /// For a raw file that must be there, for reading only, of any size.
    pub fn new(path: impl Into<PathBuf>, kind: ImageKind) -> Self {
        let (path, format, readonly) = (path.into(), ImageFormat::Raw, true);
        Self { path, format, offset: 0, cache: None, readonly, optional: false, kind, limit: None }
    }

    /// Whether the answer is a copy, and not the file itself.
    fn is_copied(&self) -> bool {
        matches!(self.kind, ImageKind::Blob)
    }

    /// How many descriptors may come for it.
    fn most(&self) -> usize {
        if matches!(self.kind, ImageKind::Disk { .. }) { wire::CHAIN_LIMIT } else { 1 }
    }
}

/// The largest size of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeLimit {
    /// In bytes.
    pub bytes: u64,
    /// Its key under `[limits]` of warrend.toml.
    #[serde(skip)]
    pub key: &'static str,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageKind {
    /// A disk's image with its whole backing chain.
    Disk {
        /// Whether the document says that it is a block device; otherwise it is a regular file.
        block: bool,
    },
    /// One image of a chain that the document gives: what the image itself names is not opened.
    Layer {
        /// As for a disk.
        block: bool,
    },
    /// A directory that the guest shares.
    Directory,
    /// The unix socket of a server: connected.
    Socket,
    /// A kernel, an initrd or firmware: the content at this moment, as a sealed memfd.
    Blob,
}

/// One opened file.
#[derive(Debug)]
pub struct OpenedImage {
    /// Its descriptor.
    pub fd: OwnedFd,
    /// Whether it is a qcow2 image; otherwise it is raw.
    pub qcow2: bool,
    /// Whether it was opened for reading only.
    pub readonly: bool,
    /// Whether it is a block device.
    pub block: bool,
    /// Its path, as the document or the image above it gives it.
    pub path: PathBuf,
}

/// Why files could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// The kernel refused the owner.
    #[error("{owner} cannot open {what}")]
    Open {
        /// Whose rights were used.
        owner: String,
        /// The file, and for a backing file what names it.
        what: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The file is there but cannot serve: its kind, its format or its backing chain.
    #[error("{what} {problem}")]
    Unfit {
        /// The file, and for a backing file what names it.
        what: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// The file is larger than the configuration allows.
    #[error(
        "{what} has {bytes} bytes, and the limit is {limit}; use a smaller one, or raise '{key}' under [limits] in \
         warrend.toml"
    )]
    TooLarge {
        /// The file.
        what: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
        /// The limit's key.
        key: &'static str,
    },
    /// Copies would take more of the host's memory than the owner may have.
    #[error(transparent)]
    Limit(#[from] Exceeded),
    /// The files did not open in time.
    #[error("opening '{}' as {owner} takes longer than {} s", .path.display(), DEADLINE.as_secs())]
    Timeout {
        /// The file that was being opened.
        path: PathBuf,
        /// Whose rights were used.
        owner: String,
    },
    /// The helper could not be started.
    #[error("'{}' cannot be started as {owner} to open files", .exe.display())]
    Start {
        /// The helper's program.
        exe: PathBuf,
        /// As whom it was to run.
        owner: String,
        /// What went wrong.
        #[source]
        source: SpawnError,
    },
    /// The opener could not give up what it was started with.
    #[error("the helper that opens files as {owner} could not {step}")]
    Identity {
        /// As whom it was to run.
        owner: String,
        /// What it could not do.
        step: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The helper broke off.
    #[error("the helper that opens files as {owner} broke off")]
    Helper {
        /// As whom it ran.
        owner: String,
        /// What happened on its socket.
        #[source]
        source: io::Error,
    },
}

/// How files are opened for one owner.
#[derive(Debug, Clone)]
pub struct Opener {
    /// The program whose first argument `open-images` leads to [`serve`].
    pub exe: PathBuf,
    /// Whom it opens for; `None`: the user that the service runs under.
    pub identity: Option<Identity>,
}

impl Opener {
    fn owner(&self) -> String {
        let own = || rustix::process::geteuid().as_raw();
        format!("uid {}", self.identity.as_ref().map_or_else(own, |identity| identity.owner.uid))
    }

    /// Opens all of `requests` within 10 s. For each the chain from the top image down; what is no disk is a chain
    /// of one. Copies in memory are added to `memory` before they are made, and what QEMU keeps of
    /// an image; each descriptor to `descriptors`. Once it is dropped, nothing is left of
    /// it.
    pub async fn open(
        &self,
        requests: &[ImageRequest],
        memory: &mut Share,
        descriptors: &mut Share,
    ) -> Result<Vec<Vec<OpenedImage>>, ImagesError> {
        let owner = self.owner();
        let broken = |source| ImagesError::Helper { owner: owner.clone(), source };
        let until = Instant::now() + DEADLINE;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|e| broken(e.into()))?;
        let exchange = Exchange::new(ours, owner.clone(), until).map_err(broken)?;
        let args = self.identity.iter().flat_map(Identity::to_args);
        let helper = Spawn::brief(&self.exe, Purpose::OpenFiles).arg("open-images").args(args).stdin(theirs);
        let start = |source| ImagesError::Start { exe: self.exe.clone(), owner: owner.clone(), source };
        // Killed once nothing is left to do for it; one that hangs in the kernel holds up no caller.
        let _helper = Leash(helper.no_new_privileges().spawn().await.map_err(start)?);
        let mut opened = Vec::new();
        for request in requests {
            opened.push(exchange.ask(request, memory, descriptors).await?);
        }
        Ok(opened)
    }
}

/// The primary group and all supplementary groups of a user, from the host's user database, which may be anywhere
/// on the network.
pub async fn groups_of(uid: u32) -> io::Result<RunAs> {
    tokio::task::spawn_blocking(move || look_up(uid)).await.unwrap_or_else(|e| Err(io::Error::other(e)))
}

fn look_up(uid: u32) -> io::Result<RunAs> {
    let mut buffer = vec![0; 1 << 16];
    // SAFETY: `passwd` is plain data for which all zeroes is a value.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live, writable memory, and `buffer.len()` is the buffer's size.
    let errno =
        unsafe { libc::getpwuid_r(uid, &raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut found) };
    if errno != 0 {
        return Err(io::Error::from_raw_os_error(errno));
    }
    if found.is_null() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("no user has the uid {uid}")));
    }
    // SAFETY: getpwuid_r has filled `entry`; its name points into `buffer`, which still lives.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    let gid = entry.pw_gid;
    let mut groups: Vec<u32> = vec![0; 64];
    loop {
        let mut count = i32::try_from(groups.len()).unwrap_or(i32::MAX);
        // SAFETY: `name` is a C string, `groups` has room for `count` ids.
        let fits = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
        let count = usize::try_from(count).unwrap_or(0);
        if fits >= 0 {
            groups.truncate(count);
            return Ok(RunAs { uid, gid, groups });
        }
        // The kernel takes 65536 groups at most.
        if groups.len() > 1 << 16 {
            return Err(io::Error::other(format!("uid {uid} is in too many groups")));
        }
        groups.resize(count.max(groups.len() * 2), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn groups_come_from_the_user_database() {
        let root = groups_of(0).await.unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(groups_of(4_000_000_000).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
