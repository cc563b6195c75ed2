//! What needs a right and what does not; that everything in the model is judged.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::model::{DomainDoc, NetworkDoc};

fn domain(inside: &str) -> DomainDoc {
    let text = format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>n</name>\
         <memory>65536</memory>{inside}</domain>"
    );
    DomainDoc::parse(&text).unwrap()
}

fn with_devices(devices: &str) -> DomainDoc {
    domain(&format!("<os><type>hvm</type></os><devices>{devices}</devices>"))
}

/// The places that another user than the owner needs `host-access` for.
fn changed(before: &DomainDoc, after: &DomainDoc) -> Vec<String> {
    of_domain(after.def(), Author::Other(before.def()), &[]).of_owner
}

#[test]
fn what_names_the_host_needs_the_right_and_nothing_else_does() {
    let doc = with_devices(
        "<serial type='pty'/><serial type='file'><source path='/a'/></serial>\
         <serial type='pty'><log file='/b'/></serial><channel type='unix'><target type='virtio'/></channel>\
         <channel type='unix'><source mode='bind' path='/c'/><target type='virtio'/></channel>\
         <graphics type='vnc' listen='0.0.0.0'/><graphics type='spice'><gl rendernode='/d'/></graphics>\
         <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\
         <rng model='virtio'><backend model='random'>/dev/hwrng</backend></rng>\
         <tpm><backend type='emulator'/></tpm><tpm><backend type='passthrough'/></tpm>\
         <audio id='1' type='none'/><audio id='2' type='file' path='/e'/>\
         <input type='evdev'><source dev='/dev/input/event0'/></input>\
         <disk><source file='/f'/><target dev='vda'/></disk>\
         <disk device='lun' type='block'><source dev='/g'/><target dev='sda' bus='scsi'/></disk>",
    );
    let needs = of_domain(doc.def(), Author::Owner, &[]);
    assert_eq!(needs.of_owner, Vec::<String>::new());
    insta::assert_snapshot!(needs.host.join("\n"), @"
    /domain/devices/serial[2]
    /domain/devices/serial[3]
    /domain/devices/channel[2]
    /domain/devices/graphics[2]
    /domain/devices/rng[2]
    /domain/devices/tpm[2]
    /domain/devices/audio[2]
    /domain/devices/input
    /domain/devices/disk[2]
    ");
}

#[test]
fn networks_that_reach_into_the_host_need_a_right() {
    let needs = |inner: &str| {
        let text = format!("<network><name>n</name>{inner}</network>");
        of_network(NetworkDoc::parse(&text).unwrap().def()).host
    };
    assert_eq!(needs("<forward/><ip/>"), Vec::<String>::new());
    assert_eq!(needs("<ip/><ip><tftp root='/srv'/></ip>"), ["/network/ip[2]/tftp"]);
    let lines = "<o:options xmlns:o='http://libvirt.org/schemas/network/dnsmasq/1.0'>\
        <o:option value='log-queries'/></o:options>";
    assert_eq!(needs(lines), ["/network/dnsmasq:options"]);
    assert_eq!(needs("<forward mode='bridge'/><bridge name='br0'/>"), ["/network/forward"]);
}

const DISK: &str = "<disk type='file'><driver name='qemu' type='raw'/><source file='/a'/><target dev='vda'/><readonly/></disk>";
const OTHER: &str = "<disk type='file'><source file='/b'/><target dev='vdb'/></disk>";

#[test]
fn what_stays_as_it_was_is_free_to_others() {
    let before = with_devices(&format!("{DISK}{OTHER}"));
    for after in [
        format!("{OTHER}{DISK}"),
        format!("<interface type='user'/>{OTHER}<sound model='ich9'/>"),
        DISK.replace("</disk>", "<address type='pci' slot='9'/><alias name='ua-a'/><boot order='1'/></disk>"),
    ] {
        assert_eq!(changed(&before, &with_devices(&after)), Vec::<String>::new(), "{after}");
    }
}

#[test]
fn every_change_of_a_disk_counts() {
    let before = with_devices(&format!("{DISK}{OTHER}"));
    for (from, to) in [
        ("'/a'", "'/c'"),
        // The other disk's file, and both at once.
        ("'/a'", "'/b'"),
        ("'vda'", "'vdc'"),
        ("<readonly/>", ""),
        ("<readonly/>", "<readonly/><shareable/>"),
        ("'raw'", "'qcow2'"),
        ("'raw'", "'raw' cache='unsafe'"),
        ("type='file'", "type='file' device='cdrom'"),
        (
            "<target",
            "<backingStore type='file'><format type='raw'/><source file='/b'/></backingStore><target",
        ),
        ("<target", "<backingStore/><target"),
        ("file='/a'", "file='/a' startupPolicy='optional'"),
    ] {
        let after = DISK.replacen(from, to, 1);
        assert_ne!(after, DISK);
        assert_eq!(changed(&before, &with_devices(&after)), ["/domain/devices/disk"], "{after}");
    }
    let twice = with_devices(&format!("{DISK}{DISK}"));
    assert_eq!(changed(&before, &twice), ["/domain/devices/disk[2]"], "each disk allows one");
    assert_eq!(changed(&with_devices(""), &before).len(), 2, "what was not there is added");
}

#[test]
fn a_chain_is_compared_to_its_end() {
    let chain = |lowest: &str| {
        with_devices(&format!(
            "<disk type='file'><driver type='qcow2'/><source file='/a'/><target dev='vda'/>\
             <backingStore type='file'><format type='qcow2'/><source file='/b'/>\
             <backingStore type='file'><format type='raw'/><source file='{lowest}'/></backingStore></backingStore></disk>"
        ))
    };
    assert_eq!(changed(&chain("/c"), &chain("/c")), Vec::<String>::new());
    assert_eq!(changed(&chain("/c"), &chain("/d")), ["/domain/devices/disk"]);
}

#[test]
fn every_change_of_what_is_booted_counts() {
    let os = "<os><type>hvm</type><loader type='pflash' readonly='yes'>/a</loader>\
              <nvram template='/b'>/c</nvram><kernel>/d</kernel><initrd>/e</initrd><cmdline>f</cmdline></os>\
              <sysinfo type='fwcfg'><entry name='opt/a' file='/g'/></sysinfo>";
    let before = domain(os);
    let after = |from: &str, to: &str| {
        let text = os.replacen(from, to, 1);
        assert_ne!(text, os);
        changed(&before, &domain(&text))
    };
    assert_eq!(after(">f<", ">quiet<"), Vec::<String>::new());
    assert_eq!(after(">/d<", ">/x<"), ["/domain/os/kernel"]);
    assert_eq!(after(">/e<", ">/x<"), ["/domain/os/initrd"]);
    assert_eq!(after("'/g'", "'/x'"), ["/domain/sysinfo/entry"]);
    let (loader, nvram, template) = ("/domain/os/loader", "/domain/os/nvram", "/domain/os/nvram/@template");
    // Whether and how variables are written depends on the loader.
    for (from, to) in [(">/a<", ">/x<"), ("readonly='yes'", ""), ("'pflash'", "'rom'")] {
        assert_eq!(after(from, to), [loader, nvram, template], "{from}");
    }
    for (from, to) in [(">/c<", ">/x<"), ("'/b'", "'/x'"), ("'/b'", "'/b' format='qcow2'")] {
        assert_eq!(after(from, to), [nvram, template], "{from}");
    }
}

#[test]
fn the_choice_of_firmware_is_part_of_its_variables() {
    let os = |firmware: &str, feature: &str| {
        domain(&format!(
            "<os firmware='{firmware}'><type machine='q35'>hvm</type>\
             <firmware><feature name='secure-boot' enabled='{feature}'/></firmware><nvram>/a</nvram></os>"
        ))
    };
    let before = os("efi", "yes");
    assert_eq!(changed(&before, &os("efi", "yes")), Vec::<String>::new());
    assert_eq!(changed(&before, &os("efi", "no")), ["/domain/os/nvram"]);
    assert_eq!(changed(&before, &os("bios", "yes")), ["/domain/os/nvram"]);
}

#[test]
fn a_name_on_the_host_is_the_owners() {
    let nic = |inside: &str| with_devices(&format!("<interface type='user'>{inside}</interface>"));
    let named = nic("<target dev='a'/>");
    assert_eq!(changed(&nic(""), &named), ["/domain/devices/interface"]);
    assert_eq!(changed(&named, &nic("<target dev='a'/><model type='e1000'/>")), Vec::<String>::new());
    assert_eq!(changed(&named, &nic("<target dev='b'/>")), ["/domain/devices/interface"]);
}

#[test]
fn a_refusal_names_the_place_the_owner_and_what_to_do() {
    let needs = of_domain(with_devices(OTHER).def(), Author::Other(with_devices("").def()), &[]);
    insta::assert_snapshot!(needs.reason(0), @"/domain/devices/disk: this is opened with the rights of uid 0, who owns the domain, and another user added or changed it; leave it as it was, or let the owner change it");
    let places = (0..7).map(|n| format!("/p{n}")).collect();
    insta::assert_snapshot!(Privileges { host: places, ..Privileges::default() }.reason(0), @"/p0, /p1, /p2, /p3, /p4 and 2 more: this names something of this host beyond a user's own files; leave it out");
}

#[test]
fn each_field_is_either_the_owners_or_the_hosts_and_listed_once() {
    let all: BTreeSet<_> = PathField::ALL.iter().collect();
    assert_eq!(all.len(), PathField::ALL.len());
    assert!([Rights::Owner, Rights::Host].iter().all(|r| all.iter().any(|f| f.rights() == *r)));
}

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        if path.is_dir() {
            return sources(path.to_str().unwrap());
        }
        let text = fs::read_to_string(&path).unwrap();
        vec![(path, text)]
    };
    entries.flat_map(read).collect()
}

