//! A part of a document for each place that can name something of the host.
//!
//! Owns the table. A place without a row does not compile: there is no `_` below. `whose_rights.rs` makes the calls.

use warren::plan::privileges::PathField;

use crate::common::{ALICE, World};

/// Where a part stands.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// In `<domain>`.
    Outer(String),
    /// In `<os>`.
    Os(String),
    /// In `<devices>`.
    Device(String),
    /// In `<network>`.
    Network(String),
}

/// How one sees in a guest that runs which file was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    /// QEMU has a descriptor of the file itself.
    File,
    /// QEMU has a file with the same content.
    Content,
    /// Only that it was opened: a block device of the test would be one of the machine.
    Node,
    /// Somebody connects to the socket.
    Socket,
    /// Nothing: the start is refused for this part.
    Nothing,
    /// It is a name, and no file.
    Name,
    /// QEMU's own uid opens it, or the service does for somebody with `host-access`.
    OnlyWithHostAccess,
}

/// A kernel that everybody may read.
const KERNEL: &str = "/run/w/guest/kernel";
/// Firmware that is installed.
pub(crate) const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";

/// An overlay that Alice may write.
pub(crate) fn overlay() -> String {
    format!("{}/home-{}/overlay.qcow2", World::DIR, ALICE.name)
}

/// A domain that has these parts.
pub(crate) fn document(uuid: &str, parts: &[Part]) -> String {
    let of =
        |wanted: fn(&Part) -> Option<&String>| parts.iter().filter_map(wanted).cloned().collect::<String>();
    let outer = of(|p| if let Part::Outer(text) = p { Some(text) } else { None });
    let os = of(|p| if let Part::Os(text) = p { Some(text) } else { None });
    let devices = of(|p| if let Part::Device(text) = p { Some(text) } else { None });
    format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>d{short}</name>
         <uuid>{uuid}</uuid><maxMemory slots='4' unit='MiB'>512</maxMemory><memory unit='MiB'>96</memory>
         <vcpu>1</vcpu><features><acpi/></features><os><type arch='x86_64' machine='pc'>hvm</type>{os}</os>{outer}
         <cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>
         <devices>{devices}</devices></domain>",
        short = &uuid[..4],
    )
}

fn disk(kind: &str, source: &str) -> Part {
    Part::Device(format!("<disk type='{kind}'>{source}<target dev='vda' bus='virtio'/></disk>"))
}

fn network_disk(protocol: &str, inside: &str) -> Part {
    disk(
        "network",
        &format!("<source protocol='{protocol}' name='a/b'><host name='example.org'/>{inside}</source>"),
    )
}

fn nic(kind: &str, inside: &str) -> Part {
    Part::Device(format!("<interface type='{kind}'>{inside}</interface>"))
}

fn console(kind: &str, inside: &str) -> Part {
    Part::Device(format!("<serial type='{kind}'>{inside}</serial>"))
}

fn device(text: &str) -> Part {
    Part::Device(text.to_owned())
}

