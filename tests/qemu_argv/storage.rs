//! Disks, filesystems and what is shared: every bus with what a document may say of a disk there.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::guest::parsed;
use super::rig::{Rig, in_own_network, run};

/// Images on a file system that takes O_DIRECT.
struct Images(TempDir);

impl Images {
    fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn make(&self, name: &str, args: &[&str]) -> String {
        let path = self.path(name).display().to_string();
        run("qemu-img", &[&["create", "-q"], args, &[path.as_str(), "1440K"]].concat());
        path
    }
}

async fn start(machine: &str, devices: &str) -> Rig {
    let mut def = parsed(devices);
    def.os.machine = Some(machine.into());
    Rig::start(&def, vec![]).await
}

/// What a drive tells of itself.
async fn property(rig: &Rig, id: &str, name: &str) -> Value {
    let path = format!("/machine/peripheral/{id}");
    rig.ask("qom-get", json!({ "path": path, "property": name })).await
}

#[test]
fn every_bus_with_what_a_disk_may_say_there() {
    in_own_network(|| async {
        let images = Images::new();
        let raw = images.make("raw.img", &["-f", "raw"]);
        let common = "<blockio logical_block_size='512' physical_block_size='4096'/>";
        let on_bus = [
            (
                "hda",
                "ide",
                "<wwn>5000c50015ea71ac</wwn><geometry cyls='2' heads='16' secs='63' trans='lba'/>",
            ),
            ("sda", "sata", "<wwn>5000c50015ea71ac</wwn>"),
            ("sda", "scsi", "<vendor>SEAGATE</vendor><product>ST3146707LC</product><readonly/>"),
            ("sda", "usb", ""),
            ("vda", "virtio", "<shareable/>"),
        ];
        let drivers = [
            "cache='none' io='native' discard='unmap' detect_zeroes='unmap' error_policy='stop'",
            "cache='writethrough' io='threads' error_policy='enospace' rerror_policy='report'",
            "cache='unsafe' discard='ignore' detect_zeroes='on'",
            "cache='directsync' io='io_uring'",
        ];
        for (target, bus, more) in on_bus {
            for driver in drivers {
                let more = if more.contains("readonly") && driver.contains("copy") { "" } else { more };
                let disk = format!(
                    "<disk><driver type='raw' {driver}/><source file='{raw}'/><target dev='{target}' bus='{bus}'/>\
                     <serial>S-1</serial>{common}{more}<alias name='ua-d'/></disk>"
                );
                let rig = start("pc", &disk).await;
                assert_eq!(property(&rig, "ua-d", "serial").await, "S-1", "{bus} {driver}");
                assert_eq!(property(&rig, "ua-d", "physical_block_size").await, 4096);
                rig.quit().await;
            }
        }
    });
}

#[test]
fn queues_removable_media_and_the_rest() {
    in_own_network(|| async {
        let images = Images::new();
        let raw = images.make("raw.img", &["-f", "raw"]);
        let qcow2 = images.make("q.qcow2", &["-f", "qcow2"]);
        let floppy = images.make("floppy.img", &["-f", "raw"]);
        let disks = format!(
            "<disk model='virtio-transitional'><driver type='qcow2' queues='2' queue_size='128' ioeventfd='on' \
             event_idx='off' packed='off' page_per_vq='off' copy_on_read='on'>\
             <metadata_cache><max_size unit='KiB'>512</max_size></metadata_cache></driver>\
             <source file='{qcow2}'/><target dev='vda'/></disk>\
             <disk><source file='{raw}'><slices><slice type='storage' offset='512' size='4096'/></slices></source>\
             <target dev='sda' bus='scsi' removable='on' rotation_rate='7200' dpofua='on'/></disk>\
             <disk device='cdrom'><source file='/not/there.iso' startupPolicy='optional'/>\
             <target dev='hdc' bus='ide' tray='open'/></disk>\
             <disk device='floppy'><source file='{floppy}'/><target dev='fda'/></disk>"
        );
        let rig = start("pc", &disks).await;
        let blocks = rig.ask("query-block", Value::Null).await;
        let of = |id: &str| {
            let found = blocks
                .as_array()
                .unwrap()
                .iter()
                .find(|b| b["qdev"].as_str().is_some_and(|q| q.contains(id)));
            found.unwrap_or_else(|| panic!("no {id} in {blocks}")).clone()
        };
        assert_eq!(of("scsi0-0-0")["inserted"]["image"]["virtual-size"], 4096);
        assert_eq!(of("ide0-1-0")["tray_open"], true);
        assert_eq!(of("fdc0-0-0")["inserted"]["ro"], false);
        assert_eq!(of("virtio-disk0")["inserted"]["drv"], "copy-on-read");
        rig.quit().await;
    });
}

