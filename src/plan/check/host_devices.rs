//! Filesystems, devices of the host, redirected ones, shared memory, leases: what is wrong in itself by
//! libvirt's rules, and what is right and cannot be run by this Warren.

use super::{Check, at};
use crate::model::{
    AccessMode, Address, Device, DomainDef, FilesystemDef, FilesystemDriverKind, FilesystemKind, HostdevDef,
    HostdevSource, Severity, ShmemDef, ShmemModel,
};

/// All such devices of the domain.
pub(super) fn check(check: &mut Check<'_, DomainDef>, def: &DomainDef) {
    for device in &def.devices {
        match device {
            Device::Filesystem(fs) => filesystem(check, fs),
            Device::Hostdev(hostdev) => self::hostdev(check, hostdev),
            Device::Shmem(shmem) => self::shmem(check, shmem),
            Device::Lease(lease) => {
                let message = "Warren has no lock manager that could hold a lease";
                check.unsupported(&lease.info.path, message, "leave it out");
            }
            Device::Nvram(nvram) => {
                let message = "a device <nvram> is for POWER machines";
                check.unsupported(&nvram.info.path, message, "the memory of UEFI is <os><nvram>");
            }
            _ => {}
        }
    }
    filter(check, def);
}

/// Rules that no device reads have no effect.
fn filter(check: &mut Check<'_, DomainDef>, def: &DomainDef) {
    let redirects = def.devices.iter().any(|d| matches!(d, Device::Redirdev(_)));
    if !def.redirfilter.is_empty() && !redirects {
        let message = "there is no <redirdev> that the filter could be for".to_owned();
        check.add(Severity::Warning, "/domain/devices/redirfilter", message, "");
    }
}

fn filesystem(check: &mut Check<'_, DomainDef>, fs: &FilesystemDef) {
    let path = &fs.info.path;
    if fs.kind != FilesystemKind::Mount {
        let message = format!("a filesystem of type '{}' is for containers", fs.kind.as_str());
        check.unsupported(&at(path, "@type"), message, "write type='mount'");
        return;
    }
    let limits = fs.space_hard_limit.is_some() || fs.space_soft_limit.is_some();
    if limits {
        let message = "QEMU does not limit the space of a filesystem";
        check.error(&at(path, "space_hard_limit"), message, "leave the limit out");
    }
    match fs.driver.kind {
        None | Some(FilesystemDriverKind::Path) => nine_p(check, fs),
        Some(FilesystemDriverKind::Virtiofs) => virtiofs(check, fs),
        Some(other) => {
            let message = format!("QEMU has no filesystems of driver '{}'", other.as_str());
            check.unsupported(&at(path, "driver/@type"), message, "write path or virtiofs");
        }
    }
}

fn nine_p(check: &mut Check<'_, DomainDef>, fs: &FilesystemDef) {
    let path = &fs.info.path;
    if (fs.fmode.is_some() || fs.dmode.is_some()) && fs.access != AccessMode::Mapped {
        let message = "fmode and dmode are for accessmode='mapped'";
        check.error(&at(path, "@fmode"), message, "write accessmode='mapped', or leave them out");
    }
    for (given, what) in [
        (fs.binary.is_some(), "binary"),
        (!fs.idmap.is_empty(), "idmap"),
        (fs.driver.queue.is_some(), "driver/@queue"),
        (fs.driver.format.is_some(), "driver/@format"),
        (fs.socket.is_some(), "source/@socket"),
    ] {
        if given {
            let message = "this is for filesystems of driver 'virtiofs' or of containers";
            check.unsupported(&at(path, what), message, "leave it out");
        }
    }
    if fs.info.boot_order.is_some() {
        let message = "a guest does not boot from 9p";
        check.unsupported(&at(path, "boot"), message, "write <driver type='virtiofs'/>");
    }
}

