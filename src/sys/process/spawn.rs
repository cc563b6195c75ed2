//! The start of a process. Owns what a child inherits, nothing but what it is given, and that it is on record before
//! it becomes its program.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use command_fds::FdMapping;
use tokio::sync::OwnedMutexGuard;

use super::Process;
use super::launch::launch;
use super::record::Purpose;
use crate::sys::landlock::Landlock;
use crate::sys::netspace::NetSpace;

/// How long the way from the fork to the program may take: it is read from a disk.
const START: Duration = Duration::from_secs(10);

/// The user as which a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// What a child may use of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of its address space.
    Memory,
    /// Seconds of CPU time.
    CpuSeconds,
    /// Bytes of each file that it writes.
    FileSize,
    /// Threads and processes of its uid, whoever started them. Root is never refused any.
    Threads,
}

/// Why a program did not run.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SpawnError {
    #[error("the program '{0}' is not installed, or not executable here")]
    NotFound(String),
    #[error("the program '{program}' could not {stage}")]
    Start { program: String, stage: &'static str, source: io::Error },
    #[error("the program '{program}' could not be prepared")]
    Prepare { program: String, source: io::Error },
    #[error("the program '{program}' did not end within {} seconds", .deadline.as_secs())]
    Timeout { program: String, deadline: Duration },
    #[error("the output of the program '{program}' could not be read")]
    Output { program: String, source: io::Error },
}

/// Where a child is on record.
#[derive(Debug)]
pub(super) enum OnRecord {
    /// In this file, with the object that it serves.
    Lasting(PathBuf),
    /// Among the children of this daemon.
    Brief(Purpose),
}

/// A process to be started: in a session of its own, with an almost empty environment, `/dev/null` for
/// its streams and no other descriptor, unless it is said otherwise. There is none without a record.
#[derive(Debug)]
pub struct Spawn {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) user: Option<RunAs>,
    pub(super) space: Option<NetSpace>,
    pub(super) network_capabilities: bool,
    pub(super) no_privileges: bool,
    pub(super) no_new_privileges: bool,
    pub(super) landlock: Option<Landlock>,
    pub(super) fds: Vec<FdMapping>,
    pub(super) streams: [Option<OwnedFd>; 3],
    pub(super) limits: Vec<(Limit, u64)>,
    pub(super) on_record: OnRecord,
    pub(super) held: Option<OwnedMutexGuard<()>>,
}

impl Spawn {
    /// A program, by path or by name in the system's directories, that outlives the daemon. `record` is the file by
    /// which the next daemon finds it ([`super::read_identity`]): the child writes its line of `/proc/self/stat` into
    /// it before it becomes the program.
    pub fn lasting(program: impl AsRef<OsStr>, record: PathBuf) -> Self {
        Self::new(program, OnRecord::Lasting(record))
    }

    /// As [`Self::lasting`], for one step of the daemon's, which sees its end. If the daemon dies first, the kernel
    /// kills the child, or the next daemon does.
    pub fn brief(program: impl AsRef<OsStr>, purpose: Purpose) -> Self {
        Self::new(program, OnRecord::Brief(purpose))
    }

