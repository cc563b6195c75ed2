//! Disks that are wrong in themselves: the rules are libvirt's, and as strict as there.

use std::collections::HashMap;

use super::{Check, at};
use crate::model::{
    Address, DiskBus, DiskDef, DiskDevice, DiskFormat, DomainDef, DriveAddress, Image, Io, Iotune, Location,
    Protocol, Severity, StartupPolicy,
};
use crate::plan::qemu::drive_address;

/// All rules for disks.
pub(super) fn check(check: &mut Check<'_, DomainDef>, def: &DomainDef) {
    check.unique(
        "the target of a disk",
        def.disks().map(|d| (at(&d.info.path, "target/@dev"), d.target.clone())),
    );
    places(check, def);
    same_wwn(check, def);
    for disk in def.disks() {
        bus(check, disk);
        threads(check, def, disk);
        address(check, disk);
        medium(check, disk);
        lun(check, disk);
        driver(check, disk);
        serial(check, disk);
        if let Some(tune) = &disk.iotune {
            limits(check, disk, tune);
        }
        throttle(check, def, disk);
    }
}

/// Two drives cannot sit at one place.
fn places(check: &mut Check<'_, DomainDef>, def: &DomainDef) {
    let mut seen: HashMap<(&str, DriveAddress), &DiskDef> = HashMap::new();
    for disk in def.disks() {
        let Some(place) = drive_address(disk) else { continue };
        if let Some(first) = seen.insert((disk.bus.as_str(), place), disk)
            && first.target != disk.target
        {
            let message = format!("'{}' sits where '{}' does", disk.target, first.target);
            check.error(&at(&disk.info.path, "address"), message, "give each disk a place of its own");
        }
    }
}

/// Legal, as two ways to one disk, but more often a copy that was forgotten.
fn same_wwn(check: &mut Check<'_, DomainDef>, def: &DomainDef) {
    let mut seen: HashMap<u64, &DiskDef> = HashMap::new();
    for disk in def.disks() {
        let Some(wwn) = disk.wwn else { continue };
        if let Some(first) = seen.insert(wwn, disk) {
            let message = format!("'{}' has the WWN of '{}'", disk.target, first.target);
            check.add(Severity::Warning, &at(&disk.info.path, "wwn"), message, "");
        }
    }
}

