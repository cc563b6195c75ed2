//! Processes: started with few rights, found again by a later daemon, signalled only when it is them.
//!
//! Owns the identity of a process (pid with start time), pidfds, the record of each child, and the wait for an end.
//! Must never signal a pid whose identity was not compared, start a child without a record, nor end one that serves
//! a guest or a network because the daemon ends.

mod child;
mod descriptors;
mod launch;
mod lookup;
mod output;
mod record;
mod spawn;
mod stderr;
mod sweep;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::sync::OnceCell;

use launch::Born;

pub use descriptors::most_descriptors;
pub use lookup::{Seen, note_identity, processes};
pub use output::{Leash, Output};
pub use record::{Purpose, keep_records};
pub use spawn::{Limit, RunAs, Spawn, SpawnError};
pub use stderr::{StderrTail, reopen_fifo, stderr_fifo};
pub use sweep::kill_all_of;

/// How long a process may survive SIGKILL (it may sit in an uninterruptible call).
const AFTER_KILL: Duration = Duration::from_secs(10);

/// A process, whatever pid it had before or has after: pids are used again, start times are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process id.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks between the boot and its start, see proc(5).
    pub start_time: u64,
}

impl Identity {
    /// From a line of `/proc/PID/stat`. The second field, the command in parentheses, may hold anything.
    fn of_stat(line: &str) -> Option<Self> {
        let (pid, rest) = line.split_once(' ')?;
        let (_, rest) = rest.rsplit_once(") ")?;
        // The state is field 3.
        let start_time = rest.split(' ').nth(22 - 3)?;
        let pid = pid.parse().ok().filter(|pid| *pid > 0)?;
        Some(Self { pid, start_time: start_time.parse().ok()? })
    }

