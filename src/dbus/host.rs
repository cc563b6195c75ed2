//! What `GetHost` and `Warnings` say of the machine. Owns the translation of host facts; what is slow to
//! find out is found out once, when the service starts.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use zbus::Variant;

use super::dict::{Dict, dict, list};
use crate::manager::{Event, Manager};
use crate::plan::host::{FirmwareFacts, FirmwareMapping, MachineFacts, QemuFacts};
use crate::scope::ScopeKind;
use crate::sys::netspace::NetSpace;
use crate::sys::{firmware, landlock, qemu_probe};

/// Stands in `Warnings` until it is known what is wrong.
const PROBE_RUNNING: &str =
    "host probe running: this property changes when it is done, and GetHost waits for it";

const NO_LANDLOCK: &str = "this kernel does not use Landlock, so a QEMU can open every file that the user it runs as \
                           can, as a disk image may ask it to; add landlock to the kernel's parameter lsm=";

/// Facts on the host, gathered beside the first calls.
#[derive(Debug, Clone)]
pub struct Host {
    warnings: Arc<RwLock<Vec<String>>>,
    scope: ScopeKind,
}

impl Host {
    /// Begins to look at the host; returns at once.
    pub fn look(manager: Arc<Manager>) -> Self {
        let scope = manager.scope().kind;
        let host = Self { warnings: Arc::new(RwLock::new(vec![PROBE_RUNNING.to_owned()])), scope };
        let warnings = host.warnings.clone();
        tokio::spawn(async move {
            let found = all_warnings(&qemu_probe::probe_all().await, scope);
            warnings.write().unwrap_or_else(PoisonError::into_inner).clone_from(&found);
            manager.tell(Event::Warnings(found));
        });
        host
    }

    /// What is wrong with this host.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// CPUs, memory, QEMUs, firmware, bridges and NICs.
    pub(super) async fn facts(&self) -> Dict {
        let qemus = qemu_probe::probe_all().await;
        let firmware = firmware::installed().await;
        let links = match NetSpace::host().netlink().await {
            Ok(netlink) => netlink.links().await.unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        let named = |bridge: bool| -> Vec<String> {
            let is_bridge = |kind: &Option<String>| kind.as_deref() == Some("bridge");
            links.iter().filter(|l| is_bridge(&l.kind) == bridge).map(|l| l.name.clone()).collect()
        };
        let cpus = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        let memory = rustix::system::sysinfo();
        let bytes = memory.totalram * u64::from(memory.mem_unit);
        dict([
            ("cpus", cpus.into()),
            ("memory-bytes", bytes.into()),
            ("emulators", list(qemus.iter().map(emulator).collect())),
            ("firmware", list(firmware.iter().map(firmware_facts).collect())),
            ("bridges", named(true).into()),
            ("interfaces", named(false).into()),
            ("firewall-backend", "nftables".into()),
            ("warnings", all_warnings(&qemus, self.scope).into()),
        ])
    }
}

/// What is wrong with the host for a service of this scope.
fn all_warnings(found: &[QemuFacts], scope: ScopeKind) -> Vec<String> {
    let mut warnings = warnings_of(found, qemu_probe::kvm_is_there());
    // In system scope guests do without, or do not start.
    if scope == ScopeKind::Session && !landlock::is_there() {
        warnings.push(NO_LANDLOCK.to_owned());
    }
    warnings
}

fn warnings_of(found: &[QemuFacts], kvm_is_there: bool) -> Vec<String> {
    if found.is_empty() {
        return vec!["no QEMU is installed, so no domain can start; install qemu-system-x86".to_owned()];
    }
    if found.iter().any(|q| q.kvm) {
        return Vec::new();
    }
    vec![no_kvm(kvm_is_there)]
}

fn no_kvm(is_there: bool) -> String {
    let remedy = if is_there {
        "let this user open /dev/kvm, as by the group kvm"
    } else {
        "enable virtualisation in the firmware and load the kernel's kvm module"
    };
    format!("KVM cannot be used, so only domains of type='qemu' (slow, in software) can start; {remedy}")
}

fn emulator(qemu: &QemuFacts) -> Dict {
    let (major, minor, micro) = qemu.version;
    let machines: Vec<String> = qemu.machines.iter().map(|m| m.name.clone()).collect();
    let alias = |m: &MachineFacts| Some((m.alias.clone()?, m.name.clone()));
    let aliases: HashMap<String, String> = qemu.machines.iter().filter_map(alias).collect();
    let default = qemu.machines.iter().find(|m| m.is_default).map(|m| m.name.clone()).unwrap_or_default();
    let accelerators: Vec<String> =
        if qemu.kvm { vec!["kvm".into(), "tcg".into()] } else { vec!["tcg".into()] };
    dict([
        ("path", Variant::from(qemu.path.display().to_string())),
        ("version", format!("{major}.{minor}.{micro}").into()),
        ("arch", qemu.arch.clone().into()),
        ("machines", machines.into()),
        ("machine-aliases", aliases.into()),
        ("default-machine", default.into()),
        ("cpu-models", qemu.cpu_models.iter().cloned().collect::<Vec<_>>().into()),
        ("accelerators", accelerators.into()),
    ])
}

/// One firmware, by the words of QEMU's `docs/interop/firmware.json`.
fn firmware_facts(firmware: &FirmwareFacts) -> Dict {
    let text = |path: &Path| path.display().to_string();
    let (path, template) = match &firmware.mapping {
        FirmwareMapping::Flash { executable, template } => {
            (text(&executable.path), template.as_ref().map(|file| text(&file.path)))
        }
        FirmwareMapping::Memory(path) => (text(path), None),
    };
    let mut archs: Vec<String> = firmware.targets.iter().map(|t| t.arch.clone()).collect();
    archs.dedup();
    let machines: Vec<String> = firmware.targets.iter().flat_map(|t| t.machines.clone()).collect();
    let mut facts = dict([
        ("path", path.into()),
        ("interfaces", firmware.interfaces.clone().into()),
        ("archs", archs.into()),
        ("machines", machines.into()),
        ("features", firmware.features.iter().cloned().collect::<Vec<_>>().into()),
    ]);
    facts.extend(template.map(|path| dict([("nvram-template", path.into())])).unwrap_or_default());
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_for_no_kvm_is_the_one_that_helps() {
        let (denied, missing) = (no_kvm(true), no_kvm(false));
        assert!(denied.contains("group kvm") && !denied.contains("firmware"), "{denied}");
        assert!(missing.contains("firmware"), "{missing}");
    }
}