/// What a device is made of that needs `host-access` as a whole, whatever is in it; and a name with a private field.
const OF_THE_HOST: [&str; 14] = [
    "FilesystemDef",
    "FilesystemDriver",
    "VirtiofsBinary",
    "IdMap",
    "HostdevDef",
    "HostdevSource",
    "UsbSource",
    "ScsiUnit",
    "HostdevDriver",
    "Rom",
    "ShmemDef",
    "Msi",
    "LeaseDef",
    "NicModel",
];

#[test]
fn every_type_of_the_model_is_taken_apart() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/src/plan/privileges");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/src/model");
    let judged: String = sources(here)
        .into_iter()
        .filter(|(path, _)| !path.ends_with("tests.rs"))
        .map(|(_, text)| text)
        .collect();
    for line in judged.lines().filter(|line| !line.trim_start().starts_with("//")) {
        assert!(!line.contains("_ =>") && !line.contains(".."), "a rest admits by default: {line}");
    }
    let types = ["/domain", "/network"].map(|dir| sources(&format!("{model}{dir}"))).concat();
    let types =
        types.into_iter().chain(sources(model).into_iter().filter(|(p, _)| p.ends_with("shaping.rs")));
    let mut missing = Vec::new();
    for (_, text) in types {
        for line in text.lines() {
            let of = |kind: &str| line.strip_prefix(kind);
            let Some(rest) = of("pub struct ").or_else(|| of("pub enum ")) else { continue };
            let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
            let apart = [" {", "::", "("].iter().any(|after| judged.contains(&format!("{name}{after}")));
            if !apart && !OF_THE_HOST.contains(&name.as_str()) {
                missing.push(name);
            }
        }
    }
    assert!(missing.is_empty(), "judge these types in plan/privileges: {missing:?}");
}
