//! What can be said to a running guest. Owns the words of QMP for it and what their success means; must
//! never wait without a deadline.

use std::time::Duration;

use super::{Error, State};
use crate::sys::qmp::Qmp;

/// How long QEMU has for an answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Something for a running guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Press the power button (ACPI); what the guest does is told by a state change.
    Shutdown,
    /// Press the power button and start again when the guest is off.
    Reboot,
    /// Pull the reset line.
    Reset,
    /// Halt the CPUs.
    Suspend,
    /// Let the CPUs run.
    Resume,
}

/// What a guest does by QEMU's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    /// QEMU's own word, as `running`.
    pub(super) word: String,
    /// The place of the answer in what QEMU has sent.
    pub(super) seq: u64,
    /// Why the guest is switched off, where that is known.
    pub(super) shutdown: Option<String>,
}

impl Status {
    /// The same in our words; a guest that is switched off is a paused one, until its end.
    pub(super) fn state(&self) -> State {
        match self.word.as_str() {
            "running" => State::Running,
            "suspended" => State::PmSuspended,
            _ => State::Paused,
        }
    }
}

impl Command {
    /// Tells QEMU; answers what the guest does since, for a command that QEMU has carried out with its answer.
    pub(super) async fn run(self, qmp: &Qmp) -> Result<Option<Status>, Error> {
        let (command, at_once) = match self {
            Self::Shutdown | Self::Reboot => ("system_powerdown", false),
            Self::Reset => ("system_reset", false),
            Self::Suspend => ("stop", true),
            Self::Resume => ("cont", true),
        };
        execute(qmp, command).await?;
        // What was said by an event meanwhile may be newer than the command.
        if at_once { status(qmp).await.map(Some) } else { Ok(None) }
    }
}

/// What the guest does.
pub(super) async fn status(qmp: &Qmp) -> Result<Status, Error> {
    let command = "query-status";
    let answer = qmp.execute_at(command, serde_json::json!({}), DEADLINE).await;
    let (status, seq) = answer.map_err(|source| Error::Qmp { command, source })?;
    let word = status["status"].as_str().unwrap_or("").to_owned();
    Ok(Status { word, seq, shutdown: None })
}

/// Resets a guest that is switched off, and lets it run.
pub(super) async fn restart(qmp: &Qmp) -> Result<Status, Error> {
    execute(qmp, "system_reset").await?;
    execute(qmp, "cont").await?;
    status(qmp).await
}

/// What QEMU does where the guest is reset from now on: `reset` it, or only `shutdown`, and tell.
pub(super) async fn on_reset(qmp: &Qmp, action: &str) -> Result<(), Error> {
    execute_with(qmp, "set-action", serde_json::json!({ "reboot": action })).await.map(drop)
}

/// One command without arguments.
pub(super) async fn execute(qmp: &Qmp, command: &'static str) -> Result<serde_json::Value, Error> {
    execute_with(qmp, command, serde_json::json!({})).await
}

/// One command.
pub(super) async fn execute_with(
    qmp: &Qmp,
    command: &'static str,
    arguments: serde_json::Value,
) -> Result<serde_json::Value, Error> {
    qmp.execute(command, arguments, DEADLINE).await.map_err(|source| Error::Qmp { command, source })
}
