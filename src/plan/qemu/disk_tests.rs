//! The arguments of disks and of what is shared with the host.

use super::tests::{facts, parsed, values};
use super::*;

/// The arguments of some kinds, of devices read from their elements.
fn argv(outer: &str, devices: &str, kinds: &[&str]) -> String {
    let mut def = parsed(devices);
    if !outer.is_empty() {
        def.os.machine = Some(outer.into());
    }
    let mut qemu = facts("x86_64", false);
    let more = "usb-storage floppy piix3-usb-uhci virtio-9p-pci vfio-pci usb-host usb-redir ivshmem-plain";
    qemu.devices.extend(more.split_whitespace().map(str::to_owned));
    let planned = plan(&def, &Uuid::nil(), &qemu, &Handed::for_a_look(&def, 10, false));
    assert_eq!(planned.findings, []);
    let mut lines: Vec<String> = kinds
        .iter()
        .flat_map(|kind| {
            values(&planned.argv, kind).into_iter().map(|v| format!("{kind} {v}")).collect::<Vec<_>>()
        })
        .collect();
    let sealed = planned.sealed.iter();
    lines.extend(sealed.map(|f| format!("{}: {}", f.fd, String::from_utf8_lossy(&f.content).trim_end())));
    lines.extend(planned.settings.iter().map(|(command, arguments)| format!("{command} {arguments}")));
    lines.join("\n")
}

