//! What a document says is nothing for the other users of the host: they read in `/proc` how QEMU was started.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::common::{BOB, GuestXml, Service, World, assert_error, command_as, eventually, text, world};

/// Stands in every text of the document that is a user's own.
const MARK: &str = "Qzmark";
const UUID: &str = "6f3b8a4e-0c51-4a8e-9d0b-5d1f6c7a2b55";

const SYSINFO: &str = "<sysinfo type='smbios'>
    <bios><entry name='vendor'>Qzmark, b \"1\"</entry><entry name='version'>Qzmark-b2</entry>
    <entry name='date'>02/29/2024</entry><entry name='release'>10.22</entry></bios>
    <system><entry name='manufacturer'>Qzmark-s1</entry><entry name='product'>Qzmark-s2</entry>
    <entry name='version'>Qzmark-s3</entry><entry name='serial'>Qzmark-s4</entry>
    <entry name='sku'>Qzmark-s5</entry><entry name='family'>Qzmark-s6</entry></system>
    <baseBoard><entry name='manufacturer'>Qzmark-p1</entry><entry name='product'>Qzmark-p2</entry>
    <entry name='version'>Qzmark-p3</entry><entry name='serial'>Qzmark-p4</entry>
    <entry name='asset'>Qzmark-p5</entry><entry name='location'>Qzmark-p6</entry></baseBoard>
    <chassis><entry name='manufacturer'>Qzmark-c1</entry><entry name='version'>Qzmark-c2</entry>
    <entry name='serial'>Qzmark-c3</entry><entry name='asset'>Qzmark-c4</entry>
    <entry name='sku'>Qzmark-c5</entry></chassis>
    <oemStrings><entry>Qzmark-o1</entry><entry>Qzmark,o2=\"x\"</entry></oemStrings></sysinfo>
    <sysinfo type='fwcfg'><entry name='opt/org.Qzmark/name'>Qzmark-text</entry></sysinfo>";

/// What the guest's kernel reads of it.
const READ: [(&str, &str); 9] = [
    ("bios_vendor", "Qzmark, b \"1\""),
    ("bios_release", "10.22"),
    ("sys_vendor", "Qzmark-s1"),
    ("product_serial", "Qzmark-s4"),
    ("product_family", "Qzmark-s6"),
    ("product_uuid", UUID),
    ("board_asset_tag", "Qzmark-p5"),
    ("chassis_version", "Qzmark-c2"),
    ("chassis_type", "1"),
];

/// A guest with the mark in all its texts, and this as its display.
fn marked(name: &str, display: &str) -> String {
    let devices = format!(
        "<disk type='network'><source protocol='nbd' name='Qzmark-disk'>
         <host name='127.0.0.1' port='10817'/></source><target dev='vda'/><readonly/></disk>
         <channel type='tcp'><source mode='bind' host='127.0.0.1' service='45871'/><protocol type='raw'/>
         <target type='virtio' name='org.example.0'/></channel>{display}"
    );
    let text = GuestXml::new(name).with(&devices).to_string();
    let outer = format!(
        "<title>Qzmark</title><description>Qzmark</description>
        <metadata><x:x xmlns:x='urn:x'>Qzmark</x:x></metadata>{SYSINFO}"
    );
    let text = text.replacen("<memory", &format!("{outer}<memory"), 1);
    text.replacen("</cmdline>", " Qzmark=\"a, 'b'\"</cmdline><smbios mode='sysinfo'/>", 1)
}

/// How QEMU was started, as another user of the host reads it.
fn seen_by_others(name: &str) -> String {
    let script = "for p in /proc/[0-9]*; do tr '\\0' '\\n' 2>/dev/null <$p/cmdline; echo; done";
    let read = command_as(BOB.uid, "sh").args(["-c", script]).output().expect("sh is installed");
    let all = String::from_utf8_lossy(&read.stdout).into_owned();
    let mut lines = all.split("\n\n");
    let of_guest = lines.find(|line| line.contains(&format!("guest={name},")));
    of_guest.unwrap_or_else(|| panic!("QEMU of '{name}' can be seen: {all}")).to_owned()
}

#[test]
fn others_read_nothing_of_a_document_in_the_arguments() {
    world(async |world: World| {
        world.sh("truncate -s 1M /run/w/served.img && printf 'on a server' | dd of=/run/w/served.img conv=notrunc 2>&1");
        let mut server = Command::new("qemu-nbd")
            .args(["-t", "-r", "-f", "raw", "-e", "8", "-x", "Qzmark-disk", "-b", "127.0.0.1", "-p", "10817"])
            .arg("/run/w/served.img")
            .spawn()
            .expect("qemu-nbd is installed");
        eventually("it listens", Duration::from_secs(30), async || {
            TcpStream::connect("127.0.0.1:10817").ok()
        })
        .await;
        let service = Service::system(&world).await;

        let vnc = "<graphics type='vnc' passwd='Qzmark1'/>";
        let guest = marked("seen", vnc).replacen("<memory", &format!("<uuid>{UUID}</uuid><memory"), 1);
        let guest = service.client.define_domain(&guest).await.expect("a valid document");
        let (mut console, _) = guest.boot().await;
        let arguments = seen_by_others("seen");
        assert!(!arguments.contains(MARK) && !arguments.contains("45871"), "{arguments}");
        let line = console.run("cat /proc/cmdline").await;
        assert!(line.ends_with("Qzmark=\"a, 'b'\""), "{line}");
        for (file, value) in READ {
            assert_eq!(console.run(&format!("cat /sys/class/dmi/id/{file}")).await, value, "{file}");
        }
        assert_eq!(console.run("grep -c Qzmark,o2 /sys/firmware/dmi/tables/DMI").await, "1");
        assert_eq!(console.run("head -c 11 /dev/vda").await, "on a server");
        guest.stop().await;

        // SPICE shows no screen that comes after it, so all of it must be there before.
        let spice = "<graphics type='spice' passwd='Qzmark1'/><video><model type='vga'/></video>";
        let plain = marked("spice", spice).replace(" Qzmark=\"a, 'b'\"", " Qzmark='a,b'");
        let guest = service.client.define_domain(&plain).await.expect("a valid document");
        let (mut console, _) = guest.boot().await;
        let arguments = seen_by_others("spice");
        assert!(!arguments.contains(MARK) && !arguments.contains("45871"), "{arguments}");
        let line = console.run("cat /proc/cmdline").await;
        assert!(line.ends_with("Qzmark='a,b'"), "{line}");
        assert_eq!(console.run("head -c 11 /dev/vda").await, "on a server");
        guest.stop().await;
        let quoted = marked("quoted", spice);
        let quoted = service.client.define_domain(&quoted).await.expect("a valid document");
        assert_error(quoted.act("Start").await, "NotSupported", &["/domain/os/cmdline", "quotes"]);

        // What cannot be built is QEMU's own word, and nothing of it is left.
        server.kill().expect("it runs");
        server.wait().expect("it can be waited for");
        let lost = marked("lost", vnc);
        let lost = service.client.define_domain(&lost).await.expect("a valid document");
        assert_error(lost.act("Start").await, "BackendFailed", &["Connection refused"]);
        assert_eq!(text(&lost.property("State").await), "shutoff");
    });
}
