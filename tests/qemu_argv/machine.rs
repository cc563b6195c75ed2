//! Whole guests: machines, CPUs, memory, clocks and every controller, several to a guest.

use serde_json::{Value, json};
use warren::model::DomainDef;
use warren::plan::qemu::{self, Handed};

use super::guest::of_document;
use super::rig::{Rig, in_own_network, real_qemu};

/// A guest of `machine` that says `outer` beside its devices.
fn guest(machine: &str, outer: &str, devices: &str) -> DomainDef {
    of_document(&document(machine, outer, devices))
}

fn document(machine: &str, outer: &str, devices: &str) -> String {
    let memory = if outer.contains("<memory ") { "" } else { "<memory unit='MiB'>256</memory>" };
    let os = format!("<os><type arch='x86_64' machine='{machine}'>hvm</type>");
    let os = match outer.split_once("<os>") {
        Some((_, rest)) => format!("{os}{}</os>", rest.split("</os>").next().unwrap()),
        None => format!("{os}</os>"),
    };
    let outer = match outer.split_once("<os>") {
        Some((before, rest)) => format!("{before}{}", rest.split_once("</os>").unwrap().1),
        None => outer.to_owned(),
    };
    format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>guest</name>\
         <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>{memory}{os}{outer}<devices>{devices}</devices></domain>"
    )
}

/// Starts the guest, and ends it once its monitor has answered.
async fn runs(machine: &str, outer: &str, devices: &str) {
    Rig::start(&guest(machine, outer, devices), vec![]).await.quit().await;
}

/// The elements that the installed QEMU cannot be planned for.
async fn refused(machine: &str, outer: &str, devices: &str) -> Vec<String> {
    let def = guest(machine, outer, devices);
    let qemu = real_qemu("x86_64").await;
    let planned = qemu::plan(&def, &def.uuid.unwrap(), &qemu, &Handed::for_a_look(&def, 10, false));
    planned.findings.into_iter().map(|f| f.path).collect()
}

#[test]
fn cpus_with_their_number_and_cells() {
    in_own_network(|| async {
        let model = "<vcpu current='2'>8</vcpu><cpu mode='custom' match='exact' check='none'>\
             <model fallback='forbid'>Nehalem</model><vendor>Intel</vendor><topology sockets='2' dies='1' cores='2' threads='2'/>\
             <feature policy='require' name='aes'/><feature policy='disable' name='sse4.2'/><feature policy='optional' name='vmx'/>\
             <cache mode='emulate' level='3'/><maxphysaddr mode='emulate' bits='42'/>\
             <numa><cell id='0' cpus='0-3' memory='128' unit='MiB'><distances><sibling id='0' value='10'/>\
             <sibling id='1' value='21'/></distances></cell><cell id='1' cpus='4-7' memory='128' unit='MiB' memAccess='shared'/></numa></cpu>";
        for machine in ["pc", "q35"] {
            let rig = Rig::start(&guest(machine, model, ""), vec![]).await;
            let cpus = rig.ask("query-hotpluggable-cpus", Value::Null).await;
            assert_eq!(cpus.as_array().unwrap().len(), 8);
            assert_eq!(cpus.as_array().unwrap().iter().filter(|c| c["qom-path"].is_string()).count(), 2);
            let memory = rig.ask("query-memory-size-summary", Value::Null).await;
            assert_eq!(memory["base-memory"], 256 << 20);
            rig.quit().await;
        }
        for mode in ["host-model", "maximum", "host-passthrough"] {
            let text =
                format!("<vcpu>3</vcpu><cpu mode='{mode}'><feature policy='disable' name='svm'/></cpu>");
            runs("pc", &text, "").await;
        }
        runs("q35", "<cpu mode='maximum' migratable='off'><cache mode='disable'/></cpu>", "").await;
        let hmat = "<vcpu>2</vcpu><cpu><numa><cell id='0' cpus='0-1' memory='128' unit='MiB'>\
             <cache level='1' associativity='direct' policy='writeback'><size value='8' unit='KiB'/><line value='5' unit='B'/></cache></cell>\
             <cell id='1' memory='128' unit='MiB'/>\
             <interconnects><latency initiator='0' target='0' type='access' value='5'/>\
             <latency initiator='0' target='0' cache='1' type='access' value='6'/>\
             <latency initiator='0' target='1' type='access' value='15'/>\
             <bandwidth initiator='0' target='0' type='access' value='204800' unit='KiB'/>\
             <bandwidth initiator='0' target='0' cache='1' type='access' value='208896' unit='KiB'/>\
             <bandwidth initiator='0' target='1' type='access' value='102400' unit='KiB'/></interconnects></numa></cpu>";
        runs("q35", hmat, "").await;
    });
}

