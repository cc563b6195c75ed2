//! What a guest's QEMU can open by itself: its own data and its own directory, whatever an image's header, its
//! monitor or a document names.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use zbus::OwnedVariant;

use crate::callers::People;
use crate::common::{
    ALICE, GuestXml, Monitor, Object, Options, Service, World, assert_error, eventually, world,
};

/// A qcow2 image whose header names another file as the one that has its data.
const TRAP: &str = "/run/w/trap.qcow2";
/// What the header names: everybody may read it, and nobody gave it to QEMU.
const NAMED: &str = "/etc/passwd";
/// Where the header of a qcow2 image says that its data is in another file.
const FEATURES: u64 = 79;
const DATA_FILE: u8 = 4;

/// An image that has its data in the file that is named there; qemu-img empties that file, so it makes one with
/// another name of the same length.
fn make_trap(world: &World) {
    world.sh(&format!(
        "qemu-img create -q -f qcow2 -o data_file=/run/w/data {TRAP} 1M
         sed -i 's#/run/w/data#{NAMED}#' {TRAP}
         qemu-img create -q -f qcow2 /run/w/good.qcow2 1M && chmod 666 {TRAP} /run/w/good.qcow2"
    ));
}

/// Each machine with each firmware, in each QEMU.
fn guests() -> Vec<String> {
    let flash = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>\
                 <nvram template='/usr/share/OVMF/OVMF_VARS.fd'/>";
    let rom = "<loader type='rom'>/usr/share/ovmf/OVMF.fd</loader>";
    let mut all = Vec::new();
    for machine in ["pc", "q35"] {
        for (firmware, os) in [("bios", ""), ("uefi", flash), ("rom", rom)] {
            for (arch, emulator) in [("x86_64", "qemu-system-x86_64"), ("i686", "qemu-system-i386")] {
                all.push(format!(
                    "<domain type='qemu'><name>{machine}-{firmware}-{arch}</name><memory unit='MiB'>64</memory>
                     <os><type arch='{arch}' machine='{machine}'>hvm</type>{os}</os><features><acpi/></features>
                     <devices><emulator>/usr/bin/{emulator}</emulator><interface type='user'/><video/>
                     <graphics type='vnc'><listen type='socket'/></graphics></devices></domain>"
                ));
            }
        }
    }
    all
}

async fn start_paused(guest: &Object) -> Result<(), zbus::Error> {
    guest.ask_with::<zbus::OwnedObjectPath>("Start", [("paused", true.into())].into()).await.map(drop)
}

fn denied(answer: Result<serde_json::Value, String>, what: &str) {
    match answer {
        Err(error) if error.contains("Permission denied") => {}
        other => panic!("{what} is not denied: {other:?}"),
    }
}

/// A text that QEMU reads from a file.
fn reads(qemu: &mut Monitor, id: &str, file: &str) -> Result<serde_json::Value, String> {
    qemu.run("object-add", &json!({ "qom-type": "secret", "id": id, "file": file }))
}

/// For reading: for writing, the uid alone would be refused.
fn opens(qemu: &mut Monitor, node: &str, driver: &str, file: &str) -> Result<serde_json::Value, String> {
    let of = json!({ "driver": "file", "filename": file });
    let mut args = json!({ "driver": driver, "node-name": node, "read-only": true });
    let place = if driver == "file" { "filename" } else { "file" };
    args[place] = if driver == "file" { file.into() } else { of };
    qemu.run("blockdev-add", &args)
}

