//! What a document says to QEMU directly, in libvirt's namespace for that. Owns its words, whatever the
//! prefix; must never judge the arguments.

use crate::model::doc::required;
use crate::xml::view::View;

/// The namespace.
const NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

/// `qemu:commandline`, `qemu:override`, `qemu:deprecation`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirectDef {
    /// `<qemu:arg value>` in order.
    pub args: Vec<String>,
    /// `<qemu:env name value>` in order.
    pub env: Vec<(String, String)>,
    /// `<qemu:override><qemu:device alias>` with its properties.
    pub overrides: Vec<Override>,
    /// `<qemu:deprecation behavior>`.
    pub deprecation: Option<Deprecation>,
}

/// Properties of a device that are set after all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Path of the element, for findings.
    pub path: String,
    /// `@alias` of the device.
    pub alias: String,
    /// Name and value; `None` takes the property away.
    pub properties: Vec<(String, Option<PropertyValue>)>,
}

/// A value of `<qemu:property>` by its type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum PropertyValue {
    String(String),
    Signed(i64),
    Unsigned(u64),
    Bool(bool),
}

/// `<qemu:deprecation behavior>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum Deprecation {
    None,
    Omit,
    Reject,
    Crash,
}

const BEHAVIORS: &[(&str, Deprecation)] = &[
    ("none", Deprecation::None),
    ("omit", Deprecation::Omit),
    ("reject", Deprecation::Reject),
    ("crash", Deprecation::Crash),
];

/// The name of `local` in the namespace as this element's descendants write it.
struct Prefix(String);

impl Prefix {
    fn of(view: &View<'_>) -> Option<Self> {
        let prefix = view.element().prefix_of(NAMESPACE)?;
        Some(Self(if prefix.is_empty() { String::new() } else { format!("{prefix}:") }))
    }

    fn name(&self, local: &str) -> String {
        format!("{}{local}", self.0)
    }
}

/// The children of the root that are in the namespace, wherever the prefix is bound.
fn child<'a>(root: &View<'a>, local: &str) -> Option<(View<'a>, Prefix)> {
    if let Some(prefix) = Prefix::of(root).filter(|p| !p.0.is_empty())
        && let Some(found) = root.child(&prefix.name(local))
    {
        return Some((found, prefix));
    }
    // Bound at the element itself: by its own name.
    let own = root.element().children().find(|e| {
        let name = e.name().rsplit_once(':').map_or(e.name(), |(_, name)| name);
        name == local && e.prefix_of(NAMESPACE).is_some()
    })?;
    let found = root.child(own.name())?;
    let prefix = Prefix::of(&found)?;
    Some((found, prefix))
}

pub(super) fn read(root: &View<'_>) -> DirectDef {
    let mut direct = DirectDef::default();
    if let Some((line, prefix)) = child(root, "commandline") {
        for arg in line.children(&prefix.name("arg")) {
            direct.args.extend(required(arg.attr("value"), &arg, "value", "").map(str::to_owned));
        }
        for env in line.children(&prefix.name("env")) {
            direct.env.extend(variable(&env));
        }
    }
    if let Some((all, prefix)) = child(root, "override") {
        let devices = all.children(&prefix.name("device"));
        direct.overrides = devices.iter().filter_map(|d| device(d, &prefix)).collect();
    }
    if let Some((view, _)) = child(root, "deprecation") {
        direct.deprecation = required(view.one_of("behavior", BEHAVIORS), &view, "behavior", "");
    }
    if let Some((view, prefix)) = child(root, "capabilities") {
        for change in ["add", "del"] {
            for capability in view.children(&prefix.name(change)) {
                capability.attr("capability");
                let message = "what libvirt believes of a QEMU cannot be changed: Warren asks QEMU itself";
                capability.unsupported(message, "leave it out");
            }
        }
    }
    direct
}

fn variable(env: &View<'_>) -> Option<(String, String)> {
    let name = required(env.filled("name"), env, "name", "name the variable")?;
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !starts || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        env.error_at("name", format!("'{}' is not a variable", name.escape_debug()), "letters, digits, '_'");
        return None;
    }
    Some((name.to_owned(), env.attr("value").unwrap_or_default().to_owned()))
}

fn device(view: &View<'_>, prefix: &Prefix) -> Option<Override> {
    let alias = required(view.filled("alias"), view, "alias", "name the device")?;
    let frontend = view.child(&prefix.name("frontend"))?;
    let properties = frontend.children(&prefix.name("property"));
    Some(Override {
        path: view.path().to_owned(),
        alias: alias.to_owned(),
        properties: properties.iter().filter_map(property).collect(),
    })
}

fn property(view: &View<'_>) -> Option<(String, Option<PropertyValue>)> {
    let kinds = [("string", 's'), ("signed", 'i'), ("unsigned", 'u'), ("bool", 'b'), ("remove", 'r')];
    let name = required(view.filled("name"), view, "name", "")?;
    let kind = required(view.one_of("type", &kinds), view, "type", "give string, signed, unsigned, …")?;
    let value = match kind {
        'r' => None,
        's' => Some(PropertyValue::String(view.attr("value").unwrap_or_default().to_owned())),
        'i' => Some(PropertyValue::Signed(required(view.parsed("value"), view, "value", "")?)),
        'u' => Some(PropertyValue::Unsigned(required(view.parsed("value"), view, "value", "")?)),
        _ => {
            let words = [
                ("true", true),
                ("yes", true),
                ("on", true),
                ("false", false),
                ("no", false),
                ("off", false),
            ];
            Some(PropertyValue::Bool(required(view.one_of("value", &words), view, "value", "")?))
        }
    };
    Some((name.to_owned(), value))
}