#[test]
fn memory_of_every_source_and_module() {
    in_own_network(|| async {
        let memfd = "<memoryBacking><nosharepages/><source type='memfd'/><access mode='shared'/><allocation mode='immediate' threads='2'/></memoryBacking>";
        runs("pc", memfd, "").await;
        runs("q35", "<memoryBacking><source type='anonymous'/></memoryBacking>", "").await;
        let cells = "<features><acpi/></features><maxMemory slots='4' unit='MiB'>2048</maxMemory><memory unit='MiB'>768</memory><vcpu>2</vcpu>\
             <cpu><numa><cell id='0' cpus='0-1' memory='256' unit='MiB'/></numa></cpu>";
        let modules = "<memory model='dimm'><target><size unit='MiB'>256</size><node>0</node></target></memory>\
             <memory model='virtio-mem'><target><size unit='MiB'>256</size><node>0</node><block unit='MiB'>2</block>\
             <requested unit='MiB'>64</requested></target></memory>";
        for machine in ["pc", "q35"] {
            let rig = Rig::start(&guest(machine, cells, modules), vec![]).await;
            let devices = rig.ask("query-memory-devices", Value::Null).await;
            assert_eq!(devices.as_array().unwrap().len(), 2, "{devices}");
            rig.quit().await;
        }
        let module = modules.split_once("</memory>").unwrap().0.to_owned() + "</memory>";
        let without_acpi = cells.replace("<acpi/>", "");
        assert_eq!(refused("pc", &without_acpi, &module).await, ["/domain/devices/memory"]);
        let file = "<memoryBacking><source type='file'/></memoryBacking>";
        assert_eq!(refused("pc", file, "").await, ["/domain/memoryBacking/source/@type"]);
        let locked = "<memoryBacking><locked/></memoryBacking>";
        assert_eq!(refused("pc", locked, "").await, ["/domain/memoryBacking/locked"]);
    });
}

#[test]
fn features_clocks_and_tables() {
    in_own_network(|| async {
        let common = "<iothreads>2</iothreads><genid>e9392370-2917-565e-692b-d057f46512d6</genid>\
             <on_reboot>destroy</on_reboot>\
             <pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='yes'/></pm>\
             <sysinfo type='smbios'><bios><entry name='vendor'>Acme, Ltd</entry></bios><system><entry name='product'>P</entry>\
             <entry name='serial'>S,1</entry></system><baseBoard><entry name='product'>B</entry></baseBoard>\
             <chassis><entry name='asset'>C</entry></chassis><oemStrings><entry>one</entry><entry>two</entry></oemStrings></sysinfo>\
             <os><boot dev='hd'/><bootmenu enable='yes' timeout='3000'/><smbios mode='sysinfo'/>\
             <bios useserial='yes' rebootTimeout='0'/></os>";
        let features = "<acpi/><apic eoi='on'/><pae/><hap/><vmcoreinfo state='on'/><pmu state='off'/><vmport state='off'/>\
             <kvm><hidden state='on'/><poll-control state='on'/><hint-dedicated state='on'/></kvm><pvspinlock state='on'/>\
             <hyperv mode='custom'><relaxed state='on'/><vapic state='on'/><spinlocks state='on' retries='8191'/>\
             <runtime state='on'/><synic state='on'/><stimer state='on'><direct state='on'/></stimer><reset state='on'/>\
             <vendor_id state='on' value='KVM Hv'/><frequencies state='on'/><reenlightenment state='on'/>\
             <tlbflush state='on'/><ipi state='on'/></hyperv><tcg><tb-cache unit='MiB'>64</tb-cache></tcg>";
        let clocks = [
            "<clock offset='utc'><timer name='rtc' tickpolicy='catchup' track='guest'/><timer name='pit' tickpolicy='delay'/>\
             <timer name='hpet' present='no'/></clock>",
            "<clock offset='localtime'><timer name='rtc' track='wall'/><timer name='hpet' present='yes'/><timer name='kvmclock' present='no'/></clock>",
            "<clock offset='variable' adjustment='-3600' basis='utc'><timer name='hypervclock' present='yes'/></clock>",
            "<clock offset='absolute' start='1700000000'><timer name='tsc' frequency='2000000000'/></clock>",
        ];
        let serial = "<serial type='null'/>";
        for clock in clocks {
            let outer = format!("{common}<features>{features}</features>{clock}");
            runs("pc", &outer, serial).await;
        }
        let q35 = format!(
            "{common}<features>{features}<smm state='on'><tseg unit='MiB'>48</tseg></smm><ioapic driver='qemu'/></features>"
        );
        runs("q35", &q35, serial).await;
        let numbers = "<features><hyperv><vpindex state='on'/></hyperv></features>";
        assert_eq!(refused("pc", numbers, "").await, ["/domain/features/hyperv/vpindex"]);
        let kvm = "<features><ioapic driver='kvm'/></features>";
        assert_eq!(refused("q35", kvm, "").await, ["/domain/features/ioapic"]);
    });
}