/// The part with this path, where it has one.
pub(crate) fn part(field: PathField, path: &str) -> Part {
    use PathField as F;
    let pflash = format!("<loader type='pflash' readonly='yes'>{CODE}</loader>");
    match field {
        F::Emulator => Part::Device(format!("<emulator>{path}</emulator>")),
        F::QemuArgument => {
            Part::Outer("<qemu:commandline><qemu:arg value='-S'/></qemu:commandline>".to_owned())
        }
        F::QemuEnvironment => {
            Part::Outer("<qemu:commandline><qemu:env name='A' value='b'/></qemu:commandline>".to_owned())
        }
        F::QemuOverride => Part::Outer(
            "<qemu:override><qemu:device alias='ua-a'><qemu:frontend>\
             <qemu:property name='a' type='bool' value='true'/></qemu:frontend></qemu:device></qemu:override>"
                .to_owned(),
        ),
        F::Kernel => Part::Os(format!("<kernel>{path}</kernel>")),
        F::Initrd => Part::Os(format!("<kernel>{KERNEL}</kernel><initrd>{path}</initrd>")),
        F::Loader => Part::Os(format!("<loader type='rom'>{path}</loader>")),
        F::Nvram => Part::Os(format!("{pflash}<nvram>{path}</nvram>")),
        F::NvramTemplate => Part::Os(format!("{pflash}<nvram template='{path}'/>")),
        F::SmbiosOfHost => Part::Os("<smbios mode='host'/>".to_owned()),
        F::FwCfgFile => Part::Outer(format!(
            "<sysinfo type='fwcfg'><entry name='opt/org.example/a' file='{path}'/></sysinfo>"
        )),
        F::DiskFile => disk("file", &format!("<source file='{path}'/>")),
        F::BackingFile => disk(
            "file",
            &format!(
                "<driver type='qcow2'/><source file='{}'/><backingStore type='file'><format type='raw'/>\
                 <source file='{path}'/><backingStore/></backingStore>",
                overlay()
            ),
        ),
        F::DiskBlock => disk("block", &format!("<source dev='{path}'/>")),
        F::DiskVolume => disk("volume", "<source pool='default' volume='a'/>"),
        F::DiskDescriptors => disk("file", &format!("<source file='{path}' fdgroup='a'/>")),
        F::DiskSecret => network_disk("iscsi", "<auth username='a'><secret type='iscsi' usage='b'/></auth>"),
        F::DiskDirectory => disk("dir", &format!("<driver type='fat'/><source dir='{path}'/><readonly/>")),
        F::DiskNvme => disk(
            "nvme",
            "<source type='pci' namespace='1' managed='yes'><address domain='0' bus='1' slot='0' function='0'/></source>",
        ),
        F::DiskVhostUser => disk("vhostuser", &format!("<source type='unix' path='{path}'/>")),
        F::DiskVdpa => disk("vhostvdpa", &format!("<source dev='{path}'/>")),
        F::DiskSocket => disk(
            "network",
            &format!("<source protocol='nbd'><host transport='unix' socket='{path}'/></source>"),
        ),
        F::DiskConfig => network_disk("rbd", &format!("<config file='{path}'/>")),
        F::DiskKnownHosts => network_disk("ssh", &format!("<knownHosts path='{path}'/>")),
        F::DiskKeyFile => network_disk("ssh", &format!("<identity username='a' keyfile='{path}'/>")),
        F::DiskAgent => network_disk("ssh", &format!("<identity username='a' agentsock='{path}'/>")),
        F::DiskReservations => Part::Device(format!(
            "<controller type='scsi' model='virtio-scsi'/><disk type='block' device='lun'>\
             <source dev='{path}'><reservations managed='no'><source type='unix' path='/run/a' mode='client'/>\
             </reservations></source><target dev='sda' bus='scsi'/></disk>"
        )),
        F::DiskCommands => Part::Device(format!(
            "<controller type='scsi' model='virtio-scsi'/><disk type='block' device='lun'>\
             <source dev='{path}'/><target dev='sda' bus='scsi'/></disk>"
        )),
        F::Filesystem => device(&format!("<filesystem><source dir='{path}'/><target dir='a'/></filesystem>")),
        F::NicBridge => nic("bridge", "<source bridge='br0'/>"),
        F::NicEthernet => nic("ethernet", &format!("<script path='{path}'/>")),
        F::NicDirect => nic("direct", "<source dev='eth0' mode='bridge'/>"),
        F::NicVdpa => nic("vdpa", &format!("<source dev='{path}'/>")),
        F::NicHostdev => {
            nic("hostdev", "<source><address type='pci' domain='0' bus='1' slot='0' function='0'/></source>")
        }
        F::NicVhostUser => nic(
            "vhostuser",
            &format!("<source type='unix' path='{path}' mode='client'/><model type='virtio'/>"),
        ),
        F::NicPasstDevice => nic("user", "<source dev='eth0'/><backend type='passt'/>"),
        F::NicPasstLog => nic("user", &format!("<backend type='passt' logFile='{path}'/>")),
        F::NicTapDevice => nic("user", &format!("<backend tap='{path}'/>")),
        F::NicVhostDevice => nic("user", &format!("<backend vhost='{path}'/>")),
        F::NicRom => nic("user", &format!("<rom file='{path}'/>")),
        F::NicPortForward => nic(
            "user",
            "<backend type='passt'/><portForward proto='tcp'><range start='22' to='22'/></portForward>",
        ),
        F::NicTarget => nic("user", "<target dev='eth7'/>"),
        F::CharDevice => console("dev", &format!("<source path='{path}'/>")),
        F::CharFile => console("file", &format!("<source path='{path}'/>")),
        F::CharPipe => console("pipe", &format!("<source path='{path}'/>")),
        F::CharSocket => console("unix", &format!("<source mode='bind' path='{path}'/>")),
        F::CharDbus => console("dbus", "<source channel='org.example.a'/>"),
        F::CharNullModem => console("nmdm", "<source master='/dev/nmdm0A' slave='/dev/nmdm0B'/>"),
        F::CharLog => console("pty", &format!("<log file='{path}'/>")),
        F::DisplaySocket => {
            device(&format!("<graphics type='vnc'><listen type='socket' socket='{path}'/></graphics>"))
        }
        F::DisplayGpu => device("<graphics type='spice'><gl enable='yes'/></graphics>"),
        F::DisplayWindow => device("<graphics type='sdl' display=':0'/>"),
        F::DisplayDbus => device("<graphics type='dbus' p2p='yes'/>"),
        F::VideoGpu => {
            device(&format!("<video><model type='virtio'/><acceleration rendernode='{path}'/></video>"))
        }
        F::VideoProgram => device("<video><driver name='vhostuser'/><model type='virtio'/></video>"),
        F::Audio => device("<audio id='1' type='alsa'/>"),
        F::InputDevice => device(&format!("<input type='evdev'><source dev='{path}'/></input>")),
        F::RngDevice => {
            device(&format!("<rng model='virtio'><backend model='random'>{path}</backend></rng>"))
        }
        F::TpmDevice => {
            device(&format!("<tpm><backend type='passthrough'><device path='{path}'/></backend></tpm>"))
        }
        F::TpmSocket => device(&format!(
            "<tpm><backend type='external'><source type='unix' mode='connect' path='{path}'/></backend></tpm>"
        )),
        F::TpmState => device(&format!(
            "<tpm><backend type='emulator'><source type='file' path='{path}'/></backend></tpm>"
        )),
        F::TpmProfile => device("<tpm><backend type='emulator'><profile source='local:a'/></backend></tpm>"),
        F::TpmSecret => device(
            "<tpm><backend type='emulator'>\
             <encryption secret='3f8b8a4e-0c51-4a8e-9d0b-5d1f6c7a2b99'/></backend></tpm>",
        ),
        F::Smartcard => device("<smartcard mode='host'/>"),
        F::Hostdev => device(
            "<hostdev mode='subsystem' type='pci'>\
             <source><address domain='0' bus='1' slot='0' function='0'/></source></hostdev>",
        ),
        F::Shmem => device("<shmem name='a'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>"),
        F::Lease => device(&format!("<lease><key>a</key><target path='{path}'/></lease>")),
        F::PstoreFile => device(&format!(
            "<pstore backend='acpi-erst'><path>{path}</path><size unit='KiB'>64</size></pstore>"
        )),
        F::MemoryFile => device(&format!(
            "<memory model='virtio-pmem'><source><path>{path}</path></source>\
             <target><size unit='MiB'>8</size></target></memory>"
        )),
        F::MemoryEnclave => {
            device("<memory model='sgx-epc'><target><size unit='MiB'>8</size></target></memory>")
        }
        F::NetworkTftp => Part::Network(format!(
            "<ip address='10.9.0.1' netmask='255.255.255.0'><tftp root='{path}'/></ip>"
        )),
        F::NetworkOption => Part::Network(
            "<o:options xmlns:o='http://libvirt.org/schemas/network/dnsmasq/1.0'>\
             <o:option value='log-queries'/></o:options>"
                .to_owned(),
        ),
        F::NetworkForward => Part::Network("<forward mode='bridge'/><bridge name='br0'/>".to_owned()),
    }
}

