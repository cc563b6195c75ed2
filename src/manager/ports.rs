//! What the definitions take of the host's names, and what a NIC may be on a network of somebody else's.
//!
//! Owns what is said about it before anything is started; the same rules, in `plan`, refuse the start.

use uuid::Uuid;

use super::{Error, Manager};
use crate::model::{DomainDef, Finding, IfName, InterfaceKind, NetworkDef, Severity};
use crate::plan::ports::PortWish;
use crate::plan::taps::{self, Naming};
use crate::scope::ScopeKind;
use crate::{domain, network};

impl Manager {
    /// What this document calls its bridge, which nothing else may then be called.
    pub(super) fn take_bridge(&self, uuid: Uuid, definition: &network::Definition) {
        self.names.set_network(uuid, definition.name().as_str(), definition.own_bridge());
    }

    /// The same of TAPs, where names of this owner's are kept at all.
    pub(super) fn take_taps(&self, uuid: Uuid, owner: u32, definition: &domain::Definition) {
        let kept = if owner == 0 { definition.taps() } else { &[] };
        self.names.set_domain(uuid, owner, kept.iter().map(ToString::to_string));
    }

    pub(super) fn refuse_taken_bridge(&self, uuid: Option<&Uuid>, def: &NetworkDef) -> Result<(), Error> {
        let Some(bridge) = def.bridge.name.as_ref().filter(|_| def.owns_bridge()) else { return Ok(()) };
        match self.names.kept_from_bridge(bridge.as_str(), uuid) {
            Some(holder) => Err(Error::BridgeTaken { bridge: bridge.to_string(), holder }),
            None => Ok(()),
        }
    }

    /// The same as a finding.
    pub(super) fn findings_on_bridge(&self, uuid: Option<&Uuid>, def: &NetworkDef) -> Vec<Finding> {
        let Err(Error::BridgeTaken { bridge, holder }) = self.refuse_taken_bridge(uuid, def) else {
            return Vec::new();
        };
        vec![Finding {
            severity: Severity::Error,
            path: "/network/bridge/@name".into(),
            line: 0,
            column: 0,
            message: format!("'{bridge}' is {holder}"),
            remedy: "choose another, or leave it out and Warren does".into(),
        }]
    }

    /// What would stand against a start of a domain of `owner`: the names of its TAPs, and what it asks of networks.
    pub(super) fn findings_on_ports(&self, def: &DomainDef, owner: u32, naming: Naming) -> Vec<Finding> {
        let free = owner == 0 || self.scope.kind == ScopeKind::Session;
        let naming = if free { Naming::Free } else { naming };
        let taken = |name: &IfName| self.names.kept_from_tap(name.as_str(), owner);
        let mut findings = taps::findings(def, naming, taken);
        for nic in def.interfaces() {
            let InterfaceKind::Network { network, .. } = &nic.kind else { continue };
            let Some(known) = self.directory.get(network) else { continue };
            let wish = PortWish::of(nic, owner);
            findings.extend(known.view().ports.objections(wish, &nic.info.path, network));
        }
        findings
    }
}
