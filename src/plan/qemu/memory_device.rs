//! Memory that is plugged in: modules, and memory on virtio.

use serde_json::json;

use super::Plan;
use super::memory::{Piece, backend};
use crate::model::{Address, MemoryDeviceDef, MemoryModel};

pub(super) fn add(plan: &mut Plan<'_>, memory: &MemoryDeviceDef, index: usize) {
    let path = &memory.info.path;
    let (name, driver) = match memory.model {
        MemoryModel::Dimm => ("dimm", "pc-dimm"),
        MemoryModel::VirtioMem => ("virtiomem", "virtio-mem-pci"),
        MemoryModel::Nvdimm => ("nvdimm", "nvdimm"),
        MemoryModel::VirtioPmem => ("virtiopmem", "virtio-pmem-pci"),
        MemoryModel::SgxEpc => {
            plan.unsupported(path, "Warren does not run enclaves yet", "leave the memory out");
            return;
        }
    };
    if memory.model.takes_slot() && !plan.def.features.on("acpi") {
        plan.unsupported(path, "a guest finds modules of memory by ACPI", "add <acpi/> to <features>");
    }
    let id = memory.info.alias.clone().unwrap_or_else(|| format!("{name}{index}"));
    if matches!(memory.model, MemoryModel::Nvdimm | MemoryModel::VirtioPmem) {
        // Its content is a file that would have to be opened as its owner.
        let message = "Warren does not run memory that is kept in a file yet";
        plan.unsupported(path, message, "leave the device out");
    } else {
        let id = format!("mem{id}");
        let piece = Piece {
            id: &id,
            size: memory.size,
            node: memory.node,
            access: memory.access,
            device: Some(memory),
        };
        let mut object = backend(plan, &piece);
        if memory.model == MemoryModel::VirtioMem {
            // What the guest has not asked for is not there.
            object["prealloc"] = false.into();
            object["reserve"] = false.into();
        }
        plan.args.json("-object", &object);
    }
    let mut device = json!({ "driver": driver });
    if let Some(node) = memory.node {
        device["node"] = node.into();
    }
    let memdev = format!("mem{id}");
    match memory.model {
        MemoryModel::VirtioMem => {
            device["block-size"] = memory.block.map(|b| b.0).into();
            device["requested-size"] = memory.requested.map(|r| r.0).into();
            if let Some(on) = memory.dynamic_memslots {
                device["dynamic-memslots"] = on.into();
            }
        }
        MemoryModel::Nvdimm => {
            if let Some(label) = memory.label {
                device["label-size"] = label.0.into();
            }
            if let Some(uuid) = memory.uuid {
                device["uuid"] = uuid.to_string().into();
            }
            if memory.readonly {
                device["unarmed"] = true.into();
            }
        }
        _ => {}
    }
    device["memdev"] = memdev.into();
    device["id"] = id.into();
    match &memory.info.address {
        _ if !memory.model.takes_slot() => {
            if let Some(base) = memory.base {
                device["memaddr"] = base.into();
            }
            plan.place(&memory.info, &mut device);
        }
        Some(Address::Dimm { slot, base }) => {
            device["slot"] = slot.unwrap_or_else(|| free_slot(plan, memory)).into();
            if let Some(base) = base {
                device["addr"] = (*base).into();
            }
        }
        _ => device["slot"] = free_slot(plan, memory).into(),
    }
    plan.device(path, &device);
}

/// The slot of a module that names none: the next one that no other module names.
fn free_slot(plan: &Plan<'_>, memory: &MemoryDeviceDef) -> u32 {
    let given = |m: &MemoryDeviceDef| match m.info.address {
        Some(Address::Dimm { slot, .. }) => slot,
        _ => None,
    };
    let modules = || plan.def.memory_devices().filter(|m| m.model.takes_slot());
    let before =
        modules().take_while(|m| m.info.path != memory.info.path).filter(|m| given(m).is_none()).count();
    let taken = |slot: u32| modules().any(|m| given(m) == Some(slot));
    (0..).filter(|slot| !taken(*slot)).nth(before).unwrap_or(0)
}
