//! What QEMU opens by path while it runs, beside its own data: everything else comes as a descriptor.
//!
//! Owns the list of what a document lets QEMU open by itself, and who runs without such a limit. Must never allow a
//! path only because an image, a guest or QEMU names it.

use std::path::{Path, PathBuf};

use crate::model::{
    Device, DiskDef, DomainDef, DomainKind, Finding, Image, Location, NetworkSource, PropertyValue, Protocol,
    RngBackend, Severity,
};

/// A place that QEMU opens by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// A file or a device, for reading.
    Read(PathBuf),
    /// A device, or a file that is there, for reading and writing.
    Use(PathBuf),
    /// The user's keys and known hosts for SSH.
    Ssh,
}

/// What QEMU opens by path for this document; `None`: whatever it likes, since the document brings arguments or an
/// emulator of its own ([`unlimited`]).
pub fn reach(def: &DomainDef, emulator: &Path, standard: &[&Path]) -> Option<Vec<Reach>> {
    if !unlimited(def, standard).is_empty() || !standard.contains(&emulator) {
        return None;
    }
    let mut reach = Vec::new();
    if def.kind == DomainKind::Kvm {
        reach.push(use_of("/dev/kvm"));
    }
    for device in &def.devices {
        of_device(&mut reach, device);
    }
    let values = def.direct.overrides.iter().flat_map(|o| &o.properties);
    reach.extend(values.filter_map(|(_, value)| match value {
        Some(PropertyValue::String(path)) if path.starts_with('/') => Some(use_of(path)),
        _ => None,
    }));
    reach.sort();
    reach.dedup();
    Some(reach)
}

fn use_of(path: &str) -> Reach {
    Reach::Use(path.into())
}

/// What a device lets QEMU open. Those that would name more of the host do not start yet (see `plan::check`): when
/// they do, their files come as descriptors, or are named here.
fn of_device(reach: &mut Vec<Reach>, device: &Device) {
    match device {
        Device::Disk(disk) => {
            for source in servers(disk) {
                of_server(reach, source);
            }
        }
        Device::Rng(rng) => {
            if let RngBackend::Random(path) = &rng.backend {
                reach.push(Reach::Read(path.clone()));
            }
        }
        // It makes buffers of the guest's memory.
        Device::Video(video) if video.blob == Some(true) => reach.push(use_of("/dev/udmabuf")),
        // Descriptors, sockets that Warren binds, addresses, or nothing of the host.
        Device::Video(_)
        | Device::Interface(_)
        | Device::Filesystem(_)
        | Device::Serial(_)
        | Device::Parallel(_)
        | Device::Channel(_)
        | Device::Console(_)
        | Device::Redirdev(_)
        | Device::Graphics(_)
        | Device::Sound(_)
        | Device::Audio(_)
        | Device::Controller(_)
        | Device::Hub(_)
        | Device::Watchdog(_)
        | Device::Memballoon(_)
        | Device::Panic(_)
        | Device::Crypto(_)
        | Device::MemoryDevice(_)
        | Device::Iommu(_)
        | Device::Vsock(_)
        | Device::Nvram(_) => (),
        // Not started yet, or not as devices of the host.
        Device::Input(_)
        | Device::Hostdev(_)
        | Device::Shmem(_)
        | Device::Smartcard(_)
        | Device::Tpm(_)
        | Device::Pstore(_)
        | Device::Lease(_) => (),
    }
}

fn servers(disk: &DiskDef) -> impl Iterator<Item = &NetworkSource> {
    disk.source.iter().flat_map(Image::chain).filter_map(|image| match &image.location {
        Location::Network(source) => Some(&**source),
        _ => None,
    })
}

/// Whether QEMU reads a disk over SSH.
pub fn uses_ssh(def: &DomainDef) -> bool {
    def.disks().flat_map(servers).any(|source| source.protocol == Protocol::Ssh)
}

/// Libraries that speak to servers have files of their own.
fn of_server(reach: &mut Vec<Reach>, source: &NetworkSource) {
    match source.protocol {
        Protocol::Rbd => reach.push(Reach::Read("/etc/ceph".into())),
        Protocol::Ssh => reach.push(Reach::Ssh),
        Protocol::Nbd
        | Protocol::Http
        | Protocol::Https
        | Protocol::Ftp
        | Protocol::Ftps
        | Protocol::Tftp
        | Protocol::Iscsi
        | Protocol::Gluster
        | Protocol::Nfs
        | Protocol::Sheepdog
        | Protocol::Vxhs => (),
    }
}

