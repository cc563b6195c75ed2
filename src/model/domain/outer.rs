//! The small parts of `<domain>` around its devices. Owns libvirt's words and defaults for them; must never
//! judge what belongs together.

use super::{DomainKind, LifecycleAction};
use crate::model::Uuid;
use crate::xml::view::View;

/// `<pm>`: whether the guest can sleep; absent is QEMU's own choice, which is yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PmDef {
    /// `<suspend-to-mem enabled>`.
    pub to_mem: Option<bool>,
    /// `<suspend-to-disk enabled>`.
    pub to_disk: Option<bool>,
}

/// `<genid>`: what changes when a guest becomes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenidDef {
    /// An empty element: chosen by Warren.
    Chosen,
    /// As written.
    Given(Uuid),
}

/// Types of domain that libvirt has and QEMU does not run.
const OTHERS: &[(&str, &str)] = &[
    ("xen", "Xen"),
    ("lxc", "LXC, for containers"),
    ("bhyve", "bhyve"),
    ("test", "libvirt's test driver"),
    ("vz", "Virtuozzo"),
    ("parallels", "Parallels"),
    ("vmware", "VMware"),
    ("openvz", "OpenVZ, for containers"),
    ("uml", "User-Mode Linux"),
    ("hvf", "macOS"),
    ("hyperv", "Hyper-V"),
    ("vbox", "VirtualBox"),
    ("phyp", "PowerVM"),
    ("xenfv", "Xen"),
    ("ldom", "Logical Domains"),
];

pub(super) fn kind(root: &View<'_>) -> Option<DomainKind> {
    match root.filled("type") {
        Some("qemu") => Some(DomainKind::Qemu),
        Some("kvm") => Some(DomainKind::Kvm),
        Some(other) => {
            let message = match OTHERS.iter().find(|(word, _)| *word == other) {
                Some((_, name)) => {
                    format!("a domain of type '{other}' is for another hypervisor: {name}")
                }
                None => format!("a domain of type '{other}' is for another hypervisor"),
            };
            root.error_at("type", message, "Warren runs qemu and kvm");
            None
        }
        None => {
            root.error_at("type", "the domain has no type", "add type='kvm' or type='qemu'");
            None
        }
    }
}

pub(super) fn lifecycle(root: &View<'_>, name: &str, default: LifecycleAction) -> LifecycleAction {
    let Some(view) = root.child(name) else { return default };
    let on_crash = name == "on_crash";
    match view.text().as_ref() {
        "" => default,
        "destroy" => LifecycleAction::Destroy,
        "restart" => LifecycleAction::Restart,
        "preserve" => LifecycleAction::Preserve,
        "rename-restart" => {
            view.error("QEMU's guests are not renamed when they restart", "write restart");
            default
        }
        other @ ("coredump-destroy" | "coredump-restart") if on_crash => {
            view.unsupported(format!("Warren does not know how to '{other}' yet"), "");
            default
        }
        other => {
            view.error(format!("'{other}' is not an action"), "give destroy, restart or preserve");
            default
        }
    }
}

/// `<on_lockfailure>`: what happens when a lease of a disk is lost. Warren has no lock manager.
pub(super) fn on_lockfailure(root: &View<'_>) {
    let Some(view) = root.child("on_lockfailure") else { return };
    match view.text().as_ref() {
        "poweroff" | "restart" | "pause" | "ignore" => {
            view.warning("there is no lock manager whose leases could be lost", "");
        }
        other => view.error(format!("'{other}' is not an action"), "give poweroff, restart, pause, ignore"),
    }
}

pub(super) fn pm(root: &View<'_>) -> PmDef {
    let Some(view) = root.child("pm") else { return PmDef::default() };
    let enabled = |name: &str| view.child(name).and_then(|v| v.yes_no("enabled"));
    PmDef { to_mem: enabled("suspend-to-mem"), to_disk: enabled("suspend-to-disk") }
}

pub(super) fn genid(root: &View<'_>) -> Option<GenidDef> {
    let view = root.child("genid")?;
    let text = view.text();
    if text.is_empty() {
        return Some(GenidDef::Chosen);
    }
    match text.parse() {
        Ok(uuid) => Some(GenidDef::Given(uuid)),
        Err(_) => {
            view.error(format!("'{text}' is not an identifier of a generation"), "leave it empty");
            None
        }
    }
}

/// What protects the guest from the host or from others.
pub(super) fn security(root: &View<'_>) {
    for view in root.children("seclabel") {
        seclabel(&view);
    }
    let Some(view) = root.child("launchSecurity") else { return };
    view.accept();
    match view.filled("type") {
        Some(kind @ ("sev" | "sev-snp" | "tdx" | "s390-pv")) => {
            let message = format!("Warren does not start a guest in a sealed memory of type '{kind}' yet");
            view.unsupported_at("type", message, "leave <launchSecurity> out");
        }
        Some(other) => {
            let message = format!("'{other}' is not a type of launch security");
            view.error_at("type", message, "known are sev, sev-snp, tdx, s390-pv");
        }
        None => view.error_at("type", "<launchSecurity> has no type", "give sev, sev-snp, tdx or s390-pv"),
    }
}

/// Warren gives every guest a user of its own and no label of a security module.
fn seclabel(view: &View<'_>) {
    view.accept();
    let kinds = [("dynamic", 'd'), ("static", 's'), ("none", 'n')];
    let kind = view.one_of("type", &kinds).unwrap_or('d');
    let relabel = view.yes_no("relabel");
    let model = view.filled("model");
    let label = view.element().child("label").is_some();
    match (kind, model) {
        ('n', _) => {
            if relabel == Some(true) {
                view.error_at("relabel", "nothing is relabelled without a label", "write relabel='no'");
            }
        }
        ('s', _) if !label => {
            view.error("a static label needs <label>", "add it, or write type='dynamic'");
        }
        // A user of its own is what it asks for.
        ('d', Some("dac")) => {}
        ('s', Some("dac")) => {
            view.unsupported("Warren chooses the user that a guest runs as", "leave <seclabel> out");
        }
        (_, model) => {
            let what = model.unwrap_or("a security module");
            view.unsupported(
                format!("Warren does not label guests for {what} yet"),
                "leave <seclabel> out: each guest runs as a user of its own",
            );
        }
    }
}

/// What is for other hypervisors or machines, and libvirt takes in any document.
pub(super) fn of_others(root: &View<'_>) {
    for view in ["bootloader", "bootloader_args"].iter().filter_map(|name| root.child(name)) {
        view.accept();
        view.unsupported("a boot loader on the host is for another hypervisor", "leave it out");
    }
    if let Some(view) = root.child("keywrap") {
        view.accept();
        view.unsupported("wrapped keys are for machines of s390", "leave it out");
    }
    if let Some(view) = root.child("idmap") {
        view.accept();
        view.warning("mapped users are for containers", "");
    }
    if let Some(view) = root.child("throttlegroups") {
        view.accept();
        view.unsupported("Warren has no groups of disks with a common limit yet", "leave it out");
    }
}
