//! What the TAPs of a domain may be called.
//!
//! Owns the names that each owner may write, and those that count as not written. Must never know which names are
//! taken: it is told.

use crate::model::{DomainDef, Finding, IfName, InterfaceDef, Severity};

/// What the names of an ordinary user's TAPs begin with, in system scope.
pub const USERS: &str = "wt-";

/// What those that Warren generates begin with.
pub const GENERATED: &str = "wtap";

/// What libvirt generates, and takes for not written itself.
const LIBVIRTS: &str = "vnet";

/// Who has written the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Root, a caller with `host-access`, or the user whose session it is: any that is free.
    Free,
    /// An ordinary user of the system's service, whose names must not be the host's.
    Prefixed,
}

/// The name that is written for a NIC's TAP, where it counts.
pub fn written(nic: &InterfaceDef, naming: Naming) -> Option<&IfName> {
    let is_libvirts = |name: &IfName| naming == Naming::Prefixed && name.as_str().starts_with(LIBVIRTS);
    nic.target.as_ref().filter(|name| nic.kind.has_tap() && nic.managed_tap && !is_libvirts(name))
}

/// The places of names that an ordinary user must not write.
pub fn beyond_prefix(def: &DomainDef) -> Vec<String> {
    let beyond =
        |nic: &&InterfaceDef| written(nic, Naming::Prefixed).is_some_and(|n| !is_a_users(n.as_str()));
    def.interfaces().filter(beyond).map(|nic| format!("{}/target", nic.info.path)).collect()
}

fn is_a_users(name: &str) -> bool {
    name.starts_with(USERS)
}

/// Beyond the kernel's own rule: a name goes to scripts, whose authors expect no more than this.
pub fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+'))
}

/// What stands against the names of a definition; `taken` says who has a name already.
pub fn findings(def: &DomainDef, naming: Naming, taken: impl Fn(&IfName) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for nic in def.interfaces() {
        let mut find = |severity, message: String, remedy: String| {
            let path = format!("{}/target/@dev", nic.info.path);
            findings.push(Finding { severity, path, line: 0, column: 0, message, remedy });
        };
        let Some(name) = written(nic, naming) else {
            if let Some(name) = nic.target.as_ref().filter(|_| nic.kind.has_tap() && nic.managed_tap) {
                let message = format!("'{name}' is a name of libvirt's choice, and Warren chooses another");
                find(Severity::Warning, message, format!("leave it out, or begin it with '{USERS}'"));
            }
            continue;
        };
        if naming == Naming::Prefixed && !is_a_users(name.as_str()) {
            let message = format!("the name of this TAP must begin with '{USERS}', and '{name}' does not");
            let remedy = "leave it out and Warren chooses one; any other takes the right host-access";
            find(Severity::Error, message, remedy.into());
        } else if !is_plain(name.as_str()) {
            let message = format!("'{name}' has more than letters, digits, '.', '_', '-' and '+'");
            find(Severity::Error, message, "leave it out and Warren chooses one".into());
        } else if let Some(holder) = taken(name) {
            let message = format!("'{name}' is {holder}");
            find(Severity::Error, message, "choose another, or leave it out and Warren does".into());
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DomainDoc;

    fn judged(name: &str, naming: Naming) -> String {
        let text = format!(
            "<domain type='qemu'><name>n</name><memory>65536</memory><os><type>hvm</type></os><devices>\
             <interface type='network'><source network='n'/><target dev='{name}'/></interface></devices></domain>"
        );
        let doc = DomainDoc::parse(&text).unwrap();
        let taken = |name: &IfName| (name.as_str() == "wt-lan").then(|| "the bridge of 'lan'".to_owned());
        let found = findings(doc.def(), naming, taken);
        let line = |f: &Finding| format!("{} {f}", f.severity.as_str());
        found.first().map(line).unwrap_or_default()
    }

    #[test]
    fn ordinary_users_have_names_of_their_own() {
        for name in ["wt-a", "wt-", "wt-0.1_+", "wtap%d", "vnet%d"] {
            assert_eq!(judged(name, Naming::Prefixed), "", "{name}");
        }
        for name in ["lo", "docker0", "wtap5", "wt0", "wbr0", "eth0", "Wt-a", "$(id)", "macvtap0"] {
            let why = judged(name, Naming::Prefixed);
            assert!(why.starts_with("error") && why.contains("must begin with 'wt-'"), "{name}: {why}");
        }
        insta::assert_snapshot!(judged("vnet3", Naming::Prefixed), @"warning /domain/devices/interface/target/@dev: 'vnet3' is a name of libvirt's choice, and Warren chooses another; leave it out, or begin it with 'wt-'");
        insta::assert_snapshot!(judged("wt-$(id)", Naming::Prefixed), @"error /domain/devices/interface/target/@dev: 'wt-$(id)' has more than letters, digits, '.', '_', '-' and '+'; leave it out and Warren chooses one");
        insta::assert_snapshot!(judged("wt-lan", Naming::Prefixed), @"error /domain/devices/interface/target/@dev: 'wt-lan' is the bridge of 'lan'; choose another, or leave it out and Warren does");
    }

    #[test]
    fn others_choose_freely_what_no_one_has() {
        for name in ["lan0", "wtap5", "vnet3", "eth7"] {
            assert_eq!(judged(name, Naming::Free), "", "{name}");
        }
        assert!(judged("$(id)", Naming::Free).contains("letters, digits"));
        assert!(judged("wt-lan", Naming::Free).contains("the bridge of 'lan'"));
    }
}
