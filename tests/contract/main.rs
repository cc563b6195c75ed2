//! The files that clients and administrators read agree with themselves and with each other: the
//! introspection XML in `dbus/`, the polkit actions in `policy/`, activation and packaging.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use warren::reason::Reason;
use zbus_xml::Node;

mod core_contract;
mod render;
mod render_rust;

/// Every polkit action with its defaults: any, inactive, active.
const ACTIONS: [(&str, [&str; 3]); 8] = [
    ("org.warren1.domain.manage-own", ["auth_admin", "auth_admin", "yes"]),
    ("org.warren1.domain.console", ["auth_admin", "auth_admin", "yes"]),
    ("org.warren1.network.use", ["auth_admin", "auth_admin", "yes"]),
    ("org.warren1.domain.manage", ["auth_admin", "auth_admin", "auth_admin_keep"]),
    ("org.warren1.network.manage", ["auth_admin", "auth_admin", "auth_admin_keep"]),
    ("org.warren1.network.use-any", ["auth_admin", "auth_admin", "auth_admin_keep"]),
    ("org.warren1.host-access", ["auth_admin", "auth_admin", "auth_admin"]),
    ("org.warren1.read-secrets", ["auth_admin", "auth_admin", "auth_admin"]),
];

/// Look-ups, which alone take no options.
const LOOKUPS: [&str; 5] =
    ["GetNetworkByName", "GetNetworkByUuid", "GetDomainByName", "GetDomainByUuid", "GetHost"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn interfaces() -> Vec<(PathBuf, Node<'static>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("dbus")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "xml") {
            let node = Node::from_reader(fs::File::open(&path).unwrap())
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            found.push((path, node));
        }
    }
    assert_eq!(found.len(), 4, "Manager, Network, Domain and Job");
    found
}

#[test]
fn each_file_holds_the_interface_of_its_name() {
    for (path, node) in interfaces() {
        let names: Vec<String> = node.interfaces().iter().map(|i| i.name().to_string()).collect();
        assert_eq!(names, [path.file_stem().unwrap().to_string_lossy()]);
    }
}

#[test]
fn members_keep_the_conventions() {
    for (path, node) in interfaces() {
        for interface in node.interfaces() {
            for method in interface.methods() {
                let name = method.name().to_string();
                let mut inward = method.args().iter().filter(|a| a.direction().is_none_or(is_in));
                let options = inward
                    .next_back()
                    .is_some_and(|last| last.name() == Some("options") && last.ty().to_string() == "a{sv}");
                assert_eq!(
                    options,
                    !LOOKUPS.contains(&name.as_str()),
                    "{}: {name}: options last",
                    path.display()
                );
                for arg in method.args() {
                    let signature = arg.ty().to_string();
                    assert!(
                        !signature.contains('('),
                        "{name}: {signature}: lists are aa{{sv}}, never structs"
                    );
                }
            }
            for property in interface.properties() {
                assert!(!property.access().write(), "{}: no property is writable", property.name());
            }
        }
    }
}

