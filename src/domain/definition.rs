//! A definition as it is kept: its text, and the little of its meaning that is asked for again and again.
//!
//! Owns that what is kept can be read. Must never keep the tree or the typed definition, which take many times the
//! bytes of the document that its owner is answerable for: who needs them reads the text again, at the
//! [`Desk`](crate::desk::Desk).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::guest::Live;
use super::{Error, live};
use crate::model::{
    Device, DocError, DomainDoc, GraphicsKind, IfName, LifecycleAction, Mac, MemorySize, ObjectName,
};
use crate::plan::complete::interface_macs;
use crate::plan::qemu::nic_alias;
use crate::plan::secrets;
use crate::plan::taps::{self, Naming};

/// A definition. Clones share it.
#[derive(Debug, Clone)]
pub struct Definition(Arc<Kept>);

/// Which definition it is of all that this service has read: what was judged of one holds for no other, though that
/// may have the same generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition(u64);

static EDITIONS: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Kept {
    edition: Edition,
    xml: Box<str>,
    name: ObjectName,
    title: String,
    vcpus: u32,
    memory: MemorySize,
    on_poweroff: LifecycleAction,
    on_reboot: LifecycleAction,
    on_crash: LifecycleAction,
    /// `vnc` and `spice`, those that there are.
    displays: Vec<&'static str>,
    macs: Box<[Option<Mac>]>,
    /// The aliases of its NICs.
    aliases: Box<[String]>,
    /// The names that its TAPs have in any case.
    taps: Box<[IfName]>,
    has_secrets: bool,
}

impl Definition {
    /// Reads a text, and keeps it. For the desk.
    pub fn read(xml: String) -> Result<Self, DocError> {
        let doc = DomainDoc::parse(&xml)?;
        let def = doc.def();
        let mut displays = Vec::new();
        for device in &def.devices {
            let Device::Graphics(display) = device else { continue };
            let kind = display.kind.as_str();
            let opens = matches!(display.kind, GraphicsKind::Vnc(_) | GraphicsKind::Spice(_));
            if opens && !displays.contains(&kind) {
                displays.push(kind);
            }
        }
        Ok(Self(Arc::new(Kept {
            edition: Edition(EDITIONS.fetch_add(1, Ordering::Relaxed)),
            name: def.name.clone(),
            title: def.title.clone(),
            vcpus: def.vcpus,
            memory: def.memory,
            on_poweroff: def.on_poweroff,
            on_reboot: def.on_reboot,
            on_crash: def.on_crash,
            displays,
            macs: interface_macs(&doc).into(),
            aliases: (0..def.interfaces().count()).map(|index| nic_alias(def, index)).collect(),
            taps: def.interfaces().filter_map(|nic| taps::written(nic, Naming::Free)).cloned().collect(),
            has_secrets: secrets::without(doc.tree()) != *doc.tree(),
            xml: xml.into(),
        })))
    }

    /// The document with its meaning. For the desk.
    pub fn doc(&self) -> Result<DomainDoc, Error> {
        DomainDoc::parse(self.xml())
            .map_err(|e| Error::Unreadable { name: self.name().to_string(), source: Box::new(e) })
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

    /// The MACs of its NICs, as [`interface_macs`] has them.
    pub fn macs(&self) -> &[Option<Mac>] {
        &self.0.macs
    }

    /// Which one it is.
    pub fn edition(&self) -> Edition {
        self.0.edition
    }

    /// Puts back into a document that would replace it the secrets that it leaves out. For the desk.
    pub fn keep_secrets(&self, doc: &mut DomainDoc) -> Result<(), Error> {
        if !self.0.has_secrets {
            return Ok(());
        }
        let before = self.doc()?;
        doc.edit(|tree| secrets::keep(tree, before.tree()))
            .map_err(|e| Error::Unreadable { name: self.name().to_string(), source: Box::new(e) })
    }

    /// The alias of the NIC that has this MAC.
    pub fn alias_of(&self, mac: Mac) -> Option<&str> {
        let index = self.macs().iter().position(|m| *m == Some(mac))?;
        self.0.aliases.get(index).map(String::as_str)
    }

    /// What its document calls its TAPs.
    pub fn taps(&self) -> &[IfName] {
        &self.0.taps
    }

    pub(super) fn title(&self) -> &str {
        &self.0.title
    }

    pub(super) fn vcpus(&self) -> u32 {
        self.0.vcpus
    }

    pub(super) fn memory(&self) -> MemorySize {
        self.0.memory
    }

    pub(super) fn on_poweroff(&self) -> LifecycleAction {
        self.0.on_poweroff
    }

    pub(super) fn on_reboot(&self) -> LifecycleAction {
        self.0.on_reboot
    }

    pub(super) fn on_crash(&self) -> LifecycleAction {
        self.0.on_crash
    }

    /// `vnc` and `spice`, those that there are.
    pub(super) fn displays(&self) -> &[&'static str] {
        &self.0.displays
    }
}

/// A definition at one moment, as stored or as it runs.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) definition: Definition,
    /// What was assigned to a guest that runs.
    pub(super) assigned: Option<Box<Live>>,
    /// What went wrong; empty where nothing did.
    pub(super) failure: String,
}

/// A document's text, for who may read it.
#[derive(Debug)]
pub struct Xml {
    /// Without passwords.
    pub public: String,
    /// With them, where there are any.
    pub whole: Option<String>,
}

impl Snapshot {
    /// What a guest was given at its start is not known where the record of that was lost.
    pub(super) fn refuse_rebuilt(&self, uuid: &uuid::Uuid) -> Result<(), Error> {
        if !self.assigned.as_ref().is_some_and(|live| live.rebuilt) {
            return Ok(());
        }
        let name = self.definition.name().to_string();
        Err(Error::Lost { name, record: format!("domains/{uuid}/state.json").into() })
    }

    /// The document, with what was assigned. For the desk.
    pub(super) fn doc(&self) -> Result<DomainDoc, Error> {
        let doc = self.definition.doc()?;
        Ok(match &self.assigned {
            Some(assigned) => live::document(doc, assigned),
            None => doc,
        })
    }

    /// The text as it is, where nothing has to be read for that.
    pub(super) fn plain(&self) -> Option<&str> {
        (self.assigned.is_none() && !self.definition.0.has_secrets).then(|| self.definition.xml())
    }

    /// The document's text. For the desk.
    pub(super) fn xml(&self) -> Result<Xml, Error> {
        let doc = self.doc()?;
        let (public, whole) = (secrets::without(doc.tree()).to_string(), doc.to_xml());
        Ok(Xml { whole: (whole != public).then_some(whole), public })
    }
}
