//! `vm addresses NAME [--wait [--timeout SECONDS]]`

use std::process::ExitCode;
use std::time::Duration;

use super::{Session, wait_address};
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::{Map, Options};

/// Lists the addresses of a machine's NICs, and from where each is known; with `wait` once there is one.
pub(in crate::cli) async fn run(
    session: &Session,
    name: &str,
    wait: Option<Duration>,
) -> Result<ExitCode, CliError> {
    let machine = session.bus.find(Kind::Domain, name).await?;
    let addresses = match wait {
        Some(timeout) => wait_address::wait(&machine, name, timeout).await?,
        None => machine.act("GetAddresses", Options::new()).await?,
    };
    show(session, &addresses)
}

/// Prints them.
pub(super) fn show(session: &Session, addresses: &[Map]) -> Result<ExitCode, CliError> {
    if session.json {
        output::json(&addresses.iter().map(output::record).collect())?;
    } else {
        let rows = addresses.iter().map(|address| {
            let part = |key| output::part(address, key);
            let stale = if wait_address::is_stale(address) { " (stale)" } else { "" };
            let source = part("source") + stale;
            vec![output::with_prefix(address), part("mac"), part("interface"), source]
        });
        output::line(&output::table(&["Address", "MAC", "Interface", "Source"], rows.collect()))?;
    }
    Ok(ExitCode::SUCCESS)
}