/// How one sees what is opened of it.
pub(crate) fn opened(field: PathField) -> Opened {
    use PathField as F;
    match field {
        F::DiskFile | F::BackingFile | F::Nvram | F::Filesystem => Opened::File,
        F::Kernel | F::Initrd | F::Loader | F::NvramTemplate => Opened::Content,
        F::DiskBlock => Opened::Node,
        F::DiskSocket => Opened::Socket,
        F::FwCfgFile | F::DiskVolume | F::DiskDescriptors | F::DiskSecret | F::TpmSecret | F::MemoryFile => {
            Opened::Nothing
        }
        F::NicTarget => Opened::Name,
        F::Emulator
        | F::QemuArgument
        | F::QemuEnvironment
        | F::QemuOverride
        | F::SmbiosOfHost
        | F::DiskDirectory
        | F::DiskNvme
        | F::DiskVhostUser
        | F::DiskVdpa
        | F::DiskConfig
        | F::DiskKnownHosts
        | F::DiskKeyFile
        | F::DiskAgent
        | F::DiskReservations
        | F::DiskCommands
        | F::NicBridge
        | F::NicEthernet
        | F::NicDirect
        | F::NicVdpa
        | F::NicHostdev
        | F::NicVhostUser
        | F::NicPasstDevice
        | F::NicPasstLog
        | F::NicTapDevice
        | F::NicVhostDevice
        | F::NicRom
        | F::NicPortForward
        | F::CharDevice
        | F::CharFile
        | F::CharPipe
        | F::CharSocket
        | F::CharDbus
        | F::CharNullModem
        | F::CharLog
        | F::DisplaySocket
        | F::DisplayGpu
        | F::DisplayWindow
        | F::DisplayDbus
        | F::VideoGpu
        | F::VideoProgram
        | F::Audio
        | F::InputDevice
        | F::RngDevice
        | F::TpmDevice
        | F::TpmSocket
        | F::TpmState
        | F::TpmProfile
        | F::Smartcard
        | F::Hostdev
        | F::Shmem
        | F::Lease
        | F::PstoreFile
        | F::MemoryEnclave
        | F::NetworkTftp
        | F::NetworkOption
        | F::NetworkForward => Opened::OnlyWithHostAccess,
    }
}
