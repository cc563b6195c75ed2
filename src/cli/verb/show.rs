//! `show NAME [--xml]`

use std::process::ExitCode;

use zbus::OwnedVariant;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::{Map, Object, Options};

/// The lists of `Domain.GetInfo`, each with the order of its columns.
const LISTS: [(&str, &[&str]); 4] = [
    ("interfaces", &["type", "network", "mac", "target", "model", "alias", "link"]),
    ("disks", &["target", "type", "source"]),
    ("graphics", &["type", "address", "port"]),
    ("consoles", &["type"]),
];

/// Shows an object's properties, and of a machine what it is made of; or its document.
pub(in crate::cli) async fn run(
    session: &Session,
    kind: Kind,
    name: &str,
    xml: bool,
) -> Result<ExitCode, CliError> {
    let object = session.bus.find(kind, name).await?;
    if xml {
        let document: String = object.act("GetXml", Options::new()).await?;
        if session.json {
            output::json(&document.into())?;
        } else {
            output::line(&document)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let properties = object.properties().await?;
    let info = if kind == Kind::Domain { info(&object).await? } else { Map::new() };
    if session.json {
        let mut shown = output::object(kind, &properties);
        let mut parts: Vec<_> = info.iter().map(|(k, v)| (output::kebab(k), output::to_json(v))).collect();
        parts.sort_by(|a, b| a.0.cmp(&b.0));
        shown.extend(parts);
        output::json(&shown.into())?;
    } else {
        output::line(&page(kind, &properties, &info))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What only the owner and administrators may see; for others the public part still stands.
async fn info(object: &Object) -> Result<Map, CliError> {
    match object.act("GetInfo", Options::new()).await {
        Err(e) if e.is_denied() => {
            eprintln!("its devices are not shown: {e}");
            Ok(Map::new())
        }
        other => other,
    }
}

fn page(kind: Kind, properties: &Map, info: &Map) -> String {
    let lines: Vec<(String, String)> = output::ordered(kind, properties)
        .into_iter()
        .map(|(name, value)| (output::title(&output::kebab(name)) + ":", output::property(name, value)))
        .filter(|(_, shown)| !shown.is_empty())
        .collect();
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut page: String = lines.iter().map(|(name, shown)| format!("{name:width$}  {shown}\n")).collect();
    for (list, order) in LISTS {
        let Some(rows) = info.get(list).and_then(rows).filter(|rows| !rows.is_empty()) else { continue };
        page += &format!("\n{}:\n", output::title(list));
        for row in output::records(&rows, order).lines() {
            page += &format!("  {row}\n");
        }
    }
    page
}

fn rows(list: &OwnedVariant) -> Option<Vec<Map>> {
    list.try_clone().ok()?.try_into().ok()
}
