//! Disks that are right, and that this Warren cannot run: each is told by what it asks for.

use super::{Check, at};
use crate::model::{DiskBus, DiskDef, DiskFormat, DomainDef, Image, Location, NetworkSource, Protocol, Sgio};

/// All disks of the domain.
pub(super) fn check(check: &mut Check<'_, DomainDef>, def: &DomainDef) {
    for disk in def.disks() {
        drive(check, disk);
        for image in disk.source.iter().flat_map(Image::chain) {
            self::image(check, image);
        }
    }
}

fn drive(check: &mut Check<'_, DomainDef>, disk: &DiskDef) {
    let path = &disk.info.path;
    if disk.transient {
        let message = "Warren does not throw away what a guest writes to a disk yet";
        check.unsupported(&at(path, "transient"), message, "make an overlay with qemu-img, and name that");
    }
    if disk.rawio == Some(true) {
        let message = "Warren gives QEMU no capabilities, and raw commands take CAP_SYS_RAWIO";
        check.unsupported(&at(path, "@rawio"), message, "leave rawio out");
    }
    if disk.sgio == Some(Sgio::Unfiltered) {
        let message = "the kernel has no unfiltered SCSI commands for guests any more";
        check.unsupported(&at(path, "@sgio"), message, "leave sgio out");
    }
    if disk.bus == DiskBus::Nvme {
        let message = "Warren has no NVMe controllers yet";
        check.unsupported(&at(path, "target/@bus"), message, "write bus='virtio'");
    }
}

fn image(check: &mut Check<'_, DomainDef>, image: &Image) {
    let path = &image.path;
    let unfit = match image.format {
        DiskFormat::Cow => Some(("QEMU has no images of format cow any more", "convert it to qcow2")),
        DiskFormat::Dir => Some(("a directory is no image", "write <disk type='dir'> and type='fat'")),
        DiskFormat::Iso => Some(("QEMU has no format iso", "an ISO image is raw: write type='raw'")),
        DiskFormat::Fat if !matches!(image.location, Location::Dir(_)) => {
            Some(("the format fat is for a directory", "write <disk type='dir'>, or type='raw'"))
        }
        _ => None,
    };
    if let Some((message, remedy)) = unfit {
        check.unsupported(path, message, remedy);
    }
    let place = match &image.location {
        Location::File(_) | Location::Block(_) => None,
        Location::Network(source) => {
            network(check, path, source);
            None
        }
        Location::Dir(_) => Some("Warren does not show a directory as a disk yet"),
        Location::Volume { .. } => Some("Warren has no storage pools, so it cannot find a volume"),
        Location::Nvme { .. } => Some("Warren does not give NVMe controllers of the host to guests yet"),
        Location::VhostUser(_) => Some("Warren does not join disks to vhost-user servers yet"),
        Location::VhostVdpa(_) => Some("Warren does not give vDPA devices of the host to guests yet"),
    };
    if let Some(message) = place {
        check.unsupported(path, message, "name a file or a block device");
    }
    if let Some(encryption) = &image.encryption {
        check.unsupported(&encryption.path, SECRETS, "use an image that is not encrypted");
    } else if image.format == DiskFormat::Luks {
        check.unsupported(path, SECRETS, "use an image that is not encrypted");
    }
    if image.reservations.is_some() {
        let message = "Warren has no service for persistent reservations yet";
        check.unsupported(&at(path, "reservations"), message, "leave them out");
    }
    if image.fd_group.is_some() {
        let message = "Warren is not handed the descriptors of a disk before its start";
        check.unsupported(&at(path, "@fdgroup"), message, "leave fdgroup out");
    }
}

const SECRETS: &str = "Warren keeps no secrets, so it cannot give QEMU this one";

fn network(check: &mut Check<'_, DomainDef>, path: &str, source: &NetworkSource) {
    if matches!(source.protocol, Protocol::Sheepdog | Protocol::Vxhs | Protocol::Tftp) {
        let message = format!("QEMU has no disks on {} any more", source.protocol.as_str());
        check.unsupported(&at(path, "@protocol"), message, "nbd and https are two that it has");
    }
    if let Some(auth) = &source.auth {
        check.unsupported(&auth.path, SECRETS, "use a server that asks for none");
    }
    if source.tls == Some(true) || source.tls_hostname.is_some() {
        let message = "Warren has no certificates for disks on the network yet";
        check.unsupported(&at(path, "@tls"), message, "leave tls out");
    }
    let named = source.identity.as_ref().is_some_and(|i| i.keyfile.is_some() || i.agentsock.is_some());
    for (given, what) in [
        (source.config.is_some(), "config"),
        (source.known_hosts.is_some(), "knownHosts"),
        (named, "identity"),
    ] {
        if given {
            let message = format!("Warren does not hand the file that <{what}> names to QEMU yet");
            check.unsupported(&at(path, what), message, "leave it out");
        }
    }
    let unix = source.hosts.iter().any(|h| h.socket.is_some());
    if unix && source.protocol != Protocol::Nbd {
        let message =
            format!("Warren does not reach {} by a socket of this host yet", source.protocol.as_str());
        check.unsupported(&at(path, "host/@socket"), message, "give the server's name and port");
    }
    if unix && source.reconnect_delay.is_some() {
        let message = "QEMU is handed a connection to the socket, and cannot make another";
        check.unsupported(&at(path, "reconnect"), message, "leave it out");
    }
}
