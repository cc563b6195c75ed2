//! The helper's own side: runs with the owner's rights and opens what it is told. Owns the checks on a
//! file before it is handed out; must never run threads or anything of the service.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{FileType, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::qcow2::{self, Backing};
use super::{ImageKind, ImageRequest};
use crate::sys::unix;

/// The largest packet between the two sides: a path of 4096 bytes, escaped, fits several times.
const PACKET: usize = 1 << 16;
/// The deepest backing chain.
pub(super) const CHAIN_LIMIT: usize = 32;
/// The largest kernel or initrd, in bytes: it is held in memory.
const BLOB_LIMIT: u64 = 1 << 30;

/// What the helper says; one or more for each request, the last being no image.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The next image of the chain; comes with its descriptor.
    Image { path: PathBuf, qcow2: bool, readonly: bool, block: bool },
    /// The chain is complete.
    Done,
    /// The kernel said no.
    Refused { what: String, errno: i32 },
    /// The file cannot serve.
    Unfit { what: String, problem: String },
}

/// The hidden mode `open-images`: answers requests on standard input until its other end is closed.
pub fn serve() -> ExitCode {
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    loop {
        let answered = match receive::<ImageRequest>(socket) {
            Ok(Some((request, None))) => answer(socket, &request),
            Ok(None) => return ExitCode::SUCCESS,
            Ok(Some((_, Some(_)))) | Err(_) => return ExitCode::FAILURE,
        };
        if answered.is_err() {
            return ExitCode::FAILURE;
        }
    }
}

fn answer(socket: BorrowedFd<'_>, request: &ImageRequest) -> io::Result<()> {
    let opened = match request.kind {
        ImageKind::Disk { block } => open_chain(request, block, true),
        ImageKind::Layer { block } => open_chain(request, block, false),
        ImageKind::Directory => open_directory(&request.path).map(|image| vec![image]),
        ImageKind::Socket => connect(&request.path).map(|image| vec![image]),
        ImageKind::Blob => copy_blob(&request.path).map(|image| vec![image]),
    };
    match opened {
        Err(Answer::Refused { errno: libc::ENOENT, .. }) if request.optional => {
            send(socket, &Answer::Done, None)
        }
        Ok(chain) => {
            for image in chain {
                let Opened { file, path, qcow2, readonly, block } = image;
                let message = Answer::Image { path, qcow2, readonly, block };
                send(socket, &message, Some(file.as_fd()))?;
            }
            send(socket, &Answer::Done, None)
        }
        Err(refusal) => send(socket, &refusal, None),
    }
}

struct Opened {
    file: File,
    path: PathBuf,
    qcow2: bool,
    readonly: bool,
    block: bool,
}

/// The image, and where `follow` says so the chain below it as each image names the next.
fn open_chain(request: &ImageRequest, block: bool, follow: bool) -> Result<Vec<Opened>, Answer> {
    let mut what = format!("'{}'", request.path.display());
    let mut top = open(&request.path, request.readonly, &what)?;
    top.qcow2 = request.format_qcow2;
    if top.block != block {
        let (is, right) = if top.block { ("a block device", "block") } else { ("a regular file", "file") };
        return Err(unfit(&what, format!("is {is}: write <disk type='{right}'>")));
    }
    if !follow {
        if top.qcow2 {
            qcow2::refuse_external_data(&top.file).map_err(|problem| unfit(&what, problem))?;
        }
        return Ok(vec![top]);
    }
    let mut seen = BTreeSet::from([identity(&top.file, &what)?]);
    let mut chain = vec![top];
    while let Some(upper) = chain.last().filter(|image| image.qcow2) {
        let Backing { file, qcow2 } = match qcow2::backing(&upper.file, &upper.path) {
            Ok(Some(backing)) => backing,
            Ok(None) => break,
            Err(problem) => return Err(unfit(&what, problem)),
        };
        what = format!("'{}', the backing file of '{}',", file.display(), upper.path.display());
        if chain.len() == CHAIN_LIMIT {
            return Err(unfit(&what, format!("is one too many: a chain has at most {CHAIN_LIMIT} images")));
        }
        let mut lower = open(&file, true, &what)?;
        lower.qcow2 = qcow2;
        if !seen.insert(identity(&lower.file, &what)?) {
            return Err(unfit(&what, "is already in the chain above it".into()));
        }
        chain.push(lower);
    }
    Ok(chain)
}

