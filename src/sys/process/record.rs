//! The record of every child that serves one step of the daemon's.
//!
//! Owns `RUN/children/`: one file for each such child, named by its purpose (`firewall-7`), which holds the child's
//! line of `/proc/PID/stat`. A child that outlives the daemon is on record with the object that it serves instead
//! (see [`Spawn::lasting`](super::Spawn::lasting)). The file is made before the fork, the child fills it before it
//! becomes its program, and it is removed once the child has been reaped. What a daemon finds there when it starts
//! is what the previous one could not see the end of: it is ended before anything is recovered, so that nobody
//! else changes the host meanwhile. Records of another boot are gone by then.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Process, read_identity};

/// How long all that is left of a previous daemon may take to die.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a short-lived child is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Asks a QEMU program what it can do.
    Probe,
    /// Opens files with the rights of their owner.
    OpenFiles,
    /// Changes or lists firewall rules.
    Firewall,
    /// Makes a TAP on a bridge of the host.
    BridgeHelper,
    /// A user's script for a TAP.
    Script,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::OpenFiles => "open-files",
            Self::Firewall => "firewall",
            Self::BridgeHelper => "bridge-helper",
            Self::Script => "script",
        }
    }

    /// Whether the kernel kills it when the daemon dies. A script is ended by the next daemon, with all that it has
    /// started: killed alone, it would leave that behind.
    pub(super) fn dies_with_daemon(self) -> bool {
        match self {
            Self::Probe | Self::OpenFiles | Self::Firewall | Self::BridgeHelper => true,
            Self::Script => false,
        }
    }
}

/// Set once, when the daemon has its RUN directory.
static PLACE: OnceLock<PathBuf> = OnceLock::new();
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Keeps records in this RUN directory from now on, after it has ended what the records there name. No short-lived
/// child starts before that. The caller holds the lock of RUN: it is free only when every child of the previous
/// daemon has become its program, so no record is still to be filled.
pub async fn keep_records(run: &Path) -> io::Result<()> {
    let dir = run.join("children");
    match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let mut left = Vec::new();
    for entry in fs_err::read_dir(&dir)? {
        left.push(end(entry?.path()));
    }
    futures_util::future::join_all(left).await;
    // A second call in one process, as tests make, changes nothing.
    let _ = PLACE.set(dir);
    Ok(())
}

/// Ends the child of this record if it still runs; the record of one that cannot be ended stays.
async fn end(record: PathBuf) {
    let name = record.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let found = read_identity(&record).and_then(|noted| noted.map_or(Ok(None), Process::adopt));
    match found {
        Ok(None) => say_if_broken(&record),
        Ok(Some(process)) => {
            let pid = process.identity().pid;
            tracing::warn!("the previous daemon left '{name}' (process {pid}) running; it is ended");
            if let Err(e) = process.kill_session() {
                tracing::error!("'{name}' (process {pid}) could not be ended: {e}");
                return;
            }
            if tokio::time::timeout(PATIENCE, process.exited()).await.is_err() {
                tracing::error!("'{name}' (process {pid}) is still there 2 seconds after SIGKILL");
                return;
            }
        }
        Err(e) => {
            tracing::error!("the record '{}' cannot be used: {e}", record.display());
            return;
        }
    }
    remove(&record);
}

/// An empty one is of a child that never came so far, and one of a child that has ended is as it should be.
fn say_if_broken(record: &Path) {
    let is_empty = std::fs::metadata(record).is_ok_and(|meta| meta.len() == 0);
    if !is_empty && read_identity(record).is_ok_and(|noted| noted.is_none()) {
        tracing::error!("'{}' is broken: what it was for may still run, and is not known", record.display());
    }
}

fn remove(record: &Path) {
    if let Err(e) = std::fs::remove_file(record) {
        tracing::warn!("the record '{}' cannot be removed: {e}", record.display());
    }
}

/// One child's record, removed when dropped.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
}

impl Record {
    /// A new, empty record, and the descriptor through which the child fills it.
    pub(super) fn create(purpose: Purpose) -> io::Result<(Self, OwnedFd)> {
        let dir = place().ok_or_else(|| io::Error::other("there is no place for its record yet"))?;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{}-{number}", purpose.word()));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok((Self { path }, file.into())),
                // Of one that could not be ended.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

#[cfg(not(test))]
fn place() -> Option<PathBuf> {
    PLACE.get().cloned()
}

/// Unit tests have no daemon, but records all the same.
#[cfg(test)]
pub(super) fn place() -> Option<PathBuf> {
    let made = || tempfile::tempdir().map(tempfile::TempDir::keep).ok();
    PLACE.get().cloned().or_else(|| Some(PLACE.get_or_init(|| made().unwrap_or_default()).clone()))
}

#[cfg(test)]
mod tests {
    use super::super::{Identity, Spawn};
    use super::*;

    async fn gone(identity: Identity) {
        while Process::adopt(identity).unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_a_previous_daemon_left_is_ended_with_all_that_it_started() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join("children");
        std::fs::create_dir(&dir).unwrap();
        let told = run.path().join("told");
        // A stranger to this record's directory: as a child of another daemon.
        let script =
            format!("trap '' TERM HUP; sleep 60 & echo $! >{0}.new; mv {0}.new {0}; wait", told.display());
        let left = Spawn::brief("sh", Purpose::Script).args(["-c", &script]).spawn().await.unwrap();
        while !told.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let grandchild = std::fs::read_to_string(&told).unwrap().trim().parse().unwrap();
        let grandchild = Identity::of_pid(grandchild).unwrap().unwrap();
        let other = Spawn::brief("sleep", Purpose::Script).arg("60").spawn().await.unwrap();
        let stat = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        std::fs::write(dir.join("script-1"), stat(left.identity().pid)).unwrap();
        // Its pid belongs to another process now.
        let line = stat(other.identity().pid);
        let start = other.identity().start_time;
        let line = line.replace(&format!(" {start} "), &format!(" {} ", start + 1));
        std::fs::write(dir.join("script-2"), line).unwrap();
        // Its child never came so far.
        std::fs::write(dir.join("firewall-3"), "").unwrap();

        keep_records(run.path()).await.unwrap();
        gone(left.identity()).await;
        gone(grandchild).await;
        assert!(Process::adopt(other.identity()).unwrap().is_some(), "a reused pid is not touched");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        other.terminate(Duration::from_secs(5)).await.unwrap();
    }
}
