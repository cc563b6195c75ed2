//! What a disk names on the host, down its chain of images.

use super::PathField;
use super::compare::What;
use super::domain::Found;
use crate::model::{
    Auth, Device, DiskDef, DiskDevice, Encryption, Identity, Image, Location, NetworkHost, NetworkSource,
    Reservations, SecretRef, VhostUserDisk,
};

/// `device` is the disk.
pub(super) fn disk<'a>(found: &mut Found<'a>, device: &'a Device, disk: &'a DiskDef) {
    let DiskDef {
        info,
        device: kind,
        model: _,
        rawio,
        sgio,
        snapshot: _,
        source,
        driver: _,
        target: _,
        bus: _,
        tray_open: _,
        removable: _,
        rotation_rate: _,
        dpofua: _,
        readonly: _,
        shareable: _,
        transient: _,
        serial: _,
        wwn: _,
        vendor: _,
        product: _,
        blockio: _,
        geometry: _,
        iotune: _,
        throttle_filters: _,
    } = disk;
    let of_scsi = match kind {
        DiskDevice::Lun => true,
        DiskDevice::Disk | DiskDevice::Cdrom | DiskDevice::Floppy => false,
    };
    let commands = of_scsi || rawio.is_some() || sgio.is_some();
    found.host_if(commands, PathField::DiskCommands, &info.path);
    for (depth, image) in source.iter().flat_map(Image::chain).enumerate() {
        self::image(found, device, image, depth);
    }
}

fn image<'a>(found: &mut Found<'a>, disk: &'a Device, image: &'a Image, depth: usize) {
    let Image {
        path: _,
        location,
        // All of them decide what the owner's file is taken for: they are compared with the whole disk.
        format: _,
        metadata_cache: _,
        slice: _,
        encryption,
        reservations,
        startup: _,
        fd_group,
        backing: _,
    } = image;
    let (place, what) = (disk.info().path.as_str(), What::Device(disk));
    match location {
        Location::File(_) if depth == 0 => found.owner(PathField::DiskFile, place, what),
        Location::File(_) => found.owner(PathField::BackingFile, place, what),
        Location::Block(_) => found.owner(PathField::DiskBlock, place, what),
        Location::Volume { pool: _, volume: _, mode: _ } => found.owner(PathField::DiskVolume, place, what),
        Location::Dir(_) => found.host(PathField::DiskDirectory, place),
        Location::Network(source) => network(found, disk, source),
        Location::Nvme { address: _, namespace: _, managed: _ } => found.host(PathField::DiskNvme, place),
        Location::VhostUser(VhostUserDisk { path: _, reconnect: _ }) => {
            found.host(PathField::DiskVhostUser, place);
        }
        Location::VhostVdpa(_) => found.host(PathField::DiskVdpa, place),
    }
    if let Some(Encryption { path: _, format: _, engine: _, secrets }) = encryption {
        secrets.iter().for_each(|of| secret(found, disk, of));
    }
    if let Some(Reservations { managed: _, socket: _ }) = reservations {
        found.host(PathField::DiskReservations, place);
    }
    if fd_group.is_some() {
        found.owner(PathField::DiskDescriptors, place, what);
    }
}

/// Servers that are reached by an address are open to everybody.
fn network<'a>(found: &mut Found<'a>, disk: &'a Device, source: &'a NetworkSource) {
    let NetworkSource {
        protocol: _,
        name: _,
        query: _,
        tls: _,
        tls_hostname: _,
        hosts,
        auth,
        initiator: _,
        snapshot: _,
        config,
        ssl_verify: _,
        cookies: _,
        readahead: _,
        timeout: _,
        reconnect_delay: _,
        known_hosts,
        identity,
    } = source;
    let place = disk.info().path.as_str();
    for NetworkHost { transport: _, name: _, port: _, socket } in hosts {
        found.host_if(socket.is_some(), PathField::DiskSocket, place);
    }
    if let Some(Auth { path: _, username: _, secret: Some(of) }) = auth {
        secret(found, disk, of);
    }
    found.host_if(config.is_some(), PathField::DiskConfig, place);
    found.host_if(known_hosts.is_some(), PathField::DiskKnownHosts, place);
    if let Some(Identity { user: _, group: _, username: _, keyfile, agentsock }) = identity {
        found.host_if(keyfile.is_some(), PathField::DiskKeyFile, place);
        found.host_if(agentsock.is_some(), PathField::DiskAgent, place);
    }
}

fn secret<'a>(found: &mut Found<'a>, disk: &'a Device, secret: &SecretRef) {
    let SecretRef { kind: _, uuid: _, usage: _ } = secret;
    found.owner(PathField::DiskSecret, &disk.info().path, What::Device(disk));
}
