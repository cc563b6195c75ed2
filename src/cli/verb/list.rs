//! `list [--state STATES] [--names | --quiet]`

use std::process::ExitCode;

use super::Session;
use crate::cli::args::ListOptions;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::{Map, having};

/// Lists all objects of a kind by name, or those in one of some states, with one call.
pub(in crate::cli) async fn run(
    session: &Session,
    kind: Kind,
    states: &[String],
    how: &ListOptions,
) -> Result<ExitCode, CliError> {
    let objects = session.bus.managed_objects().await?;
    let mut found: Vec<Map> = having(objects, kind.interface()).map(|(_, properties)| properties).collect();
    found.retain(|properties| states.is_empty() || states.contains(&shown(properties, "State")));
    // Names of machines are unique only for each owner.
    found.sort_by_cached_key(|properties| (shown(properties, "Name"), shown(properties, "Uuid")));
    if session.json {
        let list = found.iter().map(|properties| output::object(kind, properties).into());
        output::json(&serde_json::Value::Array(list.collect()))?;
    } else if how.names || how.quiet {
        let property = if how.names { "Name" } else { "Uuid" };
        let lines: String = found.iter().map(|object| shown(object, property) + "\n").collect();
        output::write(lines.as_bytes())?;
    } else {
        output::line(&table(kind, &found))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(kind: Kind, found: &[Map]) -> String {
    let (header, properties): (&[&str], &[&str]) = match kind {
        Kind::Network => (
            &["Name", "State", "Autostart", "Mode", "Bridge", "UUID"],
            &["Name", "State", "Autostart", "ForwardMode", "Bridge", "Uuid"],
        ),
        Kind::Domain => (
            &["Name", "State", "vCPUs", "Memory", "Owner", "UUID"],
            &["Name", "State", "Vcpus", "MemoryBytes", "Owner", "Uuid"],
        ),
    };
    let row = |object: &Map| properties.iter().map(|property| shown(object, property)).collect();
    output::table(header, found.iter().map(row).collect())
}

fn shown(properties: &Map, name: &str) -> String {
    properties.get(name).map_or(String::new(), |value| output::property(name, value))
}
