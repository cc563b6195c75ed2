//! The opener's own side: becomes what opens with the owner's rights, then opens what it is asked for. Owns the
//! checks on a file before it is handed out; must never run threads, another program or anything of the service.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::{FileType, Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::identity::{self, Identity, Step};
use super::qcow2::{self, Backing};
use super::tables::{self, Bytes};
use super::wire::{Answer, CHAIN_LIMIT, PACKET, Permit, encode};
use super::{ImageFormat, ImageKind, ImageRequest};
use crate::sys::{copy, unix};

/// The hidden mode `open-images [UID GID RESERVED-UID RESERVED-GID GROUP…]`: becomes that, and answers requests on
/// standard input until its other end is closed.
pub fn serve(args: impl Iterator<Item = OsString>) -> ExitCode {
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    if let Err((step, e)) = become_opener(args) {
        let errno = e.raw_os_error().unwrap_or(libc::EPERM);
        let _ = send(socket, &Answer::NotBecome { step: step.to_owned(), errno }, None);
        return ExitCode::FAILURE;
    }
    loop {
        let request = match receive::<ImageRequest>(socket) {
            Ok(request) => request,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return ExitCode::SUCCESS,
            Err(_) => return ExitCode::FAILURE,
        };
        if answer(socket, &request).is_err() {
            return ExitCode::FAILURE;
        }
    }
}

fn become_opener(args: impl Iterator<Item = OsString>) -> Result<(), Step> {
    if let Some(identity) = Identity::from_args(args)? {
        identity.take()?;
    }
    identity::hide()
}

fn answer(socket: BorrowedFd<'_>, request: &ImageRequest) -> io::Result<()> {
    let opened = match request.kind {
        _ if !request.path.is_absolute() => {
            Err(unfit(&format!("'{}'", request.path.display()), "is not an absolute path".into()))
        }
        ImageKind::Disk { block } => open_chain(request, block, true),
        ImageKind::Layer { block } => open_chain(request, block, false),
        ImageKind::Directory => open_directory(&request.path).map(|image| vec![image]),
        ImageKind::Socket => connect(&request.path).map(|image| vec![image]),
        ImageKind::Blob => match open_blob(request) {
            Ok((file, bytes)) => {
                send(socket, &Answer::Size { bytes }, None)?;
                let permit = receive::<Permit>(socket)?;
                copy_blob(&file, request, permit.bytes).map(|image| vec![image])
            }
            Err(refusal) => Err(refusal),
        },
    };
    match opened {
        Err(Answer::Refused { errno: libc::ENOENT, .. }) if request.optional => {
            send(socket, &Answer::Done, None)
        }
        Ok(chain) => {
            for image in chain {
                let Opened { file, path, qcow2, held, .. } = image;
                let message = Answer::Image { path, qcow2, held };
                send(socket, &message, Some(file.as_fd()))?;
            }
            send(socket, &Answer::Done, None)
        }
        Err(refusal) => send(socket, &refusal, None),
    }
}

struct Opened {
    file: File,
    path: std::path::PathBuf,
    qcow2: bool,
    block: bool,
    /// Bytes that QEMU keeps of it in memory.
    held: u64,
}

