//! `<disk>`. Owns libvirt's words and defaults for disks; must never open what they name.

use super::disk_source::{self, Image, ImageKind};
use super::words::{ON_OFF, YES_NO, words};
use super::{Blockio, DeviceInfo, DiskDriver, Geometry, Iotune, VirtioModel, disk_driver, disk_tuning};
use crate::model::doc::required;
use crate::xml::view::View;

/// `<disk>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskDef {
    /// What every device may say.
    pub info: DeviceInfo,
    /// `@device`.
    pub device: DiskDevice,
    /// `@model`, of a disk on virtio; absent means virtio.
    pub model: Option<VirtioModel>,
    /// `@rawio`: whether the guest's raw SCSI commands need CAP_SYS_RAWIO on the host.
    pub rawio: Option<bool>,
    /// `@sgio`: whether the kernel filters the guest's SCSI commands.
    pub sgio: Option<Sgio>,
    /// `@snapshot`: what a snapshot does with it.
    pub snapshot: Option<SnapshotMode>,
    /// The medium with what is below it; absent for an empty drive.
    pub source: Option<Image>,
    /// `<driver>`, but for what it says of the image itself.
    pub driver: DiskDriver,
    /// `<target dev>`, as `hda` or `vdb`.
    pub target: String,
    /// `<target bus>`, else told from the target's prefix.
    pub bus: DiskBus,
    /// `<target tray>`, default closed.
    pub tray_open: bool,
    /// `<target removable>`.
    pub removable: Option<bool>,
    /// `<target rotation_rate>`: 1 is a disk that does not turn, else turns in a minute.
    pub rotation_rate: Option<u16>,
    /// `<target dpofua>`: whether the guest sees the bits DPO and FUA of SCSI.
    pub dpofua: Option<bool>,
    /// `<readonly/>`, and always for a CD-ROM.
    pub readonly: bool,
    /// `<shareable/>`: other guests may write to it at the same time.
    pub shareable: bool,
    /// `<transient/>`: what is written is gone when the guest is.
    pub transient: bool,
    /// `<serial>`.
    pub serial: Option<String>,
    /// `<wwn>`: 16 hexadecimal digits.
    pub wwn: Option<u64>,
    /// `<vendor>`, 8 characters at most.
    pub vendor: Option<String>,
    /// `<product>`, 16 characters at most.
    pub product: Option<String>,
    /// `<blockio>`.
    pub blockio: Blockio,
    /// `<geometry>`.
    pub geometry: Option<Geometry>,
    /// `<iotune>`.
    pub iotune: Option<Iotune>,
    /// `<throttlefilters>`: names of throttle groups of the domain, the first nearest to the guest.
    pub throttle_filters: Vec<String>,
}

words! {
    /// `<disk device>`.
    DiskDevice { Disk = "disk", Cdrom = "cdrom", Floppy = "floppy", Lun = "lun" }
}

impl DiskDevice {
    /// Whether the medium can be taken out.
    pub fn is_removable(self) -> bool {
        matches!(self, Self::Cdrom | Self::Floppy)
    }
}

words! {
    /// `<disk sgio>`.
    Sgio { Filtered = "filtered", Unfiltered = "unfiltered" }
}

words! {
    /// `<disk snapshot>`.
    SnapshotMode { No = "no", Internal = "internal", External = "external", Manual = "manual" }
}

words! {
    /// `<target bus>` of a disk.
    DiskBus {
        Ide = "ide", Fdc = "fdc", Scsi = "scsi", Virtio = "virtio", Xen = "xen", Usb = "usb", Uml = "uml",
        Sata = "sata", Sd = "sd", Nvme = "nvme",
    }
}

