//! What is no argument: a guest sees of it what it would see if it were.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use warren::plan::qemu::{self, Handed, Sealed};
use warren::sys::copy;

use crate::guest::of_document;
use crate::rig::real_qemu;

/// Files of the firmware's configuration, read out of a QEMU that runs no guest.
fn firmware_files(args: &[String], sealed: &[Sealed]) -> BTreeMap<String, Vec<u8>> {
    let mut command = Command::new("qemu-system-x86_64");
    command.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-S",
        "-qtest",
        "stdio",
        "-qtest-log",
        "/dev/null",
    ]);
    let file = |s: &Sealed| FdMapping {
        parent_fd: OwnedFd::from(copy::sealed_text(&s.content).unwrap()),
        child_fd: s.fd,
    };
    command.fd_mappings(sealed.iter().map(file).collect()).unwrap();
    let mut qemu = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut asked = qemu.stdin.take().unwrap();
    let mut answers = BufReader::new(qemu.stdout.take().unwrap()).lines();
    let mut bytes = |key: u16, count: usize| -> Vec<u8> {
        // A thread of its own, lest both sides wait for the other to read.
        std::thread::scope(|scope| {
            let asked = &mut asked;
            scope.spawn(move || {
                let all = format!("outw 0x510 {key}\n") + &"inb 0x511\n".repeat(count);
                asked.write_all(all.as_bytes()).unwrap();
            });
            let mut answered = answers.by_ref().map(|l| l.unwrap()).filter(|line| line.starts_with("OK"));
            assert_eq!(answered.next().unwrap(), "OK");
            let byte = |line: String| u8::from_str_radix(&line["OK 0x".len()..], 16).unwrap();
            answered.take(count).map(byte).collect()
        })
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b));
    let count = number(&bytes(0x19, 4));
    let entries = bytes(0x19, 4 + count * 64).split_off(4);
    let mut files = BTreeMap::new();
    for entry in entries.chunks(64) {
        let name = entry[8..].split(|b| *b == 0).next().unwrap();
        let name = String::from_utf8(name.to_vec()).unwrap();
        if name == "etc/smbios/smbios-tables" || name.starts_with("opt/") {
            let key = u16::from_be_bytes([entry[4], entry[5]]);
            files.insert(name, bytes(key, number(&entry[..4])));
        }
    }
    drop(asked);
    drop(qemu.kill());
    qemu.wait().unwrap();
    files
}

/// The structures by their types.
fn structures(table: &[u8]) -> BTreeMap<u8, Vec<Vec<u8>>> {
    let mut all: BTreeMap<u8, Vec<Vec<u8>>> = BTreeMap::new();
    let mut rest = table;
    while let [kind, length, ..] = rest {
        let formatted = usize::from(*length);
        let end = formatted + rest[formatted..].windows(2).position(|w| w == [0, 0]).unwrap() + 2;
        all.entry(*kind).or_default().push(rest[..end].to_vec());
        rest = &rest[end..];
    }
    all
}

const UUID: &str = "c7a5fdbd-edaf-9455-926a-d65c16db1809";

fn document(machine: &str, sysinfo: &str) -> String {
    format!(
        "<domain type='qemu'><name>guest</name><uuid>{UUID}</uuid><memory>219200</memory>{sysinfo}<os>\
         <type arch='x86_64' machine='{machine}'>hvm</type><smbios mode='sysinfo'/></os><devices/></domain>"
    )
}

/// What our arguments add to a bare machine of the same kind.
async fn ours(machine: &str, sysinfo: &str) -> BTreeMap<String, Vec<u8>> {
    let def = of_document(&document(machine, sysinfo));
    let qemu = real_qemu("x86_64").await;
    let handed = Handed { next: 20, ..Handed::default() };
    let planned = qemu::plan(&def, &def.uuid.unwrap(), &qemu, &handed);
    assert_eq!(planned.findings, []);
    for arg in &planned.argv {
        assert!(!arg.contains("Acme"), "{arg}");
    }
    let unseen = planned.argv.windows(2).filter(|w| w[0] == "-smbios" || w[0] == "-readconfig");
    let mut args: Vec<String> = unseen.flatten().cloned().collect();
    args.extend(["-machine", machine, "-uuid", UUID].map(str::to_owned));
    firmware_files(&args, &planned.sealed)
}

/// What QEMU makes of the same values as arguments.
fn theirs(machine: &str, args: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let all = [args, &["-machine", machine, "-uuid", UUID]].concat();
    firmware_files(&all.into_iter().map(str::to_owned).collect::<Vec<_>>(), &[])
}