/// What only disks of some bus may say.
fn bus(check: &mut Check<'_, DomainDef>, disk: &DiskDef) {
    use DiskBus::{Ide, Sata, Scsi, Usb, Virtio};
    let target = at(&disk.info.path, "target");
    let turning = disk.rotation_rate.filter(|rate| *rate > 0);
    let rules: [(bool, String, &str, &[DiskBus]); 9] = [
        (disk.model.is_some(), at(&disk.info.path, "@model"), "a model", &[Virtio]),
        (disk.driver.queues.is_some(), at(&disk.info.path, "driver/@queues"), "queues", &[Virtio]),
        (disk.driver.ioeventfd.is_some(), at(&disk.info.path, "driver/@ioeventfd"), "ioeventfd", &[Virtio]),
        (disk.driver.event_idx.is_some(), at(&disk.info.path, "driver/@event_idx"), "event_idx", &[Virtio]),
        (turning.is_some(), at(&target, "@rotation_rate"), "a rotation rate", &[Scsi, Ide, Sata]),
        (disk.removable.is_some(), at(&target, "@removable"), "'removable'", &[Usb, Scsi]),
        (disk.dpofua.is_some(), at(&target, "@dpofua"), "'dpofua'", &[Scsi]),
        (disk.wwn.is_some(), at(&disk.info.path, "wwn"), "a WWN", &[Ide, Sata, Scsi]),
        (
            disk.vendor.is_some() || disk.product.is_some(),
            at(&disk.info.path, if disk.vendor.is_some() { "vendor" } else { "product" }),
            "a vendor and a product",
            &[Scsi],
        ),
    ];
    for (given, path, what, buses) in rules {
        if given && !buses.contains(&disk.bus) {
            let words: Vec<_> = buses.iter().map(|b| b.as_str()).collect();
            let message = format!(
                "{what} cannot be had on the bus '{}', but on {}",
                disk.bus.as_str(),
                words.join(", ")
            );
            check.error(&path, message, "leave it out, or choose another bus");
        }
    }
    let virtio = &disk.driver.virtio;
    let any = virtio.iommu.or(virtio.ats).or(virtio.packed).or(virtio.page_per_vq);
    if any.is_some() && disk.bus != Virtio {
        let message = "iommu, ats, packed and page_per_vq are for disks on virtio";
        check.error(&at(&disk.info.path, "driver"), message, "leave them out");
    }
    if disk.device.is_removable() && disk.bus == Virtio {
        let message =
            format!("a {} cannot be on virtio: its medium could not be taken out", disk.device.as_str());
        check.error(&at(&target, "@bus"), message, "write bus='sata' or bus='scsi'");
    }
    let threads = disk.driver.iothread.is_some() || !disk.driver.iothreads.is_empty();
    if threads && disk.bus != Virtio {
        let message = format!("a disk on the bus '{}' has no thread of its own", disk.bus.as_str());
        check.error(&at(&disk.info.path, "driver/@iothread"), message, "write bus='virtio'");
    }
    if disk.driver.iothread.is_some() && !disk.driver.iothreads.is_empty() {
        let message = "'iothread' and <iothreads> exclude each other";
        check.error(&at(&disk.info.path, "driver/iothreads"), message, "leave one out");
    }
    if disk.readonly && disk.device == DiskDevice::Disk && matches!(disk.bus, Ide | Sata) {
        let message = format!("a disk on the bus '{}' cannot be read only", disk.bus.as_str());
        check.error(&at(&disk.info.path, "readonly"), message, "choose another bus, or device='cdrom'");
    }
    if disk.geometry.is_some() && !matches!(disk.bus, Ide | Sata | Scsi | Virtio) {
        let message = format!("a disk on the bus '{}' has no geometry", disk.bus.as_str());
        check.error(&at(&disk.info.path, "geometry"), message, "leave it out");
    }
}

fn threads(check: &mut Check<'_, DomainDef>, def: &DomainDef, disk: &DiskDef) {
    let mapped = disk.driver.iothreads.iter().map(|(id, _)| *id);
    for id in disk.driver.iothread.into_iter().chain(mapped) {
        if !def.iothreads.iter().any(|thread| thread.id == id) {
            let message = format!("there is no I/O thread {id}");
            check.error(&at(&disk.info.path, "driver/@iothread"), message, "give it by <iothreads>");
        }
    }
}

/// The type of address that a bus has.
fn address(check: &mut Check<'_, DomainDef>, disk: &DiskDef) {
    let path = at(&disk.info.path, "address");
    let right = match (disk.bus, &disk.info.address) {
        (_, None) => return,
        (DiskBus::Ide | DiskBus::Fdc | DiskBus::Scsi | DiskBus::Sata | DiskBus::Nvme, Some(given)) => {
            matches!(given, Address::Drive(_))
        }
        (DiskBus::Usb, Some(given)) => matches!(given, Address::Usb { .. }),
        (DiskBus::Virtio, Some(given)) => match given {
            Address::Pci(_) => true,
            Address::Other(kind) => matches!(kind.as_str(), "ccw" | "virtio-mmio" | "virtio-s390" | "pci"),
            _ => false,
        },
        _ => false,
    };
    if !right {
        let message = format!("the bus '{}' has no addresses of this type", disk.bus.as_str());
        check.error(&at(&path, "@type"), message, "leave the address out and Warren chooses one");
        return;
    }
    let Some(Address::Drive(DriveAddress { controller, bus, target, .. })) = disk.info.address else {
        return;
    };
    let single = matches!(disk.bus, DiskBus::Ide | DiskBus::Fdc);
    for (wrong, attr, message) in [
        (single && controller > 0, "@controller", "there is one controller of this kind"),
        (disk.bus == DiskBus::Fdc && bus > 0, "@bus", "a floppy controller has one bus"),
        (disk.bus == DiskBus::Sata && bus > 0, "@bus", "a SATA controller has one bus"),
        (disk.bus != DiskBus::Scsi && target > 0, "@target", "only SCSI has targets"),
    ] {
        if wrong {
            check.error(&at(&path, attr), message, "write 0");
        }
    }
}

