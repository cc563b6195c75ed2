//! Random number generators and devices that encrypt.

use serde_json::json;

use super::chardev::{self, AGENT};
use super::{Handed, Plan, virtio};
use crate::model::{CryptoBackend, CryptoDef, RngBackend, RngDef, VirtioModel};

/// libvirt's period where there is a rate without one, in milliseconds.
const PERIOD: u32 = 1000;

pub(super) fn add(plan: &mut Plan<'_>, handed: &Handed, rng: &RngDef, index: usize) {
    let id = plan.name(&rng.info, "rng", index);
    let object = format!("obj{id}");
    let backend = match &rng.backend {
        RngBackend::Random(path) => {
            json!({ "qom-type": "rng-random", "id": object, "filename": path.display().to_string() })
        }
        RngBackend::Builtin => json!({ "qom-type": "rng-builtin", "id": object }),
        RngBackend::Egd(source) => {
            let chardev = format!("char{id}");
            chardev::add(plan, handed, source, &chardev, AGENT);
            json!({ "qom-type": "rng-egd", "id": object, "chardev": chardev })
        }
    };
    plan.args.json("-object", &backend);
    let mut device = json!({ "driver": virtio::driver("virtio-rng", rng.model) });
    virtio::options(&mut device, &rng.driver);
    device["rng"] = object.into();
    device["id"] = id.into();
    if let Some(bytes) = rng.rate_bytes {
        device["max-bytes"] = bytes.into();
        device["period"] = rng.rate_period.unwrap_or(PERIOD).into();
    }
    plan.place(&rng.info, &mut device);
    plan.device(&rng.info.path, &device);
}

pub(super) fn crypto(plan: &mut Plan<'_>, crypto: &CryptoDef, index: usize) {
    let id = plan.name(&crypto.info, "crypto", index);
    let object = format!("obj{id}");
    let kind = match crypto.backend {
        CryptoBackend::Builtin => "cryptodev-backend-builtin",
        CryptoBackend::Lkcf => "cryptodev-backend-lkcf",
    };
    let mut backend = json!({ "qom-type": kind, "id": object });
    if let Some(queues) = crypto.queues {
        backend["queues"] = queues.into();
    }
    plan.args.json("-object", &backend);
    let mut device = json!({ "driver": virtio::driver("virtio-crypto", VirtioModel::Virtio) });
    virtio::options(&mut device, &crypto.driver);
    device["cryptodev"] = object.into();
    device["id"] = id.into();
    plan.place(&crypto.info, &mut device);
    plan.device(&crypto.info.path, &device);
}
