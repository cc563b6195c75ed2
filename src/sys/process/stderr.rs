//! What a long-lived child says on its standard error.
//!
//! Owns a FIFO in RUN. Must never block the child, end it by SIGPIPE, or let it fill a disk: the child
//! holds both ends, without blocking, and what nobody reads is lost beyond the pipe's 64 KiB.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// How much is kept for an error message.
const KEPT: usize = 4096;
/// How many lines of one child go to the log.
const LOGGED: usize = 200;

/// A new FIFO: the daemon's end, and the child's.
pub fn stderr_fifo(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
    let reading = reopen_fifo(path)?;
    let writing = open(path, OFlags::RDWR)?;
    Ok((reading, writing))
}

/// The daemon's end of a FIFO that a running child has.
pub fn reopen_fifo(path: &Path) -> io::Result<OwnedFd> {
    open(path, OFlags::RDONLY)
}

fn open(path: &Path, mode: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, mode | flags, Mode::empty())?)
}

/// The last words of a child; a task reads them as they come, until the child is gone.
#[derive(Debug, Clone)]
pub struct StderrTail {
    kept: Arc<Mutex<VecDeque<u8>>>,
}

impl StderrTail {
    /// Begins to read; lines go to the log under `label`.
    pub fn start(fd: OwnedFd, label: String) -> Self {
        let tail = Self { kept: Arc::default() };
        let kept = tail.kept.clone();
        tokio::spawn(async move {
            match pipe::Receiver::from_owned_fd(fd) {
                Ok(from) => read(from, &kept, &label).await,
                Err(e) => tracing::warn!("{label}: its messages cannot be read: {e}"),
            }
        });
        tail
    }

    /// The last 4 KiB.
    pub fn tail(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

async fn read(mut from: pipe::Receiver, kept: &Mutex<VecDeque<u8>>, label: &str) {
    let mut buffer = [0u8; 4096];
    let mut logged = 0;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let new = &buffer[..count];
        {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(new);
            let surplus = kept.len().saturating_sub(KEPT);
            kept.drain(..surplus);
        }
        for line in String::from_utf8_lossy(new).lines().filter(|l| !l.trim().is_empty()) {
            logged += 1;
            if logged <= LOGGED {
                tracing::debug!("{label}: {line}");
            } else if logged == LOGGED + 1 {
                tracing::debug!("{label}: more than {LOGGED} lines; the rest is not logged");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::{Purpose, Spawn};
    use std::time::Duration;

    #[tokio::test]
    async fn a_flood_neither_blocks_nor_grows() {
        let dir = tempfile::tempdir().unwrap();
        let (reading, writing) = stderr_fifo(&dir.path().join("stderr")).unwrap();
        let script = "head -c 100000000 /dev/zero >&2; echo; echo last words >&2";
        let process =
            Spawn::brief("sh", Purpose::Script).args(["-c", script]).stderr(writing).spawn().await.unwrap();
        // Nobody reads yet, and still it ends.
        tokio::time::timeout(Duration::from_secs(30), process.exited()).await.unwrap();
        let tail = StderrTail::start(reading, "test".into());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(tail.tail().len() <= KEPT);
    }
}
