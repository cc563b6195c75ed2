//! Documents taken as a caller's are: read, completed, checked; and planned for a QEMU that has everything.

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;

use rand::SeedableRng;
use rand::rngs::StdRng;
use warren::model::{DocError, DomainDoc, Finding, Severity};
use warren::plan::complete::{self, CompleteError, DomainFacts};
use warren::plan::host::{MachineFacts, QemuFacts};
use warren::plan::qemu::{Handed, Planned, Sealed};
use warren::plan::{check, qemu};
use warren::xml::{Document, Element};

use crate::kept;

/// Completes and checks a document: what a definition keeps, or every error there is. That it is kept as it
/// was given, and stays so when it is read again, is looked at on the way.
pub fn define(text: &str) -> Result<DomainDoc, Vec<Finding>> {
    let refused = |error: DocError| match error {
        DocError::Config(findings) => errors(findings),
        DocError::Xml(e) => vec![Finding {
            severity: Severity::Error,
            path: e.path,
            line: e.line,
            column: e.column,
            message: e.message,
            remedy: String::new(),
        }],
    };
    let mut doc = DomainDoc::parse(text).map_err(refused)?;
    assert_eq!(doc.to_xml(), text, "it is not written as it was read");
    let given = doc.tree().clone();
    let taken = HashSet::new();
    let facts = DomainFacts { uuid: None, macs: &[], taken: &taken, old: None };
    if let Err(error) = complete::domain(&mut doc, &facts, &mut StdRng::seed_from_u64(1)) {
        match error {
            CompleteError::Doc(e) => return Err(refused(e)),
            e => panic!("a domain has no subnets: {e}"),
        }
    }
    if let Some(lost) = kept::lost(given.root(), doc.tree().root()) {
        panic!("{lost}");
    }
    let once = doc.to_xml();
    complete::domain(&mut doc, &facts, &mut StdRng::seed_from_u64(2)).expect("what is complete stays so");
    assert_eq!(doc.to_xml(), once, "completing twice changes something");
    let again = DomainDoc::parse(&once).unwrap_or_else(|e| panic!("read again: {e}"));
    assert_eq!(again.def(), doc.def(), "read again it means something else");
    planned_as_before(&given, &doc);
    let errors = errors(check::domain(&doc));
    if errors.is_empty() { Ok(doc) } else { Err(errors) }
}

/// What was completed are choices that a start would have made too: the same is run with and without them.
fn planned_as_before(given: &Document, doc: &DomainDoc) {
    let mut before = DomainDoc::from_tree(given.clone()).expect("it was read before");
    let named = |tree: &Document, name: &str| -> Vec<Element> {
        let devices = tree.root().child("devices").into_iter();
        devices
            .flat_map(|d| d.children_named("interface"))
            .filter_map(|nic| nic.child(name))
            .cloned()
            .collect()
    };
    let (uuid, macs) = (doc.tree().root().child("uuid").cloned(), named(doc.tree(), "mac"));
    let edited = before.edit(|tree| {
        let root = tree.root_mut();
        root.child_index("uuid").and_then(|at| root.remove_child(at));
        root.insert(0, uuid.expect("a complete document"));
        let devices = root.child_mut("devices").into_iter().flat_map(Element::children_mut);
        for (nic, mac) in devices.filter(|d| d.name() == "interface").zip(macs) {
            nic.child_index("mac").and_then(|at| nic.remove_child(at));
            nic.insert(0, mac);
        }
    });
    edited.expect("a document with its own UUID and MACs");
    // An empty address of a server is any, by QEMU's word as by its number.
    let run = |doc: &DomainDoc| {
        let planned = plan(doc, everything());
        let any = |file: &Sealed| {
            String::from_utf8_lossy(&file.content).replace("listen = \":", "listen = \"0.0.0.0:")
        };
        (planned.argv, planned.sealed.iter().map(any).collect::<Vec<_>>())
    };
    assert_eq!(run(doc), run(&before), "completed, it is run otherwise");
}

fn errors(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|f| f.severity == Severity::Error).collect()
}

/// What cannot be run of a document, by what its check says.
pub fn unsupported(doc: &DomainDoc) -> Vec<Finding> {
    check::domain(doc).into_iter().filter(|f| f.severity == Severity::Unsupported).collect()
}

/// The arguments for a QEMU that has every driver of `drivers`, and all that stands against running them.
pub fn argv(doc: &DomainDoc, drivers: &[String]) -> Planned {
    let mut facts = everything().clone();
    facts.devices.extend(drivers.iter().cloned());
    let mut planned = plan(doc, &facts);
    planned.findings.extend(unsupported(doc));
    planned.findings.retain(|f| f.severity != Severity::Warning);
    planned
}

/// The one call of the planner.
pub fn plan(doc: &DomainDoc, facts: &QemuFacts) -> Planned {
    let def = doc.def();
    let handed = Handed::for_a_look(def, 3, facts.vhost_net);
    qemu::plan(def, &def.uuid.expect("a complete document"), facts, &handed)
}

/// Why no program here runs the guest, if none does.
pub fn no_program(doc: &DomainDoc) -> Option<Finding> {
    let mut def = doc.def().clone();
    // What is asked is the architecture: where the program lies differs from host to host.
    def.emulator = None;
    qemu::choose(&def, std::slice::from_ref(everything())).err()
}

/// The installed QEMU, made one that could do all that an x86 QEMU ever can.
pub fn everything() -> &'static QemuFacts {
    static FACTS: OnceLock<QemuFacts> = OnceLock::new();
    FACTS.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let path = Path::new("/usr/bin/qemu-system-x86_64");
        let path = if path.exists() { path } else { Path::new("/usr/libexec/qemu-kvm") };
        let probed = runtime.expect("a runtime").block_on(async {
            // As a daemon does before it starts a child.
            let records = tempfile::tempdir().expect("a temporary directory can be made").keep();
            warren::sys::process::keep_records(&records).await.expect("records can be kept");
            warren::sys::qemu_probe::probe(path).await
        });
        let mut facts = probed.unwrap_or_else(|e| panic!("{}", warren::chain(&e)));
        (facts.kvm, facts.vhost_net) = (true, true);
        facts.devices.extend(LATER_DEVICES.map(str::to_owned));
        for family in ["pc-i440fx", "pc-q35"] {
            for version in
                ["2.4", "2.6", "2.11", "3.1", "4.2", "5.2", "6.1", "8.0", "8.2", "9.0", "9.2", "10.0"]
            {
                let name = format!("{family}-{version}");
                if facts.canonical_machine(&name).is_none() {
                    facts.machines.push(MachineFacts { name, alias: None, is_default: false });
                }
            }
        }
        facts
    })
}

/// Drivers that a distribution ships in packages of their own, or has left out.
const LATER_DEVICES: [&str; 24] = [
    "qxl",
    "qxl-vga",
    "virtio-vga-gl",
    "virtio-gpu-gl-pci",
    "usb-redir",
    "usb-host",
    "usb-ccid",
    "ccid-card-emulated",
    "ccid-card-passthru",
    "virtio-iommu-pci",
    "virtio-mem-pci",
    "virtio-pmem-pci",
    "vhost-user-fs-pci",
    "vhost-user-blk-pci",
    "vhost-vsock-pci",
    "vhost-scsi-pci",
    "ivshmem-plain",
    "ivshmem-doorbell",
    "pvpanic",
    "pvpanic-pci",
    "tpm-tis",
    "tpm-crb",
    "sb16",
    "nvdimm",
];
