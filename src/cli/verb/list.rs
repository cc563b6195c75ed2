//! `list [--state STATES] [--long | --names | --quiet]`

use std::process::ExitCode;

use super::Session;
use crate::cli::args::ListOptions;
use crate::cli::error::CliError;
use crate::cli::kind::Kind;
use crate::cli::output;
use crate::cli::proxy::Map;

/// A column: its title, and the key of its values.
type Column = (&'static str, &'static str);

/// Lists all objects of a kind by name, or those in one of some states, with one call.
pub(in crate::cli) async fn run(
    session: &Session,
    kind: Kind,
    states: &[String],
    how: &ListOptions,
) -> Result<ExitCode, CliError> {
    let mut found = session.bus.list(kind).await?;
    let nothing_at_all = found.is_empty();
    found.retain(|object| states.is_empty() || states.contains(&output::part(object, "state")));
    // Names of machines are unique only for each owner.
    found.sort_by_cached_key(|object| (output::part(object, "name"), output::part(object, "uuid")));
    if session.json {
        output::json(&found.iter().map(output::record).collect())?;
    } else if how.names || how.quiet {
        let key = if how.names { "name" } else { "uuid" };
        let lines: String = found.iter().map(|object| output::part(object, key) + "\n").collect();
        output::write(lines.as_bytes())?;
    } else {
        let columns = columns(kind, how.long);
        let header: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
        let row = |object: &Map| columns.iter().map(|(_, key)| shown(session, object, key)).collect();
        output::line(&output::cut_table(&header, found.iter().map(row).collect()))?;
        if nothing_at_all {
            output::tell(hint(kind));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn columns(kind: Kind, long: bool) -> Vec<Column> {
    let (short, rest): (&[Column], &[Column]) = match kind {
        Kind::Network => (
            &[("Name", "name"), ("State", "state"), ("Mode", "forward-mode"), ("Addresses", "addresses")],
            &[("Bridge", "bridge"), ("Access", "access")],
        ),
        Kind::Domain => (
            &[("Name", "name"), ("State", "state"), ("Addresses", "addresses"), ("Memory", "memory-bytes")],
            &[("vCPUs", "vcpus")],
        ),
    };
    let both = [("Autostart", "autostart"), ("Owner", "owner"), ("UUID", "uuid")];
    let rest = rest.iter().copied().chain(both).filter(|_| long);
    short.iter().copied().chain(rest).collect()
}

fn shown(session: &Session, object: &Map, key: &str) -> String {
    let Some(value) = object.get(key) else { return String::new() };
    match (key, output::rows(value)) {
        ("addresses", Some(addresses)) => {
            let fresh = addresses.iter().filter(|address| output::part(address, "stale") != "yes");
            fresh.map(|address| output::part(address, "address")).collect::<Vec<_>>().join(", ")
        }
        ("owner", _) if session.host.is_none() => user_name(&output::text(value)),
        _ => output::fact(key, value),
    }
}

/// The name of a user of this host; a uid without a name is itself.
fn user_name(uid: &str) -> String {
    let name = uid.parse().ok().and_then(uzers::get_user_by_uid);
    name.map_or_else(|| uid.to_owned(), |user| user.name().to_string_lossy().into_owned())
}

fn hint(kind: Kind) -> &'static str {
    match kind {
        Kind::Network => "There is no network yet. Define one with: warrenctl net define FILE",
        Kind::Domain => "There is no machine yet. Define one with: warrenctl vm define FILE",
    }
}
