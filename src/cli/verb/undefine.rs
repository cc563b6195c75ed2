//! `undefine NAME`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::proxy::Options;

/// Makes the service forget an object.
pub(in crate::cli) async fn run(session: &Session, kind: Kind, name: &str) -> Result<ExitCode, CliError> {
    let object = session.bus.find(kind, name).await?;
    let what = format!("undefining {name}");
    session.perform(("undefine", "Undefine"), &object, Options::new(), &what, false).await
}
