//! `status`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::output;

/// The Manager's properties, in the order in which they are shown.
const ORDER: [&str; 4] = ["Version", "Scope", "Features", "Warnings"];

/// Shows what the service says of itself, and what is wrong with its host, once that is known.
pub(in crate::cli) async fn run(session: &Session) -> Result<ExitCode, CliError> {
    let mut properties = session.bus.properties().await?;
    // The property has nothing to say until the service has looked at the host; this waits for it.
    if let Some(warnings) = session.bus.host().await?.remove("warnings") {
        properties.insert("Warnings".to_owned(), warnings);
    }
    let shown = output::ordered(&ORDER, &properties);
    if session.json {
        let parts = shown.into_iter().map(|(name, value)| (output::kebab(name), output::to_json(value)));
        output::json(&serde_json::Value::Object(parts.collect()))?;
    } else {
        let lines: Vec<_> = shown
            .into_iter()
            .map(|(name, value)| (output::title(&output::kebab(name)), output::text(value)))
            .collect();
        output::line(&output::lines(&lines))?;
    }
    Ok(ExitCode::SUCCESS)
}
