//! The service's side of the conversation with one opener.
//!
//! Owns the judgement of what comes: the opener runs with its owner's rights and reads what its owner wrote, so
//! nothing of it is believed. Must never read content, wait without a deadline, or keep a descriptor that is not
//! what was asked for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::FileType;
use serde::Serialize;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::wire::{Answer, PACKET, Permit, encode};
use super::{ImageFormat, ImageKind, ImageRequest, ImagesError, OpenedImage};
use crate::ledger::Share;
use crate::sys::{received, unix};

/// The longest path on Linux.
const PATH_LIMIT: usize = 4096;

/// One opener, as the service sees it.
#[derive(Debug)]
pub(super) struct Exchange {
    socket: AsyncFd<OwnedFd>,
    /// For messages: whose rights the opener has.
    owner: String,
    until: Instant,
}

impl Exchange {
    /// Over our end of the pair, which does not block.
    pub(super) fn new(socket: OwnedFd, owner: String, until: Instant) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        // SAFETY: the descriptor is owned by the AsyncFd, is never replaced in it, and is closed with it.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self { socket, owner, until })
    }

    /// Has one file opened. What it takes of the host's memory is added to `memory` first.
    pub(super) async fn ask(
        &self,
        request: &ImageRequest,
        memory: &mut Share,
        descriptors: &mut Share,
    ) -> Result<Vec<OpenedImage>, ImagesError> {
        let answered =
            tokio::time::timeout_at(self.until, self.conversation(request, memory, descriptors)).await;
        let timeout = || ImagesError::Timeout { path: request.path.clone(), owner: self.owner.clone() };
        answered.unwrap_or_else(|_| Err(timeout()))
    }

    async fn conversation(
        &self,
        request: &ImageRequest,
        memory: &mut Share,
        descriptors: &mut Share,
    ) -> Result<Vec<OpenedImage>, ImagesError> {
        let broken = |source| ImagesError::Helper { owner: self.owner.clone(), source };
        self.send(request).await.map_err(broken)?;
        let (mut chain, mut announced) = (Vec::new(), None);
        loop {
            let (answer, fd) = self.receive().await.map_err(broken)?;
            match (answer, fd) {
                (Answer::Size { bytes }, None) if request.is_copied() && announced.is_none() => {
                    check_size(request, &quoted(&request.path), bytes)?;
                    memory.resize(memory.amount().saturating_add(bytes))?;
                    announced = Some(bytes);
                    self.send(&Permit { bytes }).await.map_err(broken)?;
                }
                (Answer::Image { path, qcow2, held }, Some(fd)) if chain.len() < request.most() => {
                    memory.resize(memory.amount().saturating_add(held))?;
                    descriptors.resize(descriptors.amount() + 1)?;
                    chain.push(judge(request, chain.len(), announced, (path, qcow2), fd).map_err(broken)?);
                }
                (Answer::Done, None) if !chain.is_empty() || request.optional => {
                    if let Some(top) = chain.first().filter(|_| !request.is_copied()) {
                        let (_, bytes) = received::kind_of(top.fd.as_fd()).map_err(broken)?;
                        check_size(request, &quoted(&request.path), bytes)?;
                    }
                    return Ok(chain);
                }
                (refusal, None) => return Err(self.refusal(request, refusal)),
                _ => return Err(broken(unclear())),
            }
        }
    }

    fn refusal(&self, request: &ImageRequest, answer: Answer) -> ImagesError {
        let owner = self.owner.clone();
        match answer {
            Answer::Unfit { what, problem } => {
                ImagesError::Unfit { what: received::words(&what), problem: received::words(&problem) }
            }
            Answer::Refused { what, errno } => {
                let source = io::Error::from_raw_os_error(errno);
                ImagesError::Open { owner, what: received::words(&what), source }
            }
            Answer::TooLarge { bytes } => match check_size(request, &quoted(&request.path), bytes) {
                Err(e) => e,
                Ok(()) => ImagesError::Helper { owner, source: unclear() },
            },
            Answer::NotBecome { step, errno } => {
                let source = io::Error::from_raw_os_error(errno);
                ImagesError::Identity { owner, step: received::words(&step), source }
            }
            Answer::Size { .. } | Answer::Image { .. } | Answer::Done => {
                ImagesError::Helper { owner, source: unclear() }
            }
        }
    }

    /// An honest opener has read all that was sent before, so there is always room.
    async fn send(&self, message: &impl Serialize) -> io::Result<()> {
        let text = encode(message)?;
        let send = |socket: &OwnedFd| unix::send_message(socket.as_fd(), &text, None).map(drop);
        self.socket.async_io(tokio::io::Interest::WRITABLE, send).await
    }

    async fn receive(&self) -> io::Result<(Answer, Option<OwnedFd>)> {
        let receive = |socket: &OwnedFd| unix::receive_message(socket.as_fd(), PACKET);
        let (text, fd) = self.socket.async_io(tokio::io::Interest::READABLE, receive).await?;
        Ok((serde_json::from_slice(&text)?, fd))
    }
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

fn unclear() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it sent what was not asked for")
}

fn check_size(request: &ImageRequest, what: &str, bytes: u64) -> Result<(), ImagesError> {
    match &request.limit {
        Some(limit) if bytes > limit.bytes => {
            Err(ImagesError::TooLarge { what: what.to_owned(), bytes, limit: limit.bytes, key: limit.key })
        }
        _ => Ok(()),
    }
}

/// Takes a descriptor that is what was asked for, and no other.
fn judge(
    request: &ImageRequest,
    depth: usize,
    announced: Option<u64>,
    (path, qcow2): (std::path::PathBuf, bool),
    fd: OwnedFd,
) -> io::Result<OpenedImage> {
    if path.as_os_str().len() > PATH_LIMIT || !path.is_absolute() {
        return Err(unclear());
    }
    let file = fd.as_fd();
    let readonly = match request.kind {
        ImageKind::Disk { .. } | ImageKind::Layer { .. } => request.readonly || depth > 0,
        ImageKind::Directory | ImageKind::Blob => true,
        ImageKind::Socket => false,
    };
    let (fits, block) = match request.kind {
        ImageKind::Disk { block } => image(file, readonly, (depth == 0).then_some(block))?,
        ImageKind::Layer { block } => image(file, readonly, Some(block))?,
        ImageKind::Directory => {
            let directory = received::kind_of(file)?.0 == FileType::Directory;
            (directory && received::is_opened_for(file, readonly)?, false)
        }
        ImageKind::Socket => (received::is_unix_stream(file), false),
        ImageKind::Blob => {
            let size = received::sealed_size(file)?;
            (size.is_some() && size == announced, false)
        }
    };
    let qcow2 = if depth == 0 { request.format == ImageFormat::Qcow2 } else { qcow2 };
    if fits { Ok(OpenedImage { fd, qcow2, readonly, block, path }) } else { Err(unclear()) }
}

/// Whether it is an image opened for this, and whether it is a block device.
fn image(file: BorrowedFd<'_>, readonly: bool, block: Option<bool>) -> io::Result<(bool, bool)> {
    let is_block = match received::kind_of(file)?.0 {
        FileType::RegularFile => false,
        FileType::BlockDevice => true,
        _ => return Ok((false, false)),
    };
    Ok((block.is_none_or(|block| block == is_block) && received::is_opened_for(file, readonly)?, is_block))
}

#[cfg(test)]
mod tests;