#[test]
fn limits_hold_alone_and_in_groups() {
    in_own_network(|| async {
        let images = Images::new();
        let (a, b) = (images.make("a.img", &["-f", "raw"]), images.make("b.img", &["-f", "raw"]));
        let disks = format!(
            "<disk><source file='{a}'/><target dev='vda'/><iotune><total_bytes_sec>5000</total_bytes_sec>\
             <total_bytes_sec_max>9000</total_bytes_sec_max>\
             <total_bytes_sec_max_length>3</total_bytes_sec_max_length>\
             <read_iops_sec>40</read_iops_sec><group_name>g</group_name></iotune></disk>\
             <disk><source file='{b}'/><target dev='vdb'/>\
             <throttlefilters><throttlefilter group='limit'/></throttlefilters></disk>"
        );
        let mut def = parsed(&disks);
        let tune = def.disks().next().unwrap().iotune.clone().unwrap();
        def.throttle_groups.push(("limit".into(), tune));
        let rig = Rig::start(&def, vec![]).await;
        let blocks = rig.ask("query-block", Value::Null).await;
        let inserted = &blocks[0]["inserted"];
        let told = ["bps", "bps_max", "bps_max_length", "iops_rd", "group"].map(|n| inserted[n].to_string());
        assert_eq!(told, ["5000", "9000", "3", "40", "\"g\""]);
        let path = "/objects/throttle-limit";
        let limits = rig.ask("qom-get", json!({ "path": path, "property": "limits" })).await;
        assert_eq!((&limits["bps-total"], &limits["bps-total-max-length"]), (&json!(5000), &json!(3)));
        rig.quit().await;
    });
}

#[test]
fn limits_hold_on_every_bus() {
    in_own_network(|| async {
        let images = Images::new();
        let places = [
            ("hda", "ide"),
            ("sda", "sata"),
            ("sda", "scsi"),
            ("sda", "usb"),
            ("vda", "virtio"),
            ("fda", "fdc"),
        ];
        for (target, bus) in places {
            let image = images.make(&format!("{bus}.img"), &["-f", "raw"]);
            let device = if bus == "fdc" { "floppy" } else { "disk" };
            let disk = format!(
                "<disk device='{device}'><source file='{image}'/><target dev='{target}' bus='{bus}'/>\
                 <iotune><write_iops_sec>7</write_iops_sec></iotune></disk>"
            );
            let rig = start("pc", &disk).await;
            let blocks = rig.ask("query-block", Value::Null).await;
            let limited = blocks.as_array().unwrap().iter().any(|b| b["inserted"]["iops_wr"] == 7);
            assert!(limited, "{bus}: {blocks}");
            rig.quit().await;
        }
    });
}

/// `qemu-nbd`, ended with the test.
struct NbdServer(Child);

