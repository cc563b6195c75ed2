//! What a running guest takes of its owner's share of the host.
//!
//! Owns the numbers: memory and vCPUs as the document has them, and the threads that QEMU can come to at most. Must
//! never be less than QEMU needs: it aborts where a thread is refused.

use crate::ledger::{Exceeded, Ledger, Resource, Share};
use crate::model::{Device, DiskFormat, DomainDef, Image, InterfaceDef, Location};
use crate::plan::qemu::{CharDevice, char_devices, most_sealed, translation_cache, video_memory};

/// QEMU's own: the main loop, RCU, displays, sound, USB, and those that come and go.
const QEMU_THREADS: u64 = 64;
/// Workers of one event loop, for what the kernel can only do while a thread waits, unless the document says how many.
const POOL: u64 = 64;
/// Threads that a library has which speaks to a server for one disk.
const NETWORK_DISK: u64 = 32;

/// Bytes that each QEMU has for itself: its program, devices, and what is on its way to disks, NICs and displays.
const OVERHEAD: u64 = 64 << 20;
/// Bytes that QEMU may keep of a qcow2 image on a server, into which Warren does not look: the largest tables and
/// caches that it allows.
const NETWORK_IMAGE: u64 = (32 + 8 + 64 + 32 + 8) << 20;

/// Descriptors that the service has of each running guest: its process, its monitor, what it says on stderr.
const RUNNING: u64 = 3;
/// Descriptors of each start: firmware, sockets of helpers, the monitor, displays, and what a new process takes.
const STARTING: u64 = 24;

/// Buffers of `<readahead>` that QEMU's curl driver has for a disk (`CURL_NUM_STATES`).
const READS_AHEAD: u64 = 8;

/// A guest's part of each resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    /// Bytes.
    memory: u64,
    vcpus: u64,
    /// The most that QEMU can have at once.
    pub(super) threads: u64,
    /// Descriptors that the service has as long as QEMU runs.
    descriptors: u64,
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
        let consoles = char_devices(def).into_iter().filter(CharDevice::is_read).count() as u64;
        Self { memory: memory(def), vcpus: def.vcpus.into(), threads, descriptors: RUNNING + consoles }
    }

    /// Takes it, all or nothing.
    pub(super) fn take(self, ledger: &Ledger, owner: u32) -> Result<Vec<Share>, Exceeded> {
        self.parts().into_iter().map(|(resource, amount)| ledger.take(owner, resource, amount)).collect()
    }

    /// For a guest that runs already.
    pub(super) fn note(self, ledger: &Ledger, owner: u32) -> Vec<Share> {
        self.parts().into_iter().map(|(resource, amount)| ledger.note(owner, resource, amount)).collect()
    }

    fn parts(self) -> [(Resource, u64); 4] {
        let Self { memory, vcpus, threads, descriptors } = self;
        [
            (Resource::GuestMemory, memory),
            (Resource::GuestVcpus, vcpus),
            (Resource::GuestThreads, threads),
            (Resource::Descriptors, descriptors),
        ]
    }
}

/// Descriptors that the service has while it starts the guest, besides the files that the document names.
pub(super) fn to_start(def: &DomainDef) -> u64 {
    let sockets = char_devices(def).into_iter().filter(CharDevice::has_socket).count() as u64;
    // One for each queue, and the kernel's own virtio for it.
    let queues = |nic: &InterfaceDef| 2 * nic.driver.queues.map_or(1, u64::from);
    STARTING + sockets + def.interfaces().map(queues).sum::<u64>() + most_sealed(def)
}

