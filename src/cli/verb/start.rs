//! `start NAME [--paused] [--no-start-networks] [--no-wait]`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;

/// Starts an object and waits until it runs.
pub(in crate::cli) async fn run(
    session: &Session,
    kind: Kind,
    name: &str,
    options: &[(&'static str, bool)],
    no_wait: bool,
) -> Result<ExitCode, CliError> {
    let object = session.bus.find(kind, name).await?;
    let options = options.iter().map(|(key, value)| (*key, (*value).into())).collect();
    session.perform(("start", "Start"), &object, options, &format!("starting {name}"), no_wait).await
}
