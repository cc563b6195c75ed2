//! The way of a document into the registry: complete, check, store.
//!
//! Owns the rules of replacement (by UUID, else by name among the caller's own) and of uniqueness. Must
//! never change anything before the definition is on disk, nor hold its lock while a person is asked.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::domains::DomainEntry;
use super::{Error, Event, Manager, NetworkEntry, read, write};
use crate::domain::{self, Recovered};
use crate::model::{DomainDoc, Finding, InterfaceKind, Mac, NetworkDoc, Severity};
use crate::network;
use crate::plan::{self, check, complete, taps::Naming};
use crate::store::{Envelope, Kind};

/// How a definition is taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefineOptions {
    /// Only if the definition that is replaced has this generation.
    pub if_generation: Option<u64>,
    /// Say what would happen, change nothing.
    pub dry_run: bool,
    /// The generation of the definition that decided what the caller needed to be allowed; only if it is still that.
    pub judged_by: Option<u64>,
}

/// All there is to say of a document.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Everything that is wrong or noteworthy.
    pub findings: Vec<Finding>,
    /// A domain: QEMU's program and arguments; descriptors are numbered as at a start.
    pub argv: Vec<String>,
    /// A network: dnsmasq's configuration.
    pub dnsmasq: String,
    /// A network: the firewall's rules.
    pub ruleset: String,
}

