//! `show NAME --xml [--live] [--secrets]`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::Options;

/// Prints an object's document: as stored or as it runs, without its passwords or with them.
pub(in crate::cli) async fn run(
    session: &Session,
    kind: Kind,
    name: &str,
    live: bool,
    secrets: bool,
) -> Result<ExitCode, CliError> {
    let object = session.bus.find(kind, name).await?;
    let mut options = Options::new();
    if live {
        options.insert("live", true.into());
    }
    if secrets {
        options.insert("secrets", true.into());
    }
    let document: String = object.act("GetXml", options).await?;
    if session.json {
        output::json(&serde_json::json!({ "object": object.path(), "xml": document }))?;
    } else {
        output::line(&document)?;
    }
    Ok(ExitCode::SUCCESS)
}
