//! Reads `<domain>` documents, but for disks and NICs. Owns libvirt's words and defaults for domains;
//! must never judge what belongs together (see `plan::check`).

use super::{
    Device, DomainDef, LifecycleAction, SysinfoDef, audio, chardev, clock, controller, cpu, crypto, direct,
    disk, disk_tuning, feature, filesystem, graphics, hostdev, hub, input, interface, iommu, lease,
    memballoon, memory, memory_device, nvram, os, outer, panic, pstore, redirdev, rng, shmem, smartcard,
    sound, sysinfo, tpm, tune, video, vsock, watchdog,
};
use crate::model::doc::{Definition, accept_notes, host_path, text_of};
use crate::model::{MemorySize, Uuid};
use crate::xml::Element;
use crate::xml::view::View;

/// The most elements in one, as devices, CPUs or their features: rules compare each with all beside it, and what
/// waits for the answer is everybody.
const MAX_CHILDREN: usize = 4096;

impl Definition for DomainDef {
    const ROOT: &'static str = "domain";

    fn read(root: &View<'_>) -> Option<Self> {
        if let Some(crowded) = crowded(root.element()) {
            root.accept();
            let (name, line, count) = (crowded.name(), crowded.line(), crowded.children().count());
            let message =
                format!("<{name}> in line {line} has {count} elements, at most {MAX_CHILDREN} are taken");
            root.error(message, "leave some out, or make several domains");
            return None;
        }
        accept_notes(root);
        // The number of a running guest, which libvirt writes and does not read.
        root.attr("id");
        let kind = outer::kind(root);
        let name = text_of(root, "name");
        if name.is_none() && root.element().child("name").is_none_or(|n| n.text().trim().is_empty()) {
            root.error("the domain has no name", "add <name>");
        }
        let os = match root.child("os") {
            Some(os) => os::read(&os),
            None => {
                root.warning(
                    "the domain has no <os>; a PC's own firmware boots it",
                    "add <os><type>hvm</type></os>",
                );
                Some(os::default())
            }
        };
        let memory = root.child("memory");
        let vcpus = tune::vcpus(root);
        let iothreads = tune::iothreads(root);
        tune::hints(root, &iothreads);
        outer::on_lockfailure(root);
        outer::security(root);
        outer::of_others(root);
        let devices = root.child("devices");
        let redirfilter = devices.as_ref().and_then(|d| d.child("redirfilter"));
        let emulator = devices.as_ref().and_then(|d| d.child("emulator")).and_then(|e| host_path(&e, None));
        let uuid = text_of(root, "uuid");
        Some(Self {
            title: root.child("title").map(|t| t.text().into_owned()).unwrap_or_default(),
            dump_core: memory.as_ref().and_then(|m| m.yes_no("dumpCore")).unwrap_or(false),
            memory: memory.and_then(|m| memory::amount(&m)).unwrap_or(MemorySize(0)),
            current_memory: root.child("currentMemory").and_then(|m| memory::amount(&m)),
            max_memory: memory::max(root),
            memory_backing: memory::backing(root),
            numatune: tune::numatune(root),
            vcpus: vcpus.max,
            vcpus_at_start: vcpus.current,
            iothreads,
            default_iothread: tune::default_iothread(root),
            cpu: root.child("cpu").map(|c| cpu::read(&c)).unwrap_or_default(),
            features: root.child("features").map(|f| feature::read(&f)).unwrap_or_default(),
            clock: clock::read(root),
            pm: outer::pm(root),
            sysinfo: sysinfo(root, uuid),
            genid: outer::genid(root),
            direct: direct::read(root),
            on_poweroff: outer::lifecycle(root, "on_poweroff", LifecycleAction::Destroy),
            on_reboot: outer::lifecycle(root, "on_reboot", LifecycleAction::Restart),
            on_crash: outer::lifecycle(root, "on_crash", LifecycleAction::Destroy),
            emulator,
            throttle_groups: root
                .child("throttlegroups")
                .map(|g| disk_tuning::throttle_groups(&g))
                .unwrap_or_default(),
            redirfilter: redirfilter.map(|f| redirdev::filter(&f)).unwrap_or_default(),
            devices: devices.map(|d| self::devices(&d)).unwrap_or_default(),
            uuid,
            kind: kind?,
            name: name?,
            os: os?,
        })
    }
}

