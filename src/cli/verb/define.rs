//! `define FILE [--start] [--if-generation N] [--dry-run]`

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::Session;
use crate::cli::args::DefineOptions;
use crate::cli::error::CliError;
use crate::cli::follow;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::{Object, Options};
use crate::cli::source::Source;

/// Creates or replaces the object of a document and says its name; with `start` it is started then, as
/// a step of its own, so that a start which fails leaves the definition.
pub(in crate::cli) async fn run(
    session: &Session,
    kind: Kind,
    file: &Path,
    how: &DefineOptions,
) -> Result<ExitCode, CliError> {
    let source = Source::read(file)?;
    let mut options = Options::new();
    if let Some(generation) = how.if_generation {
        options.insert("if-generation", generation.into());
    }
    if how.dry_run {
        options.insert("dry-run", true.into());
    }
    let path = session.bus.define(kind, &source.text, options).await.map_err(|e| source.explain(e))?;
    if how.dry_run {
        if session.json {
            output::json(&json!({ "verb": "define", "object": "/", "state": "not done" }))?;
        } else {
            output::line(&format!("this {} would be taken", kind.noun()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let object = session.bus.object(kind, path);
    if how.start {
        let started = follow::call(&object, "Start", Options::new(), "starting").await;
        if let Err(e) = started {
            return Err(e.with(&defined(kind, &object).await));
        }
    }
    tell(session, kind, &object, if how.start { "defined and started" } else { "defined" }).await
}

/// For the end of an error: what was done before it, and how to go on.
async fn defined(kind: Kind, object: &Object) -> String {
    let properties = object.properties().await.unwrap_or_default();
    let part = |name| output::part(&properties, name);
    let (name, state) = (part("Name"), part("State"));
    if !matches!(state.as_str(), "shutoff" | "inactive" | "crashed") {
        return format!("\nThe {} {name} is defined, and {state} as before.", kind.noun());
    }
    format!(
        "\nThe {} {name} is defined, and not started. Start it with: warrenctl {} start {name}",
        kind.noun(),
        kind.command()
    )
}

/// Says what has been defined.
pub(super) async fn tell(
    session: &Session,
    kind: Kind,
    object: &Object,
    what: &str,
) -> Result<ExitCode, CliError> {
    let properties = object.properties().await?;
    if session.json {
        output::json(&output::object(kind, &properties).into())?;
    } else {
        output::line(&format!("{} {} {what}", kind.noun(), output::part(&properties, "Name")))?;
    }
    Ok(ExitCode::SUCCESS)
}