/// The image, and where `follow` says so the chain below it as each image names the next.
fn open_chain(request: &ImageRequest, block: bool, follow: bool) -> Result<Vec<Opened>, Answer> {
    let mut what = format!("'{}'", request.path.display());
    let mut top = open(&request.path, request.readonly, &what)?;
    top.qcow2 = request.format == ImageFormat::Qcow2;
    check_size(request, &top.file, &what)?;
    if top.block != block {
        let (is, right) = if top.block { ("a block device", "block") } else { ("a regular file", "file") };
        return Err(unfit(&what, format!("is {is}: write <disk type='{right}'>")));
    }
    let bytes = Bytes::from(&top.file, request.offset);
    let held = tables::held(bytes, request.format, request.readonly, request.cache);
    top.held = held.map_err(|problem| unfit(&what, problem))?;
    if !follow {
        if top.qcow2 {
            qcow2::refuse_external_data(bytes).map_err(|problem| unfit(&what, problem))?;
        }
        return Ok(vec![top]);
    }
    let mut seen = BTreeSet::from([identity(&top.file, &what)?]);
    let mut chain = vec![top];
    while let Some(upper) = chain.last().filter(|image| image.qcow2) {
        let at = if chain.len() == 1 { request.offset } else { 0 };
        let Backing { file, qcow2 } = match qcow2::backing(Bytes::from(&upper.file, at), &upper.path) {
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
        let format = if qcow2 { ImageFormat::Qcow2 } else { ImageFormat::Raw };
        let held = tables::held(Bytes::of(&lower.file), format, true, None);
        lower.held = held.map_err(|problem| unfit(&what, problem))?;
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
    Ok(Opened { file: file.into(), path: path.to_owned(), qcow2: false, block, held: 0 })
}

fn open_directory(path: &Path) -> Result<Opened, Answer> {
    let what = format!("'{}'", path.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|e| Answer::Refused { what, errno: e.raw_os_error() })?;
    Ok(Opened { file: file.into(), path: path.to_owned(), qcow2: false, block: false, held: 0 })
}

fn connect(path: &Path) -> Result<Opened, Answer> {
    let what = format!("'{}'", path.display());
    let socket = UnixStream::connect(path)
        .map_err(|e| Answer::Refused { what, errno: e.raw_os_error().unwrap_or(libc::EIO) })?;
    let file = File::from(OwnedFd::from(socket));
    Ok(Opened { file, path: path.to_owned(), qcow2: false, block: false, held: 0 })
}

/// What tells one image from another, whatever path leads to it.
fn identity(file: &File, what: &str) -> Result<(u64, u64, u64), Answer> {
    let stat = rustix::fs::fstat(file)
        .map_err(|e| Answer::Refused { what: what.to_owned(), errno: e.raw_os_error() })?;
    let block = FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice;
    Ok(if block { (0, 0, stat.st_rdev) } else { (stat.st_dev, stat.st_ino, 0) })
}

/// A file that is to be copied, and its size.
fn open_blob(request: &ImageRequest) -> Result<(File, u64), Answer> {
    let what = format!("'{}'", request.path.display());
    let opened = open(&request.path, true, &what)?;
    if opened.block {
        return Err(unfit(&what, "is a block device, and a regular file is wanted here".into()));
    }
    let bytes = check_size(request, &opened.file, &what)?;
    Ok((opened.file, bytes))
}

/// The size, which is within the request's limit.
fn check_size(request: &ImageRequest, file: &File, what: &str) -> Result<u64, Answer> {
    let bytes = rustix::fs::fstat(file)
        .map_err(|e| Answer::Refused { what: what.to_owned(), errno: e.raw_os_error() })?
        .st_size
        .unsigned_abs();
    match &request.limit {
        Some(limit) if bytes > limit.bytes => Err(Answer::TooLarge { bytes }),
        _ => Ok(bytes),
    }
}

fn copy_blob(file: &File, request: &ImageRequest, bytes: u64) -> Result<Opened, Answer> {
    let what = format!("'{}'", request.path.display());
    let file = copy::sealed(file, bytes)
        .map_err(|e| Answer::Refused { what, errno: e.raw_os_error().unwrap_or(libc::EIO) })?;
    Ok(Opened { file, path: request.path.clone(), qcow2: false, block: false, held: 0 })
}

fn unfit(what: &str, problem: String) -> Answer {
    Answer::Unfit { what: what.to_owned(), problem }
}

/// Sends one packet, with a descriptor if there is one.
fn send(socket: BorrowedFd<'_>, message: &impl Serialize, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    unix::send_message(socket, &encode(message)?, fd).map(drop)
}

/// Takes one packet, which has no descriptor.
fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<T> {
    match unix::receive_message(socket, PACKET)? {
        (text, None) => Ok(serde_json::from_slice(&text)?),
        (_, Some(_)) => Err(io::ErrorKind::InvalidData.into()),
    }
}
