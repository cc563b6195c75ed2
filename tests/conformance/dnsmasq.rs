//! Judges configurations of dnsmasq: the same settings as libvirt's, as far as guests can tell.

use std::collections::BTreeSet;
use std::path::Path;

use warren::model::NetworkDef;
use warren::plan::dnsmasq::{Files, plan};

use crate::case::{Case, Verdict, documents};
use crate::network::{defined, planned};

const TOO_MUCH: &str = "too much: ";

/// How it is run, not what it serves; older ways of listening among them.
const NOT_COMPARED: [&str; 10] = [
    "pid-file",
    "log-facility",
    "dhcp-leasefile",
    "dhcp-hostsfile",
    "addn-hosts",
    "except-interface",
    "bind-dynamic",
    "bind-interfaces",
    "listen-address",
    "interface",
];

/// Why libvirt did not write this setting when some of the files were made, if that is so.
fn later(setting: &str) -> Option<&'static str> {
    match setting {
        "dhcp-authoritative" => Some("the file is of a libvirt before it made its DHCP authoritative"),
        s if s.ends_with(",ra-only") => Some("the file is of a libvirt without router advertisements"),
        _ => None,
    }
}

/// All documents of the folder.
pub fn judge(dir: &Path) -> Vec<Case> {
    let case = |(name, path): (String, std::path::PathBuf)| {
        let file = |extension| std::fs::read_to_string(path.with_extension(extension)).ok();
        let doc = match defined(&file("xml").unwrap()) {
            Ok(doc) => doc,
            Err(errors) => return Case::new(&name, &errors),
        };
        let conf = file("conf").unwrap();
        let mut problems = compared(doc.def(), &conf, file("hostsfile"), file("addnhosts"));
        let why: Option<Vec<&str>> = problems.iter().map(|p| later(p.strip_prefix(TOO_MUCH)?)).collect();
        problems.extend(planned(&doc));
        match why {
            Some(why) if !why.is_empty() && why.len() == problems.len() => {
                let verdict = Verdict::DifferentOnPurpose(why[0].to_owned());
                Case { name, verdict }
            }
            _ => Case::new(&name, &problems),
        }
    };
    documents(dir, "xml").into_iter().map(case).collect()
}

fn compared(
    def: &NetworkDef,
    conf: &str,
    hostsfile: Option<String>,
    addnhosts: Option<String>,
) -> Vec<String> {
    let bridge = def.bridge.name.as_ref().map_or("virbr0", |name| name.as_str());
    let files = Files { leases: Path::new("/leases"), hosts: Path::new("/hosts") };
    let Some(ours) = plan(def, bridge, &files, None) else { return vec!["nothing is served".into()] };
    let listens = ours.conf.contains(&format!("\ninterface={bridge}\n"));
    let mut theirs = settings(def, conf);
    let mut our_settings = settings(def, &ours.conf);
    match hostsfile {
        Some(hosts) => {
            let lines: String = hosts.lines().map(|line| format!("dhcp-host={line}\n")).collect();
            theirs.extend(settings(def, &lines));
        }
        // A file that is missing says nothing.
        None => our_settings.retain(|s| !s.starts_with("dhcp-host=")),
    }
    let mut problems = Vec::new();
    if !listens {
        problems.push(format!("it does not listen on {bridge}"));
    }
    problems.extend(theirs.difference(&our_settings).map(|s| format!("missing: {s}")));
    problems.extend(our_settings.difference(&theirs).map(|s| format!("{TOO_MUCH}{s}")));
    if let Some(names) = addnhosts {
        let words = |text: &str| -> BTreeSet<Vec<String>> {
            text.lines().map(|l| l.split_whitespace().map(str::to_owned).collect()).collect()
        };
        if words(&names) != words(&ours.hosts) {
            problems.push(format!("other names: {}", ours.hosts));
        }
    }
    problems
}

/// Lines in one form: without quotes, and with what an older libvirt leaves to dnsmasq.
fn settings(def: &NetworkDef, conf: &str) -> BTreeSet<String> {
    let lines = conf.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let lines = lines.filter(|l| !NOT_COMPARED.contains(&l.split('=').next().unwrap_or("")));
    let has_ipv6 = def.ips.iter().any(|ip| ip.net.is_some_and(|n| n.addr().is_ipv6()));
    let has_dhcp = conf.contains("dhcp-range=");
    lines
        // Without IPv6 nothing is advertised, and without DHCP no option is sent.
        .filter(|l| has_ipv6 || !l.starts_with("ra-param="))
        .filter(|l| has_dhcp || !l.starts_with("dhcp-option="))
        .map(|line| match line.split_once('=') {
            Some(("dhcp-range", value)) => format!("dhcp-range={}", range(value)),
            Some(("dhcp-host", value)) => format!("dhcp-host={}", host(value)),
            Some((name, value)) => format!("{name}={}", value.replace('"', "")),
            None => line.to_owned(),
        })
        .collect()
}

/// dnsmasq's own prefix length of IPv6 is 64, and a static range of IPv4 takes the netmask of the bridge.
fn range(value: &str) -> String {
    let mut parts: Vec<&str> = value.split(',').collect();
    let is_ipv6 = parts[0].contains(':');
    match (parts.get(1), is_ipv6) {
        (Some(&"static"), false) => parts.truncate(2),
        (Some(&"ra-only"), _) => {}
        (_, true) if parts.len() == 2 => parts.push("64"),
        _ => {}
    }
    parts.join(",")
}

/// Who it is comes first; the order of the rest says nothing.
fn host(value: &str) -> String {
    let mut parts: Vec<&str> = value.split(',').collect();
    parts[1..].sort_unstable();
    parts.join(",")
}