/// Opens a regular file or a block device. What it is, is known before it is opened in earnest: opening a
/// FIFO would wait, and opening some devices does things.
fn open(path: &Path, readonly: bool, what: &str) -> Result<Opened, Answer> {
    if !path.is_absolute() {
        return Err(unfit(what, "is not an absolute path".into()));
    }
    let refused = |e: rustix::io::Errno| Answer::Refused { what: what.to_owned(), errno: e.raw_os_error() };
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(refused)?;
    let stat = rustix::fs::fstat(&place).map_err(refused)?;
    let block = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => false,
        FileType::BlockDevice => true,
        _ => return Err(unfit(what, "is neither a regular file nor a block device".into())),
    };
    let access = if readonly { OFlags::RDONLY } else { OFlags::RDWR };
    let flags = access | OFlags::NOCTTY | OFlags::CLOEXEC;
    let same = format!("/proc/self/fd/{}", place.as_raw_fd());
    let file = rustix::fs::open(same, flags, Mode::empty()).map_err(refused)?;
    Ok(Opened { file: file.into(), path: path.to_owned(), qcow2: false, readonly, block })
}

fn open_directory(path: &Path) -> Result<Opened, Answer> {
    let what = format!("'{}'", path.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|e| Answer::Refused { what, errno: e.raw_os_error() })?;
    Ok(Opened { file: file.into(), path: path.to_owned(), qcow2: false, readonly: true, block: false })
}

fn connect(path: &Path) -> Result<Opened, Answer> {
    let what = format!("'{}'", path.display());
    let socket = UnixStream::connect(path)
        .map_err(|e| Answer::Refused { what, errno: e.raw_os_error().unwrap_or(libc::EIO) })?;
    let file = File::from(OwnedFd::from(socket));
    Ok(Opened { file, path: path.to_owned(), qcow2: false, readonly: false, block: false })
}

/// What tells one image from another, whatever path leads to it.
fn identity(file: &File, what: &str) -> Result<(u64, u64, u64), Answer> {
    let stat = rustix::fs::fstat(file)
        .map_err(|e| Answer::Refused { what: what.to_owned(), errno: e.raw_os_error() })?;
    let block = FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice;
    Ok(if block { (0, 0, stat.st_rdev) } else { (stat.st_dev, stat.st_ino, 0) })
}

fn copy_blob(path: &Path) -> Result<Opened, Answer> {
    let what = format!("'{}'", path.display());
    let mut opened = open(path, true, &what)?;
    if opened.block {
        return Err(unfit(&what, "is a block device, and a kernel or initrd is a regular file".into()));
    }
    let (copy, size) = copy_sealed(&mut opened.file)
        .map_err(|e| Answer::Refused { what: what.clone(), errno: e.raw_os_error().unwrap_or(libc::EIO) })?;
    if size > BLOB_LIMIT {
        return Err(unfit(&what, format!("has more than {BLOB_LIMIT} bytes")));
    }
    opened.file = copy;
    Ok(opened)
}

/// The content as a file in memory that nobody changes, and its size; what is over the limit is left out.
pub(super) fn copy_sealed(from: impl Read) -> io::Result<(File, u64)> {
    let mut copy: File =
        rustix::fs::memfd_create("warren-blob", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into();
    let size = io::copy(&mut from.take(BLOB_LIMIT + 1), &mut copy)?;
    copy.seek(SeekFrom::Start(0))?;
    rustix::fs::fcntl_add_seals(
        &copy,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok((copy, size))
}

fn unfit(what: &str, problem: String) -> Answer {
    Answer::Unfit { what: what.to_owned(), problem }
}

/// Sends one packet, with a descriptor if there is one.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    if text.len() > PACKET {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    unix::send_message(socket, &text, fd).map(drop)
}

/// Takes one packet with its descriptor; `None` when the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut packet = vec![0; PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut packet)];
    let got = loop {
        match rustix::net::recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            got => break got?,
        }
    };
    if got.bytes == 0 {
        return Ok(None);
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(Some((serde_json::from_slice(&packet[..got.bytes])?, fd)))
}
