//! Judges a domain's definition: what belongs together, what excludes each other, what cannot be run yet.
//!
//! Owns the rules that need more than one place of a domain's document. Must never look at the host or at
//! other documents.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{Check, at, consoles, displays, host_devices, interface, small, storage, storage_start};
use crate::model::{Device, DomainDef, DomainDoc, Finding, LifecycleAction, Severity};

/// The longest title, in bytes: it is told with every other property of every object, in one message.
const TITLE_LIMIT: usize = 1024;

/// Everything there is to say about a domain's document, with what was noticed while reading it.
pub fn domain(doc: &DomainDoc) -> Vec<Finding> {
    let mut check = Check::new(doc);
    let def = doc.def();
    // Else the cells say how much there is.
    let has_cells = doc.tree().find("/domain/cpu/numa").is_some();
    if def.memory.0 == 0 && !has_cells {
        check.error("/domain/memory", "the domain has no memory", "add <memory unit='MiB'>512</memory>");
    }
    if def.vcpus == 0 {
        check.error("/domain/vcpu", "the domain has no CPU", "give at least 1");
    }
    if def.title.len() > TITLE_LIMIT {
        let message = format!("the title has {} bytes, at most {TITLE_LIMIT} are taken", def.title.len());
        check.error("/domain/title", message, "write what is longer into <description>");
    }
    for (name, given) in [("initrd", def.os.initrd.is_some()), ("cmdline", def.os.cmdline.is_some())] {
        if given && def.os.kernel.is_none() {
            let message = format!("<{name}> is for a <kernel>, and there is none");
            check.add(Severity::Unsupported, &format!("/domain/os/{name}"), message, "add <kernel>");
        }
    }
    if def.on_poweroff == LifecycleAction::Restart && def.on_reboot == LifecycleAction::Destroy {
        let message = "<on_reboot> 'destroy' contradicts <on_poweroff> 'restart': to restart is to reboot";
        // Kept as written: other tools write such documents, and never start them here.
        let remedy = "write restart in both, or destroy in both";
        check.unsupported("/domain/on_reboot", message, remedy);
    }
    interface::interfaces(&mut check);
    storage::check(&mut check, def);
    storage_start::check(&mut check, def);
    host_devices::check(&mut check, def);
    boot(&mut check, doc);
    consoles::check(&mut check);
    displays::check(&mut check);
    small::check(&mut check);
    check.findings
}

