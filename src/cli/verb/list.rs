//! `list`

use std::process::ExitCode;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::{Map, having};

/// Lists all objects of a kind by name, with one call.
pub(in crate::cli) async fn run(session: &Session, kind: Kind) -> Result<ExitCode, CliError> {
    let objects = session.bus.managed_objects().await?;
    let mut found: Vec<Map> = having(objects, kind.interface()).map(|(_, properties)| properties).collect();
    // Names of machines are unique only for each owner.
    found.sort_by_cached_key(|properties| (shown(properties, "Name"), shown(properties, "Uuid")));
    if session.json {
        let list = found.iter().map(|properties| output::object(kind, properties).into());
        output::json(&serde_json::Value::Array(list.collect()))?;
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
