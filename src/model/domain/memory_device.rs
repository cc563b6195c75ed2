//! `<memory>` devices: memory that is plugged in. Owns libvirt's words and defaults for them; must never open
//! what they name.

use std::path::PathBuf;

use super::memory::{self, ACCESS, MemoryAccess, amount};
use super::{DeviceInfo, tune};
use crate::model::doc::{host_path, required};
use crate::model::{MemorySize, Uuid};
use crate::xml::view::View;

/// `<memory>` among the devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryDeviceDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@model`.
    pub model: MemoryModel,
    /// `@access`.
    pub access: Option<MemoryAccess>,
    /// `<uuid>` of an nvdimm.
    pub uuid: Option<Uuid>,
    /// `<source><path>` of an nvdimm or virtio-pmem.
    pub path: Option<PathBuf>,
    /// `<source><alignsize>`.
    pub align: Option<MemorySize>,
    /// `<source><pmem/>`.
    pub pmem: bool,
    /// `<source><pagesize>` of the others.
    pub page_size: Option<MemorySize>,
    /// `<source><nodemask>`: nodes of the host.
    pub nodes: Vec<u32>,
    /// `<target><size>`.
    pub size: MemorySize,
    /// `<target><node>`: the guest's cell.
    pub node: Option<u32>,
    /// `<target><label><size>` of an nvdimm.
    pub label: Option<MemorySize>,
    /// `<target><readonly/>` of an nvdimm.
    pub readonly: bool,
    /// `<target><block>` of virtio-mem.
    pub block: Option<MemorySize>,
    /// `<target><requested>` of virtio-mem.
    pub requested: Option<MemorySize>,
    /// `<target dynamicMemslots>` of virtio-mem.
    pub dynamic_memslots: Option<bool>,
    /// `<target><address base>` of virtio-mem and virtio-pmem.
    pub base: Option<u64>,
}

/// `<memory model>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum MemoryModel {
    Dimm,
    Nvdimm,
    VirtioPmem,
    VirtioMem,
    SgxEpc,
}

impl MemoryModel {
    /// Whether it takes one of the slots of `<maxMemory>`.
    pub fn takes_slot(self) -> bool {
        matches!(self, Self::Dimm | Self::Nvdimm)
    }
}

const MODELS: &[(&str, MemoryModel)] = &[
    ("dimm", MemoryModel::Dimm),
    ("nvdimm", MemoryModel::Nvdimm),
    ("virtio-pmem", MemoryModel::VirtioPmem),
    ("virtio-mem", MemoryModel::VirtioMem),
    ("sgx-epc", MemoryModel::SgxEpc),
];

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<MemoryDeviceDef> {
    let info = DeviceInfo::read(view);
    let model = required(view.one_of("model", MODELS), view, "model", "give dimm, nvdimm, virtio-mem, …");
    let uuid = crate::model::doc::text_of(view, "uuid");
    let source = view.child("source");
    let in_source = |name: &str| source.as_ref().and_then(|s| s.child(name));
    let nodes = in_source("nodemask").and_then(|n| {
        let text = n.text();
        tune::cpu_set(&text).or_else(|| {
            n.error(format!("'{text}' is not a set of nodes"), "as 0-1,3");
            None
        })
    });
    let path = in_source("path").and_then(|p| host_path(&p, None));
    let Some(target) = view.child("target") else {
        view.error("the memory has no <target>", "add <target><size unit='MiB'>512</size></target>");
        return None;
    };
    let in_target = |name: &str| target.child(name);
    let Some(size) = in_target("size").and_then(|s| amount(&s)) else {
        if in_target("size").is_none() {
            target.error("the memory has no size", "add <size unit='MiB'>512</size>");
        }
        return None;
    };
    if matches!(model, Some(MemoryModel::Nvdimm | MemoryModel::VirtioPmem)) && path.is_none() {
        view.error("persistent memory needs the file that it is kept in", "add <source><path>");
    }
    // What a running guest has: written by libvirt, not read.
    target.accept_children("current");
    if model == Some(MemoryModel::Nvdimm) && view.yes_no("discard") == Some(true) {
        view.error_at("discard", "what is in an nvdimm is kept", "leave it out");
    } else {
        memory::discard(view);
    }
    Some(MemoryDeviceDef {
        access: view.one_of("access", ACCESS),
        uuid,
        align: in_source("alignsize").and_then(|v| amount(&v)),
        pmem: in_source("pmem").is_some(),
        page_size: in_source("pagesize").and_then(|v| amount(&v)),
        nodes: nodes.unwrap_or_default(),
        path,
        size,
        node: crate::model::doc::text_of(&target, "node"),
        label: in_target("label").and_then(|l| l.child("size")).and_then(|v| amount(&v)),
        readonly: in_target("readonly").is_some(),
        block: in_target("block").and_then(|v| amount(&v)),
        requested: in_target("requested").and_then(|v| amount(&v)),
        dynamic_memslots: target.yes_no("dynamicMemslots"),
        base: in_target("address").and_then(|a| super::device::hex(&a, "base")),
        model: model?,
        info,
    })
}
