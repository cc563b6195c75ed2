//! A network's definition as it is kept: its text, and the little of its meaning that is asked for again and again.
//!
//! Owns that what is kept can be read. Must never keep the tree or the typed definition, which take many times the
//! bytes of the document: who needs them reads the text again, at the [`Desk`](crate::desk::Desk).

use std::sync::Arc;

use ipnet::IpNet;

use super::Error;
use super::forwarding::Needs;
use crate::model::{DocError, NetworkDef, NetworkDoc, ObjectName};
use crate::plan::ports::PortRules;

/// A definition. Clones share it.
#[derive(Debug, Clone)]
pub struct Definition(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    xml: Box<str>,
    name: ObjectName,
    bridge: String,
    forward_mode: &'static str,
    ports: PortRules,
    forwarding: Needs,
    owns_bridge: bool,
    subnets: Box<[IpNet]>,
}

impl Definition {
    /// Reads a text, and keeps it. For the desk.
    pub fn read(xml: String) -> Result<Self, DocError> {
        let def = NetworkDoc::parse(&xml)?.into_def();
        Ok(Self(Arc::new(Kept {
            bridge: def.bridge.name.as_ref().map_or_else(String::new, ToString::to_string),
            forward_mode: def.forward_mode(),
            ports: PortRules::of(&def, 0),
            forwarding: Needs::of(&def),
            owns_bridge: def.owns_bridge(),
            subnets: def.ips.iter().filter_map(|ip| ip.net).collect(),
            name: def.name,
            xml: xml.into(),
        })))
    }

    /// The document with its meaning. For the desk.
    pub(super) fn doc(&self) -> Result<NetworkDoc, Error> {
        NetworkDoc::parse(self.xml())
            .map_err(|e| Error::Unreadable { name: self.name().to_string(), source: Box::new(e) })
    }

    /// Its meaning alone. For the desk.
    pub(super) fn def(&self) -> Result<NetworkDef, Error> {
        Ok(self.doc()?.into_def())
    }

    /// Whether both say the same to the letter. For the desk, unless both are the same text.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let same = || Ok::<_, Error>(self.doc()?.says_the_same(&other.doc()?));
        self.is(other) || same().unwrap_or(false)
    }

    /// Whether both are one text.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.xml() == other.xml()
    }

    /// The document's text.
    pub fn xml(&self) -> &str {
        &self.0.xml
    }

    /// How long that is.
    pub fn bytes(&self) -> usize {
        self.0.xml.len()
    }

    /// `<name>`.
    pub fn name(&self) -> &ObjectName {
        &self.0.name
    }

    /// The addresses of its bridge, each with its subnet.
    pub fn subnets(&self) -> &[IpNet] {
        &self.0.subnets
    }

    /// `<bridge name>`; empty where it is chosen at the start.
    pub(super) fn bridge(&self) -> &str {
        &self.0.bridge
    }

    pub(super) fn forward_mode(&self) -> &'static str {
        self.0.forward_mode
    }

    /// `<bridge name>` where Warren makes that bridge; `None` where it is the host's own, or is named at the start.
    pub fn own_bridge(&self) -> Option<&str> {
        (self.0.owns_bridge && !self.0.bridge.is_empty()).then_some(self.0.bridge.as_str())
    }

    /// What a NIC on it is held to, where it is a network of `owner`.
    pub(super) fn port_rules(&self, owner: u32) -> PortRules {
        PortRules { owner, ..self.0.ports }
    }

    /// What it needs of the host's forwarding.
    pub(super) fn forwarding(&self) -> Needs {
        self.0.forwarding
    }
}
