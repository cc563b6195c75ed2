//! `shutdown NAME`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::proxy::Options;

/// Asks a guest to shut down; done when it was asked, whatever it then does.
pub(in crate::cli) async fn run(session: &Session, name: &str) -> Result<ExitCode, CliError> {
    let object = session.bus.find(Kind::Domain, name).await?;
    object.act::<()>("Shutdown", Options::new()).await?;
    Ok(ExitCode::SUCCESS)
}