    fn of_pid(pid: i32) -> io::Result<Option<Self>> {
        // A process can have any bytes for its name.
        match std::fs::read(format!("/proc/{pid}/stat")) {
            Ok(line) => Ok(Self::of_stat(&String::from_utf8_lossy(&line))),
            // It may end between the opening and the reading.
            Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(libc::ESRCH) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

/// When the host was booted, in microseconds since 1970, as the clock is set now; `None` where the kernel does not tell.
pub fn booted_usec() -> Option<u64> {
    let uptime = fs_err::read_to_string("/proc/uptime").ok()?;
    let uptime = Duration::try_from_secs_f64(uptime.split(' ').next()?.parse().ok()?).ok()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(now.saturating_sub(uptime).as_micros()).ok()
}

/// The kernel's clock ticks, as in [`Identity::start_time`], in microseconds.
pub fn ticks_usec(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000_000) / rustix::param::clock_ticks_per_second().max(1)
}

/// The id that the kernel drew at this boot.
pub fn boot_id() -> io::Result<String> {
    Ok(fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// What a child noted of itself in its record (see [`Spawn::lasting`]); `None` where there
/// is no file, or an empty one: the child never came so far. Nor does what is not such a line name anybody.
pub fn read_identity(path: &Path) -> io::Result<Option<Identity>> {
    match fs_err::read(path) {
        Ok(line) => Ok(Identity::of_stat(&String::from_utf8_lossy(&line))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was another process's child, so nobody told us.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("status unknown"),
        }
    }
}

/// Why a process is still there.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ProcessError {
    #[error("the process {pid} could not be signalled")]
    Signal { pid: i32, source: io::Error },
    #[error("the process {pid} is still there 10 seconds after SIGKILL")]
    Immortal { pid: i32 },
}

/// A process that is, or was, ours. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Process {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    identity: Identity,
    pidfd: AsyncFd<OwnedFd>,
    exit: OnceCell<Exit>,
}

impl Process {
    /// The process of that identity; `None` when it is gone, or its pid belongs to another one now.
    pub fn adopt(identity: Identity) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(identity.pid) else { return Ok(None) };
        // First the pidfd, then the comparison: what the pidfd holds cannot change any more.
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        if Identity::of_pid(identity.pid)? != Some(identity) {
            return Ok(None);
        }
        let process = Self::of(identity, pidfd)?;
        // A zombie that somebody has yet to reap is gone.
        Ok((!process.has_ended()).then_some(process))
    }

    fn of(identity: Identity, pidfd: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor is owned by the AsyncFd, is never replaced in it, and is closed with it.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, tokio::io::Interest::READABLE) }?;
        Ok(Self { inner: Arc::new(Inner { identity, pidfd, exit: OnceCell::new() }) })
    }

    /// A child that was just started; it is reaped even if nobody waits for it, and its record removed after that.
    fn of_child(mut born: Born) -> io::Result<Self> {
        let pidfd = born.pidfd.take().ok_or(io::ErrorKind::InvalidInput)?;
        let process = Self::of(born.identity, pidfd)?;
        let (reaper, record) = (process.clone(), born.record.take());
        born.taken();
        tokio::spawn(async move {
            reaper.exited().await;
            drop(record);
        });
        Ok(process)
    }

    /// Its pid and start time.
    pub fn identity(&self) -> Identity {
        self.inner.identity
    }

    fn has_ended(&self) -> bool {
        let fd = self.inner.pidfd.get_ref();
        let mut polled = [rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut polled, Some(&now)), Ok(n) if n > 0)
    }

    /// Returns when it has ended; any number may wait.
    pub async fn exited(&self) -> Exit {
        let wait = async {
            // An error here means that the runtime ends.
            let _ = self.inner.pidfd.readable().await;
            use std::os::fd::AsFd;
            let pidfd = self.inner.pidfd.get_ref().as_fd();
            match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
                Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (_, Some(signal)) => Exit::Signal(signal),
                    _ => Exit::Unknown,
                },
                _ => Exit::Unknown,
            }
        };
        *self.inner.exit.get_or_init(|| wait).await
    }

    /// Sends a signal to this process and no other; one that is gone needs none.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(self.inner.pidfd.get_ref(), signal) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Kills it, and with it all of its session: every child begins one. What it has started and outlives it is left.
    pub fn kill_session(&self) -> io::Result<()> {
        let Some(pid) = Pid::from_raw(self.inner.identity.pid) else { return Ok(()) };
        // A stopped process does not end by itself, so that its pid stays its own.
        self.signal(Signal::STOP)?;
        if self.has_ended() {
            return Ok(());
        }
        match rustix::process::kill_process_group(pid, Signal::KILL) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Ends it: SIGTERM, and SIGKILL after `grace`.
    pub async fn terminate(&self, grace: Duration) -> Result<Exit, ProcessError> {
        let pid = self.inner.identity.pid;
        let send = |signal| self.signal(signal).map_err(|source| ProcessError::Signal { pid, source });
        send(Signal::TERM)?;
        // A stopped process takes no other signal before it goes on.
        send(Signal::CONT)?;
        if let Ok(exit) = tokio::time::timeout(grace, self.exited()).await {
            return Ok(exit);
        }
        send(Signal::KILL)?;
        let end = tokio::time::timeout(AFTER_KILL, self.exited()).await;
        end.map_err(|_| ProcessError::Immortal { pid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_confuse() {
        let rest = (4..=52).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let identity = Identity::of_stat(&format!("17 (a) b) (c) S {rest}\n")).unwrap();
        assert_eq!(identity, Identity { pid: 17, start_time: 22 });
    }

    #[tokio::test]
    async fn a_reused_pid_is_another_process() {
        let process = Spawn::brief("sleep", Purpose::Firewall).arg("60").spawn().await.unwrap();
        let identity = process.identity();
        assert!(Process::adopt(identity).unwrap().is_some());
        let other = Identity { start_time: identity.start_time + 1, ..identity };
        assert!(Process::adopt(other).unwrap().is_none());
        assert_eq!(process.terminate(Duration::from_secs(5)).await.unwrap(), Exit::Signal(15));
        assert!(Process::adopt(identity).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_stopped_and_deaf_process_dies_all_the_same() {
        let script = "trap '' TERM; while :; do sleep 1; done";
        let deaf = Spawn::brief("sh", Purpose::Script).args(["-c", script]);
        let process = deaf.spawn().await.unwrap();
        // SIGTERM is bit 14 of those that it ignores.
        let is_deaf = || {
            let status = fs_err::read_to_string(format!("/proc/{}/status", process.identity().pid)).unwrap();
            let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
            u64::from_str_radix(ignored, 16).unwrap() & 1 << 14 != 0
        };
        while !is_deaf() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process.signal(Signal::STOP).unwrap();
        assert_eq!(process.terminate(Duration::from_millis(200)).await.unwrap(), Exit::Signal(9));
    }
}
