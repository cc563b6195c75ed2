//! `show NAME`

use std::process::ExitCode;

use super::Session;
use crate::cli::colour;
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

/// Shows an object's properties, what went wrong, and of a machine what it is made of.
pub(in crate::cli) async fn run(session: &Session, kind: Kind, name: &str) -> Result<ExitCode, CliError> {
    let object = session.bus.find(kind, name).await?;
    let properties = object.properties().await?;
    let info = info(session, kind, &object).await?;
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
async fn info(session: &Session, kind: Kind, object: &Object) -> Result<Map, CliError> {
    match object.act("GetInfo", Options::new()).await {
        Err(e) if e.is_denied() => {
            // In the JSON, that the parts are not there says it.
            if !session.json {
                let what = if kind == Kind::Domain { "its devices are" } else { "more of it is" };
                output::tell(format_args!("{what} not shown: {e}"));
            }
            Ok(Map::new())
        }
        // A service before this client.
        Err(e) if e.is("UnknownMethod") => Ok(Map::new()),
        other => other,
    }
}

fn page(kind: Kind, properties: &Map, info: &Map) -> String {
    let mut lines: Vec<(String, String)> = output::ordered(kind.properties(), properties)
        .into_iter()
        .map(|(name, value)| (output::title(&output::kebab(name)), output::property(name, value)))
        .filter(|(_, shown)| !shown.is_empty())
        .map(|(name, shown)| if name == "State" { (name, colour::word(&shown)) } else { (name, shown) })
        .collect();
    let failure = output::part(info, "failure");
    if !failure.is_empty() {
        let after = lines.iter().position(|(name, _)| name == "State reason").map_or(0, |at| at + 1);
        lines.insert(after, ("Failure".to_owned(), failure));
    }
    let addresses = output::part(info, "addresses");
    if !addresses.is_empty() {
        lines.push(("Addresses".to_owned(), addresses));
    }
    let mut page = output::lines(&lines);
    for (list, order) in LISTS {
        let rows = info.get(list).and_then(output::rows).unwrap_or_default();
        page += &output::section(list, &rows, order);
    }
    page
}
