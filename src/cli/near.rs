//! What somebody may have meant by a name that means nothing. Owns what is near enough; must never take it
//! for what was said.

use zbus::fdo::ManagedObjects;

use super::kind::Kind;
use super::output;
use super::proxy::Map;

/// Words to add to the error; none where nothing is near.
pub(super) fn hint(kind: Kind, typed: &str, objects: &ManagedObjects) -> String {
    let all: Vec<&Map> = objects
        .values()
        .flat_map(|interfaces| interfaces.iter().filter(|(name, _)| name.as_str() == kind.interface()))
        .map(|(_, properties)| properties)
        .collect();
    let name = |object: &&&Map| output::part(object, "Name");
    // Names of machines are unique only for each owner.
    let mut others: Vec<String> = all
        .iter()
        .filter(|object| name(object) == typed)
        .map(|object| format!("{} (owner {})", output::part(object, "Uuid"), output::part(object, "Owner")))
        .collect();
    others.sort();
    if !others.is_empty() {
        return format!(
            " of yours; others have one of that name, to be called by its UUID: {}",
            others.join(", ")
        );
    }
    let distance = |name: &str| strsim::damerau_levenshtein(typed, name);
    let mut names: Vec<String> = all.iter().map(|object| name(&object)).collect();
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
            let properties = HashMap::from([
                ("Name".to_owned(), text(name)),
                ("Uuid".to_owned(), text(&format!("uuid-{owner}"))),
                ("Owner".to_owned(), OwnedVariant::from(*owner)),
            ]);
            let path = format!("/m/{name}{owner}").try_into().unwrap();
            (path, HashMap::from([(Kind::Domain.interface().try_into().unwrap(), properties)]))
        };
        machines.iter().map(object).collect()
    }

    #[test]
    fn the_nearest_name_is_told() {
        let all = objects(&[("guest_1", 0), ("guest_12", 0), ("web", 0)]);
        assert_eq!(hint(Kind::Domain, "gest_1", &all), "; did you mean 'guest_1'?");
        assert_eq!(hint(Kind::Domain, "geust_12", &all), "; did you mean 'guest_12'?");
        assert_eq!(hint(Kind::Domain, "mail", &all), "");
        assert_eq!(hint(Kind::Network, "gest_1", &all), "", "that is a machine");
    }

    #[test]
    fn a_machine_of_somebody_else_is_told_by_its_uuid() {
        let all = objects(&[("web", 1000), ("web", 1001)]);
        assert_eq!(
            hint(Kind::Domain, "web", &all),
            " of yours; others have one of that name, to be called by its UUID: uuid-1000 (owner 1000), \
             uuid-1001 (owner 1001)"
        );
    }
}