/// The disk, or `None` with a remark that says why not.
pub(super) fn read(view: &View<'_>) -> Option<DiskDef> {
    let kind = view.one_of("type", ImageKind::WORDS);
    if kind.is_none() && view.filled("type").is_some() {
        view.accept();
        return None;
    }
    let device = view.one_of("device", DiskDevice::WORDS);
    if device.is_none() && view.filled("device").is_some() {
        view.accept();
        return None;
    }
    let device = device.unwrap_or(DiskDevice::Disk);
    let source = disk_source::of_disk(view, kind.unwrap_or(ImageKind::File), device);
    if view.child("target").is_none() {
        view.error("the disk has no <target>", "add <target dev='vda'/>");
    }
    let driver = disk_driver::read(view);
    if let Some(mirror) = view.child("mirror") {
        mirror.accept();
        mirror.warning("<mirror> tells of a copy under way in a running guest; a definition has none", "");
    }
    let target_view = view.child("target")?;
    let (target, bus) = target(&target_view, device).unzip();
    Some(DiskDef {
        info: DeviceInfo::read(view),
        device,
        model: view.one_of("model", VirtioModel::WORDS),
        rawio: view.one_of("rawio", YES_NO),
        sgio: view.one_of("sgio", Sgio::WORDS),
        snapshot: view.one_of("snapshot", SnapshotMode::WORDS),
        driver,
        tray_open: target_view.one_of("tray", &[("open", true), ("closed", false)]).unwrap_or(false),
        removable: target_view.one_of("removable", ON_OFF),
        rotation_rate: target_view.parsed("rotation_rate"),
        dpofua: target_view.one_of("dpofua", ON_OFF),
        readonly: view.child("readonly").is_some() || device == DiskDevice::Cdrom,
        shareable: view.child("shareable").is_some(),
        transient: view.child("transient").is_some(),
        serial: view.child("serial").map(|s| s.untrimmed().into_owned()).filter(|s| !s.is_empty()),
        wwn: view.child("wwn").and_then(|w| wwn(&w)),
        vendor: view.child("vendor").and_then(|v| printable(&v, 8)),
        product: view.child("product").and_then(|p| printable(&p, 16)),
        blockio: view.child("blockio").map(|b| disk_tuning::blockio(&b)).unwrap_or_default(),
        geometry: view.child("geometry").and_then(|g| disk_tuning::geometry(&g)),
        iotune: view.child("iotune").map(|i| disk_tuning::iotune(&i)),
        throttle_filters: view
            .child("throttlefilters")
            .map(|f| disk_tuning::throttle_filters(&f))
            .unwrap_or_default(),
        // Last, so that all that is wrong is told first.
        source: source?,
        target: target?,
        bus: bus?,
    })
}

fn target(view: &View<'_>, device: DiskDevice) -> Option<(String, DiskBus)> {
    let dev = required(view.filled("dev"), view, "dev", "give a name like vda");
    let bus = view.one_of("bus", DiskBus::WORDS);
    let dev = dev?;
    let prefixes: &[(&str, DiskBus)] = match device {
        DiskDevice::Floppy => &[("fd", DiskBus::Fdc)],
        _ => &[
            ("hd", DiskBus::Ide),
            ("sd", DiskBus::Scsi),
            ("vd", DiskBus::Virtio),
            ("xvd", DiskBus::Xen),
            ("ubd", DiskBus::Uml),
        ],
    };
    let found = prefixes.iter().find(|(prefix, _)| dev.starts_with(prefix));
    let letters = found.map_or("", |(prefix, _)| &dev[prefix.len()..]);
    let letters = letters.trim_end_matches(|c: char| c.is_ascii_digit());
    let named = !letters.is_empty() && letters.len() <= 6 && letters.chars().all(|c| c.is_ascii_lowercase());
    let Some((_, default)) = found.filter(|_| named) else {
        let (what, like) = match device {
            DiskDevice::Floppy => ("a floppy drive", "fda"),
            _ => ("a disk", "hda, sda or vda"),
        };
        view.error_at("dev", format!("'{dev}' does not name {what}"), format!("give a name like {like}"));
        return None;
    };
    Some((dev.to_owned(), bus.unwrap_or(*default)))
}

/// 16 hexadecimal digits.
pub(super) fn wwn(view: &View<'_>) -> Option<u64> {
    let text = view.text();
    let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !digits {
        view.error(format!("'{text}' is not a WWN"), "give 16 hexadecimal digits");
        return None;
    }
    u64::from_str_radix(&text, 16).ok()
}

