//! QEMU before it has a machine: what its command line must not show is handed over, then the machine is built.
//!
//! Owns the commands of that time, and QEMU's own words when it ends instead. Must never go on when one of them
//! has failed.

use std::time::Duration;

use serde_json::Value;

use super::Error;
use super::commands::execute_with;
use super::guest::Guest;
use super::start::monitor;
use crate::plan::qemu::EXIT_PRECONFIG;
use crate::sys::qmp::QmpError;

/// QMP commands with their arguments.
pub(super) type Settings = Vec<(&'static str, Value)>;

/// How long the last lines that QEMU wrote may be on their way.
const LAST_LINES: Duration = Duration::from_millis(50);

/// Runs what is for the time before there is a machine; gives the rest.
pub(super) async fn build_machine(mut settings: Settings, guest: &mut Guest) -> Result<Settings, Error> {
    let Some(end) = settings.iter().position(|(command, _)| *command == EXIT_PRECONFIG) else {
        return Ok(settings);
    };
    let later = settings.split_off(end + 1);
    for (command, arguments) in settings {
        let Some(process) = guest.process.clone() else { return Err(Error::NoMonitor) };
        let answer = execute_with(monitor(guest)?, command, arguments);
        let answer = tokio::select! {
            answer = answer => answer.map(drop),
            _ = process.exited() => Err(Error::NoMonitor),
        };
        match answer {
            Ok(()) => {}
            // A QEMU that refuses a machine ends, and says why where it says all else.
            Err(e @ (Error::NoMonitor | Error::Qmp { source: QmpError::Disconnected, .. })) => {
                return Err(last_words(guest, e).await);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(later)
}

/// What QEMU has said before it ended, or else the error.
pub(super) async fn last_words(guest: &Guest, error: Error) -> Error {
    tokio::time::sleep(LAST_LINES).await;
    let words = guest.last_words();
    if words.is_empty() { error } else { Error::QemuEnded(words) }
}
