//! `start NAME [--paused] [--no-start-networks] [--no-wait | --wait-address [--timeout SECONDS]]`

use std::process::ExitCode;
use std::time::Duration;

use super::{Session, addresses, wait_address};
use crate::cli::error::CliError;
use crate::cli::follow;
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

/// Starts a machine, waits until it has an address, and lists those that it has.
pub(in crate::cli) async fn until_address(
    session: &Session,
    name: &str,
    options: &[(&'static str, bool)],
    timeout: Duration,
) -> Result<ExitCode, CliError> {
    let machine = session.bus.find(Kind::Domain, name).await?;
    let options = options.iter().map(|(key, value)| (*key, (*value).into())).collect();
    follow::call(&machine, "Start", options, &format!("starting {name}")).await?;
    addresses::show(session, &wait_address::wait(&machine, name, timeout).await?)
}
