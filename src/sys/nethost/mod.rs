//! The nethost: a process of our own that holds the session's user and network namespace.
//!
//! Owns how it is started, found again and ended. It runs as an ordinary user, outlives the service and
//! hands out netlink sockets and TAP devices over a socket in the run directory, so that neither the
//! service nor QEMU ever enters its namespaces. Must never need root, and never replace a nethost
//! that still lives: running guests hang on its networks.
//!
//! In the run directory stand `nethost.stat` (its identity) and `nethost.sock`. TAP devices need a
//! `/dev/net/tun` that the nethost's user may read and write (0666 is usual); the rights over the
//! network come from its own user namespace.

mod client;
mod server;
mod wire;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;

pub(crate) use client::NethostClient;
pub use server::serve;

use super::netspace::NetSpace;
use super::process::{
    Identity, Process, ProcessError, RunAs, Spawn, SpawnError, note_identity, read_identity,
};
use super::unix;

/// How long a request may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// How long its start may take.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take to end after SIGTERM, before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// What a nethost that is ready says on its output.
const READY: &str = "ready";
const SOCKET: &str = "nethost.sock";
const IDENTITY: &str = "nethost.stat";
/// All of its files.
const FILES: [&str; 2] = [SOCKET, IDENTITY];
/// Where a nethost finds its listening socket.
const SOCKET_FD: i32 = 3;

/// Why there is no nethost.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NethostError {
    #[error(
        "this host does not let ordinary users make user namespaces (it could not {step}); allow \
         it with 'sysctl kernel.unprivileged_userns_clone=1', 'sysctl user.max_user_namespaces=10000' or \
         'sysctl kernel.apparmor_restrict_unprivileged_userns=0', whichever of these the host has"
    )]
    Forbidden { step: String, source: io::Error },
    #[error("the nethost could not {step}")]
    Start { step: String, source: io::Error },
    #[error("the nethost ended before it was ready")]
    Died,
    #[error("the nethost was not ready within 10 seconds")]
    Late,
    #[error("the nethost could not be started")]
    Spawn(#[from] SpawnError),
    #[error("'{}' cannot be used for the nethost", .path.display())]
    Run { path: PathBuf, source: io::Error },
    #[error(
        "the nethost (process {pid}) lives but does not answer at '{}'; end it with 'kill {pid}' to have networks \
         again, which unplugs the guests that run on them", .path.display()
    )]
    Silent { pid: i32, path: PathBuf, source: io::Error },
}

/// A nethost that lives, or lived when it was found.
#[derive(Debug)]
pub struct Nethost {
    process: Process,
    client: Arc<NethostClient>,
    dir: PathBuf,
}

