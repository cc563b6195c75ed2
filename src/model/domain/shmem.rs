//! `<shmem>`: memory that guests share. Owns libvirt's words and defaults for it.

use std::path::PathBuf;

use super::DeviceInfo;
use super::filesystem::bytes;
use super::words::{ON_OFF, words};
use crate::model::doc::{host_path, required};
use crate::xml::view::View;

/// `<shmem>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShmemDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@name`: guests that give the same name share the memory.
    pub name: String,
    /// `@role`.
    pub role: Option<ShmemRole>,
    /// `<model type>`, default ivshmem.
    pub model: ShmemModel,
    /// `<size>` in bytes.
    pub size: Option<u64>,
    /// `<server path>`; the inner one is absent where libvirt chooses the path.
    pub server: Option<Option<PathBuf>>,
    /// `<msi>`.
    pub msi: Option<Msi>,
}

words! {
    /// `<shmem role>`.
    ShmemRole { Master = "master", Peer = "peer" }
}

words! {
    /// `<model type>` of shared memory.
    ShmemModel { Ivshmem = "ivshmem", Plain = "ivshmem-plain", Doorbell = "ivshmem-doorbell" }
}

/// `<msi>`: interrupts between the guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's attributes")]
pub struct Msi {
    pub enabled: Option<bool>,
    pub vectors: Option<u32>,
    pub ioeventfd: Option<bool>,
}

/// The device, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<ShmemDef> {
    let name = required(view.filled("name"), view, "name", "name the memory");
    if let Some(name) = name.filter(|n| n.contains('/') || matches!(*n, "." | "..")) {
        view.error_at(
            "name",
            format!("'{}' cannot name shared memory", name.escape_debug()),
            "leave out '/'",
        );
    }
    let model = view.child("model").and_then(|m| m.one_of("type", ShmemModel::WORDS));
    let msi = view.child("msi").map(|m| Msi {
        enabled: m.one_of("enabled", ON_OFF),
        vectors: m.parsed("vectors"),
        ioeventfd: m.one_of("ioeventfd", ON_OFF),
    });
    Some(ShmemDef {
        info: DeviceInfo::read(view),
        name: name?.to_owned(),
        role: view.one_of("role", ShmemRole::WORDS),
        model: model.unwrap_or(ShmemModel::Ivshmem),
        size: view.child("size").and_then(|s| bytes(&s, "bytes")).map(|s| s.0),
        server: view.child("server").map(|s| host_path(&s, Some("path"))),
        msi,
    })
}
