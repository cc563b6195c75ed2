//! What the model has, the plan uses: whatever word is taken away or is another, something that is done is
//! another thing, or a finding says so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use rand::SeedableRng;
use rand::rngs::StdRng;
use warren::domain::images_of;
use warren::model::{
    Definition, Device, Doc, DocError, DomainDef, DomainDoc, Finding, GraphicsKind, InterfaceKind,
    NetworkDef, NetworkDoc, Severity,
};
use warren::plan::complete::{self, DomainFacts, NetworkFacts};
use warren::plan::{check, dnsmasq, firewall, firmware_choice, privileges};
use warren::xml::Document;

use crate::conformance_planned::{everything, no_program, plan};
use crate::words::{Word, bare, covers, documents, is_told, shown, words};

/// So many other words are tried in one place of a document.
const OTHERS: usize = 12;
/// In so many documents a word is tried that has no effect.
const TRIES: usize = 40;

/// What a document comes to: all that is done for it, and all that is said of it.
struct Outcome {
    text: String,
    findings: Vec<Finding>,
    /// Whether there is a program that runs it.
    is_planned: bool,
}

type Run<D> = fn(Document) -> Result<(Doc<D>, Outcome), DocError>;

fn domain(tree: Document) -> Result<(DomainDoc, Outcome), DocError> {
    let mut doc = DomainDoc::from_tree(tree)?;
    let taken = std::collections::HashSet::new();
    let facts = DomainFacts { uuid: None, macs: &[], taken: &taken, old: None };
    if let Err(complete::CompleteError::Doc(e)) =
        complete::domain(&mut doc, &facts, &mut StdRng::seed_from_u64(1))
    {
        return Err(e);
    }
    let def = doc.def();
    let mut findings = check::domain(&doc);
    let planned = plan(&doc, everything());
    let mut text = format!("{:?}\n{:?}\n{:?}\n", planned.argv, planned.settings, planned.assigned);
    let is_planned = no_program(&doc).is_none() && !planned.argv.is_empty();
    findings.extend(planned.findings);
    // What the service does itself, beside QEMU.
    let firmware = firmware_choice::choose(def, everything());
    let images: Vec<_> = def.disks().map(images_of).collect();
    let directories: Vec<_> = def.filesystems().map(|f| f.source_directory()).collect();
    let _ = write!(text, "{firmware:?} {images:?} {directories:?} {:?} {:?} ", def.os.kernel, def.os.initrd);
    let sealed: Vec<_> = planned.sealed.iter().map(|f| String::from_utf8_lossy(&f.content)).collect();
    let _ = write!(text, "{sealed:?} {:?} ", privileges::fields_of_domain(def, &[]));
    let _ = write!(text, "{:?} {:?} {:?} ", def.on_poweroff, def.on_reboot, def.on_crash);
    let _ = write!(text, "{:?} {:?} {:?} ", def.title, def.emulator, def.current_memory);
    let _ = write!(text, "{:?} ", def.direct.env);
    for nic in def.interfaces() {
        let plugged = match &nic.kind {
            InterfaceKind::Network { network, .. } => network.clone(),
            kind @ (InterfaceKind::Bridge { .. } | InterfaceKind::Ethernet(_) | InterfaceKind::Client(_)) => {
                format!("{kind:?} {:?} {}", nic.target, nic.managed_tap)
            }
            _ => String::new(),
        };
        if nic.kind.has_tap() {
            let _ = write!(text, "{:?} {:?} {:?} {:?} ", nic.target, nic.mtu, nic.isolated, nic.teaming);
        }
        let _ = write!(text, "{plugged} {} ", nic.link_up);
    }
    for device in &def.devices {
        let display = match device {
            Device::Graphics(display) => display,
            Device::Memballoon(balloon) => {
                let _ = write!(text, "{:?} {:?} ", balloon.model, balloon.stats_period);
                continue;
            }
            _ => continue,
        };
        let password = match &display.kind {
            GraphicsKind::Vnc(vnc) => &vnc.password,
            GraphicsKind::Spice(spice) => &spice.password,
            _ => continue,
        };
        let secret = password.as_ref().map(|p| &p.password);
        let connected = password.as_ref().map(|p| p.connected);
        let _ = write!(text, "{password:?} {secret:?} {connected:?} ");
    }
    let _ = write!(text, "\n{:?}", shown(&findings));
    Ok((doc, Outcome { text, findings, is_planned }))
}

