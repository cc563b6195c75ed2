//! Whether a document still says all that it said, in the same order.

use warren::xml::Element;

/// What of `before` is missing or another in `after`, which may say more: the path and the reason.
pub fn lost(before: &Element, after: &Element) -> Option<String> {
    lost_at(before, after, &format!("/{}", before.name()))
}

fn lost_at(before: &Element, after: &Element, path: &str) -> Option<String> {
    for (name, value) in before.attrs() {
        match after.attr(name) {
            Some(kept) if kept == value => {}
            // Empty is what Warren is to fill in.
            Some(_) if value.is_empty() => {}
            Some(other) => return Some(format!("{path}/@{name}: '{value}' became '{other}'")),
            None => return Some(format!("{path}/@{name} is lost")),
        }
    }
    let (old, new) = (before.text(), after.text());
    if !old.trim().is_empty() && old != new {
        return Some(format!("{path}: the text '{}' became '{}'", old.trim(), new.trim()));
    }
    let mut rest: Vec<&Element> = after.children().collect();
    for child in before.children() {
        let path = format!("{path}/{}", child.name());
        // What is completed may stand between, also under the same name.
        let named = |e: &&Element| e.name() == child.name();
        match rest.iter().position(|e| named(e) && lost_at(child, e, &path).is_none()) {
            Some(at) => drop(rest.drain(..=at)),
            None => {
                let reason = rest.iter().find(|e| named(e)).and_then(|e| lost_at(child, e, &path));
                return Some(reason.unwrap_or_else(|| format!("{path} is lost, or stands elsewhere")));
            }
        }
    }
    None
}