/// The system's UUID that the guest reads is the domain's own.
fn sysinfo(root: &View<'_>, uuid: Option<Uuid>) -> Vec<SysinfoDef> {
    let all = sysinfo::read(root);
    if let (Some(told), Some(own)) = (sysinfo::system_uuid(&all), uuid)
        && told.parse() != Ok(own)
    {
        root.error(
            format!("<sysinfo> tells the guest the UUID {told}, and <uuid> says {own}"),
            "leave it out of <sysinfo>",
        );
    }
    all
}

/// An element with too many others in it; what is in notes is not read.
fn crowded(element: &Element) -> Option<&Element> {
    if element.children().nth(MAX_CHILDREN).is_some() {
        return Some(element);
    }
    element.children().filter(|child| child.name() != "metadata").find_map(crowded)
}

fn devices(view: &View<'_>) -> Vec<Device> {
    let has_serial = view.element().child("serial").is_some();
    let mut ports = chardev::Ports::default();
    let mut devices = Vec::new();
    for child in view.all_children() {
        match child.name() {
            name @ ("emulator" | "redirfilter") if std::ptr::eq(child.element(), first(view, name)) => {}
            "disk" => devices.extend(disk::read(&child).map(|d| Device::Disk(Box::new(d)))),
            "interface" => devices.extend(interface::read(&child).map(Box::new).map(Device::Interface)),
            "serial" => devices.extend(chardev::serial(&child, &mut ports).map(Device::Serial)),
            "parallel" => devices.extend(chardev::parallel(&child, &mut ports).map(Device::Parallel)),
            "channel" => devices.extend(chardev::channel(&child).map(Device::Channel)),
            "console" => devices.extend(match chardev::console(&child, has_serial, &mut ports) {
                Some(chardev::Console::Serial(serial)) => Some(Device::Serial(serial)),
                Some(chardev::Console::Own(console)) => Some(Device::Console(console)),
                Some(chardev::Console::Twin) | None => None,
            }),
            "graphics" => devices.extend(graphics::read(&child).map(Device::Graphics)),
            "video" => devices.extend(video::read(&child).map(Device::Video)),
            "controller" => devices.extend(controller::read(&child).map(Device::Controller)),
            "filesystem" => devices.extend(filesystem::read(&child).map(Device::Filesystem)),
            "smartcard" => devices.extend(smartcard::read(&child).map(Device::Smartcard)),
            "input" => devices.extend(input::read(&child).map(Device::Input)),
            "sound" => devices.extend(sound::read(&child).map(Device::Sound)),
            "audio" => devices.extend(audio::read(&child).map(Device::Audio)),
            "watchdog" => devices.extend(watchdog::read(&child).map(Device::Watchdog)),
            "memballoon" => devices.extend(memballoon::read(&child).map(Device::Memballoon)),
            "rng" => devices.extend(rng::read(&child).map(Device::Rng)),
            "tpm" => devices.extend(tpm::read(&child).map(Device::Tpm)),
            "vsock" => devices.extend(vsock::read(&child).map(Device::Vsock)),
            "hostdev" => devices.extend(hostdev::read(&child).map(Device::Hostdev)),
            "redirdev" => devices.extend(redirdev::read(&child).map(Device::Redirdev)),
            "shmem" => devices.extend(shmem::read(&child).map(Device::Shmem)),
            "memory" => devices.extend(memory_device::read(&child).map(Device::MemoryDevice)),
            "panic" => devices.extend(panic::read(&child).map(Device::Panic)),
            "hub" => devices.extend(hub::read(&child).map(Device::Hub)),
            "iommu" => devices.extend(iommu::read(&child).map(Device::Iommu)),
            "nvram" => devices.extend(nvram::read(&child).map(Device::Nvram)),
            "lease" => devices.extend(lease::read(&child).map(Device::Lease)),
            "crypto" => devices.extend(crypto::read(&child).map(Device::Crypto)),
            "pstore" => devices.extend(pstore::read(&child).map(Device::Pstore)),
            _ => child.leave(),
        }
    }
    devices
}

