//! `host`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::output;

/// The order of the columns of `emulators` and what else the service lists.
const ORDER: [&str; 7] = ["arch", "version", "path", "accelerators", "interfaces", "features", "name"];
/// Lists too long for a table; they are in the JSON.
const LONG: [&str; 3] = ["machines", "machine-aliases", "cpu-models"];

/// Shows what the host has to offer.
pub(in crate::cli) async fn run(session: &Session) -> Result<ExitCode, CliError> {
    let host = session.bus.host().await?;
    if session.json {
        output::json(&output::record(&host))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut names: Vec<&String> = host.keys().collect();
    names.sort();
    let (mut facts, mut lists) = (Vec::new(), String::new());
    for name in names {
        match output::rows(&host[name]) {
            Some(mut rows) => {
                for row in &mut rows {
                    row.retain(|key, _| !LONG.contains(&key.as_str()));
                }
                lists += &output::section(name, &rows, &ORDER);
            }
            None => facts.push((output::title(name), output::fact(name, &host[name]))),
        }
    }
    output::line(&(output::lines(&facts) + &lists))?;
    Ok(ExitCode::SUCCESS)
}
