//! Opens what a document names on the host with the rights of its owner, and nobody else's.
//!
//! Owns the helper process that does so: our own program in the mode `open-images`, which takes the
//! owner's uid, gid and groups before it looks at any path, and hands descriptors back over a socket pair.
//! Must never open, look at or change a path that came from a document in the calling process, and never
//! guess an image's format from its content.

mod helper;
mod qcow2;

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};

use self::helper::{Answer, CHAIN_LIMIT, receive, send};
use super::process::{Leash, Purpose, RunAs, Spawn, SpawnError};

pub use self::helper::serve;

/// How long all files of one guest may take to open and copy.
const DEADLINE: Duration = Duration::from_secs(10);

/// One file to open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRequest {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// Whether the document says qcow2; otherwise the image is raw, whatever is in it.
    pub format_qcow2: bool,
    /// Open without the right to write.
    pub readonly: bool,
    /// A file that is not there is no error: the answer is then empty.
    pub optional: bool,
    /// What it is for.
    pub kind: ImageKind,
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
    /// A kernel or an initrd: the content at this moment, as a sealed memfd.
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

/// Opens all of `requests` as `owner` (`None`: as this process), within 10 s. For each request the chain
/// from the top image down; a blob is a chain of one. `exe` is the program whose first argument
/// `open-images` leads to [`serve`].
pub async fn open_as(
    exe: &Path,
    owner: Option<RunAs>,
    requests: Vec<ImageRequest>,
) -> Result<Vec<Vec<OpenedImage>>, ImagesError> {
    let name = owner_name(owner.as_ref());
    let broken = |source| ImagesError::Helper { owner: name.clone(), source };
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|e| broken(e.into()))?;
    let helper = Spawn::brief(exe, Purpose::OpenFiles).arg("open-images").stdin(theirs);
    let helper = helper.run_as(owner).no_new_privileges().spawn().await;
    let start = |source| ImagesError::Start { exe: exe.to_owned(), owner: name.clone(), source };
    // Killed once nothing is left to do for it; one that hangs in the kernel holds up no caller.
    let _helper = Leash(helper.map_err(start)?);
    let until = Instant::now() + DEADLINE;
    let asker = name.clone();
    let ask_all = move || requests.iter().map(|request| ask(&ours, request, until, &asker)).collect();
    let opened = tokio::task::spawn_blocking(ask_all).await;
    opened.unwrap_or_else(|e| Err(broken(io::Error::other(e))))
}

/// A sealed file in memory with this content, to be handed to another process.
pub fn sealed(content: &[u8]) -> io::Result<OwnedFd> {
    helper::copy_sealed(content).map(|(file, _)| file.into())
}

/// The primary group and all supplementary groups of a user, from the host's user database.
pub fn groups_of(uid: u32) -> io::Result<RunAs> {
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

fn owner_name(owner: Option<&RunAs>) -> String {
    let uid = owner.map_or_else(|| rustix::process::geteuid().as_raw(), |o| o.uid);
    format!("uid {uid}")
}

fn ask(
    socket: &OwnedFd,
    request: &ImageRequest,
    until: Instant,
    owner: &str,
) -> Result<Vec<OpenedImage>, ImagesError> {
    let broken = |source| ImagesError::Helper { owner: owner.to_owned(), source };
    send(socket.as_fd(), request, None).map_err(broken)?;
    let mut chain = Vec::new();
    loop {
        if !readable(socket, until).map_err(broken)? {
            return Err(ImagesError::Timeout { path: request.path.clone(), owner: owner.to_owned() });
        }
        let answer = receive::<Answer>(socket.as_fd()).map_err(broken)?;
        match answer {
            // It runs as the owner, who may have taken it over.
            Some((Answer::Image { path, qcow2, readonly, block }, Some(fd))) if chain.len() < CHAIN_LIMIT => {
                chain.push(OpenedImage { fd, qcow2, readonly, block, path });
            }
            Some((Answer::Done, None)) => return Ok(chain),
            Some((Answer::Unfit { what, problem }, None)) => {
                return Err(ImagesError::Unfit { what, problem });
            }
            Some((Answer::Refused { what, errno }, None)) => {
                let source = io::Error::from_raw_os_error(errno);
                return Err(ImagesError::Open { owner: owner.to_owned(), what, source });
            }
            Some(_) => return Err(broken(io::ErrorKind::InvalidData.into())),
            None => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn readable(socket: &OwnedFd, until: Instant) -> io::Result<bool> {
    let left =
        Timespec::try_from(until.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
    loop {
        match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_that_never_ends_its_answer_is_not_believed() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let helper = std::thread::spawn(move || {
            let null = std::fs::File::open("/dev/null").unwrap();
            let image = || Answer::Image { path: "/a".into(), qcow2: true, readonly: true, block: false };
            while send(theirs.as_fd(), &image(), Some(null.as_fd())).is_ok() {}
        });
        let kind = ImageKind::Disk { block: false };
        let request =
            ImageRequest { path: "/a".into(), format_qcow2: true, readonly: true, optional: false, kind };
        let answer = ask(&ours, &request, Instant::now() + DEADLINE, "uid 1000");
        assert!(matches!(answer, Err(ImagesError::Helper { .. })), "{answer:?}");
        drop(ours);
        helper.join().unwrap();
    }

    #[test]
    fn groups_come_from_the_user_database() {
        let root = groups_of(0).unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(groups_of(4_000_000_000).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
