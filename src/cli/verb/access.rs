//! `net access NAME admin|users`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;

/// Says who may put machines on a network.
pub(in crate::cli) async fn run(session: &Session, name: &str, access: &str) -> Result<ExitCode, CliError> {
    let network = session.bus.find(Kind::Network, name).await?;
    network.set("SetAccess", access).await?;
    session.done("access", network.path())
}