const FULL: &str = "<sysinfo type='smbios'><bios><entry name='vendor'>Acme, Ltd</entry>\
    <entry name='version'>1=2</entry><entry name='date'>02/29/2024</entry><entry name='release'>10.22</entry>\
    </bios><system><entry name='manufacturer'>Acme \"M\"</entry><entry name='product'>Acme P</entry>\
    <entry name='version'>Acme v</entry><entry name='serial'>Acme s</entry><entry name='sku'>Acme k</entry>\
    <entry name='family'>Acme \u{e4}</entry></system><baseBoard><entry name='manufacturer'>Acme b</entry>\
    <entry name='product'>Acme bp</entry><entry name='version'>Acme bv</entry>\
    <entry name='serial'>Acme bs</entry><entry name='asset'>Acme ba</entry>\
    <entry name='location'>Acme bl</entry></baseBoard><chassis><entry name='manufacturer'>Acme c</entry>\
    <entry name='version'>Acme cv</entry><entry name='serial'>Acme cs</entry>\
    <entry name='asset'>Acme ca</entry><entry name='sku'>Acme ck</entry></chassis>\
    <oemStrings><entry>Acme one</entry><entry>Acme,two=\"2\"</entry></oemStrings></sysinfo>";
const FULL_ARGS: [&str; 10] = [
    "-smbios",
    "type=0,vendor=Acme,, Ltd,version=1=2,date=02/29/2024,release=10.22",
    "-smbios",
    "type=1,manufacturer=Acme \"M\",product=Acme P,version=Acme v,serial=Acme s,sku=Acme k,family=Acme \u{e4}",
    "-smbios",
    "type=2,manufacturer=Acme b,product=Acme bp,version=Acme bv,serial=Acme bs,asset=Acme ba,location=Acme bl",
    "-smbios",
    "type=3,manufacturer=Acme c,version=Acme cv,serial=Acme cs,asset=Acme ca,sku=Acme ck",
    "-smbios",
    "type=11,value=Acme one,value=Acme,,two=\"2\"",
];

/// Tables in which the document leaves out what QEMU then says itself.
const SPARSE: &str = "<sysinfo type='smbios'><bios><entry name='version'>Acme</entry></bios>\
    <system><entry name='serial'>Acme</entry></system><baseBoard><entry name='asset'>Acme</entry></baseBoard>\
    <chassis><entry name='serial'></entry></chassis></sysinfo>";
const SPARSE_ARGS: [&str; 8] = [
    "-smbios",
    "type=0,version=Acme",
    "-smbios",
    "type=1,serial=Acme",
    "-smbios",
    "type=2,asset=Acme",
    "-smbios",
    "type=3,serial=",
];

#[tokio::test]
async fn a_guest_reads_of_its_maker_what_arguments_would_say() {
    let tables = "etc/smbios/smbios-tables";
    for machine in ["pc", "q35", "pc-i440fx-2.1"] {
        for (sysinfo, args) in [(FULL, &FULL_ARGS[..]), (SPARSE, &SPARSE_ARGS[..])] {
            let (ours, theirs) = (ours(machine, sysinfo).await, theirs(machine, args));
            let (ours, theirs) = (structures(&ours[tables]), structures(&theirs[tables]));
            for kind in [0, 1, 2, 3] {
                assert!(theirs[&kind].len() == 1, "{machine}: {theirs:?}");
            }
            assert_eq!(ours, theirs, "{machine}");
        }
    }
}

#[tokio::test]
async fn firmware_reads_its_files() {
    let text = "a\n\"b\",=\u{20ac}";
    let sysinfo = format!(
        "<sysinfo type='fwcfg'><entry name='opt/org.Acme/a=b'>{text}</entry>\
         <entry name='opt/org.Acme/c'>second</entry></sysinfo>"
    );
    let document = document("pc", &sysinfo).replace("<smbios mode='sysinfo'/>", "");
    assert!(document.contains("fwcfg"));
    let def = of_document(&document);
    let qemu = real_qemu("x86_64").await;
    let handed = Handed { next: 20, ..Handed::default() };
    let planned = qemu::plan(&def, &def.uuid.unwrap(), &qemu, &handed);
    assert_eq!(planned.findings, []);
    assert!(!planned.argv.iter().any(|arg| arg.contains("Acme") || arg.contains("second")));
    let config = planned.argv.windows(2).filter(|w| w[0] == "-readconfig").flatten().cloned();
    let files = firmware_files(&config.collect::<Vec<_>>(), &planned.sealed);
    assert_eq!(files["opt/org.Acme/a=b"], text.as_bytes());
    assert_eq!(files["opt/org.Acme/c"], b"second");
}
