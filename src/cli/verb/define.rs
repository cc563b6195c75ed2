//! `define FILE [--start]`

use std::path::Path;
use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::follow;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::Options;
use crate::cli::source::Source;

/// Creates or replaces the object of a document and says its name; with `start` it is started then, as
/// a step of its own, so that a start which fails leaves the definition.
pub(in crate::cli) async fn run(
    session: &Session,
    kind: Kind,
    file: &Path,
    start: bool,
) -> Result<ExitCode, CliError> {
    let source = Source::read(file)?;
    let path = session.bus.define(kind, &source.text).await.map_err(|e| source.explain(e))?;
    let object = session.bus.object(kind, path);
    if start {
        follow::call(&object, "Start", Options::new(), "starting").await?;
    }
    let properties = object.properties().await?;
    if session.json {
        output::json(&output::object(kind, &properties).into())?;
    } else {
        let name = properties.get("Name").map_or(String::new(), |v| output::text(v));
        let verb = if start { "defined and started" } else { "defined" };
        output::line(&format!("{} {name} {verb}", kind.noun()))?;
    }
    Ok(ExitCode::SUCCESS)
}
