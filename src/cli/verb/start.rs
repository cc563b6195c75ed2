//! `start NAME [--paused]`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::follow;
use crate::cli::kind::Kind;
use crate::cli::proxy::Options;

/// Starts an object and waits until it runs.
pub(in crate::cli) async fn run(
    session: &Session,
    kind: Kind,
    name: &str,
    paused: bool,
) -> Result<ExitCode, CliError> {
    let object = session.bus.find(kind, name).await?;
    let mut options = Options::new();
    if paused {
        options.insert("paused", true.into());
    }
    follow::call(&object, "Start", options, &format!("starting {name}")).await?;
    Ok(ExitCode::SUCCESS)
}