fn boot(check: &mut Check<'_, DomainDef>, doc: &DomainDoc) {
    let def = doc.def();
    let orders = def.devices.iter().filter_map(|d| match d {
        Device::Disk(disk) => Some((at(&disk.info.path, "boot/@order"), disk.info.boot_order?)),
        Device::Interface(nic) => Some((at(&nic.info.path, "boot/@order"), nic.info.boot_order?)),
        _ => None,
    });
    let orders: Vec<(String, u32)> = orders.collect();
    if let Some((path, _)) = orders.first()
        && !def.os.boot.is_empty()
    {
        let message = "<boot order> of a device and <os><boot> exclude each other";
        check.unsupported(path, message, "leave <os><boot> out");
    }
    let mut seen = HashMap::new();
    for (path, order) in orders {
        match seen.entry(order) {
            Entry::Vacant(free) => drop(free.insert(path)),
            Entry::Occupied(first) => {
                let message =
                    format!("place {order} in the boot order is given twice; first at {}", first.get());
                check.unsupported(&path, message, "give each device its own");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::check::show;

    fn of_domain(outer: &str, devices: &str) -> String {
        let text =
            format!("<domain type='qemu'><name>n</name>{outer}\n<devices>\n{devices}\n</devices>\n</domain>");
        show(&domain(&DomainDoc::parse(&text).unwrap()))
    }

    const OUTER: &str = "<memory>65536</memory><os><type>hvm</type></os>";

    #[test]
    fn a_good_document_has_no_findings() {
        assert_eq!(of_domain(OUTER, "<interface type='user'/><graphics type='vnc'/>"), "");
    }

    #[test]
    fn a_port_without_a_password_is_a_warning() {
        let warned =
            of_domain(OUTER, "<graphics type='vnc' port='-1'/>\n<graphics type='spice' autoport='yes'/>");
        insta::assert_snapshot!(warned, @"
        warning /domain/devices/graphics[1] (line 3, column 1): this VNC display has a port and no password; leave out port, autoport, websocket and listen, and it is a socket that only Warren opens; or give a passwd
        warning /domain/devices/graphics[2] (line 4, column 1): this SPICE display has a port and no password; leave out port, autoport, websocket and listen, and it is a socket that only Warren opens; or give a passwd
        ");
        for quiet in ["vnc' passwd='x' port='-1", "spice' passwd='' listen='::1", "vnc' passwd='x", "spice"] {
            assert_eq!(of_domain(OUTER, &format!("<graphics type='{quiet}'/>")), "");
        }
        assert_eq!(of_domain(OUTER, "<graphics type='vnc'><listen type='none'/></graphics>"), "");
    }

    #[test]
    fn what_must_be_unique_in_a_domain() {
        let devices = "<interface type='user'><mac address='52:54:00:00:00:01'/></interface>\n\
            <interface type='bridge'><mac address='52:54:00:00:00:01'/><source dev='b'/><target dev='t'/><alias name='ua-n'/></interface>\n\
            <interface type='ethernet'><mac address='53:54:00:00:00:01'/><target dev='t'/><alias name='ua-n'/></interface>\n\
            <disk><source file='/a'/><target dev='vda'/><boot order='1'/></disk>\n\
            <disk><source file='/b'/><target dev='vda'/><boot order='1'/></disk>\n\
            <serial type='pty'><target port='1'/></serial><serial type='pty'/><serial type='pty'><target port='9'/></serial>\n\
            <graphics type='vnc'/><graphics type='vnc'/>";
        let outer = "<memory>1</memory><os><type>hvm</type><boot dev='hd'/></os>";
        insta::assert_snapshot!(of_domain(outer, devices), @"
        error /domain/devices/interface[2]/mac/@address (line 4, column 26): the MAC address 52:54:00:00:00:01 is given twice; first at /domain/devices/interface[1]; leave one out and Warren chooses another
        error /domain/devices/interface[3]/mac/@address (line 5, column 28): 53:54:00:00:00:01 is a multicast address; the second digit of a NIC's address is even
        error /domain/devices/interface[3]/target/@dev (line 5, column 62): the name of a TAP, 't', is given twice; first at /domain/devices/interface[2]/target/@dev
        error /domain/devices/interface[3]/alias/@name (line 5, column 79): the alias of an interface, 'ua-n', is given twice; first at /domain/devices/interface[2]/alias/@name
        error /domain/devices/disk[2]/target/@dev (line 7, column 26): the target of a disk, 'vda', is given twice; first at /domain/devices/disk[1]/target/@dev
        unsupported /domain/devices/disk[1]/boot/@order (line 6, column 45): <boot order> of a device and <os><boot> exclude each other; leave <os><boot> out
        unsupported /domain/devices/disk[2]/boot/@order (line 7, column 45): place 1 in the boot order is given twice; first at /domain/devices/disk[1]/boot/@order; give each device its own
        unsupported /domain/devices/serial[3]/target/@port (line 8, column 86): there is no serial port 9; a PC has the ports 0 to 3
        unsupported /domain/devices/graphics[2] (line 9, column 23): a second display of type 'vnc' is given; QEMU has one of each type
        ");
    }

    #[test]
    fn a_guest_needs_memory_and_a_cpu() {
        let outer = "<vcpu>0</vcpu><os><type>hvm</type><initrd>/i</initrd><cmdline>quiet</cmdline></os>";
        insta::assert_snapshot!(of_domain(outer, ""), @r#"
        error /domain/memory (line 1, column 1): the domain has no memory; add <memory unit='MiB'>512</memory>
        error /domain/vcpu (line 1, column 35): the domain has no CPU; give at least 1
        unsupported /domain/os/initrd (line 1, column 69): <initrd> is for a <kernel>, and there is none; add <kernel>
        unsupported /domain/os/cmdline (line 1, column 88): <cmdline> is for a <kernel>, and there is none; add <kernel>
        "#);
    }

    #[test]
    fn a_guest_is_not_restarted_and_destroyed_for_one_reason() {
        let of = |off: &str, reboot: &str| {
            let actions = format!("<on_poweroff>{off}</on_poweroff><on_reboot>{reboot}</on_reboot>");
            of_domain(&(OUTER.to_owned() + &actions), "")
        };
        insta::assert_snapshot!(of("restart", "destroy"), @"unsupported /domain/on_reboot (line 1, column 116): <on_reboot> 'destroy' contradicts <on_poweroff> 'restart': to restart is to reboot; write restart in both, or destroy in both");
        for (off, reboot) in [("restart", "restart"), ("destroy", "destroy"), ("restart", "preserve")] {
            assert_eq!(of(off, reboot), "");
        }
    }

    #[test]
    fn a_teaming_pair_shares_its_mac() {
        let nic = "<interface type='user'><mac address='52:54:00:00:00:01'/><teaming type='persistent'/></interface>";
        assert!(!of_domain(OUTER, &nic.repeat(2)).contains("twice"));
    }
}
