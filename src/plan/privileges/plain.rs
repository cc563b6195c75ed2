//! Parts of a document that name nothing of the host. Owns the judgement on each of them: every field and every
//! variant is written here, so that a new one does not compile until it is judged. There is nothing to run.

use crate::model::{
    Address, AudioSide, Backing, Bandwidth, Blockio, BootDev, CacheMode, ChannelTarget, CharEndpoint,
    CharProtocol, ClockDef, ClockOffset, ConsoleTarget, ControllerDef, ControllerDriver, ControllerKind,
    ControllerTarget, CpuCache, CpuCheck, CpuDef, CpuFeature, CpuMatch, CpuMode, CpuTopology,
    DefaultIoThread, Deprecation, DeviceInfo, DhcpHost, DhcpRange, DirectMode, DiskDriver, DisplayPassword,
    Dns, DnsForwarder, DnsHost, DomainKind, DriveAddress, Feature, FeaturePolicy, Features, Firmware,
    FirmwareFeature, FlashFormat, GenidDef, Geometry, HubDef, HugePage, Interconnect, IoThread, IommuDef,
    IommuModel, Iotune, LeaseTime, LeaseUnit, LifecycleAction, LoaderKind, MaxMemory, MaxPhysAddr,
    MemballoonDef, MemoryAccess, NativeVlan, NicAddress, NicBackendDriver, NicDriver, NicRoute, NicTeaming,
    NodePolicy, NumaCache, NumaCell, NumaTune, NvramDef, Override, PanicDef, PciAddress, PmDef,
    PropertyValue, Rate, Reconnect, SerialTarget, Slice, SmbiosTable, SoundDef, SpicePort, SrvRecord, State,
    TickPolicy, TimerDef, TimerName, TimerTrack, TxMode, TxtRecord, UsbRule, Vcpus, VirtioOptions,
    VirtualPort, VirtualPortKind, Vlan, VsockDef, WatchdogDef, Websocket,
};

macro_rules! plain {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {
        $(const _: fn(&$name) = |$name { $($field: _),+ }| ();)+
    };
}

macro_rules! plain_variants {
    ($($name:ident { $($variant:ident $(($($inner:tt),+))? $({ $($field:ident),+ })?),+ $(,)? })+) => {
        $(const _: fn(&$name) = |variant| match variant {
            $($name::$variant $(($($inner),+))? $({ $($field: _),+ })? => (),)+
        };)+
    };
}

// Of the whole domain.
plain! {
    MaxMemory { size, slots }
    HugePage { size, nodes }
    NumaTune { memory, cells }
    NodePolicy { policy, nodes }
    Vcpus { max, current }
    IoThread { id, pool_min, pool_max, poll }
    DefaultIoThread { pool_min, pool_max }
    CpuDef {
        mode, matching, check, migratable, model, no_fallback, vendor_id, vendor, topology, cache,
        max_phys_addr, features, cells, interconnects,
    }
    CpuTopology { sockets, dies, clusters, cores, threads }
    CpuCache { level, mode }
    MaxPhysAddr { passthrough, bits, limit }
    CpuFeature { name, policy }
    NumaCell { path, cpus, memory, access, distances, caches }
    NumaCache { level, associativity, policy, size, line }
    Interconnect { initiator, target, cache, kind, latency, bandwidth }
    Feature { path, name, state, values, parts }
    ClockDef { offset, timers }
    TimerDef { path, name, present, tick_policy, track, frequency, mode }
    PmDef { to_mem, to_disk }
    SmbiosTable { kind, values }
    Override { path, alias, properties }
    UsbRule { class, vendor, product, version, allow }
}

const _: fn(&Features) = |Features(_)| ();

// What devices share.
plain! {
    DeviceInfo { path, alias, address, boot_order, loadparm, acpi_index }
    PciAddress { domain, bus, slot, function, multifunction }
    DriveAddress { controller, bus, target, unit }
    VirtioOptions { iommu, ats, packed, page_per_vq }
}

// Of disks.
plain! {
    DiskDriver {
        cache, error_policy, rerror_policy, io, ioeventfd, event_idx, copy_on_read, discard, discard_no_unref,
        detect_zeroes, iothread, iothreads, queues, queue_size, virtio,
    }
    Slice { offset, size }
    Blockio { logical, physical, discard_granularity }
    Geometry { cylinders, heads, sectors, translation }
    Iotune { limits, group }
}

