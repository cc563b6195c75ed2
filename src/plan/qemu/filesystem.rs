//! Directories of the host in the guest: by 9p, which QEMU serves itself, or by virtiofs, which another program
//! does.

use serde_json::json;

use super::args::escaped;
use super::{Plan, disk, fd_path, set};
use crate::model::{AccessMode, FilesystemDef, FilesystemDriverKind, Multidevs};

/// `handed` is the directory, opened.
pub(super) fn add(plan: &mut Plan<'_>, fs: &FilesystemDef, index: usize, handed: Option<i32>) {
    let id = plan.name(&fs.info, "fs", index);
    if fs.driver.kind == Some(FilesystemDriverKind::Virtiofs) {
        virtiofs(plan, fs, &id);
        return;
    }
    let Some(fd) = handed else {
        plan.error(&fs.info.path, "the directory was not opened", "");
        return;
    };
    let security = match fs.access {
        AccessMode::Passthrough => "passthrough",
        AccessMode::Mapped => "mapped",
        AccessMode::Squash => "none",
    };
    let mut fsdev = format!("local,security_model={security}");
    if let Some(multidevs) = fs.multidevs.filter(|m| *m != Multidevs::Default) {
        fsdev.push_str(&format!(",multidevs={}", multidevs.as_str()));
    }
    for (name, mode) in [("fmode", fs.fmode), ("dmode", fs.dmode)] {
        if let Some(mode) = mode {
            fsdev.push_str(&format!(",{name}={mode:04o}"));
        }
    }
    if fs.driver.write_immediately {
        fsdev.push_str(",writeout=immediate");
    }
    fsdev.push_str(&format!(",id=fsdev-{id},path={}", escaped(&fd_path(fd))));
    if fs.readonly {
        fsdev.push_str(",readonly=on");
    }
    plan.args.pair("-fsdev", fsdev);
    let mut device = disk::virtio("virtio-9p", fs.model, &fs.driver.virtio);
    device["id"] = id.as_str().into();
    device["fsdev"] = format!("fsdev-{id}").into();
    device["mount_tag"] = fs.target.as_deref().unwrap_or_default().into();
    plan.place(&fs.info, &mut device);
    plan.device(&fs.info.path, &device);
}

fn virtiofs(plan: &mut Plan<'_>, fs: &FilesystemDef, id: &str) {
    let socket = fs.socket.as_ref().map_or(format!("{id}-fs.sock"), |s| s.display().to_string());
    let chardev = format!("chr-vu-{id}");
    plan.args.pair("-chardev", format!("socket,id={chardev},path={}", escaped(&socket)));
    let mut device = json!({ "driver": "vhost-user-fs-pci", "id": id, "chardev": chardev });
    set(&mut device, "queue-size", fs.driver.queue);
    device["tag"] = fs.target.as_deref().unwrap_or_default().into();
    set(&mut device, "bootindex", fs.info.boot_order);
    plan.place(&fs.info, &mut device);
    plan.device(&fs.info.path, &device);
}
