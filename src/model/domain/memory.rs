//! The guest's memory: how much there is and what it is made of. Owns libvirt's words and defaults for it;
//! must never know how much the host has.

use crate::model::MemorySize;
use crate::xml::view::View;

/// `<maxMemory>`: how far memory can grow by `<memory>` devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxMemory {
    /// How much, all told.
    pub size: MemorySize,
    /// `@slots` for modules.
    pub slots: u32,
}

/// `<memoryBacking>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryBacking {
    /// `<hugepages>` with their `<page>`; an empty list means the host's default size for all of it.
    pub hugepages: Option<Vec<HugePage>>,
    /// `<nosharepages/>`: the host does not merge pages that are alike.
    pub no_share_pages: bool,
    /// `<locked/>`: the host does not swap it out.
    pub locked: bool,
    /// `<source type>`.
    pub source: Option<MemorySource>,
    /// `<access mode>`.
    pub access: Option<MemoryAccess>,
    /// `<allocation mode='immediate'>`.
    pub immediate: bool,
    /// `<allocation threads>`.
    pub threads: Option<u32>,
}

/// `<hugepages><page>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HugePage {
    /// `@size`.
    pub size: MemorySize,
    /// `@nodeset`: the guest's cells that have it; empty for all others.
    pub nodes: Vec<u32>,
}

/// `<source type>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum MemorySource {
    File,
    Anonymous,
    Memfd,
}

/// `<access mode>`, `<cell memAccess>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryAccess {
    /// Other processes may map it: needed by vhost-user and virtiofs.
    Shared,
    /// QEMU's alone.
    Private,
}

pub(super) const ACCESS: &[(&str, MemoryAccess)] =
    &[("shared", MemoryAccess::Shared), ("private", MemoryAccess::Private)];

const NEVER_WRITTEN: &str = "the memory is in no file, so nothing of it is written at the end anyway";

/// `@discard` of a piece of memory: what is in it at the end need not be written to its file.
pub(super) fn discard(view: &View<'_>) {
    if view.yes_no("discard") == Some(true) {
        view.warning_at("discard", NEVER_WRITTEN, "leave it out");
    }
}

/// An amount of memory as an element's text, with `@unit`.
pub(super) fn amount(view: &View<'_>) -> Option<MemorySize> {
    let unit = view.filled("unit").unwrap_or("KiB");
    let text = view.text();
    let Ok(value) = text.parse::<u64>() else {
        view.error(
            format!("'{text}' is not an amount of memory"),
            "give a whole number, and a unit beside it",
        );
        return None;
    };
    match MemorySize::from_unit(value, unit) {
        Ok(size) => Some(size),
        Err(e) => {
            view.error_at("unit", e.to_string(), "");
            None
        }
    }
}

/// `<maxMemory>`.
pub(super) fn max(root: &View<'_>) -> Option<MaxMemory> {
    let view = root.child("maxMemory")?;
    let slots = view.parsed("slots").unwrap_or(0);
    Some(MaxMemory { size: amount(&view)?, slots })
}

/// `<memoryBacking>`.
pub(super) fn backing(root: &View<'_>) -> MemoryBacking {
    let Some(view) = root.child("memoryBacking") else { return MemoryBacking::default() };
    let sources = [
        ("file", MemorySource::File),
        ("anonymous", MemorySource::Anonymous),
        ("memfd", MemorySource::Memfd),
    ];
    let allocation = view.child("allocation");
    let modes = [("immediate", true), ("ondemand", false)];
    let backing = MemoryBacking {
        hugepages: view.child("hugepages").map(|h| h.children("page").iter().filter_map(page).collect()),
        no_share_pages: view.child("nosharepages").is_some(),
        locked: view.child("locked").is_some(),
        source: view.child("source").and_then(|s| s.one_of("type", &sources)),
        access: view.child("access").and_then(|a| a.one_of("mode", ACCESS)),
        immediate: allocation.as_ref().and_then(|a| a.one_of("mode", &modes)).unwrap_or(false),
        threads: allocation.and_then(|a| a.parsed("threads")),
    };
    if let Some(discard) = view.child("discard") {
        discard.warning(NEVER_WRITTEN, "leave it out");
    }
    if backing.hugepages.is_some() && backing.source == Some(MemorySource::Anonymous) {
        let message = "memory in huge pages is not anonymous";
        view.error(message, "leave <hugepages> out, or write <source type='memfd'/>");
    }
    backing
}

fn page(view: &View<'_>) -> Option<HugePage> {
    let Some(value) = view.parsed::<u64>("size").filter(|size| *size > 0) else {
        view.error_at("size", "the size of the pages is missing", "as <page size='2' unit='MiB'/>");
        return None;
    };
    let size = match MemorySize::from_unit(value, view.filled("unit").unwrap_or("KiB")) {
        Ok(size) => size,
        Err(e) => {
            view.error_at("unit", e.to_string(), "");
            return None;
        }
    };
    let nodes = match view.filled("nodeset") {
        Some(text) => super::tune::cpu_set(text).or_else(|| {
            view.error_at("nodeset", format!("'{text}' is not a set of cells"), "as 0-1,3");
            None
        })?,
        None => Vec::new(),
    };
    Some(HugePage { size, nodes })
}