#[test]
fn every_member_and_argument_is_documented() {
    let mut missing = Vec::new();
    let mut see = |what: String, text: String| {
        if text.is_empty() {
            missing.push(what);
        }
    };
    for (_, node) in interfaces() {
        for interface in node.interfaces() {
            see(interface.name().to_string(), render::doc(interface.annotations()));
            for property in interface.properties() {
                see(format!("{}.{}", interface.name(), property.name()), render::doc(property.annotations()));
            }
            let methods =
                interface.methods().map(|m| (m.name().to_string(), render::doc(m.annotations()), m.args()));
            let signals =
                interface.signals().map(|s| (s.name().to_string(), render::doc(s.annotations()), s.args()));
            for (name, text, args) in methods.chain(signals) {
                see(format!("{}.{name}", interface.name()), text);
                for arg in args {
                    let arg_name = arg.name().unwrap_or("(an argument without a name)");
                    see(format!("{}.{name}: {arg_name}", interface.name()), render::doc(arg.annotations()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "without a docstring: {missing:#?}");
}

/// Clients of the first release rely on these; what is in the contract beyond is allowed.
#[test]
fn the_core_contract_is_kept() {
    let mut found = BTreeSet::new();
    for (_, node) in interfaces() {
        for interface in node.interfaces() {
            found.extend(core_contract::members(interface));
        }
    }
    let missing: Vec<_> = core_contract::CORE.iter().filter(|m| !found.contains(**m)).collect();
    assert!(missing.is_empty(), "missing, or with another signature: {missing:#?}\nthere are: {found:#?}");
}

/// The documentation lists the words of `StateReason`, and the service has no others.
#[test]
fn the_reasons_are_a_closed_list() {
    for (_, node) in interfaces() {
        for interface in node.interfaces() {
            let known: Vec<&str> = match interface.name().as_str() {
                "org.warren1.Network" => Reason::words_of_networks().collect(),
                "org.warren1.Domain" => Reason::words_of_domains().collect(),
                _ => continue,
            };
            let property = interface.properties().find(|p| p.name() == "StateReason").unwrap();
            let text = render::doc(property.annotations());
            let (listed, _) = text.strip_prefix("One of ").unwrap().split_once('.').unwrap();
            assert_eq!(listed.split(", ").collect::<Vec<_>>(), known, "{}", interface.name());
        }
    }
}

fn errors() -> render::Errors {
    let table: toml::Table = read("dbus/errors.toml").parse().unwrap();
    // The file's order is the reader's; a table would sort it.
    let text = read("dbus/errors.toml");
    let names = text.lines().filter_map(|l| l.split_once(" = ")).map(|(name, _)| name.to_owned());
    names.map(|name| (name.clone(), table[&name].as_str().unwrap().to_owned())).collect()
}

#[test]
fn the_list_of_errors_is_closed() {
    let source = read("src/dbus/error.rs");
    let listed: BTreeSet<String> = errors().into_iter().map(|(name, _)| name).collect();
    let used = source.split("warren!(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    let unlisted: Vec<String> = used.filter(|name| !listed.contains(name)).collect();
    assert!(unlisted.is_empty(), "not in dbus/errors.toml: {unlisted:?}");
    let agreed: BTreeSet<String> = core_contract::ERRORS.iter().map(ToString::to_string).collect();
    assert_eq!(listed, agreed);
}

/// `WARREN_BLESS=1` writes them.
#[test]
fn the_rendered_documents_are_current() {
    let nodes = ["Manager", "Network", "Domain", "Job"].map(|name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("dbus/org.warren1.{name}.xml"));
        Node::from_reader(fs::File::open(path).unwrap()).unwrap()
    });
    let errors = errors();
    for (path, text) in [
        ("docs/api.md", render::markdown(&nodes, &errors)),
        ("man/org.warren1.5", render::man(&nodes, &errors)),
        ("examples/clients/rust/src/lib.rs", render_rust::proxies(&nodes)),
    ] {
        if std::env::var_os("WARREN_BLESS").is_some() {
            fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), &text).unwrap();
        }
        assert!(read(path) == text, "{path} is not what dbus/ says; `make docs` renders it");
    }
}

#[test]
fn questions_are_translatable() {
    let template = read("po/warren.pot");
    let known = |text: &str| template.contains(&format!("msgid \"{}\"", text.replace('"', "\\\"")));
    let missing: Vec<_> = warren::dbus::questions::ALL.iter().filter(|q| !known(q)).collect();
    assert!(missing.is_empty(), "not in po/warren.pot: {missing:?}");
    let policy = read("policy/org.warren1.policy");
    for tag in ["description", "message"] {
        for rest in policy.split(&format!("<{tag}")).skip(1) {
            let (attributes, rest) = rest.split_once('>').unwrap();
            let text = rest.split('<').next().unwrap();
            assert!(attributes.contains("gettext-domain=\"warren\""), "{text}");
            assert!(known(text), "not in po/warren.pot: {text}");
        }
    }
    for translation in ["de"] {
        let text = read(&format!("po/{translation}.po"));
        for line in template.lines().filter(|l| l.starts_with("msgid \"") && *l != "msgid \"\"") {
            let (_, rest) = text.split_once(line).unwrap_or_else(|| panic!("{translation} lacks {line}"));
            let translated = rest.trim_start().lines().next().unwrap();
            assert!(translated.starts_with("msgstr \"") && translated.len() > 9, "{translation}: {line}");
            for detail in ["$(name)", "$(owner)"] {
                assert_eq!(line.contains(detail), translated.contains(detail), "{translation}: {line}");
            }
        }
    }
}

/// The table is design's; the code's own list of actions is held against the same file.
#[test]
fn polkit_actions_and_defaults_are_the_agreed_ones() {
    let policy = read("policy/org.warren1.policy");
    let mut found = BTreeMap::new();
    for action in policy.split("<action id=\"").skip(1) {
        let (id, rest) = action.split_once('"').unwrap();
        let between = |tag: &str| {
            let (_, rest) = rest.split_once(&format!("<{tag}")).unwrap();
            let (_, rest) = rest.split_once('>').unwrap();
            rest.split_once(&format!("</{tag}>")).unwrap().0.to_owned()
        };
        assert!(!between("description").is_empty() && !between("message").is_empty(), "{id}");
        found.insert(id.to_owned(), ["allow_any", "allow_inactive", "allow_active"].map(between));
    }
    let agreed: BTreeMap<String, [String; 3]> =
        ACTIONS.iter().map(|(id, defaults)| ((*id).to_owned(), defaults.map(str::to_owned))).collect();
    assert_eq!(found, agreed);
    let asked: BTreeSet<&str> = warren::auth::Action::ALL.iter().map(|action| action.id()).collect();
    assert_eq!(asked, found.keys().map(String::as_str).collect());
}

#[test]
fn the_example_rules_name_actions_that_exist() {
    let rules = read("policy/50-warren-example.rules");
    for quoted in rules.split('"').filter(|word| word.starts_with("org.warren1.")) {
        assert!(ACTIONS.iter().any(|(id, _)| *id == quoted), "{quoted}");
    }
}

#[test]
fn activation_and_units_name_the_same_service() {
    for (file, flag) in
        [("dbus/org.warren1.service", "--system"), ("dbus/org.warren1.session.service", "--session")]
    {
        let text = read(file);
        assert!(text.contains("\nName=org.warren1\n"), "{file}");
        assert!(text.contains(&format!("\nExec=/usr/sbin/warrend {flag}\n")), "{file}");
        assert!(text.contains("\nSystemdService=warrend.service\n"), "{file}");
    }
    for (file, flag) in [
        ("packaging/systemd/system/warrend.service", "--system"),
        ("packaging/systemd/user/warrend.service", "--session"),
    ] {
        let text = read(file);
        for line in ["Type=notify", "BusName=org.warren1", "KillMode=process"] {
            assert!(text.lines().any(|l| l == line), "{file}: {line}");
        }
        assert!(text.contains(&format!("ExecStart=/usr/sbin/warrend {flag}\n")), "{file}");
    }
}

fn is_in(direction: zbus_xml::ArgDirection) -> bool {
    direction == zbus_xml::ArgDirection::In
}
