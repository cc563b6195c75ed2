//! The fork, on a thread of the child's own.
//!
//! Owns that thread. The kernel sends a parent-death signal when the *thread* that forked ends, whatever becomes of
//! its process: a child of a thread that a pool ends when it is idle would be killed for no reason. So each child is
//! forked by its own thread, which stays until a child that dies with the daemon is gone. It also keeps a program
//! that takes long to be read (from a disk on the network) off the thread that answers callers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use tokio::sync::oneshot;

use super::child::{Plan, Stage};
use super::record::Record;
use super::spawn::OnRecord;
use super::{Identity, Spawn, SpawnError};
use crate::sys::unix;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
pub(super) fn launch(mut spawn: Spawn) -> io::Result<oneshot::Receiver<Result<Born, SpawnError>>> {
    let (answer, receiver) = oneshot::channel();
    let stays = spawn.dies_with_daemon();
    let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
    std::thread::Builder::new().name("child".to_owned()).stack_size(STACK).spawn(move || {
        // To look at a nethost takes its pidfd.
        let _inside = runtime.enter();
        let held = spawn.held.take();
        let born = spawn.fork();
        let watched = match &born {
            Ok(Born { pidfd: Some(pidfd), .. }) if stays => pidfd.try_clone(),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        // One that nobody waits for dies here.
        drop(answer.send(born));
        drop(held);
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

impl Spawn {
    /// Forks, and waits until the child is its program. To be called on the child's own thread.
    pub(super) fn fork(self) -> Result<Born, SpawnError> {
        let program = self.name();
        let prepare = |source| SpawnError::Prepare { program: program.clone(), source };
        let (stages, stage) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .map_err(|e| prepare(e.into()))?;
        let (record, identity) = self.record().map_err(prepare)?;
        let plan = self.plan(identity, stage).map_err(prepare)?;
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().env("LC_ALL", "C").env("PATH", PATH).envs(self.env);
        tracing::debug!(args = ?self.args, "running '{program}'");
        let [stdin, stdout, stderr] = self.streams.map(|fd| fd.map_or_else(Stdio::null, Stdio::from));
        command.stdin(stdin).stdout(stdout).stderr(stderr).current_dir("/");
        // SAFETY: the closure makes system calls only; see `child`.
        unsafe { command.pre_exec(move || plan.run()) };
        let _reserved = reserve(&self.fds).map_err(prepare)?;
        command.fd_mappings(self.fds).map_err(|e| prepare(io::Error::other(e)))?;
        match command.spawn() {
            Ok(mut child) => find(child.id().cast_signed())
                .map(|(identity, pidfd)| Born::new(identity, pidfd, record))
                .map_err(|source| {
                    // Without descriptors left for it, say: nobody would ever end it.
                    let _ = child.kill().and_then(|()| child.wait());
                    prepare(source)
                }),
            Err(source) => {
                // The pipe is left open by `command` alone.
                drop(command);
                let mut said = [0u8; 16];
                let count = rustix::io::read(stages.as_fd(), &mut said).unwrap_or(0);
                let last = said[..count].last().copied().unwrap_or(Stage::Exec as u8);
                if last == Stage::Exec as u8 && source.kind() == io::ErrorKind::NotFound {
                    return Err(SpawnError::NotFound(program));
                }
                Err(SpawnError::Start { program, stage: Stage::describe(last), source })
            }
        }
    }

    /// The record where it is ours to remove, and the descriptor through which the child fills it.
    fn record(&self) -> io::Result<(Option<Record>, OwnedFd)> {
        match &self.on_record {
            OnRecord::Brief(purpose) => Record::create(*purpose).map(|(record, fd)| (Some(record), fd)),
            OnRecord::Lasting(path) => Ok((None, unix::private_file(path, true)?.into())),
        }
    }

    fn plan(&self, identity: OwnedFd, stage: OwnedFd) -> io::Result<Plan> {
        let namespaces = match &self.space {
            Some(space) => space.namespaces()?,
            None => None,
        };
        let own = self.user.as_ref().map(|user| (user.uid, user.gid));
        let landlock = self.landlock.as_ref().map(|rules| rules.prepare(own)).transpose()?.flatten();
        let user = self.user.as_ref().map(|u| (u.uid, u.gid, u.groups.clone()));
        Ok(Plan {
            identity,
            user,
            namespaces,
            network_capabilities: self.network_capabilities,
            no_privileges: self.no_privileges,
            no_new_privileges: self.no_new_privileges,
            landlock,
            limits: self.limits.clone(),
            dies_with: self.dies_with_daemon().then(|| std::process::id().cast_signed()),
            stage,
        })
    }
}

/// The child that was just started: it is not reaped yet, so its pid is its own.
fn find(pid: i32) -> io::Result<(Identity, OwnedFd)> {
    let raw = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::NONBLOCK)?;
    Ok((Identity::of_pid(pid)?.ok_or(io::ErrorKind::NotFound)?, pidfd))
}

/// Keeps the numbers that the child's descriptors will have free of others: std's own pipe, through which
/// a failed exec is told, must not get one of them, or it would be overwritten.
fn reserve(fds: &[FdMapping]) -> io::Result<Vec<OwnedFd>> {
    if fds.is_empty() {
        return Ok(Vec::new());
    }
    let nothing: OwnedFd = std::fs::File::open("/dev/null")?.into();
    let reserve = |mapping: &FdMapping| rustix::io::fcntl_dupfd_cloexec(&nothing, mapping.child_fd);
    Ok(fds.iter().map(reserve).collect::<Result<_, _>>()?)
}