fn printable(view: &View<'_>, most: usize) -> Option<String> {
    let text = view.untrimmed();
    if text.is_empty() {
        return None;
    }
    if text.len() > most || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        let message = format!("<{}> '{}' does not fit", view.name(), text.escape_debug());
        view.error(message, format!("give at most {most} printable ASCII characters"));
        return None;
    }
    Some(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Address, Backing, DiskFormat, DocError, DomainDoc, Location, Protocol};

    fn read(disk: &str) -> Result<DomainDoc, DocError> {
        let outer = "<domain type='qemu'><name>n</name><memory>65536</memory><os><type>hvm</type></os>";
        DomainDoc::parse(&format!("{outer}\n<devices>\n{disk}\n</devices>\n</domain>"))
    }

    /// The one disk of a document that has nothing to remark.
    fn disk(text: &str) -> DiskDef {
        let doc = read(text).unwrap();
        assert_eq!(doc.findings(), []);
        doc.def().disks().next().unwrap().clone()
    }

    #[test]
    fn what_a_disk_says_is_read() {
        let disk = disk(
            "<disk type='file' device='disk' snapshot='external'>\
             <driver name='qemu' type='qcow2' cache='none' io='native' discard='unmap' detect_zeroes='unmap' \
              error_policy='stop' queues='4' iommu='on'><metadata_cache><max_size unit='MiB'>2</max_size>\
             </metadata_cache></driver>\
             <source file='/a.qcow2' startupPolicy='optional' index='3'><seclabel relabel='no'/></source>\
             <backingStore type='block'><format type='raw'/><source dev='/dev/b'/><backingStore/></backingStore>\
             <target dev='vdb1' removable='off' rotation_rate='1'/><serial> a b</serial>\
             <wwn>5000c50015ea71ac</wwn><vendor>QEMU</vendor><product>disk</product>\
             <blockio logical_block_size='512'/><geometry cyls='16383' heads='16' secs='63' trans='lba'/>\
             <iotune><read_iops_sec>400000</read_iops_sec><group_name>g</group_name></iotune>\
             <address type='pci' slot='4'/></disk>",
        );
        let image = disk.source.clone().unwrap();
        assert_eq!((image.format, image.metadata_cache), (DiskFormat::Qcow2, Some(2 << 20)));
        let below: Vec<_> = image.chain().map(|i| i.location.shown()).collect();
        assert_eq!(below, ["/a.qcow2", "/dev/b"]);
        assert_eq!(image.chain().last().unwrap().backing, Backing::Nothing);
        assert_eq!((disk.bus, disk.target.as_str()), (DiskBus::Virtio, "vdb1"));
        assert_eq!((disk.serial.as_deref(), disk.wwn), (Some(" a b"), Some(0x5000_c500_15ea_71ac)));
        assert_eq!(disk.iotune.unwrap().limit("read_iops_sec"), 400_000);
        assert!(matches!(disk.info.address, Some(Address::Pci(pci)) if pci.slot == 4));
        assert_eq!(disk.driver.queues, Some(4));
    }

    #[test]
    fn servers_are_read() {
        let disk = disk(
            "<disk type='network' device='cdrom'><source protocol='https' name='a b.iso' query='x=1'>\
             <host name='example.org' port='8443'/><ssl verify='no'/><timeout seconds='5'/>\
             <cookies><cookie name='n'>\"v\"</cookie></cookies></source><target dev='sda' bus='sata'/></disk>",
        );
        let Location::Network(source) = &disk.source.unwrap().location else { panic!("it is a server") };
        assert_eq!((source.protocol, source.hosts[0].port), (Protocol::Https, Some(8443)));
        assert_eq!(source.cookie_text().as_deref(), Some("n=\"v\""));
    }

    #[test]
    fn drives_without_a_medium_are_not_disks() {
        for device in ["cdrom", "lun", "floppy"] {
            let target = if device == "floppy" { "fda" } else { "sda" };
            let disk = disk(&format!("<disk type='block' device='{device}'><target dev='{target}'/></disk>"));
            assert_eq!(disk.source, None);
        }
        assert!(read("<disk><target dev='vda'/></disk>").is_err());
    }

    #[test]
    fn words_that_libvirt_does_not_know_are_errors() {
        let text = "<disk type='file'>\n<driver type='qcow3' cache='maybe' rerror_policy='enospace'/>\n\
            <source file='/a'/>\n<target dev='vda' bus='bus'/>\n<wwn>12</wwn>\n<vendor>far too long</vendor>\n\
            <iotune><total_bytes_sec>-1</total_bytes_sec></iotune>\n</disk>\n\
            <disk type='network'>\n<source protocol='nbd'><host transport='unix'/>\n<host/></source>\n\
            <target dev='fda'/></disk>";
        let Err(DocError::Config(errors)) = read(text) else { panic!("it is wrong") };
        let places: Vec<_> = errors.iter().map(|e| e.path.trim_start_matches("/domain/devices/")).collect();
        assert_eq!(
            places,
            [
                "disk[1]/driver/@type",
                "disk[1]/driver/@rerror_policy",
                "disk[1]/driver/@cache",
                "disk[1]/target/@bus",
                "disk[1]/wwn",
                "disk[1]/vendor",
                "disk[1]/iotune/total_bytes_sec",
                "disk[2]/source/host[1]/@socket",
                "disk[2]/source/host[2]/@name",
                "disk[2]/target/@dev",
            ]
        );
    }
}
