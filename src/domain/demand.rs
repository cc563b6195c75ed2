//! What a running guest takes of its owner's share of the host.
//!
//! Owns the numbers: memory and vCPUs as the document has them, and the threads that QEMU can come to at most. Must
//! never be less than QEMU needs: it aborts where a thread is refused.

use crate::ledger::{Exceeded, Ledger, Resource, Share};
use crate::model::{Device, DomainDef, Image, Location};

/// QEMU's own: the main loop, RCU, displays, sound, USB, and those that come and go.
const QEMU_THREADS: u64 = 64;
/// Workers of one event loop, for what the kernel can only do while a thread waits, unless the document says how many.
const POOL: u64 = 64;
/// Threads that a library has which speaks to a server for one disk.
const NETWORK_DISK: u64 = 32;

/// A guest's part of each resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    /// Bytes.
    memory: u64,
    vcpus: u64,
    /// The most that QEMU can have at once.
    pub(super) threads: u64,
}

impl Demand {
    pub(super) fn of(def: &DomainDef) -> Self {
        let pool = |max: Option<u32>| max.map_or(POOL, u64::from);
        let mut threads = QEMU_THREADS + u64::from(def.vcpus);
        threads += pool(def.default_iothread.and_then(|main| main.pool_max));
        threads += def.iothreads.iter().map(|thread| 1 + pool(thread.pool_max)).sum::<u64>();
        threads += u64::from(def.memory_backing.threads.unwrap_or(0));
        let images = def.disks().flat_map(|disk| disk.source.iter().flat_map(Image::chain));
        let of_network = images.filter(|image| matches!(image.location, Location::Network(_)));
        threads += of_network.count() as u64 * NETWORK_DISK;
        Self { memory: memory(def), vcpus: def.vcpus.into(), threads }
    }

    /// Takes it, all or nothing.
    pub(super) fn take(self, ledger: &Ledger, owner: u32) -> Result<Vec<Share>, Exceeded> {
        self.parts().into_iter().map(|(resource, amount)| ledger.take(owner, resource, amount)).collect()
    }

    /// For a guest that runs already.
    pub(super) fn note(self, ledger: &Ledger, owner: u32) -> Vec<Share> {
        self.parts().into_iter().map(|(resource, amount)| ledger.note(owner, resource, amount)).collect()
    }

    fn parts(self) -> [(Resource, u64); 3] {
        let Self { memory, vcpus, threads } = self;
        [(Resource::GuestMemory, memory), (Resource::GuestVcpus, vcpus), (Resource::GuestThreads, threads)]
    }
}

/// What the guest has, with what is in its slots, the memory of its display adapters, and the cache of translated
/// code.
fn memory(def: &DomainDef) -> u64 {
    let plugged = def.memory_devices().map(|device| device.size.0);
    let cache = def.features.get("tcg").and_then(|tcg| tcg.value("tb-cache")).and_then(|v| v.parse().ok());
    let video = def.devices.iter().map(|device| match device {
        Device::Video(video) => {
            let parts = [video.ram, video.vram, video.vram64, video.vgamem];
            parts.iter().flatten().map(|kib| u64::from(*kib) << 10).sum()
        }
        _ => 0,
    });
    plugged.chain(cache).chain(video).fold(def.initial_memory().0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DomainDoc;

    fn demand(inner: &str) -> Demand {
        let text = format!(
            "<domain type='qemu'><name>n</name><os><type>hvm</type></os><memory unit='MiB'>64</memory>{inner}</domain>"
        );
        Demand::of(DomainDoc::parse(&text).unwrap().def())
    }

    #[test]
    fn all_that_qemu_can_take_is_counted() {
        let plain = demand("");
        assert_eq!(plain, Demand { memory: 64 << 20, vcpus: 1, threads: 64 + 1 + 64 });
        let more = demand(
            "<vcpu current='2'>4</vcpu><iothreads>2</iothreads><defaultiothread thread_pool_max='8'/>
             <features><tcg><tb-cache unit='MiB'>32</tb-cache></tcg></features>
             <devices><video><model type='qxl' vram='16384'/></video></devices>",
        );
        assert_eq!(more, Demand { memory: (64 + 32 + 16) << 20, vcpus: 4, threads: 64 + 4 + 2 * 65 + 8 });
        let hotplug = demand(
            "<maxMemory slots='4' unit='GiB'>4</maxMemory><cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/>
             </numa></cpu><devices><memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target>
             </memory></devices>",
        );
        assert_eq!(hotplug.memory, (64 + 128) << 20, "what is in the slots, not what could be");
    }

    #[test]
    fn what_is_refused_takes_nothing() {
        use crate::scope::Limits;
        let limits =
            Limits { guest_memory: 1 << 30, guest_vcpus: 8, guest_threads: 100, ..Limits::default() };
        let ledger = Ledger::new(limits);
        let refused = demand("").take(&ledger, 1000).unwrap_err();
        assert_eq!((refused.resource, refused.wanted), (Resource::GuestThreads, 129));
        assert_eq!(ledger.used(1000, Resource::GuestMemory), 0);
    }
}