fn refuse_errors(findings: Vec<Finding>) -> Result<(), Error> {
    let errors: Vec<_> = findings.into_iter().filter(|f| f.severity == Severity::Error).collect();
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

fn refuse_generation(name: &str, is: u64, wanted: Option<u64>) -> Result<(), Error> {
    match wanted {
        Some(wanted) if wanted != is => Err(Error::Conflict { name: name.to_owned(), is, wanted }),
        _ => Ok(()),
    }
}

/// What is known beside a document that is new.
pub(super) fn first_envelope(owner: u32) -> Envelope {
    Envelope { owner, generation: 1, autostart: false, access: "admin".into() }
}

fn subnets(doc: &NetworkDoc) -> Vec<ipnet::IpNet> {
    doc.def().ips.iter().filter_map(|ip| ip.net).collect()
}

impl Manager {
    /// Defines a network for `owner`; `None` from a dry run.
    pub async fn define_network(
        &self,
        mut doc: NetworkDoc,
        owner: u32,
        options: DefineOptions,
    ) -> Result<Option<Uuid>, Error> {
        let _defining = self.defining_networks.lock().await;
        let name = doc.def().name.to_string();
        let old = self.network_to_replace(&doc)?;
        let generation = old.as_ref().map_or(0, |h| h.view().generation);
        refuse_generation(&name, generation, options.if_generation)?;
        let old_uuid = old.as_ref().map(network::Handle::uuid);
        self.complete_network(&mut doc, old_uuid).await?;
        refuse_errors(check::network(&doc))?;
        self.refuse_taken_bridge(doc.def().uuid.as_ref(), doc.def())?;
        self.refuse_beyond_limit(owner, old.is_some())?;
        if options.dry_run {
            return Ok(None);
        }
        let uuid = doc.def().uuid.unwrap_or_default();
        if let Some(handle) = old {
            let (owner, subnets) = (handle.view().owner, subnets(&doc));
            let def = doc.def().clone();
            handle.redefine(doc, generation + 1).await?;
            self.take_bridge(uuid, &def);
            write(&self.networks).insert(uuid, NetworkEntry { handle, owner, subnets });
        } else {
            tracing::info!(network = %name, "network defined");
            let envelope = first_envelope(owner);
            self.store.save(Kind::Network, &uuid, &envelope, &doc.to_xml())?;
            self.enter_network(network::Seed { doc, uuid, envelope, left: None });
        }
        Ok(Some(uuid))
    }

    /// A replaced definition is none more.
    fn refuse_beyond_limit(&self, owner: u32, replaced: bool) -> Result<(), Error> {
        let networks = read(&self.networks).values().filter(|e| e.owner == owner).count();
        let domains = read(&self.domains).owned_by(owner);
        let limit = self.scope.config.limits.objects;
        if replaced || networks + domains < limit {
            return Ok(());
        }
        Err(Error::TooManyObjects { owner, limit })
    }

    /// Starts the actor of a network and makes it known.
    pub(super) fn enter_network(&self, seed: network::Seed) {
        let (uuid, owner) = (seed.uuid, seed.envelope.owner);
        let name = seed.doc.def().name.to_string();
        let subnets = subnets(&seed.doc);
        self.take_bridge(uuid, seed.doc.def());
        let handle = network::spawn(self.network_context(), seed);
        self.directory.set(&name, Some(handle.clone()));
        write(&self.networks).insert(uuid, NetworkEntry { handle: handle.clone(), owner, subnets });
        self.tell(Event::NetworkAdded(handle));
    }

    /// The network whose definition this document would replace.
    pub fn network_to_replace(&self, doc: &NetworkDoc) -> Result<Option<network::Handle>, Error> {
        let name = doc.def().name.to_string();
        let by_name = self.directory.get(&name);
        let Some(uuid) = doc.def().uuid else { return Ok(by_name) };
        let by_uuid = read(&self.networks).get(&uuid).map(|e| e.handle.clone());
        match (by_uuid, by_name) {
            (Some(handle), _) if handle.view().name != name => {
                Err(Error::UuidTaken { kind: "network", name: handle.view().name.clone(), uuid })
            }
            (Some(handle), _) => Ok(Some(handle)),
            (None, Some(other)) => Err(Error::NameTaken { kind: "network", name, uuid: other.uuid() }),
            (None, None) => Ok(None),
        }
    }

    async fn complete_network(&self, doc: &mut NetworkDoc, old: Option<Uuid>) -> Result<(), Error> {
        // A document that leaves nothing to choose costs no look at the host.
        let chooses = doc.def().ips.iter().any(|ip| ip.net.is_none());
        let mut used = if chooses { self.ground.used_subnets().await? } else { Vec::new() };
        let own = doc.def().uuid.or(old);
        for (uuid, entry) in read(&self.networks).iter() {
            if Some(*uuid) != own {
                used.extend(entry.subnets.iter().map(ipnet::IpNet::trunc));
            }
        }
        let facts = complete::NetworkFacts { uuid: old, used: &used };
        Ok(complete::network(doc, &facts, &mut rand::rng())?)
    }

    /// Defines a domain for `owner`, who must be that of the one that is replaced; `None` from a dry run.
    pub async fn define_domain(
        &self,
        mut doc: DomainDoc,
        owner: u32,
        options: DefineOptions,
    ) -> Result<Option<Uuid>, Error> {
        let _defining = self.defining_domains.lock().await;
        let name = doc.def().name.to_string();
        let old = self.domain_to_replace(&doc, owner)?;
        if let Some(other) = old.as_ref().filter(|old| old.view().owner != owner) {
            // It came after the caller was asked whose it would replace.
            return Err(Error::UuidTaken { kind: "domain", name, uuid: other.uuid() });
        }
        let generation = old.as_ref().map_or(0, |h| h.view().generation);
        refuse_generation(&name, generation, options.if_generation)?;
        refuse_generation(&name, generation, options.judged_by)?;
        self.complete_domain(&mut doc, old.as_ref())?;
        refuse_errors(check::domain(&doc))?;
        self.refuse_beyond_limit(owner, old.is_some())?;
        if options.dry_run {
            return Ok(None);
        }
        let uuid = doc.def().uuid.unwrap_or_default();
        if let Some(handle) = old {
            let owner = handle.view().owner;
            let (macs, def) = (complete::interface_macs(&doc), Arc::new(doc.def().clone()));
            handle.redefine(doc, generation + 1).await?;
            self.take_taps(uuid, owner, &def);
            write(&self.domains).insert(uuid, DomainEntry { handle, owner, macs, def });
        } else {
            tracing::info!(domain = %name, "domain defined");
            let envelope = first_envelope(owner);
            self.store.save(Kind::Domain, &uuid, &envelope, &doc.to_xml())?;
            self.enter_domain(domain::Seed { doc, uuid, envelope, recovered: Recovered::Off });
        }
        Ok(Some(uuid))
    }

    /// Starts the actor of a domain and makes it known.
    pub(super) fn enter_domain(&self, seed: domain::Seed) {
        let (uuid, owner) = (seed.uuid, seed.envelope.owner);
        let (macs, def) = (complete::interface_macs(&seed.doc), Arc::new(seed.doc.def().clone()));
        self.take_taps(uuid, owner, &def);
        let handle = domain::spawn(self.domain_context(), seed);
        write(&self.domains).insert(uuid, DomainEntry { handle: handle.clone(), owner, macs, def });
        self.tell(Event::DomainAdded(handle));
    }

    /// The domain whose definition this document would replace, if `owner` defines it.
    pub fn domain_to_replace(&self, doc: &DomainDoc, owner: u32) -> Result<Option<domain::Handle>, Error> {
        let name = doc.def().name.to_string();
        let own = self.own_domain(&name, owner);
        let Some(uuid) = doc.def().uuid else { return Ok(own) };
        let Ok(handle) = self.domain(&uuid) else {
            return match own {
                Some(own) => Err(Error::NameTaken { kind: "domain", name, uuid: own.uuid() }),
                None => Ok(None),
            };
        };
        if handle.view().name == name {
            return Ok(Some(handle));
        }
        Err(Error::UuidTaken { kind: "domain", name: handle.view().name.clone(), uuid })
    }

    fn complete_domain(&self, doc: &mut DomainDoc, old: Option<&domain::Handle>) -> Result<(), Error> {
        let old = old.map(domain::Handle::uuid);
        let (mut kept, mut taken, mut before) = (Vec::new(), HashSet::<Mac>::new(), None);
        {
            let domains = read(&self.domains);
            if let Some(entry) = old.and_then(|uuid| domains.get(&uuid)) {
                kept.clone_from(&entry.macs);
                before = Some(entry.def.clone());
            }
            // Those of all others are gone through only where one is to be chosen.
            if complete::interface_macs(doc).contains(&None) {
                taken.extend(domains.iter().flat_map(|(_, entry)| entry.macs.iter().flatten()));
            }
        }
        let facts = complete::DomainFacts { uuid: old, macs: &kept, taken: &taken, old: before.as_deref() };
        Ok(complete::domain(doc, &facts, &mut rand::rng())?)
    }

    /// Everything there is to say of a network's document; changes nothing.
    pub async fn check_network(&self, mut doc: NetworkDoc) -> Result<Report, Error> {
        let mut report = Report::default();
        let old = self.network_to_replace(&doc)?.map(|h| h.uuid());
        if doc.has_errors() {
            let findings = check::together(&doc, check::network(&doc), Vec::new());
            return Ok(Report { findings, ..report });
        }
        self.complete_network(&mut doc, old).await?;
        let mut beyond = self.findings_on_bridge(doc.def().uuid.as_ref(), doc.def());
        beyond.extend(self.forwarding.outlook(doc.def()).await.into_iter().map(|message| Finding {
            severity: Severity::Warning,
            path: "/network/forward".to_owned(),
            line: 0,
            column: 0,
            message,
            remedy: "set it in the host's own configuration, or leave IPv6 out of the network".to_owned(),
        }));
        report.findings = check::together(&doc, check::network(&doc), beyond);
        let def = doc.def();
        let uuid = def.uuid.unwrap_or_default();
        let bridge = def.bridge.name.as_ref().map_or("wbr0", |name| name.as_str());
        let files = plan::dnsmasq::Files { leases: Path::new("leases"), hosts: Path::new("hosts") };
        report.dnsmasq =
            plan::dnsmasq::plan(def, bridge, &files, None).map_or_else(String::new, |p| p.to_string());
        report.ruleset = plan::firewall::plan(def, &uuid, bridge).map_or_else(String::new, |r| r.to_string());
        Ok(report)
    }

    /// Everything there is to say to `uid` of a domain's document, which would replace `old`; changes nothing.
    /// `naming` says what that user could call the TAPs of another's domain.
    pub async fn check_domain(
        &self,
        mut doc: DomainDoc,
        uid: u32,
        naming: Naming,
        old: Option<domain::Handle>,
    ) -> Result<Report, Error> {
        let mut report = Report::default();
        if !doc.has_errors() {
            self.complete_domain(&mut doc, old.as_ref())?;
        }
        let owner = old.as_ref().map_or(uid, |old| old.view().owner);
        let mut beyond = self.findings_on_surroundings(&doc, uid, old.map(|h| h.uuid()));
        beyond.extend(self.findings_on_ports(doc.def(), owner, naming));
        match domain::planned(doc.def()).await {
            Ok(planned) => {
                if !doc.has_errors() {
                    report.argv = planned.argv;
                }
                beyond.extend(planned.findings);
            }
            Err(domain::Error::Config { findings, .. }) => beyond.extend(findings),
            Err(e) => return Err(e.into()),
        }
        report.findings = check::together(&doc, check::domain(&doc), beyond);
        Ok(report)
    }

    /// What only the registry can know: networks that are not there, MACs of other domains. Which domain has one,
    /// its owner is told, and root.
    fn findings_on_surroundings(&self, doc: &DomainDoc, uid: u32, own: Option<Uuid>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut warn = |path: String, message: String, remedy: &str| {
            let (severity, remedy) = (Severity::Warning, remedy.to_owned());
            findings.push(Finding { severity, path, line: 0, column: 0, message, remedy });
        };
        for nic in doc.def().interfaces() {
            if let InterfaceKind::Network { network, .. } = &nic.kind
                && self.directory.get(network).is_none()
            {
                let message = format!("there is no network '{network}'");
                warn(
                    format!("{}/source/@network", nic.info.path),
                    message,
                    "define it before the domain is started",
                );
            }
            let Some(mac) = nic.mac else { continue };
            for (_, entry) in read(&self.domains).iter().filter(|(uuid, _)| Some(**uuid) != own) {
                if entry.macs.contains(&Some(mac)) {
                    let whose = if uid == entry.owner || uid == 0 {
                        format!("'{}'", entry.handle.view().name)
                    } else {
                        "another user's domain".to_owned()
                    };
                    let message = format!("{mac} is also the address of a NIC of {whose}");
                    warn(
                        format!("{}/mac/@address", nic.info.path),
                        message,
                        "both cannot run on one network",
                    );
                }
            }
        }
        findings
    }
}