impl Nethost {
    /// The network it holds.
    pub fn space(&self) -> NetSpace {
        NetSpace::of_nethost(Arc::clone(&self.client))
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it and forgets it. Its network ends with the last process that is in it and the last TAP
    /// descriptor, not before.
    pub async fn stop(self) -> Result<(), ProcessError> {
        self.process.terminate(STOP_GRACE).await?;
        unix::forget(&self.dir, &FILES);
        Ok(())
    }
}

/// The nethost whose traces stand in `run_dir`; `None`: none, or it has ended. One whose record is lost is found by
/// who answers at its socket.
pub async fn find(run_dir: &Path) -> Result<Option<Nethost>, NethostError> {
    let path = run_dir.join(IDENTITY);
    let unusable = |source| NethostError::Run { path: path.clone(), source };
    let adopt = |identity| Process::adopt(identity).map_err(unusable);
    let recorded = identity(run_dir).map_err(unusable)?;
    let process = match recorded.map_or(Ok(None), adopt)? {
        Some(process) => process,
        None => {
            let at_socket = |source| NethostError::Run { path: run_dir.join(SOCKET), source };
            let Some(found) = client::who_answers(run_dir).await.map_err(at_socket)? else { return Ok(None) };
            let Some(process) = adopt(found)? else { return Ok(None) };
            let (pid, shown) = (found.pid, path.display());
            tracing::error!(
                "'{shown}' is lost or broken; the nethost (process {pid}) answers and is taken over"
            );
            note_identity(&path, found).map_err(unusable)?;
            process
        }
    };
    let identity = process.identity();
    let client = NethostClient::new(run_dir, identity);
    if let Err(source) = client.ping().await {
        // One that could not settle ends at once, which looks like silence for a moment.
        return match Process::adopt(identity) {
            Ok(None) => Ok(None),
            _ => Err(NethostError::Silent { pid: identity.pid, path: run_dir.join(SOCKET), source }),
        };
    }
    Ok(Some(Nethost { process, client: Arc::new(client), dir: run_dir.to_owned() }))
}

/// Removes the traces of a nethost that has ended by itself.
pub fn forget(run_dir: &Path) {
    unix::forget(run_dir, &FILES);
}

/// The identity of the nethost whose traces stand in `run_dir`, whether it lives or not.
pub(super) fn identity(run_dir: &Path) -> io::Result<Option<Identity>> {
    read_identity(&run_dir.join(IDENTITY))
}

/// The nethost of `run_dir`, started when there is none. `exe` is `warrend` itself; `run_as` an ordinary
/// user when the caller is root, who must be able to reach `exe`.
///
/// The caller holds the lock of `run_dir` and calls this once at a time.
pub async fn find_or_start(
    run_dir: &Path,
    exe: &Path,
    run_as: Option<RunAs>,
) -> Result<Nethost, NethostError> {
    if let Some(found) = find(run_dir).await? {
        return Ok(found);
    }
    let started = start(run_dir, exe, run_as).await;
    if started.is_err() {
        unix::forget(run_dir, &FILES);
    }
    started
}

async fn start(run_dir: &Path, exe: &Path, run_as: Option<RunAs>) -> Result<Nethost, NethostError> {
    let unusable = |source| NethostError::Run { path: run_dir.join(SOCKET), source };
    let socket = unix::listen_seqpacket(run_dir, SOCKET).map_err(unusable)?;
    let (words, told) =
        pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|e| unusable(e.into()))?;
    let process = Spawn::lasting(exe, run_dir.join(IDENTITY))
        .arg("nethost")
        .arg(SOCKET_FD.to_string())
        .fd(socket, SOCKET_FD)
        .stdout(told)
        .run_as(run_as)
        .no_privileges()
        .spawn()
        .await?;
    let ready = tokio::time::timeout(START_DEADLINE, listen_to(words)).await;
    let outcome = match ready {
        Ok(Ok(words)) => understand(&words),
        Ok(Err(source)) => Err(unusable(source)),
        Err(_) => Err(NethostError::Late),
    };
    if let Err(e) = outcome {
        if let Err(left) = process.terminate(STOP_GRACE).await {
            tracing::warn!("a nethost that did not start could not be ended: {}", crate::chain(&left));
        }
        return Err(e);
    }
    let client = Arc::new(NethostClient::new(run_dir, process.identity()));
    Ok(Nethost { process, client, dir: run_dir.to_owned() })
}

/// All that the nethost says before it closes its output, which it does once it is ready or ends.
async fn listen_to(words: OwnedFd) -> io::Result<String> {
    let mut words = tokio::net::unix::pipe::Receiver::from_owned_fd(words)?.take(4096);
    let mut text = String::new();
    words.read_to_string(&mut text).await?;
    Ok(text)
}

/// Reads `ready`, or the errno and the step that failed.
fn understand(words: &str) -> Result<(), NethostError> {
    let line = words.lines().next().unwrap_or_default();
    if line == READY {
        return Ok(());
    }
    let Some((errno, step)) = line.split_once(' ').and_then(|(n, s)| Some((n.parse::<i32>().ok()?, s)))
    else {
        return Err(NethostError::Died);
    };
    let (step, source) = (step.to_owned(), io::Error::from_raw_os_error(errno));
    // What kernels answer where user namespaces are missing, forbidden, or used up; a security module
    // lets them be made and refuses the rights inside.
    Err(match errno {
        libc::EPERM | libc::EACCES | libc::ENOSPC | libc::EUSERS | libc::EINVAL | libc::ENOSYS => {
            NethostError::Forbidden { step, source }
        }
        _ => NethostError::Start { step, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_nethost_says_is_understood() {
        assert!(understand("ready\n").is_ok());
        assert!(matches!(understand(""), Err(NethostError::Died)));
        let forbidden = understand("1 map the uid\n").unwrap_err();
        assert!(matches!(&forbidden, NethostError::Forbidden { step, .. } if step == "map the uid"));
        assert!(forbidden.to_string().contains("kernel.unprivileged_userns_clone"));
        assert!(matches!(understand("5 forward IPv4\n"), Err(NethostError::Start { .. })));
    }
}
