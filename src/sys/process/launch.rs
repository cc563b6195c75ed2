//! The fork, on a thread of the child's own.
//!
//! Owns that thread. The kernel sends a parent-death signal when the *thread* that forked ends, whatever becomes of
//! its process: a child of a thread that a pool ends when it is idle would be killed for no reason. So each child is
//! forked by its own thread, which stays until a child that dies with the daemon is gone. It also keeps a program
//! that takes long to be read (from a disk on the network) off the thread that answers callers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions};
use tokio::sync::oneshot;

use super::record::Record;
use super::{Identity, Spawn, SpawnError};

/// It calls little.
const STACK: usize = 256 << 10;

/// A child that nobody waits for yet; dropped, it is killed and reaped.
#[derive(Debug)]
pub(super) struct Born {
    pub(super) identity: Identity,
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) record: Option<Record>,
    taken: bool,
}

impl Born {
    pub(super) fn new(identity: Identity, pidfd: OwnedFd, record: Option<Record>) -> Self {
        Self { identity, pidfd: Some(pidfd), record, taken: false }
    }

    /// Somebody else reaps it from now on.
    pub(super) fn taken(mut self) {
        self.taken = true;
    }
}

impl Drop for Born {
    fn drop(&mut self) {
        let Some(pid) = Pid::from_raw(self.identity.pid).filter(|_| !self.taken) else { return };
        // It is ours and not reaped, so the pid is its own.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
    }
}

/// Starts a child. When the receiver is gone before its answer comes, the child is killed.
pub(super) fn launch(spawn: Spawn) -> io::Result<oneshot::Receiver<Result<Born, SpawnError>>> {
    let (answer, receiver) = oneshot::channel();
    let stays = spawn.dies_with_daemon();
    std::thread::Builder::new().name("child".to_owned()).stack_size(STACK).spawn(move || {
        let born = spawn.fork();
        let watched = match &born {
            Ok(Born { pidfd: Some(pidfd), .. }) if stays => pidfd.try_clone(),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        drop(answer.send(born));
        // Without a descriptor for it the child dies here, as it would with the daemon.
        if let Ok(pidfd) = watched {
            wait(&pidfd);
        }
    })?;
    Ok(receiver)
}

/// Returns when the process has ended; somebody else reaps it.
fn wait(pidfd: &OwnedFd) {
    while let Err(rustix::io::Errno::INTR) = poll(&mut [PollFd::new(&pidfd.as_fd(), PollFlags::IN)], None) {}
}