#[test]
fn a_disk_says_all_that_its_document_says() {
    let disk = "<disk><driver type='qcow2' cache='none' io='native' discard='unmap' detect_zeroes='unmap' \
        error_policy='enospace' iothread='1' queues='2' packed='on'/><source file='/a'/>\
        <target dev='vdc'/><serial>a b</serial><shareable/><acpi index='7'/>\
        <blockio logical_block_size='4096'/><iotune><total_iops_sec>9</total_iops_sec></iotune></disk>";
    insta::assert_snapshot!(argv("", disk, &["-blockdev", "-device"]), @r#"
    -blockdev {"driver":"file","filename":"/dev/fdset/1","aio":"native","node-name":"disk0-0-storage","read-only":false,"cache":{"direct":true,"no-flush":false},"discard":"unmap"}
    -blockdev {"node-name":"disk0-0","read-only":false,"cache":{"direct":true,"no-flush":false},"discard":"unmap","detect-zeroes":"unmap","driver":"qcow2","file":"disk0-0-storage","backing":null}
    -device {"driver":"piix3-usb-uhci","id":"usb","bus":"pci.0","addr":"0x1.0x2"}
    -device {"driver":"virtio-blk-pci","packed":true,"iothread":"iothread1","num-queues":2,"acpi-index":7,"bus":"pci.0","addr":"0x3","share-rw":true,"drive":"disk0-0","id":"virtio-disk2","bootindex":1,"logical_block_size":4096,"write-cache":"on","serial":"a\\ b","werror":"enospc"}
    -device {"driver":"virtio-balloon-pci","id":"balloon0","bus":"pci.0","addr":"0x4"}
    block_set_io_throttle {"id":"/machine/peripheral/virtio-disk2/virtio-backend","bps":0,"bps_rd":0,"bps_wr":0,"iops":9,"iops_rd":0,"iops_wr":0,"iops_size":0}
    "#);
}

#[test]
fn drives_are_called_after_their_places() {
    let disks = "<disk><source file='/a'/><target dev='sdb' bus='scsi'/><wwn>5000c50015ea71ac</wwn></disk>\
        <disk device='cdrom'><target dev='hdc' bus='ide' tray='open'/></disk>\
        <disk><source file='/b'/><target dev='sdc' bus='sata'/></disk>\
        <disk><source file='/c'/><target dev='sdd' bus='usb'/><alias name='ua-stick'/></disk>\
        <disk device='floppy'><source file='/d'/><target dev='fdb'/></disk>";
    insta::assert_snapshot!(argv("", disks, &["-device"]), @r#"
    -device {"driver":"piix3-usb-uhci","id":"usb","bus":"pci.0","addr":"0x1.0x2"}
    -device {"driver":"lsi","id":"scsi0","bus":"pci.0","addr":"0x3"}
    -device {"driver":"ahci","id":"sata0","bus":"pci.0","addr":"0x4"}
    -device {"driver":"scsi-hd","bus":"scsi0.0","scsi-id":1,"device_id":"drive-scsi0-0-1","drive":"disk0-0","id":"scsi0-0-1","bootindex":1,"wwn":5764824127192592812}
    -device {"driver":"ide-cd","bus":"ide.1","unit":0,"id":"ide0-1-0"}
    -device {"driver":"ide-hd","bus":"sata0.2","drive":"disk2-0","id":"sata0-0-2"}
    -device {"driver":"usb-storage","bus":"usb.0","port":"1","drive":"disk3-0","id":"ua-stick","removable":false}
    -device {"driver":"floppy","unit":1,"drive":"disk4-0","id":"fdc0-0-1"}
    -device {"driver":"virtio-balloon-pci","id":"balloon0","bus":"pci.0","addr":"0x5"}
    blockdev-open-tray {"id":"ide0-1-0","force":true}
    "#);
}

#[test]
fn chains_and_servers_are_nodes() {
    let disks = "<disk><driver type='qcow2'/><source file='/a'/><backingStore type='network'>\
        <format type='raw'/><source protocol='nbd' name='e'><host name='h'/></source><backingStore/>\
        </backingStore><target dev='vda'/></disk>\
        <disk type='network'><source protocol='https' name='a b'><host name='::1'/>\
        <cookies><cookie name='n'>secret</cookie></cookies></source><target dev='vdb'/></disk>\
        <disk type='network'><source protocol='iscsi' name='iqn.x/2'><host name='h'/></source>\
        <target dev='vdc'/></disk>";
    let argv = argv("", disks, &["-object", "-blockdev"]);
    insta::assert_snapshot!(argv, @r#"
    -object {"qom-type":"memory-backend-ram","id":"pc.ram","size":224460800}
    -object {"qom-type":"secret","id":"disk1-0-storage-httpcookie-secret0","file":"/proc/self/fd/12","format":"raw"}
    12: n=secret
    blockdev-add {"driver":"nbd","server":{"type":"inet","host":"h","port":"10809"},"export":"e","node-name":"disk0-1-storage","read-only":true}
    blockdev-add {"node-name":"disk0-1","read-only":true,"driver":"raw","file":"disk0-1-storage"}
    blockdev-add {"driver":"file","filename":"/dev/fdset/1","node-name":"disk0-0-storage","read-only":false,"discard":"unmap"}
    blockdev-add {"node-name":"disk0-0","read-only":false,"driver":"qcow2","file":"disk0-0-storage","backing":"disk0-1"}
    blockdev-add {"driver":"https","url":"https://[::1]:443/a%20b","cookie-secret":"disk1-0-storage-httpcookie-secret0","node-name":"disk1-0-storage","read-only":false}
    blockdev-add {"node-name":"disk1-0","read-only":false,"driver":"raw","file":"disk1-0-storage"}
    blockdev-add {"driver":"iscsi","portal":"h:3260","target":"iqn.x","lun":2,"transport":"tcp","node-name":"disk2-0-storage","read-only":false}
    blockdev-add {"node-name":"disk2-0","read-only":false,"driver":"raw","file":"disk2-0-storage"}
    x-exit-preconfig {}
    "#);
}

#[test]
fn what_is_of_the_host_is_planned_as_it_would_be() {
    let devices = "<filesystem accessmode='mapped' fmode='0640'><driver type='path' wrpolicy='immediate'/>\
        <source dir='/export'/><target dir='tag'/><readonly/></filesystem>\
        <hostdev mode='subsystem' type='pci'><source><address bus='3' slot='7' function='1'/></source>\
        <boot order='1'/></hostdev>\
        <hostdev mode='subsystem' type='usb'><source><address bus='14' device='6'/></source></hostdev>\
        <redirdev bus='usb' type='tcp'><source mode='connect' host='h' service='4000'/></redirdev>\
        <redirfilter><usbdev class='0x08' vendor='0x1234' version='1.1' allow='yes'/><usbdev allow='no'/>\
        </redirfilter>\
        <shmem name='s' role='peer'><model type='ivshmem-plain'/><size unit='M'>8</size></shmem>";
    let kinds = ["-fsdev", "-chardev", "-object", "-device"];
    insta::assert_snapshot!(argv("", devices, &kinds), @r#"
    -fsdev local,security_model=mapped,fmode=0640,writeout=immediate,id=fsdev-fs0,path=/proc/self/fd/11,readonly=on
    -chardev socket,id=charmonitor,fd=10,server=on,wait=off
    -object {"qom-type":"memory-backend-ram","id":"pc.ram","size":224460800}
    -object {"qom-type":"memory-backend-file","id":"shmmem-shmem0","mem-path":"/dev/shm/s","size":8388608,"share":true}
    -device {"driver":"piix3-usb-uhci","id":"usb","bus":"pci.0","addr":"0x1.0x2"}
    -device {"driver":"virtio-9p-pci","id":"fs0","fsdev":"fsdev-fs0","mount_tag":"tag","bus":"pci.0","addr":"0x3"}
    -device {"driver":"usb-redir","chardev":"charredir0","id":"redir0","filter":"0x08:0x1234:-1:0x0110:1|-1:-1:-1:-1:0","bus":"usb.0","port":"2"}
    -device {"driver":"vfio-pci","host":"0000:03:07.1","id":"hostdev0","bootindex":1,"bus":"pci.0","addr":"0x4"}
    -device {"driver":"usb-host","hostdevice":"/dev/bus/usb/014/006","id":"hostdev1","bus":"usb.0","port":"1"}
    -device {"driver":"virtio-balloon-pci","id":"balloon0","bus":"pci.0","addr":"0x5"}
    -device {"driver":"ivshmem-plain","id":"shmem0","memdev":"shmmem-shmem0","master":false,"bus":"pci.0","addr":"0x6"}
    12: [chardev "charredir0"]
      backend = "socket"
      host = "h"
      port = "4000"
    "#);
}