// Of NICs and networks.
plain! {
    NicDriver { given, name, txmode, queues, rx_queue_size, tx_queue_size, switches, host, guest }
    NicAddress { address, prefix, peer }
    NicRoute { to, prefix, gateway, metric }
    Bandwidth { inbound, outbound }
    Rate { average, peak, burst, floor }
    Vlan { trunk, tags, native }
    NativeVlan { tag, tagged }
    VirtualPort { kind, manager_id, type_id, type_id_version, instance_id, profile_id, interface_id }
    Dns { enable, forward_plain_names, forwarders, txts, srvs, hosts }
    DnsForwarder { addr, port, domain }
    TxtRecord { name, value }
    SrvRecord { service, protocol, domain, target, port, priority, weight }
    DnsHost { ip, names }
    DhcpRange { start, end, lease }
    DhcpHost { mac, id, name, ip, lease }
}

// Of other devices.
plain! {
    ControllerDef {
        info, kind, index, model, driver, ports, vectors, master_startport, pcihole64, model_name, target,
    }
    ControllerDriver {
        queues, cmd_per_lun, max_sectors, ioeventfd, iothread, event_idx, iommu, ats, packed, page_per_vq,
    }
    ControllerTarget { chassis_nr, chassis, port, bus_nr, node, hotplug }
    CharEndpoint { host, service }
    Reconnect { enabled, timeout }
    DisplayPassword { password, valid_to, connected }
    AudioSide { mixing_engine, fixed_settings, frequency, channels, format, voices, buffer_length, own }
    SoundDef { info, model, codecs, audio, multichannel, streams, driver }
    WatchdogDef { info, model, action }
    MemballoonDef { info, model, autodeflate, free_page_reporting, stats_period, driver }
    VsockDef { info, model, cid, driver }
    PanicDef { info, model }
    HubDef { info }
    IommuDef {
        info, model, intremap, caching_mode, eim, iotlb, aw_bits, dma_translation, xtsup, passthrough,
    }
    NvramDef { info }
}

plain_variants! {
    DomainKind { Qemu, Kvm }
    LifecycleAction { Destroy, Restart, Preserve }
    Firmware { Bios, Efi }
    FirmwareFeature { EnrolledKeys, SecureBoot }
    LoaderKind { Rom, Pflash }
    FlashFormat { Raw, Qcow2 }
    BootDev { Hd, Cdrom, Network, Fd }
    MemoryAccess { Shared, Private }
    CpuMode { Custom, HostModel, HostPassthrough, Maximum }
    CpuMatch { Minimum, Exact, Strict }
    CpuCheck { None, Partial, Full }
    CacheMode { Emulate, Passthrough, Disable }
    FeaturePolicy { Force, Require, Optional, Disable, Forbid }
    State { On, Off, Auto }
    // The name of a zone is looked up in no file yet, and is refused.
    ClockOffset { Utc, Localtime, Timezone(_), Variable { adjustment, localtime }, Absolute(_) }
    TimerName { Platform, Hpet, Kvmclock, Hypervclock, Pit, Rtc, Tsc, Armvtimer }
    TickPolicy { Delay, Catchup, Merge, Discard }
    TimerTrack { Boot, Guest, Wall, Realtime }
    GenidDef { Chosen, Given(_) }
    Deprecation { None, Omit, Reject, Crash }
    PropertyValue { String(_), Signed(_), Unsigned(_), Bool(_) }
    Address {
        Pci(_), Drive(_), Port { controller, bus, port }, Usb { bus, port }, Isa { iobase, irq },
        Dimm { slot, base }, Other(_),
    }
    // The images below are walked by `Image::chain`.
    Backing { AsImageSays, Nothing, Image(_) }
    NicTeaming { Persistent, Transient { partner } }
    NicBackendDriver { Qemu, Vhost }
    TxMode { Iothread, Timer }
    DirectMode { Vepa, Private, Bridge, Passthrough }
    VirtualPortKind { Qbg, Qbh, OpenVSwitch, Midonet }
    LeaseTime { Infinite, Of(_, _) }
    LeaseUnit { Seconds, Minutes, Hours }
    ControllerKind { Ide, Fdc, Scsi, Sata, VirtioSerial, Ccid, Usb, Pci, Isa }
    SerialTarget { Isa, Usb, Pci, IsaDebug, SpaprVio, System, Sclp }
    ChannelTarget { Guestfwd { address, port }, Virtio(_), Xen }
    ConsoleTarget { Virtio, Sclp, SclpLm, Other }
    CharProtocol { Raw, Telnet, Telnets, Tls }
    // Ports of the host are open to everybody.
    Websocket { Auto, Port(_) }
    SpicePort { None, Auto, Port(_) }
    IommuModel { Intel, Amd, Virtio }
}