impl NbdServer {
    fn start(image: &str, socket: &Path) -> Self {
        let mut server = Command::new("qemu-nbd");
        server.args(["-t", "-f", "raw", "-x", "e", "-k"]).arg(socket).arg(image);
        let server = Self(server.spawn().unwrap());
        for _ in 0..200 {
            if UnixStream::connect(socket).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("qemu-nbd does not listen");
    }
}

impl Drop for NbdServer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_chain_is_the_one_that_the_document_gives() {
    in_own_network(|| async {
        let images = Images::new();
        let base = images.make("base.img", &["-f", "raw"]);
        let other = images.make("other.img", &["-f", "raw"]);
        // The image names a file that must not be opened.
        let args = ["-f", "qcow2", "-u", "-F", "raw", "-b", "/nonexistent/base"];
        let top = images.make("top.qcow2", &args);
        let socket = images.path("nbd.sock");
        let server = NbdServer::start(&other, &socket);
        let disks = format!(
            "<disk><driver type='qcow2'/><source file='{top}'/><backingStore type='file'><format type='raw'/>\
             <source file='{base}'/><backingStore/></backingStore><target dev='vda'/></disk>\
             <disk type='network'><source protocol='nbd' name='e'>\
             <host transport='unix' socket='{}'/></source><target dev='vdb'/></disk>",
            socket.display()
        );
        let rig = start("q35", &disks).await;
        let blocks = rig.ask("query-block", Value::Null).await;
        let of = |device: &str| {
            let mut all = blocks.as_array().unwrap().iter();
            all.find(|b| b["qdev"].as_str().is_some_and(|q| q.contains(device))).unwrap()["inserted"].clone()
        };
        assert_eq!(of("virtio-disk0")["backing_file_depth"], 1, "{blocks}");
        assert_eq!(of("virtio-disk1")["image"]["virtual-size"], 1440 * 1024);
        rig.quit().await;
        drop(server);
    });
}

/// Before there is a machine, and beside a display that must not be there before it.
#[test]
fn a_disk_on_a_server_is_no_argument() {
    in_own_network(|| async {
        let images = Images::new();
        let lower = images.make("lower.img", &["-f", "raw"]);
        let top = images.make("top.qcow2", &["-f", "qcow2", "-u", "-F", "raw", "-b", "/nonexistent/base"]);
        let socket = images.path("nbd.sock");
        let _server = NbdServer::start(&lower, &socket);
        let mut served = Command::new("qemu-nbd");
        let served =
            served.args(["-t", "-f", "raw", "-e", "8", "-x", "acme-name", "-b", "127.0.0.1", &lower]);
        let _served = NbdServer(served.spawn().unwrap());
        while std::net::TcpStream::connect("127.0.0.1:10809").is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        let by_tcp = "<source protocol='nbd' name='acme-name'><host name='127.0.0.1'/></source>";
        let disks = format!(
            "<disk><driver type='qcow2' copy_on_read='on' discard='unmap' cache='none'/><source file='{top}'/>\
             <backingStore type='network'><format type='raw'/>{by_tcp}<backingStore/></backingStore>\
             <target dev='vda'/></disk>\
             <disk type='network' device='cdrom'><driver type='raw'/>{by_tcp}<target dev='sda' bus='sata'/>\
             <readonly/></disk>\
             <disk type='network'>{by_tcp}<target dev='sdb' bus='usb'/></disk>"
        );
        let ours = |name: &str| name.starts_with("disk");
        let mut ways = Vec::new();
        for (display, early) in [
            ("<graphics type='vnc'/>", true),
            ("<graphics type='spice'/><video><model type='vga'/></video>", false),
        ] {
            let mut def = parsed(&format!("{disks}{display}"));
            def.os.machine = Some("q35".into());
            let (rig, argv) = Rig::start_with_argv(&def, vec![]).await;
            assert_eq!(argv.iter().any(|a| a == "--preconfig"), early);
            assert!(!argv.iter().any(|a| a.contains("acme") || a.contains("127.0.0.1\"")), "{argv:?}");
            let nodes = rig.ask("query-named-block-nodes", Value::Null).await;
            let nodes =
                nodes.as_array().unwrap().iter().filter(|n| n["node-name"].as_str().is_some_and(ours));
            let mut nodes: Vec<String> = nodes
                .map(|n| {
                    ["node-name", "drv", "ro", "cache", "detect_zeroes"]
                        .map(|key| n[key].to_string())
                        .join(" ")
                })
                .collect();
            nodes.sort();
            ways.push(nodes);
            let blocks = rig.ask("query-block", Value::Null).await;
            let blocks = blocks.as_array().unwrap();
            let of = |device: &str| {
                let found = blocks.iter().find(|b| b["qdev"].as_str().is_some_and(|q| q.contains(device)));
                found.unwrap_or_else(|| panic!("{device}: {blocks:?}"))["inserted"].clone()
            };
            assert_eq!(of("sata0-0-0")["ro"], true);
            assert_eq!(of("usb-disk1")["ro"], false);
            rig.quit().await;
        }
        assert_eq!(ways[0].len(), 9, "{ways:?}");
        assert_eq!(ways[0], ways[1], "a disk is the same by either way");
    });
}

#[test]
fn directories_and_redirected_devices() {
    in_own_network(|| async {
        let shared = tempfile::tempdir().unwrap();
        let dir = shared.path().display();
        let devices = format!(
            "<filesystem accessmode='mapped' fmode='0640' dmode='0750' multidevs='remap'>\
             <driver type='path' wrpolicy='immediate'/><source dir='{dir}'/><target dir='a'/></filesystem>\
             <filesystem accessmode='squash'><source dir='{dir}'/><target dir='b'/><readonly/></filesystem>\
             <redirdev bus='usb' type='tcp'><source mode='bind' host='127.0.0.1' service='4000'/></redirdev>\
             <redirfilter><usbdev class='0x08' allow='yes'/><usbdev allow='no'/></redirfilter>"
        );
        let mut def = parsed(&devices);
        def.os.machine = Some("pc".into());
        let rig = Rig::start(&def, vec![]).await;
        assert_eq!(property(&rig, "fs0", "mount_tag").await, "a");
        assert_eq!(property(&rig, "redir0", "filter").await, "0x08:-1:-1:-1:1|-1:-1:-1:-1:0");
        rig.quit().await;
    });
}
