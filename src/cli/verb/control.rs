//! `vm shutdown|reboot|reset|suspend|resume NAME`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::Options;

/// Calls a method that answers nothing and at once. A guest that was asked for something has only been
/// asked then, whatever it does.
pub(in crate::cli) async fn run(session: &Session, name: &str, method: &str) -> Result<ExitCode, CliError> {
    let machine = session.bus.find(Kind::Domain, name).await?;
    machine.act::<()>(method, Options::new()).await?;
    session.done(&output::kebab(method), machine.path())
}
