//! `stop NAME [--force | --graceful] [--no-wait]`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::proxy::Options;

/// Stops a network, with `force` even with running guests on it; or switches a machine off, where `graceful`
/// gives QEMU time to end by itself.
pub(in crate::cli) async fn run(
    session: &Session,
    kind: Kind,
    name: &str,
    flag: Option<&str>,
    no_wait: bool,
) -> Result<ExitCode, CliError> {
    let object = session.bus.find(kind, name).await?;
    let options: Options<'_> = flag.map(|flag| (flag, true.into())).into_iter().collect();
    session.perform(("stop", "Stop"), &object, options, &format!("stopping {name}"), no_wait).await
}
