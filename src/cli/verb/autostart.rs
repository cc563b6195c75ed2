//! `autostart NAME [--disable]`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;

/// Says whether an object is started once in each boot.
pub(in crate::cli) async fn run(
    session: &Session,
    kind: Kind,
    name: &str,
    enable: bool,
) -> Result<ExitCode, CliError> {
    let object = session.bus.find(kind, name).await?;
    object.set("SetAutostart", enable).await?;
    session.done("autostart", object.path())
}
