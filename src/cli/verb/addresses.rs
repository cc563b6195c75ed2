//! `vm addresses NAME`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::{Map, Options};

/// Lists the addresses of a machine's NICs, and from where each is known.
pub(in crate::cli) async fn run(session: &Session, name: &str) -> Result<ExitCode, CliError> {
    let machine = session.bus.find(Kind::Domain, name).await?;
    let addresses: Vec<Map> = machine.act("GetAddresses", Options::new()).await?;
    if session.json {
        output::json(&addresses.iter().map(output::record).collect())?;
    } else {
        let rows = addresses.iter().map(|address| {
            let part = |key| output::part(address, key);
            vec![output::with_prefix(address), part("mac"), part("interface"), part("source")]
        });
        output::line(&output::table(&["Address", "MAC", "Interface", "Source"], rows.collect()))?;
    }
    Ok(ExitCode::SUCCESS)
}
