//! `stop NAME [--force | --graceful]`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::follow;
use crate::cli::kind::Kind;
use crate::cli::proxy::Options;

/// Stops a network; `force` even with running guests on it.
pub(in crate::cli) async fn network(
    session: &Session,
    name: &str,
    force: bool,
) -> Result<ExitCode, CliError> {
    run(session, Kind::Network, name, force.then_some("force")).await
}

/// Switches a machine off; `graceful` gives QEMU time to end by itself.
pub(in crate::cli) async fn domain(
    session: &Session,
    name: &str,
    graceful: bool,
) -> Result<ExitCode, CliError> {
    run(session, Kind::Domain, name, graceful.then_some("graceful")).await
}

async fn run(session: &Session, kind: Kind, name: &str, flag: Option<&str>) -> Result<ExitCode, CliError> {
    let object = session.bus.find(kind, name).await?;
    let options: Options<'_> = flag.map(|flag| (flag, true.into())).into_iter().collect();
    follow::call(&object, "Stop", options, &format!("stopping {name}")).await?;
    Ok(ExitCode::SUCCESS)
}