fn medium(check: &mut Check<'_, DomainDef>, disk: &DiskDef) {
    let Some(image) = &disk.source else { return };
    let policy = at(&image.path, "@startupPolicy");
    if image.startup != StartupPolicy::Mandatory && matches!(image.location, Location::Network(_)) {
        check.error(&policy, "a disk on the network is always mandatory", "leave startupPolicy out");
    }
    if image.startup == StartupPolicy::Requisite && !disk.device.is_removable() {
        check.error(&policy, "only a cdrom or a floppy can be requisite", "write mandatory or optional");
    }
    if image.reservations.is_some() && disk.device != DiskDevice::Lun {
        let message = "reservations are for device='lun'";
        check.error(&at(&image.path, "reservations"), message, "leave them out");
    }
    let shared_format = matches!(image.format, DiskFormat::Raw | DiskFormat::None | DiskFormat::Luks);
    if disk.shareable && !disk.readonly && !shared_format {
        let message =
            format!("an image of format {} cannot be written by several guests", image.format.as_str());
        check.unsupported(&at(&disk.info.path, "shareable"), message, "convert it to raw");
    }
    if disk.transient && disk.shareable {
        let message = "what is thrown away cannot be shared";
        check.error(&at(&disk.info.path, "transient"), message, "leave <shareable/> or <transient/> out");
    }
    for image in image.chain() {
        network(check, image);
    }
}

fn network(check: &mut Check<'_, DomainDef>, image: &Image) {
    let Location::Network(source) = &image.location else { return };
    let curl = matches!(source.protocol, Protocol::Http | Protocol::Https | Protocol::Ftp | Protocol::Ftps);
    for (given, name) in [
        (source.ssl_verify.is_some(), "ssl"),
        (!source.cookies.is_empty(), "cookies"),
        (source.readahead.is_some(), "readahead"),
        (source.timeout.is_some(), "timeout"),
    ] {
        if given && !curl {
            let message = format!("<{name}> is for http, https, ftp and ftps");
            check.error(&at(&image.path, name), message, "leave it out");
        }
    }
    if source.reconnect_delay.is_some() && source.protocol != Protocol::Nbd {
        check.error(&at(&image.path, "reconnect"), "<reconnect> is for nbd", "leave it out");
    }
    if source.hosts.len() > 1 && !matches!(source.protocol, Protocol::Rbd | Protocol::Gluster) {
        let message = format!("a disk on {} has one host", source.protocol.as_str());
        check.error(&at(&image.path, "host[2]"), message, "leave the others out");
    }
    let hostless = matches!(source.protocol, Protocol::Rbd | Protocol::Sheepdog);
    if source.hosts.is_empty() && !hostless {
        let message = format!("a disk on {} needs a host", source.protocol.as_str());
        check.error(&image.path, message, "add <host name='server'/>");
    }
}

fn lun(check: &mut Check<'_, DomainDef>, disk: &DiskDef) {
    let path = &disk.info.path;
    if disk.device != DiskDevice::Lun {
        for (given, attr) in [(disk.rawio.is_some(), "@rawio"), (disk.sgio.is_some(), "@sgio")] {
            if given {
                let name = &attr[1..];
                check.error(&at(path, attr), format!("'{name}' is for device='lun'"), "leave it out");
            }
        }
        return;
    }
    let fits = match disk.source.as_ref().map(|s| &s.location) {
        None | Some(Location::Block(_) | Location::Volume { .. }) => true,
        Some(Location::Network(source)) => source.protocol == Protocol::Iscsi,
        Some(_) => false,
    };
    if !fits {
        let message = format!("'{}' cannot be a SCSI unit of the host", disk.target);
        check.error(&at(path, "@device"), message, "write type='block', or device='disk'");
    }
    if disk.bus != DiskBus::Scsi {
        let message = format!("a SCSI unit cannot be on the bus '{}'", disk.bus.as_str());
        check.error(&at(path, "target/@bus"), message, "write bus='scsi'");
    }
    for (given, name) in
        [(disk.wwn.is_some(), "wwn"), (disk.vendor.is_some(), "vendor"), (disk.product.is_some(), "product")]
    {
        if given {
            let message = format!("a SCSI unit of the host has a <{name}> of its own");
            check.error(&at(path, name), message, "leave it out");
        }
    }
}

