//! `vm shutdown NAME --wait [--timeout SECONDS]`
//!
//! Whoever waits only looks on: neither the end of the time nor Ctrl-C, which is left to the system, does
//! anything to the guest.

use std::process::ExitCode;
use std::time::Duration;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::events::{Event, Events};
use crate::cli::follow;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::{Object, Options};

/// For a service that is replaced, until the next one is there. Only a service sees to it that a guest which
/// has shut down is off.
const REPLACED: Duration = Duration::from_secs(10);

/// Asks the guest to shut down and waits until the machine is off, or until the time is over.
pub(in crate::cli) async fn run(
    session: &Session,
    name: &str,
    timeout: Option<Duration>,
) -> Result<ExitCode, CliError> {
    let machine = session.bus.find(Kind::Domain, name).await?;
    // It may be off before the answer is here.
    let events = Events::listen(&session.bus).await?;
    machine.act::<()>("Shutdown", Options::new()).await?;
    let bar = follow::bar(&format!("waiting for {name} to shut down"));
    bar.enable_steady_tick(Duration::from_millis(200));
    let patience = timeout.unwrap_or(Duration::MAX);
    let end = tokio::time::timeout(patience, off(&machine, name, events)).await;
    bar.finish_and_clear();
    end.unwrap_or_else(|_| Err(over(name, patience)))?;
    session.done("shutdown", machine.path())
}

/// Until the machine is off.
async fn off(machine: &Object, name: &str, mut events: Events) -> Result<(), CliError> {
    let mut patience = Duration::MAX;
    loop {
        let Ok(event) = tokio::time::timeout(patience, events.next()).await else {
            let what = format!("it ended while {name} was shutting down, and no other has come");
            return Err(CliError::Unreachable(what));
        };
        let state = match event? {
            Event::Service { runs: false } => {
                patience = REPLACED;
                continue;
            }
            // What has happened meanwhile, nobody has signalled.
            Event::Service { runs: true } => {
                patience = Duration::MAX;
                output::part(&machine.properties().await?, "State")
            }
            Event::Removed { object } if object == machine.path() => return Ok(()),
            Event::Signal { object, member, arguments }
                if object == machine.path() && member == "StateChanged" =>
            {
                arguments.first().and_then(|state| state.as_str()).unwrap_or_default().to_owned()
            }
            _ => continue,
        };
        match state.as_str() {
            "shutoff" => return Ok(()),
            "crashed" => return Err(crashed(name)),
            _ => {}
        }
    }
}

fn over(name: &str, timeout: Duration) -> CliError {
    let seconds = timeout.as_secs();
    let message = format!(
        "{name} has not shut down in {seconds} s; it was left as it is and may still do so, and 'warrenctl vm \
         stop' switches it off"
    );
    CliError::Waited { name: "Timeout", message }
}

fn crashed(name: &str) -> CliError {
    CliError::Waited { name: "Crashed", message: format!("{name} has crashed instead of shutting down") }
}
