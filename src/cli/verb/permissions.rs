//! `permissions [--net NAME | --vm NAME]`

use std::process::ExitCode;

use serde_json::Value;

use super::Session;
use crate::cli::args::Target;
use crate::cli::colour;
use crate::cli::error::CliError;
use crate::cli::output;

/// Shows each polkit action with `yes`, `no` or `challenge` (after a password), of the caller in general or
/// concerning one object.
pub(in crate::cli) async fn run(session: &Session, target: &Target) -> Result<ExitCode, CliError> {
    let object = session.target(target).await?;
    let answers = session.bus.permissions(object.as_ref()).await?;
    if session.json {
        let answers = answers.into_iter().map(|(action, answer)| (action, answer.into()));
        output::json(&Value::Object(answers.collect()))?;
    } else {
        let lines: Vec<_> = answers.into_iter().map(|(action, a)| (action, colour::word(&a))).collect();
        output::line(&output::lines(&lines))?;
    }
    Ok(ExitCode::SUCCESS)
}
