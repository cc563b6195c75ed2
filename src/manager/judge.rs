//! All there is to say of a document, with nothing changed.
//!
//! Owns what only the registry can know of one. Must never tell a caller of domains that are neither its own nor
//! root's business.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::draft::{Draft, complete_domain};
use super::{Error, Manager, read};
use crate::model::{DomainDoc, Finding, InterfaceKind, Mac, NetworkDoc, Severity};
use crate::plan::taps::Naming;
use crate::plan::{self, check};
use crate::scope::ScopeKind;
use crate::sys::qemu_probe::standard_paths;
use crate::{domain, network};

/// Beyond so many of one kind a document is not helped.
const MOST: usize = 500;

/// All there is to say of a document.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Everything that is wrong or noteworthy.
    pub findings: Vec<Finding>,
    /// A domain: QEMU's program and arguments; descriptors are numbered as at a start.
    pub argv: Vec<String>,
    /// A domain: options that are not among the arguments, as QEMU reads them.
    pub options: String,
    /// A domain: the QMP commands that QEMU gets before the guest runs, as JSON.
    pub qmp: Vec<String>,
    /// A network: dnsmasq's configuration.
    pub dnsmasq: String,
    /// A network: the firewall's rules.
    pub ruleset: String,
}

impl Manager {
    /// Everything there is to say to `by` of a network's document; changes nothing.
    pub async fn check_network(
        self: &Arc<Self>,
        draft: Draft<network::Handle>,
        by: u32,
    ) -> Result<Report, Error> {
        let _turn = self.desk.turn(by).await;
        let (manager, used) = (self.clone(), self.subnets_of_host(&draft).await?);
        let bytes = draft.xml.len();
        let old = draft.replaced.map(|handle| handle.uuid());
        let first = move || {
            let mut doc = NetworkDoc::parse_with_errors(&draft.xml)?;
            if !doc.has_errors() {
                manager.complete_network(&mut doc, old, used)?;
            }
            let def = doc.def().clone();
            Ok::<_, Error>((doc, def))
        };
        let (doc, def) = self.desk.run_own(bytes, first).await?;
        let outlook = self.forwarding.outlook(&def).await;
        let manager = self.clone();
        let last = move || {
            let mut report = Report::default();
            if doc.has_errors() {
                report.findings = check::together(&doc, check::network(&doc), Vec::new());
                return report;
            }
            let mut beyond = manager.findings_on_bridge(def.uuid.as_ref(), &def);
            beyond.extend(outlook.into_iter().map(|message| Finding {
                severity: Severity::Warning,
                path: "/network/forward".to_owned(),
                line: 0,
                column: 0,
                message,
                remedy: "set it in the host's own configuration, or leave IPv6 out of the network".to_owned(),
            }));
            report.findings = check::together(&doc, check::network(&doc), beyond);
            let bridge = def.bridge.name.as_ref().map_or("wbr0", |name| name.as_str());
            let files = plan::dnsmasq::Files { leases: Path::new("leases"), hosts: Path::new("hosts") };
            let dnsmasq = plan::dnsmasq::plan(&def, bridge, &files, None);
            report.dnsmasq = dnsmasq.map_or_else(String::new, |p| p.to_string());
            let rules = plan::firewall::plan(&def, &def.uuid.unwrap_or_default(), bridge);
            report.ruleset = rules.map_or_else(String::new, |r| r.to_string());
            report
        };
        Ok(self.desk.run_own(bytes, last).await)
    }

    /// Everything there is to say to `by` of a domain's document; changes nothing. `naming` says what `by` could call
    /// the TAPs of another's domain.
    pub async fn check_domain(
        self: &Arc<Self>,
        draft: Draft<domain::Handle>,
        by: u32,
        naming: Naming,
    ) -> Result<Report, Error> {
        let _turn = self.desk.turn(by).await;
        let (manager, bytes) = (self.clone(), draft.xml.len());
        let owner = draft.replaced.as_ref().map_or(by, |old| old.view().owner);
        let old = draft.replaced.map(|handle| handle.uuid());
        let first = move || {
            let mut doc = DomainDoc::parse_with_errors(&draft.xml)?;
            if !doc.has_errors() {
                let before = old.and_then(|uuid| Some((uuid, manager.definition_of(&uuid)?)));
                complete_domain(&mut doc, before.as_ref(), &HashSet::new())?;
            }
            let mut beyond = manager.findings_on_surroundings(&doc, by, old);
            beyond.extend(manager.findings_on_ports(doc.def(), owner, naming));
            let def = Arc::new(doc.def().clone());
            Ok::<_, Error>((doc, def, beyond))
        };
        let (doc, def, mut beyond) = self.desk.run_own(bytes, first).await?;
        beyond.extend(plan::qemu::unlimited(&def, &standard_paths()));
        let planned = domain::planned(&self.desk, def).await;
        let last = move || {
            let mut report = Report::default();
            match planned {
                Ok(planned) => {
                    if !doc.has_errors() {
                        report.argv = planned.argv;
                        report.options = planned.options.text;
                        let commands = planned.settings.iter();
                        let text = |(execute, arguments): &(_, _)| {
                            serde_json::json!({ "execute": execute, "arguments": arguments }).to_string()
                        };
                        report.qmp = commands.map(text).collect();
                    }
                    beyond.extend(planned.findings.into_iter().take(MOST));
                }
                Err(domain::Error::Config { findings, .. }) => beyond.extend(findings.into_iter().take(MOST)),
                Err(e) => return Err(e.into()),
            }
            report.findings = check::together(&doc, check::domain(&doc), beyond);
            Ok(report)
        };
        self.desk.run_own(bytes, last).await
    }

    /// What only the registry can know: networks that are not there, MACs of other domains. Which domain has one,
    /// its owner is told, and root.
    fn findings_on_surroundings(&self, doc: &DomainDoc, uid: u32, own: Option<Uuid>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut warn = |path: String, message: String, remedy: &str| {
            let (severity, remedy) = (Severity::Warning, remedy.to_owned());
            findings.push(Finding { severity, path, line: 0, column: 0, message, remedy });
        };
        let mut nics: HashMap<Mac, &str> = HashMap::new();
        for nic in doc.def().interfaces() {
            if let InterfaceKind::Network { network, .. } = &nic.kind
                && self.directory.get(network).is_none()
            {
                let message = format!("there is no network '{network}'");
                let path = format!("{}/source/@network", nic.info.path);
                warn(path, message, "define it before the domain is started");
            }
            if matches!(nic.kind, InterfaceKind::User { .. }) && self.scope.kind == ScopeKind::Session {
                let message = "by this NIC the guest reaches what you reach on this host, also on 127.0.0.1 (as 10.0.2.2)";
                let remedy = "write type='network' for a network of the session, which leads out without it";
                warn(format!("{}/@type", nic.info.path), message.to_owned(), remedy);
            }
            nics.extend(nic.mac.map(|mac| (mac, nic.info.path.as_str())));
        }
        let domains = read(&self.domains);
        for (mac, path) in nics {
            for (_, entry) in domains.with_mac(mac).filter(|(uuid, _)| Some(**uuid) != own).take(MOST) {
                let whose = if uid == entry.owner || uid == 0 {
                    format!("'{}'", entry.definition.name())
                } else {
                    "another user's domain".to_owned()
                };
                let message = format!("{mac} is also the address of a NIC of {whose}");
                warn(format!("{path}/mac/@address"), message, "both cannot run on one network");
            }
        }
        findings.truncate(MOST);
        findings
    }
}