impl Device {
    /// A device as its element says it: for what a machine has without being asked. Its path is that of an
    /// element that is the only one of its name.
    pub fn from_text(element: &str) -> Option<Self> {
        let text = format!("<domain><devices>{element}</devices></domain>");
        let doc = crate::xml::Document::parse(&text).ok()?;
        let (found, _) = crate::xml::view::read(&doc, |root| root.child("devices").map(|d| devices(&d)));
        found?.pop()
    }
}

/// The first child of this name; the element itself where there is none.
fn first<'a>(view: &View<'a>, name: &str) -> &'a crate::xml::Element {
    view.element().child(name).unwrap_or(view.element())
}

#[cfg(test)]
mod tests {
    use crate::model::{Device, DiskBus, DocError, DomainDoc, InterfaceKind, MemorySize};

    fn doc(devices: &str) -> DomainDoc {
        let outer =
            "<domain type='qemu'><name>n</name><memory>219200</memory><os><type arch='i686'>hvm</type></os>";
        DomainDoc::parse(&format!("{outer}\n<devices>\n{devices}\n</devices>\n</domain>")).unwrap()
    }

    #[test]
    fn elements_are_counted_before_they_are_read() {
        let hubs = |count| "<hub type='usb'/>".repeat(count);
        assert_eq!(doc(&hubs(4096)).def().devices.len(), 4096);
        let refused = |inner: &str| match DomainDoc::parse(&format!("<domain>\n{inner}</domain>")) {
            Err(DocError::Config(findings)) => findings.iter().map(ToString::to_string).collect::<String>(),
            other => panic!("{other:?}"),
        };
        let devices = refused(&format!("<name>n</name><devices>{}</devices>", hubs(4097)));
        assert!(devices.contains("<devices> in line 2 has 4097 elements, at most 4096"), "{devices}");
        let features = refused(&format!("<cpu>{}</cpu>", "<feature/>".repeat(5000)));
        assert!(features.contains("<cpu>"), "{features}");
        let notes = refused(&format!("<metadata><a>{}</a></metadata>", "<b/>".repeat(5000)));
        assert!(!notes.contains("at most"), "{notes}");
    }

