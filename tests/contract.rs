//! The files that clients and administrators read agree with themselves and with each other: the
//! introspection XML in `dbus/`, the polkit actions in `policy/`, activation and packaging.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use zbus_xml::Node;

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
fn every_member_is_documented() {
    fn documented<'a>(annotations: impl IntoIterator<Item = &'a zbus_xml::Annotation<'a>>) -> bool {
        annotations.into_iter().any(|a| a.name() == "org.gtk.GDBus.DocString" && !a.value().is_empty())
    }
    for (_, node) in interfaces() {
        for interface in node.interfaces() {
            let mut members = vec![(interface.name().to_string(), documented(interface.annotations()))];
            members.extend(interface.methods().map(|m| (m.name().to_string(), documented(m.annotations()))));
            members
                .extend(interface.properties().map(|p| (p.name().to_string(), documented(p.annotations()))));
            members.extend(interface.signals().map(|s| (s.name().to_string(), documented(s.annotations()))));
            let missing: Vec<_> = members.iter().filter(|(_, documented)| !documented).collect();
            assert!(missing.is_empty(), "{}: without a docstring: {missing:?}", interface.name());
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
            let (_, rest) = rest.split_once(&format!("<{tag}>")).unwrap();
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
