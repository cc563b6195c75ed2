//! What somebody may have meant by a name that means nothing. Owns what is near enough; must never take it
//! for what was said.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue};
use zbus::fdo::ManagedObjects;

use super::args::Args;
use super::kind::Kind;
use super::output;
use super::proxy::having;

/// Words that other programs of this kind have for a verb, and the verb here.
const ELSEWHERE: [(&str, &str); 11] = [
    ("create", "define --start"),
    ("delete", "undefine"),
    ("destroy", "stop"),
    ("dhcp-leases", "leases"),
    ("domifaddr", "addresses"),
    ("dumpxml", "show --xml"),
    ("info", "show"),
    ("ls", "list"),
    ("ps", "list"),
    ("rm", "undefine"),
    ("status", "show"),
];

/// The error of a verb that is not known here, with what it means elsewhere before what is spelt alike.
pub(super) fn with_verb(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    let verb = ELSEWHERE.iter().find(|(other, _)| other == typed).map_or(typed.as_str(), |(_, ours)| *ours);
    let all = Args::command();
    let has = |kind: &str| {
        let verb = verb.split(' ').next().unwrap_or_default();
        all.find_subcommand(kind).is_some_and(|kind| kind.find_subcommand(verb).is_some())
    };
    let proposed: Vec<String> =
        ["net", "vm"].into_iter().filter(|kind| has(kind)).map(|kind| format!("{kind} {verb}")).collect();
    if !proposed.is_empty() {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(proposed));
    }
    error
}

/// Words to add to the error; none where nothing is near, or where one of somebody else has this very name, of
/// which the service has told.
pub(super) fn hint(kind: Kind, typed: &str, objects: ManagedObjects) -> String {
    let mut names: Vec<String> =
        having(objects, kind.interface()).map(|(_, properties)| output::part(&properties, "Name")).collect();
    if names.iter().any(|name| name == typed) {
        return String::new();
    }
    let lower = typed.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    names.retain(|name| distance(name) <= 1 + typed.chars().count() / 4);
    names.sort_by_cached_key(|name| (distance(name), name.clone()));
    names.first().map_or(String::new(), |name| format!("; did you mean '{name}'?"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use clap::Parser;
    use zbus::{OwnedVariant, Variant};

    use super::*;

    fn objects(machines: &[(&str, u32)]) -> ManagedObjects {
        let text = |text: &str| OwnedVariant::try_from(Variant::from(text.to_owned())).unwrap();
        let object = |(name, owner): &(&str, u32)| {
            let properties = HashMap::from([("Name".to_owned(), text(name))]);
            let path = format!("/m/{name}{owner}").try_into().unwrap();
            (path, HashMap::from([(Kind::Domain.interface().try_into().unwrap(), properties)]))
        };
        machines.iter().map(object).collect()
    }

    #[test]
    fn the_nearest_name_is_told() {
        let all = objects(&[("guest_1", 0), ("guest_12", 0), ("web", 0)]);
        assert_eq!(hint(Kind::Domain, "gest_1", all.clone()), "; did you mean 'guest_1'?");
        assert_eq!(hint(Kind::Domain, "geust_12", all.clone()), "; did you mean 'guest_12'?");
        assert_eq!(hint(Kind::Domain, "WEB", all.clone()), "; did you mean 'web'?");
        assert_eq!(hint(Kind::Domain, "mail", all.clone()), "");
        assert_eq!(hint(Kind::Network, "gest_1", all), "", "that is a machine");
    }

    #[test]
    fn a_verb_of_other_programs_is_answered_with_ours() {
        let said = |line: &str| with_verb(Args::try_parse_from(line.split(' ')).unwrap_err()).to_string();
        for (line, tip) in [
            ("warrenctl vm destroy a", "'net stop', 'vm stop'"),
            ("warrenctl list", "'net list', 'vm list'"),
            ("warrenctl dumpxml a", "'net show --xml', 'vm show --xml'"),
            ("warrenctl vm leases a", "exists: 'net leases'"),
            ("warrenctl vm lsit", "exists: 'list'"),
        ] {
            let said = said(line);
            assert!(said.contains(tip), "{line}: {said}");
        }
        assert!(!said("warrenctl vm qqq").contains("tip"));
    }

    #[test]
    fn every_proposed_verb_is_one() {
        let all = Args::command();
        for (other, ours) in ELSEWHERE {
            let kinds = [all.find_subcommand("net"), all.find_subcommand("vm")].map(Option::unwrap);
            let has = |verb: &str| kinds.iter().any(|kind| kind.find_subcommand(verb).is_some());
            assert!(has(ours.split(' ').next().unwrap()) && !has(other), "{other}: {ours}");
        }
    }

    #[test]
    fn of_somebody_elses_the_service_tells() {
        assert_eq!(hint(Kind::Domain, "web", objects(&[("web", 1000), ("wet", 0)])), "");
    }
}
