//! A program that is run to its end, with what it reads and says.
//!
//! Owns the bounds of that: time, and how much of an output is kept. Must never leave the program, or what it has
//! started, behind when nobody waits for it any more.

use std::time::Duration;

use rustix::pipe::PipeFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use super::{Exit, Process, Spawn, SpawnError};

/// How much of an output is kept.
const MAX_OUTPUT: usize = 1 << 20;
/// How long after its end a program's output is waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

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

/// A child that is killed, with all of its session, when this is dropped before it has ended.
#[derive(Debug)]
pub struct Leash(pub Process);

impl Drop for Leash {
    fn drop(&mut self) {
        if let Err(e) = self.0.kill_session() {
            tracing::warn!("the process {} could not be killed: {e}", self.0.identity().pid);
        }
    }
}

impl Spawn {
    /// Runs it to its end. It is killed at the deadline, and when the caller waits no longer.
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
        let child = Leash(self.stdout(child_stdout).stderr(child_stderr).spawn().await?);
        let stdout = pipe::Receiver::from_owned_fd(stdout).map_err(failed)?;
        let stderr = pipe::Receiver::from_owned_fd(stderr).map_err(failed)?;
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let exit = {
            let write = async {
                if let Some((mut stdin, input)) = writer {
                    // A program that does not read all of its input says why by its exit status.
                    let _ = stdin.write_all(&input).await;
                }
            };
            let read = futures_util::future::join3(
                read_all(stdout, &mut said),
                read_all(stderr, &mut complained),
                write,
            );
            let mut streams = std::pin::pin!(read);
            let end = async {
                let mut closed = false;
                loop {
                    tokio::select! {
                        exit = child.0.exited() => return (exit, closed),
                        _ = &mut streams, if !closed => closed = true,
                    }
                }
            };
            let end = tokio::time::timeout(deadline, end).await;
            if let Ok((_, false)) = end {
                // What it said last may be on its way; but something that it left behind may hold the streams.
                let _ = tokio::time::timeout(LAST_WORDS, streams).await;
            }
            end
        };
        let Ok((exit, _)) = exit else { return Err(SpawnError::Timeout { program, deadline }) };
        Ok(Output { exit, stdout: said, stderr: String::from_utf8_lossy(&complained).into_owned() })
    }
}

/// Reads to the end, keeps the first part; an error ends it as an end would.
async fn read_all(mut from: pipe::Receiver, kept: &mut Vec<u8>) {
    let mut buffer = vec![0u8; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = MAX_OUTPUT.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
}