/// Why QEMU may open whatever its user may, as warnings; empty where it may not.
pub fn unlimited(def: &DomainDef, standard: &[&Path]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut warn = |path: &str, what: &str, remedy: &str| {
        let message = format!(
            "{what}, so it is not kept to the files of this document: it can open every file that the uid it runs \
             under can"
        );
        let (path, remedy) = (path.to_owned(), remedy.to_owned());
        found.push(Finding { severity: Severity::Warning, path, line: 0, column: 0, message, remedy });
    };
    if !def.direct.args.is_empty() || !def.direct.env.is_empty() {
        warn("/domain/qemu:commandline", "QEMU gets arguments of the document's own", "leave them out");
    }
    if def.emulator.as_ref().is_some_and(|path| !standard.contains(&path.as_path())) {
        let remedy = "leave <emulator> out, and Warren chooses an installed one";
        warn("/domain/devices/emulator", "this QEMU is not one that the system has installed", remedy);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DomainDoc;

    const QEMU: &str = "/usr/bin/qemu-system-x86_64";

    fn def(kind: &str, outside: &str, devices: &str) -> DomainDef {
        let xml = format!(
            "<domain type='{kind}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>a</name>
             <memory>65536</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>
             <devices>{devices}</devices>{outside}</domain>"
        );
        DomainDoc::parse(&xml).expect("a valid document").into_def()
    }

    fn of(def: &DomainDef) -> Option<Vec<Reach>> {
        reach(def, Path::new(QEMU), &[Path::new(QEMU)])
    }

    #[test]
    fn a_document_lets_qemu_open_what_it_is_made_of_and_no_file_that_it_names() {
        let everything = "<disk type='file'><source file='/home/me/disk'/><target dev='vda'/></disk>
            <disk type='network'><source protocol='rbd' name='pool/image'><host name='ceph'/></source>
              <target dev='vdb'/></disk>
            <disk type='network'><source protocol='ssh' name='/disk'><host name='far'/></source>
              <target dev='vdc'/></disk>
            <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
            <filesystem><source dir='/srv'/><target dir='srv'/></filesystem>
            <video><model type='virtio' blob='on'/></video>";
        let read = |path: &str| Reach::Read(path.into());
        let all = vec![read("/dev/urandom"), read("/etc/ceph"), use_of("/dev/udmabuf"), Reach::Ssh];
        assert_eq!(of(&def("qemu", "", everything)), Some(all));
        assert!(uses_ssh(&def("qemu", "", everything)));
        assert_eq!(of(&def("kvm", "", "")), Some(vec![use_of("/dev/kvm")]));
        let overridden = "<qemu:override><qemu:device alias='net0'><qemu:frontend>
            <qemu:property name='romfile' type='string' value='/srv/rom'/></qemu:frontend></qemu:device>
            </qemu:override>";
        assert_eq!(of(&def("qemu", overridden, "")), Some(vec![use_of("/srv/rom")]));
    }

    #[test]
    fn arguments_and_an_emulator_of_ones_own_are_not_limited_and_that_is_said() {
        let standard = [Path::new(QEMU)];
        for outside in ["<qemu:arg value='-s'/>", "<qemu:env name='A' value='b'/>"] {
            let def = def("qemu", &format!("<qemu:commandline>{outside}</qemu:commandline>"), "");
            assert_eq!(of(&def), None);
            assert_eq!(unlimited(&def, &standard)[0].path, "/domain/qemu:commandline");
        }
        let own = def("qemu", "", "<emulator>/opt/qemu</emulator>");
        assert_eq!(reach(&own, Path::new("/opt/qemu"), &standard), None);
        assert_eq!(unlimited(&own, &standard)[0].path, "/domain/devices/emulator");
        let standard_one = def("qemu", "", &format!("<emulator>{QEMU}</emulator>"));
        assert_eq!(unlimited(&standard_one, &standard), []);
        assert_eq!(of(&standard_one), Some(Vec::new()));
    }
}