    fn new(program: impl AsRef<OsStr>, on_record: OnRecord) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            user: None,
            space: None,
            network_capabilities: false,
            no_privileges: false,
            no_new_privileges: false,
            landlock: None,
            fds: Vec::new(),
            streams: [None, None, None],
            limits: Vec::new(),
            on_record,
            held: None,
        }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A variable beside `LC_ALL` and `PATH`.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The user to become; `None`: the daemon's own.
    pub fn run_as(mut self, user: Option<RunAs>) -> Self {
        self.user = user;
        self
    }

    /// Enters that space with the capabilities NET_ADMIN, NET_RAW and NET_BIND_SERVICE alone. On the host
    /// nothing is entered, and capabilities are kept only with [`Self::network_capabilities_if`].
    pub fn enter(mut self, space: &NetSpace) -> Self {
        if space.is_host() {
            return self;
        }
        self.network_capabilities = true;
        self.space = Some(space.clone());
        self
    }

    /// Keeps NET_ADMIN, NET_RAW and NET_BIND_SERVICE when root becomes another user.
    pub fn network_capabilities_if(mut self, wanted: bool) -> Self {
        self.network_capabilities |= wanted;
        self
    }

    /// No capability, now or by any program it may execute; no core dumps.
    pub fn no_privileges(mut self) -> Self {
        self.no_privileges = true;
        self.no_new_privileges()
    }

    /// No right by exec that it has not before it: set-user-ID bits and file capabilities count for nothing.
    pub fn no_new_privileges(mut self) -> Self {
        self.no_new_privileges = true;
        self
    }

    /// Keeps it, where the kernel can, to these paths; `None`: to none in particular. It gets no new privileges either.
    pub fn landlock(mut self, rules: Option<Landlock>) -> Self {
        self.no_new_privileges |= rules.is_some();
        self.landlock = rules;
        self
    }

    /// Gives a descriptor the number that it will have in the child.
    pub fn fd(mut self, fd: OwnedFd, number: i32) -> Self {
        self.fds.push(FdMapping { parent_fd: fd, child_fd: number });
        self
    }

    /// Its standard input.
    pub fn stdin(mut self, fd: OwnedFd) -> Self {
        self.streams[0] = Some(fd);
        self
    }

    /// Its standard output.
    pub fn stdout(mut self, fd: OwnedFd) -> Self {
        self.streams[1] = Some(fd);
        self
    }

    /// Its standard error.
    pub fn stderr(mut self, fd: OwnedFd) -> Self {
        self.streams[2] = Some(fd);
        self
    }

    /// What it may use of the machine, unless the daemon itself has less.
    pub fn limit(mut self, limit: Limit, most: u64) -> Self {
        self.limits.push((limit, most));
        self
    }

    /// Kept until the child is there, or is gone again since its caller waits no longer.
    pub fn hold(mut self, held: OwnedMutexGuard<()>) -> Self {
        self.held = Some(held);
        self
    }

    pub(super) fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    pub(super) fn dies_with_daemon(&self) -> bool {
        matches!(self.on_record, OnRecord::Brief(purpose) if purpose.dies_with_daemon())
    }

    /// Starts it. If the caller waits no longer, it is killed.
    pub async fn spawn(self) -> Result<Process, SpawnError> {
        let program = self.name();
        let prepare = |source| SpawnError::Prepare { program: program.clone(), source };
        let born = launch(self).map_err(prepare)?;
        let Ok(born) = tokio::time::timeout(START, born).await else {
            return Err(SpawnError::Timeout { program, deadline: START });
        };
        let born = born.map_err(|e| prepare(io::Error::other(e)))??;
        Process::of_child(born).map_err(prepare)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Exit, Identity};
    use super::*;

    fn sh(script: &str) -> Spawn {
        Spawn::brief("sh", Purpose::Script).args(["-c", script])
    }

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn input_and_output_and_status_are_passed() {
        let output = sh("cat; echo err >&2; exit 3").output(Some(b"in".to_vec()), SOON).await.unwrap();
        assert_eq!(
            (output.exit, output.stdout.as_slice(), output.stderr.as_str()),
            (Exit::Code(3), &b"in"[..], "err\n")
        );
    }

    #[tokio::test]
    async fn what_is_missing_and_what_hangs_is_named() {
        let missing =
            Spawn::brief("/no/such/program", Purpose::Firewall).spawn().await.unwrap_err().to_string();
        assert_eq!(missing, "the program '/no/such/program' is not installed, or not executable here");
        let output = sh("sleep 60 & echo done").output(None, SOON).await.unwrap();
        assert_eq!((output.exit, output.stdout.as_slice()), (Exit::Code(0), &b"done\n"[..]));
        let hangs = sh("sleep 60").output(None, Duration::from_millis(100)).await.unwrap_err().to_string();
        assert!(hangs.contains("did not end within"), "{hangs}");
    }

    #[tokio::test]
    async fn a_child_has_no_descriptor_that_it_was_not_given() {
        let (read, _write) = std::io::pipe().unwrap();
        let output = sh("ls /proc/self/fd").fd(read.into(), 7).output(None, SOON).await.unwrap();
        // 3 is the directory that ls itself has open.
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n2\n3\n7\n");
    }

    #[tokio::test]
    async fn a_child_without_privileges_has_none() {
        let output = Spawn::brief("cat", Purpose::Probe).arg("/proc/self/status").no_privileges();
        let user = RunAs { uid: 64123, gid: 64123, groups: vec![64124] };
        let user = rustix::process::geteuid().is_root().then_some(user);
        let output = output.run_as(user.clone()).output(None, SOON).await.unwrap();
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        if user.is_some() {
            for line in [
                "Uid:\t64123\t64123\t64123\t64123",
                "Groups:\t64124",
                "CapPrm:\t0000000000000000",
                "CapBnd:\t0000000000000000",
            ] {
                assert!(status.contains(line), "{line}: {status}");
            }
        }
    }

    #[tokio::test]
    async fn a_child_notes_its_own_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stat");
        let process = Spawn::lasting("sleep", path.clone()).arg("60").spawn().await.unwrap();
        assert_eq!(super::super::read_identity(&path).unwrap(), Some(process.identity()));
        process.terminate(SOON).await.unwrap();
    }

    /// Files of `RUN/children` that name this process.
    fn records_of(identity: Identity) -> Vec<PathBuf> {
        let dir = std::fs::read_dir(super::super::record::place().unwrap()).unwrap();
        let paths = dir.map(|entry| entry.unwrap().path());
        // That of another test's child may be gone by now.
        let names = |path: &PathBuf| super::super::read_identity(path).unwrap_or(None) == Some(identity);
        paths.filter(names).collect()
    }

    #[tokio::test]
    async fn a_child_is_on_record_from_its_start_to_its_end() {
        let process = Spawn::brief("sleep", Purpose::Probe).arg("60").spawn().await.unwrap();
        let records = records_of(process.identity());
        assert_eq!(records.len(), 1);
        assert!(records[0].file_name().unwrap().to_str().unwrap().starts_with("probe-"));
        process.terminate(SOON).await.unwrap();
        while records[0].exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_child_outlives_the_thread_that_asked_for_it() {
        let runtime = tokio::runtime::Handle::current();
        let start = || Spawn::brief("sleep", Purpose::Probe).arg("60").spawn();
        let thread = std::thread::spawn(move || runtime.block_on(start()));
        let process = tokio::task::spawn_blocking(|| thread.join().unwrap().unwrap()).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(200), process.exited()).await;
        assert!(early.is_err(), "it ended by {early:?} with a thread that is not the daemon");
        process.terminate(SOON).await.unwrap();
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let told = dir.path().join("told");
        let script = format!("sleep 60 & echo $! $$ >{0}.new; mv {0}.new {0}; wait", told.display());
        let script = sh(&script);
        let waits = script.output(None, SOON);
        let started = async {
            while !told.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            output = waits => panic!("{output:?}"),
            () = started => {}
        }
        let pids = std::fs::read_to_string(&told).unwrap();
        for pid in pids.split_whitespace() {
            // What has lost its parent may stay a zombie where nobody reaps.
            let runs =
                || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "));
            while runs() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    #[tokio::test]
    async fn a_child_that_is_born_after_its_caller_has_left_is_gone_when_its_hold_is() {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("stat");
        let hold = std::sync::Arc::new(tokio::sync::Mutex::new(()));
        let spawn = Spawn::lasting("sleep", record.clone()).arg("60").hold(hold.clone().lock_owned().await);
        let mut spawn = Box::pin(spawn.spawn());
        assert!(futures_util::poll!(&mut spawn).is_pending());
        drop(spawn);
        drop(hold.lock().await);
        let identity = super::super::read_identity(&record).unwrap().expect("it was born");
        assert!(Process::adopt(identity).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_child_has_its_limits() {
        let limited = sh("ulimit -v; ulimit -t; ulimit -f; for n in 1 2 3 4 5 6; do sleep 5 & done")
            .limit(Limit::Memory, 1 << 30)
            .limit(Limit::CpuSeconds, 7)
            .limit(Limit::FileSize, 1 << 20)
            .limit(Limit::Threads, 4);
        // Root is never refused a thread.
        let user = RunAs { uid: 64125, gid: 64125, groups: Vec::new() };
        let user = rustix::process::geteuid().is_root().then_some(user);
        let output = limited.run_as(user.clone()).output(None, SOON).await.unwrap();
        assert!(output.stdout.starts_with(b"1048576\n7\n2048\n"), "{output:?}");
        assert!(user.is_none() || output.stderr.contains("fork"), "{output:?}");
    }
}