fn driver(check: &mut Check<'_, DomainDef>, disk: &DiskDef) {
    use crate::model::Cache;
    let path = at(&disk.info.path, "driver");
    let direct = matches!(disk.driver.cache, Some(Cache::None | Cache::Directsync));
    if disk.driver.io == Some(Io::Native) && !direct {
        let message = "io='native' takes that the host does not cache";
        check.error(&at(&path, "@io"), message, "write cache='none' or cache='directsync' too");
    }
    if disk.driver.copy_on_read == Some(true) {
        let wrong = match disk.device {
            _ if disk.device.is_removable() => Some("a medium that can be taken out"),
            _ if disk.readonly => Some("a disk that is read only"),
            _ => None,
        };
        if let Some(what) = wrong {
            let message = format!("{what} cannot be copied to while it is read");
            check.error(&at(&path, "@copy_on_read"), message, "leave copy_on_read out");
        }
    }
}

/// QEMU's option syntax has left libvirt careful with serial numbers.
fn serial(check: &mut Check<'_, DomainDef>, disk: &DiskDef) {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_ .+".contains(&b);
    if let Some(serial) = disk.serial.as_ref().filter(|s| !s.bytes().all(safe)) {
        let message =
            format!("the serial number '{}' has characters that cannot stand", serial.escape_debug());
        check.error(
            &at(&disk.info.path, "serial"),
            message,
            "give letters, digits, '-', '_', '.', '+', space",
        );
    }
}

/// libvirt's largest limit.
const MOST: u64 = 1_000_000_000_000_000;

fn limits(check: &mut Check<'_, DomainDef>, disk: &DiskDef, tune: &Iotune) {
    let path = at(&disk.info.path, "iotune");
    for (name, value) in &tune.limits {
        if *value > MOST {
            check.error(&at(&path, name), format!("{value} is more than {MOST}"), "0 is no limit");
        }
        let Some(burst) = name.strip_suffix("_length") else { continue };
        if *value > 0 && tune.limit(burst) == 0 {
            let message = format!("<{name}> is how long <{burst}> may last, and there is none");
            check.error(&at(&path, name), message, "add the one, or leave the other out");
        }
    }
    for (kind, end) in [("bytes_sec", ""), ("iops_sec", ""), ("bytes_sec", "_max"), ("iops_sec", "_max")] {
        let limit = |direction: &str| tune.limit(&format!("{direction}_{kind}{end}"));
        if limit("total") > 0 && (limit("read") > 0 || limit("write") > 0) {
            let message =
                format!("a limit for all and one for reading or writing ({kind}{end}) exclude each other");
            check.error(&at(&path, &format!("total_{kind}{end}")), message, "leave one out");
        }
    }
}