fn virtiofs(check: &mut Check<'_, DomainDef>, fs: &FilesystemDef) {
    let path = &fs.info.path;
    for (given, what, message) in [
        (
            fs.access != AccessMode::Passthrough,
            "@accessmode",
            "virtiofs knows accessmode='passthrough' alone",
        ),
        (fs.driver.write_immediately, "driver/@wrpolicy", "virtiofs has no policy for writing"),
        (fs.driver.format.is_some(), "driver/@format", "virtiofs has no images"),
        (fs.fmode.is_some(), "@fmode", "virtiofs has no fmode"),
        (fs.dmode.is_some(), "@dmode", "virtiofs has no dmode"),
        (fs.multidevs.is_some(), "@multidevs", "virtiofs has no multidevs"),
        (fs.model.is_some(), "@model", "virtiofs has no model"),
    ] {
        if given {
            check.error(&at(path, what), message, "leave it out");
        }
    }
    let message = "Warren does not run the server of virtiofs yet";
    check.unsupported(&at(path, "driver/@type"), message, "write <driver type='path'/>, which is 9p");
}

fn hostdev(check: &mut Check<'_, DomainDef>, hostdev: &HostdevDef) {
    let path = &hostdev.info.path;
    let what = match &hostdev.source {
        HostdevSource::Usb(_) => "USB devices",
        HostdevSource::Pci { write_filtering, .. } => {
            if write_filtering.is_some() {
                let message = "writeFiltering is for Xen";
                check.error(&at(path, "source/@writeFiltering"), message, "leave it out");
            }
            "PCI devices"
        }
        HostdevSource::Scsi { .. } => "SCSI units",
        HostdevSource::ScsiHost { .. } => "ends of vhost-scsi",
        HostdevSource::Mdev { display, ramfb, .. } => {
            if *ramfb == Some(true) && *display != Some(true) {
                check.error(&at(path, "@ramfb"), "ramfb takes display='on'", "write display='on' too");
            }
            "mediated devices"
        }
        HostdevSource::Capability(kind) => {
            let message = format!("a device of mode 'capabilities' ({}) is for containers", kind.as_str());
            check.unsupported(&at(path, "@mode"), message, "write mode='subsystem'");
            return;
        }
    };
    let wrong = match (&hostdev.source, &hostdev.info.address) {
        (_, None) => false,
        (HostdevSource::Usb(_), Some(given)) => !matches!(given, Address::Usb { .. }),
        (HostdevSource::Scsi { .. }, Some(given)) => !matches!(given, Address::Drive(_)),
        (HostdevSource::Pci { .. }, Some(given)) => !matches!(given, Address::Pci(_) | Address::Other(_)),
        _ => false,
    };
    if wrong {
        let message = "a device of this kind has no addresses of this type in the guest";
        check.error(&at(path, "address/@type"), message, "leave the address out and Warren chooses one");
    }
    let message = format!("Warren does not give {what} of the host to guests yet");
    check.unsupported(path, message, "leave the device out");
}

fn shmem(check: &mut Check<'_, DomainDef>, shmem: &ShmemDef) {
    let path = &shmem.info.path;
    let size = at(path, "size");
    if let Some(bytes) = shmem.size {
        if !bytes.is_power_of_two() {
            check.error(&size, format!("{bytes} bytes are no power of two"), "as <size unit='M'>4</size>");
        } else if bytes < 1 << 20 {
            check.error(&size, format!("{bytes} bytes are less than 1 MiB"), "as <size unit='M'>4</size>");
        }
    }
    match shmem.model {
        ShmemModel::Plain => {
            for (given, what) in [(shmem.server.is_some(), "server"), (shmem.msi.is_some(), "msi")] {
                if given {
                    let message = format!("the model 'ivshmem-plain' has no <{what}>");
                    check.error(&at(path, what), message, "write model type='ivshmem-doorbell'");
                }
            }
        }
        ShmemModel::Doorbell if shmem.server.is_none() => {
            let message = "the model 'ivshmem-doorbell' needs a <server>";
            check.error(path, message, "add <server path='…'/>");
        }
        ShmemModel::Doorbell if shmem.size.is_some() => {
            let message = "the server says how large the memory is";
            check.error(&size, message, "leave <size> out");
        }
        ShmemModel::Doorbell | ShmemModel::Ivshmem => {}
    }
    let message = "Warren does not share memory between guests yet";
    check.unsupported(path, message, "leave the device out");
}
