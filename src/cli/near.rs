//! What somebody may have meant by a name that means nothing. Owns what is near enough; must never take it
//! for what was said.

use zbus::fdo::ManagedObjects;

use super::kind::Kind;
use super::output;
use super::proxy::having;

/// Words to add to the error; none where nothing is near, or where one of somebody else has this very name, of
/// which the service has told.
pub(super) fn hint(kind: Kind, typed: &str, objects: ManagedObjects) -> String {
    let mut names: Vec<String> =
        having(objects, kind.interface()).map(|(_, properties)| output::part(&properties, "Name")).collect();
    if names.iter().any(|name| name == typed) {
        return String::new();
    }
    let distance = |name: &str| strsim::damerau_levenshtein(typed, name);
    names.retain(|name| distance(name) <= 1 + typed.chars().count() / 4);
    names.sort_by_cached_key(|name| (distance(name), name.clone()));
    names.first().map_or(String::new(), |name| format!("; did you mean '{name}'?"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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
        assert_eq!(hint(Kind::Domain, "mail", all.clone()), "");
        assert_eq!(hint(Kind::Network, "gest_1", all), "", "that is a machine");
    }

    #[test]
    fn of_somebody_elses_the_service_tells() {
        assert_eq!(hint(Kind::Domain, "web", objects(&[("web", 1000), ("wet", 0)])), "");
    }
}
