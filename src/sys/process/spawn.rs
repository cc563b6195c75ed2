//! The start of a process. Owns what a child inherits: nothing but what it is given.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::pipe::PipeFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use super::child::{Plan, Stage};
use super::{Exit, Process};
use crate::sys::landlock::Landlock;
use crate::sys::netspace::NetSpace;
use crate::sys::unix;

/// How much of an output is kept.
const MAX_OUTPUT: usize = 1 << 20;
/// How long after its end a program's output is waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

/// What a program said, each part cut at 1 MiB.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

/// A process to be started: in a session of its own, with an almost empty environment, `/dev/null` for
/// its streams and no other descriptor, unless it is said otherwise.
#[derive(Debug)]
pub struct Spawn {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    user: Option<RunAs>,
    space: Option<NetSpace>,
    network_capabilities: bool,
    no_privileges: bool,
    no_new_privileges: bool,
    landlock: Option<Landlock>,
    fds: Vec<FdMapping>,
    streams: [Option<OwnedFd>; 3],
    identity_file: Option<PathBuf>,
}

impl Spawn {
    /// A program by path, or by name in the system's directories.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
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
            identity_file: None,
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

    /// The file into which the child itself writes its line of `/proc/self/stat` before it becomes the
    /// program, so that a daemon killed right after the fork finds it again ([`super::read_identity`]).
    pub fn identity_file(mut self, path: PathBuf) -> Self {
        self.identity_file = Some(path);
        self
    }

    fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// Starts it. It goes on when the daemon ends.
    pub fn spawn(self) -> Result<Process, SpawnError> {
        let program = self.name();
        let prepare = |source| SpawnError::Prepare { program: program.clone(), source };
        let (stages, stage) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .map_err(|e| prepare(e.into()))?;
        let plan = self.plan(stage).map_err(prepare)?;
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
            Ok(mut child) => Process::of_child(child.id().cast_signed()).map_err(|source| {
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

    fn plan(&self, stage: OwnedFd) -> io::Result<Plan> {
        let identity = match &self.identity_file {
            Some(path) => Some(unix::private_file(path, true)?.into()),
            None => None,
        };
        let namespaces = match &self.space {
            Some(space) => space.namespaces()?,
            None => None,
        };
        let landlock = self.landlock.as_ref().map(Landlock::prepare).transpose()?.flatten();
        let user = self.user.as_ref().map(|u| (u.uid, u.gid, u.groups.clone()));
        Ok(Plan {
            identity,
            user,
            namespaces,
            network_capabilities: self.network_capabilities,
            no_privileges: self.no_privileges,
            no_new_privileges: self.no_new_privileges,
            landlock,
            stage,
        })
    }

    /// Runs it to its end; it is killed at the deadline.
    pub async fn output(mut self, input: Option<Vec<u8>>, deadline: Duration) -> Result<Output, SpawnError> {
        let program = self.name();
        let failed = |source| SpawnError::Output { program: program.clone(), source };
        let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()));
        let (stdout, child_stdout) = pipe()?;
        let (stderr, child_stderr) = pipe()?;
        let mut writer = None;
        if let Some(input) = input {
            let (child_stdin, stdin) = pipe()?;
            self = self.stdin(child_stdin);
            writer = Some((pipe::Sender::from_owned_fd(stdin).map_err(failed)?, input));
        }
        let process = self.stdout(child_stdout).stderr(child_stderr).spawn()?;
        let stdout = pipe::Receiver::from_owned_fd(stdout).map_err(failed)?;
        let stderr = pipe::Receiver::from_owned_fd(stderr).map_err(failed)?;
        let write = tokio::spawn(async move {
            if let Some((mut stdin, input)) = writer {
                // A program that does not read all of its input says why by its exit status.
                let _ = stdin.write_all(&input).await;
            }
        });
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let exit = {
            let mut reading = std::pin::pin!(futures_util::future::join(
                read_all(stdout, &mut said),
                read_all(stderr, &mut complained)
            ));
            let end = async {
                let mut closed = false;
                loop {
                    tokio::select! {
                        exit = process.exited() => return (exit, closed),
                        _ = &mut reading, if !closed => closed = true,
                    }
                }
            };
            let end = tokio::time::timeout(deadline, end).await;
            if let Ok((_, false)) = end {
                // What it said last may be on its way; but something that it left behind may hold the streams.
                let _ = tokio::time::timeout(LAST_WORDS, reading).await;
            }
            end
        };
        write.abort();
        let Ok((exit, _)) = exit else {
            // It leads a session of its own, in which its children are.
            if let Some(pid) = rustix::process::Pid::from_raw(process.identity().pid)
                && !process.has_ended()
            {
                let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
            }
            return Err(SpawnError::Timeout { program, deadline });
        };
        Ok(Output { exit, stdout: said, stderr: String::from_utf8_lossy(&complained).into_owned() })
    }
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

/// Reads to the end, keeps the first part; an error ends it as an end would.
async fn read_all(mut from: pipe::Receiver, kept: &mut Vec<u8>) {
    let mut buffer = vec![0u8; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = MAX_OUTPUT.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Spawn {
        Spawn::new("sh").args(["-c", script])
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
        let missing = Spawn::new("/no/such/program").spawn().unwrap_err().to_string();
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
        let output = Spawn::new("cat").arg("/proc/self/status").no_privileges();
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
        let process = Spawn::new("sleep").arg("60").identity_file(path.clone()).spawn().unwrap();
        assert_eq!(super::super::read_identity(&path).unwrap(), Some(process.identity()));
        process.terminate(SOON).await.unwrap();
    }
}
