//! A document that somebody wants to have defined, or judged: read once, for what has to be known before it is
//! decided whether that may be.
//!
//! Owns that documents are read away from the thread that answers callers, in the turn of who handed them in. Must
//! never keep more of one than its text: it may take minutes until a person has answered.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::define::refuse_errors;
use super::{Error, Manager, read};
use crate::domain::{self, Definition};
use crate::model::{DomainDoc, Mac, NetworkDoc, ObjectName};
use crate::network;
use crate::plan::privileges::{self, Author, Privileges};
use crate::plan::{check, complete, taps};
use crate::sys::qemu_probe::standard_paths;

/// How a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// To be defined: errors refuse it.
    Strict,
    /// To be judged: errors are among the findings.
    WithErrors,
}

/// A document that was read, with the object whose definition it would replace.
#[derive(Debug, Clone)]
pub struct Draft<H> {
    /// As it was handed in.
    pub(super) xml: Arc<str>,
    /// `<name>`.
    pub name: ObjectName,
    /// `<uuid>`.
    pub(super) uuid: Option<Uuid>,
    /// What is there already.
    pub replaced: Option<H>,
    /// What it needs, beyond the right to define it.
    pub needs: Privileges,
    /// The definition that this was compared with; it must still be that in the end.
    pub(super) judged_by: Option<domain::Edition>,
    /// Places at which a TAP is called what only some may call it.
    pub beyond_prefix: Vec<String>,
    /// There is something to be chosen of what is free on the host.
    pub(super) chooses: bool,
}

impl Manager {
    /// Reads a domain's document of `by`.
    pub async fn read_domain(
        self: &Arc<Self>,
        xml: String,
        reading: Reading,
        by: u32,
    ) -> Result<Draft<domain::Handle>, Error> {
        let (manager, bytes) = (self.clone(), xml.len());
        let read = move || {
            let doc = match reading {
                Reading::Strict => DomainDoc::parse(&xml)?,
                Reading::WithErrors => DomainDoc::parse_with_errors(&xml)?,
            };
            let (name, uuid) = (doc.def().name.clone(), doc.def().uuid);
            let replaced = manager.domain_to_replace(&name, uuid, by)?;
            let (needs, judged_by) = match reading {
                Reading::Strict => manager.needs(&doc, replaced.as_ref(), by)?,
                Reading::WithErrors => (privileges::of_a_look(doc.def(), &standard_paths()), None),
            };
            let beyond_prefix = taps::beyond_prefix(doc.def());
            Ok(Draft {
                xml: xml.into(),
                name,
                uuid,
                replaced,
                needs,
                judged_by,
                beyond_prefix,
                chooses: false,
            })
        };
        self.desk.run(by, bytes, read).await
    }

    /// What a document needs that `by` hands in; where it is not the owner, in comparison with this definition, which it
    /// replaces. For the desk.
    fn needs(
        &self,
        doc: &DomainDoc,
        replaced: Option<&domain::Handle>,
        by: u32,
    ) -> Result<(Privileges, Option<domain::Edition>), Error> {
        let others = replaced.filter(|handle| handle.view().owner != by).map(domain::Handle::uuid);
        let before = others.and_then(|uuid| self.definition_of(&uuid));
        let Some(before) = before else {
            return Ok((privileges::of_domain(doc.def(), Author::Owner, &standard_paths()), None));
        };
        // One who may not read a secret, and so leaves it out, has changed nothing.
        let mut doc = doc.clone();
        before.keep_secrets(&mut doc)?;
        let (edition, before) = (before.edition(), before.doc()?);
        let needs = privileges::of_domain(doc.def(), Author::Other(before.def()), &standard_paths());
        Ok((needs, Some(edition)))
    }

    /// Reads a network's document of `by`.
    pub async fn read_network(
        self: &Arc<Self>,
        xml: String,
        reading: Reading,
        by: u32,
    ) -> Result<Draft<network::Handle>, Error> {
        let (manager, bytes) = (self.clone(), xml.len());
        let read = move || {
            let doc = match reading {
                Reading::Strict => NetworkDoc::parse(&xml)?,
                Reading::WithErrors => NetworkDoc::parse_with_errors(&xml)?,
            };
            let def = doc.def();
            let (name, uuid) = (def.name.clone(), def.uuid);
            let replaced = manager.network_to_replace(&name, uuid)?;
            let chooses = def.ips.iter().any(|ip| ip.net.is_none());
            let needs = privileges::of_network(def);
            let (judged_by, beyond_prefix) = (None, Vec::new());
            Ok(Draft { xml: xml.into(), name, uuid, replaced, needs, judged_by, beyond_prefix, chooses })
        };
        self.desk.run(by, bytes, read).await
    }

    /// As [`finish_domain`].
    pub(super) fn finish_network(
        &self,
        xml: &str,
        old: Option<Uuid>,
        used: Vec<ipnet::IpNet>,
    ) -> Result<(network::Definition, Uuid), Error> {
        let mut doc = NetworkDoc::parse(xml)?;
        self.complete_network(&mut doc, old, used)?;
        refuse_errors(check::network(&doc))?;
        self.refuse_taken_bridge(doc.def().uuid.as_ref(), doc.def())?;
        let uuid = doc.def().uuid.unwrap_or_default();
        Ok((network::Definition::read(doc.to_xml())?, uuid))
    }