#[test]
fn controllers_of_the_machine_pc() {
    in_own_network(|| async {
        let buses = "<controller type='pci' index='0' model='pci-root'><pcihole64 unit='KiB'>1048576</pcihole64></controller>\
             <controller type='pci' index='1' model='pci-bridge'/><controller type='pci' index='2' model='pci-bridge'>\
             <target chassisNr='9'/><address type='pci' bus='1' slot='3'/></controller>\
             <controller type='pci' index='3' model='pci-expander-bus'><target busNr='200'/></controller>\
             <controller type='pci' index='4' model='pci-expander-bus'/>\
             <sound model='ac97'><address type='pci' bus='2' slot='4'/></sound>";
        runs("pc", "", buses).await;
        for model in ["piix3-uhci", "piix4-uhci", "pci-ohci", "nec-xhci", "qemu-xhci"] {
            let usb = format!(
                "<controller type='usb' model='{model}'/><hub type='usb'/><input type='tablet' bus='usb'/>"
            );
            runs("pc", "", &usb).await;
        }
        runs("pc", "", "<controller type='usb' model='ehci'/><input type='tablet' bus='usb'/>").await;
        let slow = "<controller type='usb' model='ehci'/><hub type='usb'/>";
        assert_eq!(refused("pc", "", slow).await, ["/domain/devices/hub"]);
        let scsi = "<controller type='scsi' index='0' model='lsilogic'/><controller type='scsi' index='1' model='lsisas1068'/>\
             <controller type='scsi' index='2' model='lsisas1078'/><controller type='scsi' index='3' model='vmpvscsi'/>\
             <controller type='scsi' index='4' model='am53c974'/><controller type='scsi' index='5' model='dc390'/>\
             <controller type='scsi' index='6' model='virtio-transitional'/>";
        runs("pc", "", scsi).await;
        let virtio = "<controller type='scsi' model='virtio-scsi'><driver queues='2' cmd_per_lun='8' max_sectors='512' ioeventfd='on' iothread='1' packed='on'/></controller>\
             <controller type='scsi' index='1' model='virtio-non-transitional'><driver iommu='on' ats='on'/></controller>\
             <controller type='virtio-serial' ports='16' vectors='4'/><controller type='virtio-serial' index='1' model='virtio-transitional'/>\
             <controller type='virtio-serial' index='2' model='virtio-non-transitional'/>\
             <controller type='sata'/><controller type='ide'/><controller type='fdc'/><controller type='ccid'/>";
        runs("pc", "<iothreads>1</iothreads>", virtio).await;
        let express = "<controller type='pci' index='1' model='pcie-root-port'/>";
        assert_eq!(
            refused("pc", "", express).await,
            ["/domain/devices/controller"],
            "the machine pc has no PCI Express"
        );
    });
}

#[test]
fn controllers_of_the_machine_q35() {
    in_own_network(|| async {
        let buses = "<controller type='pci' index='0' model='pcie-root'/>\
             <controller type='pci' index='1' model='pcie-root-port'><model name='ioh3420'/></controller>\
             <controller type='pci' index='2' model='pcie-root-port'><target chassis='2' port='0x9' hotplug='off'/></controller>\
             <controller type='pci' index='3' model='pcie-switch-upstream-port'/>\
             <controller type='pci' index='4' model='pcie-switch-downstream-port'/>\
             <controller type='pci' index='5' model='pcie-switch-downstream-port'/>\
             <controller type='pci' index='6' model='dmi-to-pci-bridge'/><controller type='pci' index='7' model='pci-bridge'/>\
             <controller type='pci' index='8' model='pcie-expander-bus'><target busNr='180'/></controller>\
             <controller type='pci' index='9' model='pcie-root-port'><address type='pci' bus='8' slot='0'/></controller>\
             <controller type='pci' index='10' model='pcie-to-pci-bridge'/>";
        runs("q35", "", buses).await;
        let usb = "<controller type='usb' model='ich9-ehci1'/><controller type='usb' model='ich9-uhci1'><master startport='0'/></controller>\
             <controller type='usb' model='ich9-uhci2'><master startport='2'/></controller>\
             <controller type='usb' model='ich9-uhci3'><master startport='4'/></controller>\
             <controller type='usb' index='1' model='qemu-xhci' ports='15'/><hub type='usb'/><hub type='usb'/>\
             <input type='tablet' bus='usb'/><input type='keyboard' bus='usb'/><input type='mouse' bus='usb'/>\
             <input type='keyboard' bus='virtio'/><input type='tablet' bus='virtio'/>\
             <serial type='null'><target type='usb-serial' port='0'/></serial>";
        runs("q35", "", usb).await;
        let many = "<input type='mouse' bus='usb'/>".repeat(12);
        runs("pc", "", &many).await;
        runs("q35", "", &many).await;
        let iommu = "<iommu model='intel'><driver intremap='on' caching_mode='on' eim='off' iotlb='on' aw_bits='48'/></iommu>\
             <controller type='scsi' model='virtio-scsi'><driver iommu='on' ats='on'/></controller>";
        runs("q35", "<features><acpi/><ioapic driver='qemu'/></features>", iommu).await;
        runs("q35", "<features><acpi/></features>", "<iommu model='virtio'/>").await;
        runs("pc", "<features><acpi/></features>", "<iommu model='virtio'/>").await;
        let old = "<controller type='scsi' model='virtio-scsi'><driver iommu='on'/></controller>";
        assert_eq!(refused("pc", "", old).await, ["/domain/devices/controller/driver/@iommu"]);
        assert_eq!(refused("pc", "", "<iommu model='intel'/>").await, ["/domain/devices/iommu/@model"]);
    });
}