    fn findings(doc: &DomainDoc) -> String {
        let line = |f: &crate::model::Finding| format!("{} {f}", f.severity.as_str());
        doc.findings().iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_guest_of_2007_is_read_in_order() {
        let doc = doc("<emulator>/usr/bin/qemu</emulator>\n\
            <disk type='block' device='disk'><source dev='/dev/HostVG/Guest1'/><target dev='hda'/></disk>\n\
            <interface type='network'><source network='private'/><target dev='vnet1'/></interface>\n\
            <interface type='bridge'><source dev='xenbr0'/><target dev='vnet2'/></interface>\n\
            <interface type='ethernet'><script path='/etc/ifup'/><target dev='vnet3'/></interface>\n\
            <interface type='server'><source address='' port='5555'/></interface>\n\
            <interface type='mcast'><source address='' port='5558'/></interface>\n\
            <graphics type='vnc' port='-1'/>");
        assert_eq!(findings(&doc), "");
        assert_eq!(doc.def().memory, MemorySize(219_200 * 1024));
        let kinds: Vec<_> = doc.def().interfaces().map(|n| n.kind.as_str()).collect();
        assert_eq!(kinds, ["network", "bridge", "ethernet", "server", "mcast"]);
        let InterfaceKind::Server(address) = &doc.def().interfaces().nth(3).unwrap().kind else { panic!() };
        assert_eq!((address.address.as_str(), address.port), ("", 5555));
        assert_eq!(doc.def().disks().next().unwrap().bus, DiskBus::Ide);
    }

    #[test]
    fn what_is_not_run_yet_is_kept_and_told() {
        let doc = doc("<interface type='direct'><source dev='eth0' mode='vepa'/></interface>\n\
            <interface type='user'><model type='usb-net'/><target dev='t0'/></interface>\n\
            <interface type='mcast'><source address='192.0.0.1' port='1'/></interface>\n\
            <disk type='network'><source protocol='nbd'/><target dev='vdz'/></disk>\n\
            <disk device='cdrom'><driver name='qemu' type='raw' cache='none'/><target dev='sda' bus='sata'/></disk>\n\
            <disk><driver type='vmdk'/><source file='/a'/><target dev='sdb'/></disk>\n\
            <graphics type='spice'/>\n<graphics type='vnc' passwd='secret' listen='localhost'/>\n\
            <redirdev bus='usb' type='spicevmc'/>\n<input type='mouse' bus='ps2'/>\n\
            <controller type='pci' index='0' model='pci-root'/>\n<memballoon model='virtio'/>\n\
            <video><model type='qxl' ram='65536'/></video>");
        insta::assert_snapshot!(findings(&doc), @"
        unsupported /domain/devices/interface[3]/source/@address (line 5, column 25): '192.0.0.1' is not an IPv4 multicast address; give one from 224.0.0.0 to 239.255.255.255
        ");
        assert_eq!(doc.def().devices.len(), 13);
    }

    #[test]
    fn a_console_is_a_serial_port_where_there_is_none() {
        let ports = |devices: &str| {
            let all = doc(devices).def().devices.clone();
            let port = |d: &Device| if let Device::Serial(s) = d { Some(s.port) } else { None };
            all.iter().filter_map(port).collect::<Vec<_>>()
        };
        assert_eq!(ports("<console type='pty'/>"), [0]);
        assert_eq!(
            ports("<console type='pty'><target type='serial' port='0'/></console><serial type='pty'/>"),
            [0]
        );
        assert_eq!(ports("<serial type='pty'><target port='1'/></serial><serial type='null'/>"), [1, 2]);
        assert_eq!(ports("<console type='pty'><target type='virtio'/></console>"), [0u32; 0]);
    }

    #[test]
    fn all_errors_are_in_one_answer() {
        let text = "<domain type='xen'>\n<name>a/b</name>\n<memory unit='pigs'>1</memory>\n<vcpu>two</vcpu>\n\
            <os><type>linux</type><boot dev='usb'/><kernel>vmlinuz</kernel></os>\n<on_crash>dance</on_crash>\n<devices>\n\
            <emulator>qemu</emulator>\n<interface type='tap'/>\n<interface type='wifi'/>\n<interface type='network'/>\n\
            <interface type='bridge'><source/></interface>\n\
            <interface type='server'><source address='a b' port='70000'/></interface>\n\
            <interface type='client'><source address='' port='70000'/></interface>\n\
            <interface type='udp'><source port='1'/></interface>\n\
            <interface type='user'><script path='/s'/><mac address='x'/><target dev='a-name-of-16-bt'/><alias name='ua-?'/></interface>\n\
            <interface type='user'><target dev='sixteen-bytes-16'/><boot order='0'/></interface>\n\
            <interface type='ethernet'><script path='s'/></interface>\n\
            <disk><source file='a.img'/><target dev='hda'/></disk>\n<disk><target dev='zz'/></disk>\n<disk type='tape'/>\n\
            <graphics type='vnc' port='80'/>\n<graphics/>\n</devices>\n</domain>";
        let Err(DocError::Config(errors)) = DomainDoc::parse(text) else { panic!("it is wrong") };
        let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(shown.join("\n"), @"
        /domain/@type (line 1, column 1): a domain of type 'xen' is for another hypervisor: Xen; Warren runs qemu and kvm
        /domain/name (line 2, column 1): 'a/b' cannot stand in <name>: '/' cannot stand in a name
        /domain/memory/@unit (line 3, column 1): unknown unit 'pigs'; b, KiB, MiB, GiB and TiB are known
        /domain/vcpu (line 4, column 1): 'two' cannot stand in <vcpu>: invalid digit found in string
        /domain/os/type (line 5, column 5): a system of type 'linux' is for another hypervisor than QEMU; write hvm
        /domain/os/boot/@dev (line 5, column 23): 'usb' is not known; known are hd, cdrom, network, fd
        /domain/os/kernel (line 5, column 40): the path 'vmlinuz' is not absolute; write the whole path, from /
        /domain/on_crash (line 6, column 1): 'dance' is not an action; give destroy, restart or preserve
        /domain/devices/emulator (line 8, column 1): the path 'qemu' is not absolute; write the whole path, from /
        /domain/devices/interface[1]/@type (line 9, column 1): the interface type 'tap' is gone since 2007; write type='ethernet', with a <script> if need be
        /domain/devices/interface[2]/@type (line 10, column 1): 'wifi' is not a type of interface; known are network, bridge, ethernet, user, server, client, mcast, udp, direct, vhostuser, vdpa, hostdev, internal, null, vds
        /domain/devices/interface[3] (line 11, column 1): the interface has no <source>; add <source network='default'/>
        /domain/devices/interface[4]/source/@bridge (line 12, column 26): <source> needs the attribute 'bridge'; add <source bridge='br0'/>
        /domain/devices/interface[5]/source/@address (line 13, column 26): 'a b' is neither an IP address nor a host name
        /domain/devices/interface[5]/source/@port (line 13, column 26): Warren does not know the attribute 'port' of <source>
        /domain/devices/interface[6]/source/@port (line 14, column 26): '70000' is not a port; give 1 to 65535
        /domain/devices/interface[7]/source (line 15, column 23): type udp needs the address where frames are taken; add <local address='' port='5556'/>
        /domain/devices/interface[8]/script (line 16, column 24): <script> stands only in an interface of type ethernet, not of type user; leave it out
        /domain/devices/interface[8]/mac/@address (line 16, column 43): 'x' is not a MAC address like 52:54:00:12:34:56
        /domain/devices/interface[8]/alias/@name (line 16, column 92): 'ua-?' is not an alias; after 'ua-', letters, digits, '-' and '_' may stand, 64 at most
        /domain/devices/interface[9]/target/@dev (line 17, column 24): 'sixteen-bytes-16' has 16 bytes, an interface name has 1 to 15
        /domain/devices/interface[9]/boot/@order (line 17, column 56): the boot order is 0; give a number from 1
        /domain/devices/interface[10]/script/@path (line 18, column 28): the path 's' is not absolute; write the whole path, from /
        /domain/devices/disk[1]/source/@file (line 19, column 7): the path 'a.img' is not absolute; write the whole path, from /
        /domain/devices/disk[2] (line 20, column 1): the disk has no <source file>; name the image, or make the device a cdrom, which may be empty
        /domain/devices/disk[2]/target/@dev (line 20, column 7): 'zz' does not name a disk; give a name like hda, sda or vda
        /domain/devices/disk[3]/@type (line 21, column 1): 'tape' is not known; known are file, block, dir, network, volume, nvme, vhostuser, vhostvdpa
        /domain/devices/graphics[1]/@port (line 22, column 1): 80 is not a port for vnc; give 5900 to 65535, or -1 for a free one
        /domain/devices/graphics[2]/@type (line 23, column 1): <graphics> needs the attribute 'type'; as vnc
        ");
    }

    #[test]
    fn an_edit_that_breaks_the_document_is_not_kept() {
        let mut doc = doc("<interface type='user'/>");
        let before = doc.to_xml();
        let broken = doc.edit(|tree| {
            tree.root_mut().set_attr("type", "lxc");
        });
        assert!(matches!(broken, Err(DocError::Config(_))));
        assert_eq!(doc.to_xml(), before);
        doc.edit(|tree| tree.root_mut().set_attr("type", "kvm")).unwrap();
        assert_eq!(doc.def().kind, crate::model::DomainKind::Kvm);
    }
}