    /// The definition of that domain, as it is stored.
    pub(super) fn definition_of(&self, uuid: &Uuid) -> Option<Definition> {
        read(&self.domains).get(uuid).map(|entry| entry.definition.clone())
    }

    /// Fills in what the document leaves to Warren, beside the subnets that the host uses. For the desk.
    pub(super) fn complete_network(
        &self,
        doc: &mut NetworkDoc,
        old: Option<Uuid>,
        mut used: Vec<ipnet::IpNet>,
    ) -> Result<(), Error> {
        let own = doc.def().uuid.or(old);
        for (uuid, entry) in read(&self.networks).iter() {
            if Some(*uuid) != own {
                used.extend(entry.definition.subnets().iter().map(ipnet::IpNet::trunc));
            }
        }
        let facts = complete::NetworkFacts { uuid: old, used: &used };
        Ok(complete::network(doc, &facts, &mut rand::rng())?)
    }

    /// The subnets that the host uses, where one is to be chosen: a document that leaves nothing to choose costs no
    /// look at the host.
    pub(super) async fn subnets_of_host<H>(&self, draft: &Draft<H>) -> Result<Vec<ipnet::IpNet>, Error> {
        if draft.chooses { Ok(self.ground.used_subnets().await?) } else { Ok(Vec::new()) }
    }

    /// The network whose definition a document with that name and UUID would replace.
    pub(super) fn network_to_replace(
        &self,
        name: &ObjectName,
        uuid: Option<Uuid>,
    ) -> Result<Option<network::Handle>, Error> {
        let by_name = self.directory.get(name.as_str());
        let Some(uuid) = uuid else { return Ok(by_name) };
        let by_uuid = read(&self.networks).get(&uuid).map(|e| e.handle.clone());
        match (by_uuid, by_name) {
            (Some(handle), _) if handle.view().name != name.as_str() => {
                Err(Error::UuidTaken { kind: "network", name: handle.view().name.clone(), uuid })
            }
            (Some(handle), _) => Ok(Some(handle)),
            (None, Some(other)) => {
                Err(Error::NameTaken { kind: "network", name: name.to_string(), uuid: other.uuid() })
            }
            (None, None) => Ok(None),
        }
    }

    /// The domain whose definition a document with that name and UUID would replace, if `owner` defines it.
    pub(super) fn domain_to_replace(
        &self,
        name: &ObjectName,
        uuid: Option<Uuid>,
        owner: u32,
    ) -> Result<Option<domain::Handle>, Error> {
        let own = self.own_domain(name.as_str(), owner);
        let Some(uuid) = uuid else { return Ok(own) };
        let Ok(handle) = self.domain(&uuid) else {
            let name = name.to_string();
            return match own {
                Some(own) => Err(Error::NameTaken { kind: "domain", name, uuid: own.uuid() }),
                None => Ok(None),
            };
        };
        if handle.view().name == name.as_str() {
            return Ok(Some(handle));
        }
        Err(Error::UuidTaken { kind: "domain", name: handle.view().name.clone(), uuid })
    }
}

/// A document that is ready to be stored.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub(super) definition: Definition,
    pub(super) uuid: Uuid,
    /// The MACs that were chosen for it; whether another domain has one is not known here.
    pub(super) chosen: Vec<Mac>,
}

/// What is to be stored, in place of `old`: complete, judged, and read again, so that what is stored can be. For the
/// desk.
pub(super) fn finish_domain(
    xml: &str,
    old: Option<&(Uuid, Definition)>,
    keep_secrets: bool,
    taken: &HashSet<Mac>,
) -> Result<Finished, Error> {
    let mut doc = DomainDoc::parse(xml)?;
    if let Some((_, before)) = old.filter(|_| keep_secrets) {
        before.keep_secrets(&mut doc)?;
    }
    let written: HashSet<_> = complete::interface_macs(&doc).into_iter().flatten().collect();
    complete_domain(&mut doc, old, taken)?;
    refuse_errors(check::domain(&doc))?;
    let uuid = doc.def().uuid.unwrap_or_default();
    let definition = Definition::read(doc.to_xml())?;
    let had: HashSet<_> = old.iter().flat_map(|(_, before)| before.macs()).flatten().copied().collect();
    let macs = definition.macs().iter().flatten().copied();
    let chosen = macs.filter(|mac| !written.contains(mac) && !had.contains(mac)).collect();
    Ok(Finished { definition, uuid, chosen })
}

/// Fills in what the document leaves to Warren, in place of `old`; no MAC that is `taken`. For the desk.
pub(super) fn complete_domain(
    doc: &mut DomainDoc,
    old: Option<&(Uuid, Definition)>,
    taken: &HashSet<Mac>,
) -> Result<(), Error> {
    let before = old.map(|(_, before)| before.doc()).transpose()?;
    let facts = complete::DomainFacts {
        uuid: old.map(|(uuid, _)| *uuid),
        macs: old.map_or(&[][..], |(_, before)| before.macs()),
        taken,
        old: before.as_ref().map(DomainDoc::def),
    };
    Ok(complete::domain(doc, &facts, &mut rand::rng())?)
}
