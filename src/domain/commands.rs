//! What can be said to a running guest. Owns the words of QMP for it and what their success means; must
//! never wait without a deadline.

use std::time::Duration;

use super::Error;
use super::state::Event;
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

impl Command {
    /// Tells QEMU; answers what has happened when it said yes.
    pub(super) async fn run(self, qmp: &Qmp) -> Result<Option<Event>, Error> {
        let (command, outcome) = match self {
            Self::Shutdown | Self::Reboot => ("system_powerdown", None),
            Self::Reset => ("system_reset", None),
            Self::Suspend => ("stop", Some(Event::Halted)),
            Self::Resume => ("cont", Some(Event::Ran)),
        };
        execute(qmp, command).await?;
        Ok(outcome)
    }
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