#[test]
fn many_devices_at_once() {
    in_own_network(|| async {
        let devices = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\
             <channel type='pty'><target type='virtio' name='b'/></channel><console type='pty'/><console type='pty'><target type='virtio'/></console>\
             <input type='tablet' bus='usb'/><sound model='ich6'><codec type='micro'/></sound><sound model='ac97'/><sound model='es1370'/>\
             <video><model type='qxl' ram='65536' vram='65536' vgamem='16384' heads='1' primary='yes'/></video>\
             <video><model type='virtio' heads='2'/></video><video><model type='bochs'/></video>\
             <watchdog model='i6300esb' action='reset'/><watchdog model='ib700' action='reset'/>\
             <rng model='virtio'><backend model='random'>/dev/urandom</backend><rate bytes='1024' period='1000'/></rng>\
             <panic model='isa'/><memballoon model='virtio' autodeflate='on' freePageReporting='on'/>";
        let extra = "<genid/><qemu:commandline><qemu:arg value='-global'/><qemu:arg value='PIIX4_PM.disable_s3=1'/></qemu:commandline>\
             <features><acpi/></features>";
        let qemu = real_qemu("x86_64").await;
        for machine in ["pc", "q35"] {
            let mut missing = refused(machine, extra, devices).await;
            missing.sort();
            let expected: &[&str] =
                if qemu.devices.contains("qxl-vga") { &[] } else { &["/domain/devices/video[1]"] };
            assert_eq!(missing, expected, "{machine}");
            let rest = if expected.is_empty() {
                devices.to_owned()
            } else {
                devices.replace("type='qxl'", "type='vga'")
            };
            let rest = rest.replace(" ram='65536' vram='65536' vgamem='16384'", "");
            let rig = Rig::start(&guest(machine, extra, &rest), vec![]).await;
            let path = json!({"path": "/machine/peripheral"});
            let there = rig.ask("qom-list", path).await.to_string();
            for id in
                ["channel0", "channel1", "console0", "input0", "watchdog0", "watchdog1", "rng0", "balloon0"]
            {
                assert!(there.contains(&format!("\"{id}\"")), "{id}: {there}");
            }
            rig.quit().await;
        }
    });
}

#[test]
fn readers_displays_and_what_hangs_on_them() {
    in_own_network(|| async {
        let devices = "<controller type='usb' model='qemu-xhci' ports='8'/><hub type='usb'/>\
             <smartcard mode='passthrough' type='tcp'><source mode='bind' host='127.0.0.1' service='2001'/><protocol type='raw'/></smartcard>\
             <serial type='null'><target type='usb-serial' port='0'/></serial>\
             <sound model='usb'/><sound model='ich9'/><sound model='sb16'/>\
             <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>\
             <redirdev bus='usb' type='spicevmc'/><graphics type='spice' port='-1'><image compression='off'/><jpeg compression='never'/>\
             <zlib compression='always'/><playback compression='off'/><streaming mode='filter'/><clipboard copypaste='no'/>\
             <filetransfer enable='no'/><mouse mode='client'/></graphics><graphics type='vnc' port='-1'/>\
             <video><model type='vga' vram='16384'/></video><video><model type='virtio'/></video>\
             <watchdog model='i6300esb' action='poweroff'/>";
        for machine in ["pc", "q35"] {
            let missing = refused(machine, "", devices).await;
            assert_eq!(missing, [""; 0], "{machine}");
            runs(machine, "", devices).await;
        }
        runs("q35", "", "<watchdog model='itco' action='reset'/><panic model='isa'/>").await;
    });
}