fn network(tree: Document) -> Result<(NetworkDoc, Outcome), DocError> {
    let mut doc = NetworkDoc::from_tree(tree)?;
    let facts = NetworkFacts { uuid: None, used: &[] };
    if let Err(complete::CompleteError::Doc(e)) =
        complete::network(&mut doc, &facts, &mut StdRng::seed_from_u64(1))
    {
        return Err(e);
    }
    let def = doc.def();
    let findings = check::network(&doc);
    let uuid = def.uuid.unwrap_or_default();
    let files = dnsmasq::Files { leases: Path::new("leases"), hosts: Path::new("hosts") };
    let mut text = format!("{:?}\n", dnsmasq::plan(def, "wbr0", &files, None).map(|p| p.to_string()));
    let _ = writeln!(text, "{:?}", firewall::plan(def, &uuid, "wbr0").map(|r| r.to_string()));
    // What is made of links and routes.
    let way_out = def.forward.as_ref().map(|f| (f.mode, f.dev.clone(), f.nat.addresses));
    let nets: Vec<_> = def.ips.iter().map(|ip| ip.net).collect();
    let _ = write!(text, "{:?} {:?} {:?} {nets:?} {way_out:?} ", def.mac, def.mtu, def.routes);
    let _ = write!(text, "{:?} {:?} ", (&def.bridge.name, &def.bridge.template), def.isolated_ports);
    let _ = write!(text, "{:?} {:?} {:?} {:?}", def.bridge.stp, def.bridge.delay, def.name, def.title);
    let _ = write!(text, "\n{:?}", shown(&findings));
    Ok((doc, Outcome { text, findings, is_planned: true }))
}

/// What stands in a place: the words of all documents.
type Words = HashMap<String, BTreeSet<String>>;

/// Words of which the one may stand where the other does.
const PAIRS: [(&str, &str); 16] = [
    ("yes", "no"),
    ("on", "off"),
    ("KiB", "MiB"),
    ("bytes", "G"),
    ("static", "auto"),
    ("connect", "bind"),
    ("raw", "telnet"),
    ("custom", "passthrough"),
    ("utc", "localtime"),
    ("127.0.0.1", "::1"),
    ("-1", "5999"),
    ("isa", "pvpanic"),
    ("qcow2", "raw"),
    ("exact", "minimum"),
    ("memfd", "anonymous"),
    ("virtio", "virtio-transitional"),
];

/// What else could stand there.
fn others(value: &str, known: &BTreeSet<String>) -> Vec<String> {
    let mut others: Vec<String> = Vec::new();
    for (a, b) in PAIRS {
        others.extend((value == a).then(|| b.to_owned()));
        others.extend((value == b).then(|| a.to_owned()));
    }
    if let Ok(number) = value.parse::<u32>() {
        others.push((u64::from(number) + 1).to_string());
    }
    if let Some(number) = value.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
        others.push(format!("{:#x}", u64::from(number) + 1));
    }
    others.extend(known.iter().filter(|k| *k != value).take(OTHERS).cloned());
    if value.starts_with('/') || value.chars().all(|c| c.is_ascii_alphanumeric()) && !value.is_empty() {
        others.push(format!("{value}1"));
    }
    // The names that are the user's.
    others.push("ua-other".to_owned());
    others
}