/// What the guest has, with what is in its slots, the memory of its display adapters, and the cache of translated
/// code. What QEMU keeps of images is known once they are opened: see [`super::files`].
fn memory(def: &DomainDef) -> u64 {
    let plugged = def.memory_devices().map(|device| device.size.0);
    let video = def.devices.iter().map(|device| match device {
        Device::Video(video) => video_memory(video),
        _ => 0,
    });
    let images = def.disks().flat_map(|disk| disk.source.iter().flat_map(Image::chain)).map(|image| {
        let counts = image.format == DiskFormat::Qcow2 && matches!(image.location, Location::Network(_));
        let tables = if counts { NETWORK_IMAGE.saturating_add(image.metadata_cache.unwrap_or(0)) } else { 0 };
        let ahead = match &image.location {
            Location::Network(source) => source.readahead.unwrap_or(0).saturating_mul(READS_AHEAD),
            _ => 0,
        };
        tables.saturating_add(ahead)
    });
    let all = plugged.chain(translation_cache(def)).chain(video).chain(images).chain([OVERHEAD]);
    all.fold(def.initial_memory().0, u64::saturating_add)
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
        assert_eq!(
            plain,
            Demand { memory: (64 + 64 + 32) << 20, vcpus: 1, threads: 64 + 1 + 64, descriptors: 3 }
        );
        let more = demand(
            "<vcpu current='2'>4</vcpu><iothreads>2</iothreads><defaultiothread thread_pool_max='8'/>
             <features><tcg><tb-cache unit='MiB'>48</tb-cache></tcg></features>
             <devices><video><model type='qxl' vram='16384'/></video></devices>",
        );
        assert_eq!(
            more,
            Demand {
                memory: (64 + 64 + 48 + 64 + 16 + 16) << 20,
                vcpus: 4,
                threads: 64 + 4 + 2 * 65 + 8,
                descriptors: 3
            }
        );
        let hotplug = demand(
            "<maxMemory slots='4' unit='GiB'>4</maxMemory><cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/>
             </numa></cpu><devices><memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target>
             </memory></devices>",
        );
        assert_eq!(hotplug.memory, (64 + 64 + 32 + 128) << 20, "what is in the slots, not what could be");
    }

    #[test]
    fn what_a_start_opens_is_known_before() {
        let to_start = |inner: &str| {
            let text = format!(
                "<domain type='qemu'><name>n</name><os><type>hvm</type></os><memory unit='MiB'>64</memory>
                 <devices>{inner}</devices></domain>"
            );
            super::to_start(DomainDoc::parse(&text).unwrap().def())
        };
        assert_eq!(to_start(""), 25);
        let nic = "<interface type='network'><source network='n'/><driver queues='8'/></interface>";
        assert_eq!(to_start(nic), 25 + 16);
        assert_eq!(to_start("<console type='pty'/>"), 26);
    }

    #[test]
    fn what_the_document_leaves_out_counts_too() {
        let mib = |inner: &str| (demand(inner).memory >> 20) - (64 + 64 + 32);
        let video = |model: &str| mib(&format!("<devices><video><model type='{model}'/></video></devices>"));
        assert_eq!(["none", "vga", "bochs", "qxl", "virtio"].map(video), [0, 16, 16, 64 + 64 + 16, 256]);
        let served = |format: &str| {
            mib(&format!(
                "<devices><disk type='network'><driver type='{format}'/><source protocol='nbd' name='x'>
                 <host name='h'/></source><target dev='vda'/></disk></devices>"
            ))
        };
        assert_eq!([served("raw"), served("qcow2")], [0, 144]);
        // Huge pages are memory like any other.
        assert_eq!(mib("<memoryBacking><hugepages/></memoryBacking>"), 0);
    }

    #[test]
    fn what_is_refused_takes_nothing() {
        use crate::scope::Limits;
        let limits = Limits {
            guest_memory: 1 << 30,
            guest_vcpus: 8,
            guest_threads: 100,
            descriptors: 10,
            ..Limits::default()
        };
        let ledger = Ledger::new(limits);
        let refused = demand("").take(&ledger, 1000).unwrap_err();
        assert_eq!((refused.resource, refused.wanted), (Resource::GuestThreads, 129));
        assert_eq!(ledger.used(1000, Resource::GuestMemory), 0);
    }
}