/// What whoever has taken over this QEMU gets out of it.
fn try_everything(qemu: &mut Monitor, name: &str) {
    let trap = qemu.give(11, TRAP.as_ref());
    let error = opens(qemu, "trap", "qcow2", &trap).expect_err("the header names a file of the host");
    assert!(error.contains(NAMED) && error.contains("Permission denied"), "{name}: {error}");
    denied(opens(qemu, "direct", "file", NAMED), name);
    denied(reads(qemu, "secret0", NAMED), name);
    denied(reads(qemu, "secret1", "/proc/1/status"), name);
    denied(reads(qemu, "secret2", &format!("/proc/{}/status", std::process::id())), name);
    let log = |id: &str, file: &str| {
        let backend = json!({ "type": "file", "data": { "out": file } });
        json!({ "id": id, "backend": backend })
    };
    denied(qemu.run("chardev-add", &log("made0", "/tmp/made")), name);

    // It runs, and reads what it is given and what is its own.
    let good = qemu.give(12, "/run/w/good.qcow2".as_ref());
    opens(qemu, "good", "qcow2", &good).unwrap_or_else(|e| panic!("{name}: {e}"));
    // The next guest locks it.
    qemu.run("blockdev-del", &json!({ "node-name": "good" })).expect("nobody uses it");
    let (fd, _) = qemu.descriptor("/displays").expect("it has a directory for its sockets");
    let made = |name: &str| format!("/proc/self/fd/{fd}/{name}");
    let address = json!({ "type": "unix", "data": { "path": made("socket") } });
    let socket = json!({ "type": "socket", "data": { "addr": address, "server": true, "wait": false } });
    let listens = qemu.run("chardev-add", &json!({ "id": "made1", "backend": socket }));
    listens.unwrap_or_else(|e| panic!("{name}: {e}"));
    // Files would fill the memory of the host.
    denied(qemu.run("chardev-add", &log("made2", &made("file"))), name);
    // The servers of a `user` NIC's names are looked up again and again.
    for (id, file) in [("secret4", "/proc/self/status"), ("secret6", "/etc/resolv.conf")] {
        reads(qemu, id, file).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    let memory = rustix::fs::memfd_create("text", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
    rustix::io::write(&memory, b"text").expect("there is room");
    let given = qemu.run_with("add-fd", &json!({ "fdset-id": 13 }), Some(memory.as_fd()));
    let number = &given.expect("QEMU takes it")["fd"];
    reads(qemu, "secret5", &format!("/proc/self/fd/{number}")).unwrap_or_else(|e| panic!("{name}: {e}"));
    let status = qemu.run("query-status", &json!({})).expect("QEMU answers");
    assert_eq!(status["status"], "prelaunch", "{name}");
}

/// Guests of every kind run while their daemon is dead; then it finds them again.
async fn no_qemu_opens_what_it_was_not_given(world: &World, mut service: Service) {
    make_trap(world);
    let mut running = Vec::new();
    for xml in guests() {
        let guest = service.client.define_domain(&xml).await.expect("a valid document");
        start_paused(&guest).await.unwrap_or_else(|e| panic!("{xml}: {e}"));
        running.push((guest.pid().await, guest));
    }
    service.daemon.kill();
    for ((pid, guest), xml) in running.iter().zip(guests()) {
        let mut qemu = Monitor::of(world, guest, *pid);
        try_everything(&mut qemu, &xml);
    }
    service.kill_and_restart(world).await;
    for (_, guest) in &running {
        assert_eq!(guest.state().await, "paused");
        guest.stop().await;
    }
}

#[test]
fn in_system_scope_qemu_opens_only_what_it_was_given() {
    world(async |world: World| {
        let service = Service::system(&world).await;
        no_qemu_opens_what_it_was_not_given(&world, service).await;
    });
}

#[test]
fn in_session_scope_of_a_user_qemu_opens_only_what_it_was_given() {
    world(async |world: World| {
        let service = Service::session(&world, ALICE.uid).await;
        no_qemu_opens_what_it_was_not_given(&world, service).await;
    });
}

#[test]
fn in_session_scope_of_root_qemu_opens_only_what_it_was_given() {
    world(async |world: World| {
        let service = Service::session(&world, 0).await;
        no_qemu_opens_what_it_was_not_given(&world, service).await;
    });
}

/// Whether QEMU has it open.
fn has_open(world: &World, pid: u32, file: &str) -> bool {
    let id = |path: &str| world.try_sh(&format!("stat -L -c %d:%i {path} 2>/dev/null || true"));
    let wanted = id(file).expect("stat runs");
    id(&format!("/proc/{pid}/fd/*")).expect("stat runs").lines().any(|line| line == wanted)
}

#[test]
fn a_header_that_is_swapped_during_the_start_opens_nothing() {
    world(async |world: World| {
        let people = People::new(&world).await;
        make_trap(&world);
        world.user_dir("mine", ALICE.uid);
        let disk = "/run/w/mine/disk.qcow2";
        world.sh(&format!("cp {TRAP} {disk} && chown {0}:{0} {disk}", ALICE.uid));
        let xml = GuestXml::new("swapped").diskless().with(&format!(
            "<disk type='file'><driver name='qemu' type='qcow2'/><source file='{disk}'/><target dev='vda'/>
             <readonly/></disk>"
        ));
        let guest = people.owner.define_domain(&xml.to_string()).await.expect("a valid document");
        let done = Arc::new(AtomicBool::new(false));
        let ends = done.clone();
        // The opener must see one header and QEMU the other.
        let swap = std::thread::spawn(move || {
            let file = std::fs::File::options().write(true).open(disk).expect("the test's own file");
            let mut named = 0;
            while !ends.load(Ordering::Relaxed) {
                file.write_all_at(&[named], FEATURES).expect("it is there");
                named ^= DATA_FILE;
                std::thread::sleep(Duration::from_millis(7));
            }
        });
        let mut swapped = 0;
        for _ in 0..200 {
            match start_paused(&guest).await {
                Ok(()) => {
                    assert!(!has_open(&world, guest.pid().await, NAMED), "QEMU opened {NAMED}");
                    guest.stop().await;
                }
                Err(e) => swapped += usize::from(e.to_string().contains("Permission denied")),
            }
            if swapped >= 3 {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        swap.join().expect("it only writes");
        assert!(swapped >= 3, "QEMU saw a header that the opener did not see {swapped} times");
    });
}

#[test]
fn what_runs_without_limits_is_said() {
    world(async |world: World| {
        let mut service = Service::system(&world).await;
        make_trap(&world);
        world.write("qemu", "#!/bin/sh\nexec /usr/bin/qemu-system-x86_64 \"$@\"\n");
        let shown = world.user_dir("shown", 0);
        world.sh(&format!("chmod 755 {}", shown.display()));
        let plain = GuestXml::new("plain").diskless();
        let plain = plain.with("<filesystem><source dir='/run/w/shown'/><target dir='shown'/></filesystem>");
        let arguments = GuestXml::new("arguments").diskless().to_string();
        let arguments = arguments
            .replace("<domain ", "<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0' ")
            .replace("</domain>", "<q:commandline><q:arg value='-no-fd-bootchk'/></q:commandline></domain>");
        let emulator = GuestXml::new("emulator").diskless().with("<emulator>/run/w/qemu</emulator>");
        let mut running = Vec::new();
        for (xml, warned) in [
            (plain.to_string(), None),
            (arguments, Some("arguments of the document's own")),
            (emulator.to_string(), Some("not one that the system has installed")),
        ] {
            let body = (xml.as_str(), Options::new());
            let report: Result<HashMap<String, OwnedVariant>, _> =
                service.client.call("/org/warren1", "org.warren1.Manager.CheckDomain", &body).await;
            let findings = format!("{:?}", report.expect("root may")["findings"]);
            let words = "can open every file";
            assert_eq!(findings.contains(words), warned.is_some(), "{findings}");
            assert!(findings.contains(warned.unwrap_or("")), "{findings}");
            let guest = service.client.define_domain(&xml).await.expect("a valid document");
            start_paused(&guest).await.unwrap_or_else(|e| panic!("{xml}: {e}"));
            running.push((guest.pid().await, guest, warned.is_some()));
        }
        service.daemon.kill();
        for (pid, guest, free) in &running {
            let mut qemu = Monitor::of(&world, guest, *pid);
            assert_eq!(reads(&mut qemu, "secret0", NAMED).is_ok(), *free, "{}", guest.path.as_str());
        }
    });
}

/// Runs a program as on a kernel that has no Landlock: its first call is answered with ENOSYS.
const NO_LANDLOCK: &str = r#"#!/usr/bin/perl
# load the number of the call; landlock_create_ruleset fails, the rest is allowed
my $filter = pack('SCCL' x 4, 0x20, 0, 0, 0, 0x15, 0, 1, 444, 0x06, 0, 0, 0x50000 | 38, 0x06, 0, 0, 0x7fff0000);
my $program = pack('Sx6P', 4, $filter);
syscall(157, 38, 1, 0, 0, 0) == 0 or die "prctl: $!";
syscall(317, 1, 0, $program) == 0 or die "seccomp: $!";
exec '/run/w/bin/real', @ARGV or die "exec: $!";
"#;

fn without_landlock(world: &World) {
    world.sh(&format!(
        "touch /run/w/bin/real && mount --bind '{}' /run/w/bin/real && umount /run/w/bin/warrend",
        env!("CARGO_BIN_EXE_warrend")
    ));
    world.write("bin/warrend", NO_LANDLOCK);
}

#[test]
fn without_landlock_qemu_sees_only_its_own_files_in_system_scope() {
    world(async |world: World| {
        without_landlock(&world);
        make_trap(&world);
        let mut service = Service::system(&world).await;
        let mut running = Vec::new();
        for xml in guests().iter().step_by(5) {
            let guest = service.client.define_domain(xml).await.expect("a valid document");
            start_paused(&guest).await.unwrap_or_else(|e| panic!("{xml}: {e}"));
            running.push((guest.pid().await, guest));
        }
        world.user_dir("shown", 0);
        let shown = GuestXml::new("shown").diskless();
        let shown = shown.with("<filesystem><source dir='/run/w/shown'/><target dir='shown'/></filesystem>");
        let shown = service.client.define_domain(&shown.to_string()).await.expect("a valid document");
        assert_error(start_paused(&shown).await, "BackendFailed", &["Landlock"]);
        service.daemon.kill();
        for (pid, guest) in &running {
            let status = world.sh(&format!("cat /proc/{pid}/status"));
            for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
                assert!(status.contains(line), "{line}: {status}");
            }
            let mut qemu = Monitor::of(&world, guest, *pid);
            let missing = |answer: Result<serde_json::Value, String>| {
                let error = answer.expect_err("it is not there");
                assert!(error.contains("No such file"), "{error}");
            };
            let trap = qemu.give(11, TRAP.as_ref());
            missing(opens(&mut qemu, "trap", "qcow2", &trap));
            for (id, file) in
                [("secret0", NAMED), ("secret1", "/proc/1/status"), ("secret2", "/run/w/passwd")]
            {
                missing(reads(&mut qemu, id, file));
            }
            let made = json!({ "id": "made", "backend": { "type": "file", "data": { "out": "/made" } } });
            let error = qemu.run("chardev-add", &made).expect_err("its root is for reading");
            assert!(error.contains("Read-only"), "{error}");
            let (fd, own) = qemu.descriptor("/displays").expect("it has a directory for its sockets");
            world.sh(&format!("echo mine >{0}/own && chmod 644 {0}/own", own.display()));
            for (id, file) in [
                ("secret3", format!("/proc/self/fd/{fd}/own")),
                ("secret4", "/proc/self/status".to_owned()),
                ("secret5", "/etc/hosts".to_owned()),
            ] {
                reads(&mut qemu, id, &file).unwrap_or_else(|e| panic!("{file}: {e}"));
            }
            let up = format!("/proc/self/fd/{fd}/../../../../../../etc/passwd");
            reads(&mut qemu, "secret6", &up).expect_err("the directories above are not its own");
        }
        service.kill_and_restart(&world).await;
        for (_, guest) in &running {
            assert_eq!(guest.state().await, "paused");
            guest.stop().await;
        }
    });
}

#[test]
fn without_landlock_a_session_says_so() {
    world(async |world: World| {
        without_landlock(&world);
        let service = Service::session(&world, ALICE.uid).await;
        let warned = eventually("it is said", Duration::from_secs(20), async || {
            let warnings = format!("{:?}", service.client.manager_property("Warnings").await);
            warnings.contains("does not use Landlock").then_some(())
        });
        warned.await;
        let guest = GuestXml::new("guest").diskless().to_string();
        let guest = service.client.define_domain(&guest).await.expect("a valid document");
        start_paused(&guest).await.expect("it runs all the same");
    });
}
