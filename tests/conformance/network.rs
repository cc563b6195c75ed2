//! Judges networks: accepted and kept, with the meaning that libvirt gives them; or refused at the same place.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rand::SeedableRng;
use rand::rngs::StdRng;
use warren::model::{Finding, Mac, NetworkDef, NetworkDoc, Severity};
use warren::plan::check;
use warren::plan::complete::{self, NetworkFacts};
use warren::plan::{dnsmasq, firewall};
use warren::xml::Element;

use crate::case::{Case, Verdict, documents};

/// All documents of a folder of networks.
pub fn judge(dir: &Path) -> Vec<Case> {
    let case = |(name, path): (String, std::path::PathBuf)| {
        let text = std::fs::read_to_string(&path).unwrap();
        let refusal = std::fs::read_to_string(path.with_extension("refused")).ok();
        if let Some(reason) = refusal {
            return Case { name, verdict: refused(&text, &reason) };
        }
        let libvirts = std::fs::read_to_string(path.with_extension("out.xml")).ok();
        Case::new(&name, &accepted(&text, libvirts.as_deref()))
    };
    documents(dir, "xml").into_iter().map(case).collect()
}

/// A document as it is once it is defined; or everything that keeps it from being defined.
pub fn defined(text: &str) -> Result<NetworkDoc, Vec<String>> {
    let mut doc = NetworkDoc::parse(text).map_err(|e| vec![warren::chain(&e)])?;
    let facts = NetworkFacts { uuid: None, used: &[] };
    complete::network(&mut doc, &facts, &mut StdRng::seed_from_u64(7))
        .map_err(|e| vec![warren::chain(&e)])?;
    let errors: Vec<Finding> =
        check::network(&doc).into_iter().filter(|f| f.severity == Severity::Error).collect();
    if errors.is_empty() { Ok(doc) } else { Err(errors.iter().map(ToString::to_string).collect()) }
}

/// The reason names elements as `<ip>` and attributes as `dev=`: one of them is where Warren's errors are.
fn refused(text: &str, reason: &str) -> Verdict {
    let Err(errors) = defined(text) else { return Verdict::Wrong(format!("accepted, but {reason}")) };
    let places =
        reason.split(|c: char| !c.is_ascii_alphanumeric() && !"<>=".contains(c)).filter_map(|word| {
            let element = word.strip_prefix('<').and_then(|w| w.strip_suffix('>'));
            element.map(str::to_owned).or_else(|| word.strip_suffix('=').map(|w| format!("@{w}")))
        });
    let places: Vec<String> = places.collect();
    let all = errors.join("\n");
    let at_place = |line: &str| {
        let path = line.split([' ', ':']).next().unwrap_or("");
        places.iter().any(|p| path.split('/').any(|step| step.split('[').next() == Some(p)))
    };
    if all.lines().any(at_place) {
        Verdict::RefusedWithReason(all.replace('\n', "; "))
    } else {
        Verdict::Wrong(format!("refused at another place than {places:?}: {all}"))
    }
}

fn accepted(text: &str, libvirts: Option<&str>) -> Vec<String> {
    let doc = match defined(text) {
        Ok(doc) => doc,
        Err(errors) => return errors,
    };
    let mut problems = Vec::new();
    let read = NetworkDoc::parse(text).unwrap();
    if read.to_xml() != text {
        problems.push("it is written otherwise than it was read".to_owned());
    }
    if let Err(what) = holds(doc.tree().root(), read.tree().root(), "") {
        problems.push(what);
    }
    if let Some(libvirts) = libvirts {
        match defined_whatever_libvirt_judges(libvirts) {
            Ok(other) => {
                let (mut ours, mut theirs) = (doc.def().clone(), other);
                same_identity(&mut ours, &mut theirs);
                if ours != theirs {
                    problems.push(format!("it does not mean the same:\n{ours:#?}\nlibvirt's:\n{theirs:#?}"));
                }
            }
            Err(e) => problems.push(format!("what libvirt writes is not accepted: {e}")),
        }
    }
    problems.extend(planned(&doc));
    problems
}

fn defined_whatever_libvirt_judges(text: &str) -> Result<NetworkDef, String> {
    defined(text).map(|doc| doc.def().clone()).map_err(|e| e.join("\n"))
}

/// UUIDs and MACs that were generated are not compared.
pub fn same_identity(ours: &mut NetworkDef, theirs: &mut NetworkDef) {
    let generated = |mac: Option<Mac>| mac.is_some_and(|m| m.0[..3] == [0x52, 0x54, 0]);
    if generated(ours.mac) || generated(theirs.mac) {
        (ours.mac, theirs.mac) = (None, None);
    }
    (ours.uuid, theirs.uuid) = (None, None);
}

/// Whether `whole` has each attribute and each child of `part`, children in the same order.
fn holds(whole: &Element, part: &Element, path: &str) -> Result<(), String> {
    let path = format!("{path}/{}", part.name());
    for (name, value) in part.attrs() {
        if !value.is_empty() && whole.attr(name) != Some(value) {
            return Err(format!("{path}/@{name} is lost"));
        }
    }
    if !part.text().trim().is_empty() && part.text() != whole.text() {
        return Err(format!("the text of {path} is lost"));
    }
    let mut rest = whole.children();
    for child in part.children() {
        let mut error = format!("{path}/{} is lost or moved", child.name());
        let found = rest.by_ref().any(|candidate| {
            let held = candidate.name() == child.name();
            match holds(candidate, child, &path) {
                Ok(()) => held,
                Err(e) if held => {
                    error = e;
                    false
                }
                Err(_) => false,
            }
        });
        if !found {
            return Err(error);
        }
    }
    Ok(())
}

/// What the real programs say of the plans for it, if it can be started. Lines that somebody wrote for
/// dnsmasq are theirs.
pub fn planned(doc: &NetworkDoc) -> Vec<String> {
    let def = doc.def();
    let mut problems = Vec::new();
    if check::network(doc).iter().any(|f| f.severity == Severity::Unsupported) {
        return problems;
    }
    let bridge = def.bridge.name.as_ref().map_or("wbr0", |name| name.as_str());
    let mut own = def.clone();
    own.dnsmasq_options.clear();
    let files = dnsmasq::Files { leases: Path::new("/run/leases"), hosts: Path::new("/run/hosts") };
    if let Some(plan) = dnsmasq::plan(&own, bridge, &files, None) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(plan.conf.as_bytes()).unwrap();
        let mut option = std::ffi::OsString::from("--conf-file=");
        option.push(file.path());
        let run = Command::new("dnsmasq").arg("--test").arg(option).output().unwrap();
        if !run.status.success() {
            problems.push(format!("dnsmasq: {}\n{}", String::from_utf8_lossy(&run.stderr), plan.conf));
        }
    }
    if let Some(rules) = firewall::plan(def, &def.uuid.unwrap_or_default(), bridge) {
        let mut nft = Command::new("unshare")
            .args(["-n", "nft", "-c", "-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        nft.stdin.take().unwrap().write_all(rules.to_string().as_bytes()).unwrap();
        let run = nft.wait_with_output().unwrap();
        if !run.status.success() {
            problems.push(format!("nft: {}\n{rules}", String::from_utf8_lossy(&run.stderr)));
        }
    }
    problems
}