/// The places whose words have no effect, each with a document.
fn without_effect<D: Definition>(folder: &str, run: Run<D>) -> BTreeMap<String, String> {
    let mut given: Vec<(String, Document)> = Vec::new();
    for file in documents(folder) {
        let text = std::fs::read_to_string(&file).unwrap();
        if let Ok(doc) = Doc::<D>::parse(&text) {
            given.push((file.display().to_string(), doc.tree().clone()));
        }
    }
    let mut known = Words::new();
    let mut all = Vec::new();
    for (_, tree) in &given {
        let found = words(tree, true);
        for word in &found {
            if let Some(value) = word.value(tree) {
                known.entry(bare(&word.path)).or_default().insert(value);
            }
        }
        all.push(found);
    }
    let mut seen = BTreeSet::new();
    let mut tried: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for ((file, tree), words) in given.iter().zip(all) {
        let mut before = None;
        for word in words {
            let place = word.place(tree);
            if seen.contains(&place) || tried.get(&place).is_some_and(|(n, _)| *n >= TRIES) {
                continue;
            }
            let before = before.get_or_insert_with(|| run(tree.clone()).map(|(_, outcome)| outcome));
            let Some(before) = before.as_ref().ok().filter(|b| b.is_planned) else { break };
            let nothing = BTreeSet::new();
            let known = known.get(&bare(&word.path)).unwrap_or(&nothing);
            // What is refused is not run; how it is run where it is not is seen elsewhere.
            if is_told(&word.path, &before.findings) {
                continue;
            }
            if changes(tree, &word, known, before, run) {
                seen.insert(place.clone());
                tried.remove(&place);
            } else {
                tried.entry(place).or_insert((0, file.clone())).0 += 1;
            }
        }
    }
    tried.into_iter().map(|(place, (_, file))| (place, file)).collect()
}

/// Whether the outcome is another where the word is taken away or is another. Another word that is refused
/// shows nothing of the one that is there.
fn changes<D>(tree: &Document, word: &Word, known: &BTreeSet<String>, before: &Outcome, run: Run<D>) -> bool {
    let mut edits: Vec<Option<String>> = Vec::new();
    if let Some(value) = word.value(tree) {
        edits.extend(others(&value, known).into_iter().map(Some));
    }
    edits.push(None);
    let mut only_refused = true;
    for edit in edits {
        let Ok((_, after)) = run(edit.map_or_else(|| word.removed(tree), |by| word.replaced(tree, &by)))
        else {
            continue;
        };
        let wrong = |o: &Outcome| o.findings.iter().filter(|f| f.severity == Severity::Error).count();
        if wrong(&after) > wrong(before) && !is_told(&word.path, &after.findings) {
            continue;
        }
        only_refused = false;
        if after.text != before.text {
            return true;
        }
    }
    only_refused
}

/// Every place without effect is an exception, and, where all documents are there, every exception such a place.
fn judge(left: &BTreeMap<String, String>, exceptions: &[(&str, &str)]) {
    let is_excepted = |place: &str| exceptions.iter().any(|(path, _)| covers(path, place));
    let wrong: Vec<_> = left.iter().filter(|(place, _)| !is_excepted(place)).collect();
    assert!(wrong.is_empty(), "{} places have no effect: {wrong:#?}", wrong.len());
    if std::env::var_os("WARREN_CONFORMANCE").is_some() {
        let is_met = |path: &str| left.keys().any(|place| covers(path, place));
        let stale: Vec<_> = exceptions.iter().filter(|(path, _)| !is_met(path)).collect();
        assert!(stale.is_empty(), "these have an effect, and are no exceptions: {stale:#?}");
    }
}

/// What of a network is read and has no effect, on purpose. With `/**` all that is in it.
const NETWORK: &[(&str, &str)] = &[
    ("/network/metadata/**", "of other programs"),
    ("/network/description", "for people"),
    ("/network/@ipv6", "guests on one bridge reach each other with every protocol"),
    (
        "/network/@trustGuestRxFilters",
        "a bridge learns the addresses of guests by itself; yes gets a warning",
    ),
];

