//! Renders the introspection XML as `#[zbus::proxy]` traits: `examples/clients/rust/src/lib.rs`.
//!
//! Owns the form, which is rustfmt's. Must never add a meaning: each sentence on a member is in `dbus/*.xml`.

use std::fmt::Write;

use zbus_xml::{Arg, ArgDirection, Interface, Node};

use super::render::doc;

const HEAD: &str = "//! D-Bus proxies of Warren's interfaces, for clients in Rust.
//!
//! Rendered from the contract, `dbus/*.xml`, by `make docs`. The file needs nothing but zbus: depend on this
//! crate, or copy it. [`ManagerProxy`] is at its place by default; the paths of the others come from its
//! methods, or from [`zbus::fdo::ObjectManagerProxy`] at [`ROOT`], which tells of all objects.

#![warn(missing_docs)]

use std::collections::HashMap;

use zbus::{OwnedFd, OwnedObjectPath, OwnedVariant, Result, Variant};

pub use domain::DomainProxy;
pub use job::JobProxy;
pub use manager::ManagerProxy;
pub use network::NetworkProxy;

/// The service's name on the system bus or a session bus.
pub const SERVICE: &str = \"org.warren1\";
/// Where the Manager is, and org.freedesktop.DBus.ObjectManager.
pub const ROOT: &str = \"/org/warren1\";

/// What goes with a call, by name. `Options::new()` for nothing.
pub type Options<'a> = HashMap<&'a str, Variant<'a>>;
/// A record of the service, by name.
pub type Map = HashMap<String, OwnedVariant>;
";

/// rustfmt's `max_width`.
const WIDTH: usize = 110;

/// The whole file.
pub(crate) fn proxies(nodes: &[Node<'_>]) -> String {
    let mut out = HEAD.to_owned();
    for interface in nodes.iter().flat_map(|node| node.interfaces()) {
        proxy(&mut out, interface);
    }
    out
}

fn proxy(out: &mut String, interface: &Interface<'_>) {
    let name = interface.name().to_string();
    let short = name.rsplit('.').next().unwrap();
    // As rustfmt breaks it: the Manager alone has a place of its own.
    let attribute = if short == "Manager" {
        let parts = ["interface", "default_service", "default_path"].iter().zip([
            &name,
            "org.warren1",
            "/org/warren1",
        ]);
        let parts: Vec<_> = parts.map(|(key, value)| format!("        {key} = \"{value}\"")).collect();
        format!("\n{}\n    ", parts.join(",\n"))
    } else {
        format!("interface = \"{name}\", default_service = \"org.warren1\"")
    };
    let (module, text) = (snake(short), doc(interface.annotations()));
    write!(
        out,
        "\n/// `{name}`: the proxy, and what its signals carry.\npub mod {module} {{\n    use super::*;\n\n    \
         /// {text}\n    #[zbus::proxy({attribute})]\n    pub trait {short} {{\n",
    )
    .unwrap();
    let mut members = Vec::new();
    for property in interface.properties() {
        let emits = property.annotations().iter().find(|a| a.name().ends_with("EmitsChangedSignal"));
        let emits = emits.map_or_else(String::new, |a| format!("(emits_changed_signal = \"{}\")", a.value()));
        let answer = owned(&property.ty().to_string());
        let name = property.name().to_string();
        members.push(format!(
            "        /// {}\n        #[zbus(property{emits})]\n{}",
            doc(property.annotations()),
            line(&name, &[], answer)
        ));
    }
    for method in interface.methods() {
        let inward = |arg: &&Arg<'_>| arg.direction().is_none_or(|d| matches!(d, ArgDirection::In));
        let args: Vec<_> = method
            .args()
            .iter()
            .filter(inward)
            .map(|arg| format!("{}: {}", arg.name().unwrap(), borrowed(&arg.ty().to_string())))
            .collect();
        let answers: Vec<_> =
            method.args().iter().filter(|arg| !inward(arg)).map(|arg| owned(&arg.ty().to_string())).collect();
        let answer = match &answers[..] {
            [one] => (*one).to_owned(),
            several => format!("({})", several.join(", ")),
        };
        let text = described(&doc(method.annotations()), method.args());
        // The person at the keyboard may be asked for a password.
        let attribute = if args.iter().any(|arg| arg.starts_with("options")) {
            "        #[zbus(allow_interactive_auth)]\n"
        } else {
            ""
        };
        members.push(format!("{text}{attribute}{}", line(&method.name().to_string(), &args, &answer)));
    }
    for signal in interface.signals() {
        let args: Vec<_> = signal
            .args()
            .iter()
            .map(|arg| format!("{}: {}", arg.name().unwrap(), borrowed(&arg.ty().to_string())))
            .collect();
        let text = described(&doc(signal.annotations()), signal.args());
        let name = signal.name().to_string();
        let (name, attribute) = signal_name(interface, &name);
        members.push(format!("{text}        #[zbus({attribute})]\n{}", line(&name, &args, "()")));
    }
    *out += &members.join("\n");
    *out += "    }\n}\n";
}

/// The name of the trait's method and its attribute. zbus makes `receive_state_changed` of a property `State`
/// already, so a signal `StateChanged` beside it is called `StateTransition`.
fn signal_name(interface: &Interface<'_>, name: &str) -> (String, String) {
    let property = |word: &&str| interface.properties().any(|p| p.name().as_str() == *word);
    match name.strip_suffix("Changed").filter(property) {
        Some(word) => (format!("{word}Transition"), format!("signal, name = \"{name}\"")),
        None => (name.to_owned(), "signal".to_owned()),
    }
}

fn described(text: &str, args: &[Arg<'_>]) -> String {
    let mut out = format!("        /// {text}\n        ///\n");
    for arg in args {
        writeln!(out, "        /// - `{}`: {}", arg.name().unwrap(), doc(arg.annotations())).unwrap();
    }
    out
}

fn line(name: &str, args: &[String], answer: &str) -> String {
    let head = format!("        fn {}(", snake(name));
    let all = ["&self".to_owned()].iter().chain(args).cloned().collect::<Vec<_>>();
    let one = format!("{head}{}) -> Result<{answer}>;\n", all.join(", "));
    if one.len() <= WIDTH + 1 {
        return one;
    }
    format!("{head}\n            {},\n        ) -> Result<{answer}>;\n", all.join(",\n            "))
}

/// `GetXml` is `get_xml`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// The type of what is sent.
fn borrowed(signature: &str) -> &'static str {
    match signature {
        "s" => "&str",
        "as" => "&[&str]",
        "a{sv}" => "Options<'_>",
        "aa{sv}" => "Vec<Options<'_>>",
        "b" => "bool",
        "i" => "i32",
        other => panic!("an argument of type {other}"),
    }
}

/// The type of what is answered.
fn owned(signature: &str) -> &'static str {
    match signature {
        "s" => "String",
        "as" => "Vec<String>",
        "o" => "OwnedObjectPath",
        "h" => "OwnedFd",
        "b" => "bool",
        "u" => "u32",
        "t" => "u64",
        "d" => "f64",
        "a{sv}" => "Map",
        "aa{sv}" => "Vec<Map>",
        "a{ss}" => "HashMap<String, String>",
        "a{oa{sv}}" => "HashMap<OwnedObjectPath, Map>",
        other => panic!("an answer of type {other}"),
    }
}