fn throttle(check: &mut Check<'_, DomainDef>, def: &DomainDef, disk: &DiskDef) {
    let path = at(&disk.info.path, "throttlefilters");
    if disk.iotune.is_some() && !disk.throttle_filters.is_empty() {
        check.error(&path, "<iotune> and <throttlefilters> exclude each other", "leave one out");
    }
    for group in &disk.throttle_filters {
        if !def.throttle_groups.iter().any(|(name, _)| name == group) {
            check.error(&path, format!("there is no throttle group '{group}'"), "add it to <throttlegroups>");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{DomainDoc, Finding, Severity};

    fn findings(devices: &str) -> Vec<Finding> {
        let outer = "<domain type='qemu'><name>n</name><memory>65536</memory><os><type>hvm</type></os>";
        let text = format!("{outer}<devices>\n{devices}\n</devices></domain>");
        crate::plan::check::domain(&DomainDoc::parse(&text).unwrap())
    }

    /// The places of what is wrong or cannot be run, without what all share.
    fn places(devices: &str, severity: Severity) -> Vec<String> {
        let short = |f: &Finding| f.path.trim_start_matches("/domain/devices/").to_owned();
        findings(devices).iter().filter(|f| f.severity == severity).map(short).collect()
    }

    #[test]
    fn what_belongs_to_a_bus_stands_on_no_other() {
        let disks = "<disk model='virtio'><driver queues='2' ioeventfd='on' iommu='on' iothread='1' io='native'/>\
            <source file='/a'/><target dev='sda' bus='sata'/><readonly/><vendor>v</vendor>\
            <address type='pci' slot='3'/></disk>\
            <disk device='cdrom'><driver copy_on_read='on'/><target dev='vda' rotation_rate='1'/></disk>\
            <disk device='lun' type='file'><source file='/b'/><target dev='vdb'/></disk>";
        assert_eq!(
            places(disks, Severity::Error),
            [
                "disk[1]/@model",
                "disk[1]/driver/@queues",
                "disk[1]/driver/@ioeventfd",
                "disk[1]/vendor",
                "disk[1]/driver",
                "disk[1]/driver/@iothread",
                "disk[1]/readonly",
                "disk[1]/driver/@iothread",
                "disk[1]/address/@type",
                "disk[1]/driver/@io",
                "disk[2]/target/@rotation_rate",
                "disk[2]/target/@bus",
                "disk[2]/driver/@copy_on_read",
                "disk[3]/@device",
                "disk[3]/target/@bus",
            ]
        );
    }

    #[test]
    fn two_drives_do_not_sit_at_one_place() {
        let disks = "<disk><source file='/a'/><target dev='sda' bus='scsi'/></disk>\
            <disk><source file='/b'/><target dev='sdb' bus='scsi'/>\
            <address type='drive' controller='0' bus='0' target='0' unit='0'/></disk>\
            <disk><source file='/c'/><target dev='hda' bus='ide'/></disk>";
        assert_eq!(places(disks, Severity::Error), ["disk[2]/address"]);
    }

    #[test]
    fn limits_that_exclude_each_other_are_told() {
        let disk = "<disk><source file='/a'/><target dev='vda'/><iotune>\
            <total_bytes_sec>1</total_bytes_sec><read_bytes_sec>1</read_bytes_sec>\
            <write_iops_sec_max_length>1</write_iops_sec_max_length></iotune>\
            <throttlefilters><throttlefilter group='g'/></throttlefilters></disk>";
        assert_eq!(
            places(disk, Severity::Error),
            [
                "disk/iotune/write_iops_sec_max_length",
                "disk/iotune/total_bytes_sec",
                "disk/throttlefilters",
                "disk/throttlefilters",
            ]
        );
    }

    #[test]
    fn what_cannot_be_run_is_told_by_name() {
        let devices = "<disk type='network'><source protocol='rbd' name='p/i'><config file='/c'/>\
            <auth username='u'><secret type='ceph' usage='x'/></auth></source><target dev='vda'/></disk>\
            <disk type='volume'><source pool='p' volume='v'/><target dev='vdb'/></disk>\
            <disk><source file='/a'/><target dev='vdc'/><transient/>\
            <encryption format='luks'><secret type='passphrase' usage='x'/></encryption></disk>\
            <filesystem><driver type='virtiofs'/><source dir='/d'/><target dir='t'/></filesystem>\
            <hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/><product id='0x2'/></source></hostdev>\
            <shmem name='s'><model type='ivshmem-plain'/></shmem>";
        assert_eq!(places(devices, Severity::Error), [""; 0]);
        assert_eq!(
            places(devices, Severity::Unsupported),
            [
                "disk[1]/source/auth",
                "disk[1]/source/config",
                "disk[2]/source",
                "disk[3]/transient",
                "disk[3]/encryption",
                "filesystem/driver/@type",
                "hostdev",
                "shmem",
            ]
        );
    }
}
