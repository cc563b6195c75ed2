//! Memory that guests share. Warren shares none yet (see `plan::check`); it is planned as it would be.

use serde_json::json;

use super::args::escaped;
use super::{Plan, set};
use crate::model::{ShmemDef, ShmemModel, ShmemRole};

/// libvirt's size where the document gives none, in bytes.
const DEFAULT_SIZE: u64 = 4 << 20;

pub(super) fn add(plan: &mut Plan<'_>, shmem: &ShmemDef, index: usize) {
    let id = plan.name(&shmem.info, "shmem", index);
    let mut device = match shmem.model {
        ShmemModel::Plain => {
            let memory = format!("shmmem-{id}");
            plan.args.json(
                "-object",
                &json!({
                    "qom-type": "memory-backend-file",
                    "id": memory,
                    "mem-path": format!("/dev/shm/{}", shmem.name),
                    "size": shmem.size.unwrap_or(DEFAULT_SIZE),
                    "share": true,
                }),
            );
            json!({ "driver": "ivshmem-plain", "id": id, "memdev": memory })
        }
        ShmemModel::Doorbell => {
            let path = shmem.server.clone().flatten();
            let path = path.map_or(format!("shmem-{}-sock", shmem.name), |p| p.display().to_string());
            plan.args.pair("-chardev", format!("socket,id=char{id},path={}", escaped(&path)));
            json!({ "driver": "ivshmem-doorbell", "id": id, "chardev": format!("char{id}") })
        }
        ShmemModel::Ivshmem => {
            let message = "QEMU has no shared memory of model 'ivshmem' any more";
            let remedy = "write <model type='ivshmem-plain'/> or 'ivshmem-doorbell'";
            plan.unsupported(&shmem.info.path, message, remedy);
            return;
        }
    };
    set(&mut device, "vectors", shmem.msi.and_then(|m| m.vectors));
    set(&mut device, "ioeventfd", shmem.msi.and_then(|m| m.ioeventfd));
    set(&mut device, "master", shmem.role.map(|r| r == ShmemRole::Master));
    plan.place(&shmem.info, &mut device);
    plan.device(&shmem.info.path, &device);
}