/// As above, of a domain.
const DOMAIN: &[(&str, &str)] = &[
    ("/domain/metadata/**", "of other programs"),
    ("/domain/description", "for people"),
    ("/domain/cpu/model/@fallback", "a model is never replaced by another, so that forbid is always kept"),
    ("/domain/cpu/numa/cell/@id", "the cells of the documents stand in their order, as they are without it"),
    ("/domain/vcpus/vcpu/@hotpluggable", "those that are enabled are there from the start, either way"),
    ("/domain/seclabel/@type", "each guest has a uid of its own either way; a label of its own is refused"),
    ("/domain/seclabel(dynamic)/@relabel", "as above; files are opened for the guest and keep their owners"),
    ("/domain/devices/channel(unix)/source/@mode", "the service's own socket; connect needs a path"),
    ("/domain/devices/console/@type", "of a console that is the serial port, which has its own type"),
    ("/domain/devices/console(pty)/target(serial)/@port", "consoles are counted anew, as by libvirt"),
    ("/domain/devices/console(pty)/target(virtio)/@port", "as above"),
    ("/domain/devices/controller(ide)/alias/@name", "of the machine's board, where QEMU has the name"),
    ("/domain/devices/controller(pci)(pci-root)/alias/@name", "as above"),
    ("/domain/devices/controller(pci)(pci-root)/@index", "there is one, and another number is refused"),
    ("/domain/devices/controller(pci)(pcie-root)/@index", "as above"),
    ("/domain/devices/controller(usb)(piix3-uhci)/@index", "where there is one, it is the first without it"),
    ("/domain/devices/disk(vhostuser)/driver/@type", "its server knows the format; another word is refused"),
    ("/domain/devices/disk(volume)/@device", "of a pool, which the plan refuses by <source>"),
    ("/domain/devices/filesystem/@type", "mount is what is there without it, and others are refused"),
    ("/domain/devices/filesystem(mount)/binary/**", "of virtiofs, which is refused by <driver type>"),
    ("/domain/devices/graphics(spice)/@listen", "said again by <listen>; one that differs is refused"),
    ("/domain/devices/graphics(vnc)/listen(address)/@address", "as above, by @listen"),
    ("/domain/devices/graphics(spice)/@tlsPort", "with autoport='yes' ports say nothing, as on libvirt"),
    ("/domain/devices/input(ps2)/@type", "of the machine's board, which has both"),
    ("/domain/devices/interface(ethernet)/source/ip/@family", "the address says it; a wrong one is refused"),
    ("/domain/devices/interface(ethernet)/source/route/@family", "as above"),
    ("/domain/devices/interface(user)/ip/@family", "as above"),
    ("/domain/devices/interface(internal)/source/@name", "a warning of the type says so"),
    ("/domain/devices/interface(network)/source/@portid", "of a port of a guest that ran"),
    ("/domain/devices/interface(user)/portForward/**", "of passt, which is refused by <backend>"),
    ("/domain/devices/interface(user)/route/**", "as above"),
    ("/domain/devices/serial(null)/target(usb-serial)/@port", "the order is that of the document"),
    (
        "/domain/devices/serial(pty)/target(isa-serial)/model/@name",
        "the type has one model; others are refused",
    ),
    ("/domain/devices/serial(pty)/target/@type", "with its <model>, which does not go with another type"),
    ("/domain/devices/video/model(cirrus)/@vram", "QEMU's Cirrus has what it has, as on libvirt"),
    ("/domain/devices/video/model(cirrus)/@primary", "where there is one, it is the first without it"),
    ("/domain/devices/video/model(vga)/@primary", "as above"),
    ("/domain/devices/video/model(virtio)/@primary", "as above"),
];

#[test]
fn every_word_of_a_network_has_an_effect() {
    judge(&without_effect::<NetworkDef>("network", network), NETWORK);
}

#[test]
fn every_word_of_a_domain_has_an_effect() {
    judge(&without_effect::<DomainDef>("domain", domain), DOMAIN);
}
