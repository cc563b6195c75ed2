//! `vm console NAME [--device ALIAS] [--force] [--idle SECONDS]`
//!
//! Two ways of use. At a terminal: raw, until Ctrl-] or until the machine ends. In a script: standard
//! input is sent; when it has ended, the output goes on until the machine has been silent for a while,
//! since a guest gives no sign that it has said all.

use std::io::{self, IsTerminal, Read};
use std::os::unix::net::UnixStream as StdStream;
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Session;
use crate::cli::args::Scope;
use crate::cli::complete;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::Options;
use crate::cli::remote::Host;
use crate::cli::terminal::RawMode;

/// Ctrl-]
const LEAVE: u8 = 0x1d;

/// Connects standard input and output with a machine's serial console.
pub(in crate::cli) async fn run(
    session: &Session,
    name: &str,
    device: Option<&str>,
    force: bool,
    idle: u64,
) -> Result<ExitCode, CliError> {
    let machine = session.bus.find(Kind::Domain, name).await?;
    let mut options: Options<'_> = device.map(|alias| ("device", alias.into())).into_iter().collect();
    if force {
        options.insert("force", true.into());
    }
    let stream = StdStream::from(machine.open_console(options).await?);
    stream.set_nonblocking(true).map_err(broken)?;
    let stream = UnixStream::from_std(stream).map_err(broken)?;
    if io::stdin().is_terminal() {
        output::tell(format_args!("Connected to {name}; Ctrl-] leaves."));
        let raw = RawMode::enter().map_err(broken)?;
        let end = copy(stream, true, Duration::MAX).await;
        drop(raw);
        output::tell(if matches!(end, Ok(false)) { "\nThe connection was closed." } else { "" });
        end?;
    } else {
        copy(stream, false, Duration::from_secs(idle)).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Why there is no console on another host, and what to do. The command passes two shells, and means the same
/// service there.
pub(in crate::cli) fn not_over_ssh(host: &Host, scope: Scope, name: &str) -> CliError {
    let flag = match scope {
        Scope::System => "--system",
        Scope::Session => "--session",
    };
    let there = format!("warrenctl {flag} vm console {}", complete::escape(name));
    CliError::Usage(format!(
        "a console is a file descriptor, which does not pass over ssh; instead, run warrenctl there: \
         ssh -t {} '{}'",
        host.as_str(),
        there.replace('\'', r"'\''")
    ))
}

/// Passes all on in both directions until the end, and tells whether this side made it.
async fn copy(stream: UnixStream, keys: bool, idle: Duration) -> Result<bool, CliError> {
    let (mut from_guest, mut to_guest) = stream.into_split();
    let mut typed = standard_input();
    let mut more = true;
    // What the guest has not taken yet. It may never take it, and must still be heard meanwhile.
    let mut pending = Vec::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
    let mut buffer = vec![0; 16 << 10];
    loop {
        tokio::select! {
            got = from_guest.read(&mut buffer) => match got {
                Ok(0) => return Ok(false),
                Ok(n) => output::write(&buffer[..n])?,
                Err(e) => return ended(e),
            },
            sent = to_guest.write(&pending), if !pending.is_empty() => match sent {
                Ok(n) => drop(pending.drain(..n)),
                Err(e) => return ended(e),
            },
            bytes = typed.recv(), if more && (keys || pending.is_empty()) => match bytes {
                Some(bytes) if keys && bytes.contains(&LEAVE) => return Ok(true),
                Some(bytes) => pending.extend(bytes),
                None if keys => return Ok(true),
                None => more = false,
            },
            // A terminal that is left raw is of no use to anybody: leave by the front door.
            _ = terminate.recv() => return Ok(true),
            () = tokio::time::sleep(idle), if !more && pending.is_empty() => return Ok(true),
        }
    }
}

/// A console that was closed on the other side has ended, not failed.
fn ended(e: io::Error) -> Result<bool, CliError> {
    match e.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(false),
        _ => Err(broken(e)),
    }
}

/// Standard input, read by a thread of its own: it may be a file, for which no readiness exists. The
/// thread ends with the process.
fn standard_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 4 << 10];
        let mut input = io::stdin().lock();
        while let Ok(n @ 1..) = input.read(&mut buffer) {
            if sender.blocking_send(buffer[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn broken(e: io::Error) -> CliError {
    CliError::Local { what: "the console broke".into(), source: e }
}
