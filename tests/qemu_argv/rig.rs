//! A real QEMU with real descriptors: TAPs, sockets, images opened by the helper.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::records;
use command_fds::{CommandFdExt, FdMapping};
use serde_json::Value;
use tempfile::TempDir;
use warren::domain::images_of;
use warren::ledger::{Ledger, Resource};
use warren::model::{Device, DiskFormat, DomainDef, Image, InterfaceDef, InterfaceKind};
use warren::plan::firmware_choice::{self, GuestFirmware};
use warren::plan::host::QemuFacts;
use warren::plan::qemu::{self, FlashFd, Handed, ImageFd, NicFd};
use warren::scope::Limits;
use warren::sys::copy;
use warren::sys::images::{ImageKind, ImageRequest, OpenedImage, Opener};
use warren::sys::qemu_probe::probe_all;
use warren::sys::qmp::Qmp;
use warren::sys::tap;

const DEADLINE: Duration = Duration::from_secs(20);
/// Where the inherited descriptors start in QEMU.
const FIRST_FD: i32 = 10;

/// Runs a test in a network namespace with a loopback interface that takes multicast.
pub(crate) fn in_own_network<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    #[expect(unsafe_code, reason = "only this thread's network changes")]
    // SAFETY: CLONE_NEWNET leaves memory and descriptors shared as they were.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
    run("ip", &["link", "set", "lo", "up"]);
    run("ip", &["route", "add", "224.0.0.0/4", "dev", "lo"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test());
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// What is installed, found out as a daemon does: helpers are on record before they start.
async fn installed() -> Vec<QemuFacts> {
    records::begin().await;
    probe_all().await
}

/// The installed QEMU for `arch`.
pub(crate) async fn real_qemu(arch: &str) -> QemuFacts {
    let found = installed().await;
    found.into_iter().find(|q| q.arch == arch).expect("QEMU is installed")
}

/// Descriptors on their way into QEMU, each with its number there.
#[derive(Default)]
struct Inherited(Vec<OwnedFd>);

impl Inherited {
    fn add(&mut self, fd: impl Into<OwnedFd>) -> i32 {
        self.0.push(fd.into());
        self.next() - 1
    }

    fn next(&self) -> i32 {
        FIRST_FD + self.0.len() as i32
    }
}

/// A running QEMU.
pub(crate) struct Rig {
    child: Child,
    qmp: Qmp,
    _dir: TempDir,
    _peers: Vec<(TcpListener, TcpStream)>,
}

impl Rig {
    pub(crate) async fn start(def: &DomainDef, nics: Vec<NicFd>) -> Self {
        Self::start_with_argv(def, nics).await.0
    }

    /// Starts `def`; where `nics` is empty, what the interfaces need is made.
    pub(crate) async fn start_with_argv(def: &DomainDef, nics: Vec<NicFd>) -> (Self, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let mut inherited = Inherited::default();
        let mut peers = Vec::new();
        let monitor = dir.path().join("qmp.sock");
        let mut handed =
            Handed { qmp: inherited.add(UnixListener::bind(&monitor).unwrap()), nics, ..Handed::default() };
        let make_nics = handed.nics.is_empty();
        for device in &def.devices {
            if let Device::Interface(nic) = device
                && make_nics
            {
                handed.nics.push(nic_fd(nic, &def.os.arch, &mut inherited, &mut peers));
            }
        }
        for device in qemu::char_devices(def).into_iter().filter(|d| d.has_socket()) {
            let path = dir.path().join(format!("{}.sock", device.alias));
            let fd = inherited.add(UnixListener::bind(path).unwrap());
            handed.chars.insert(device.source.path.clone(), fd);
        }
        if qemu::has_display_socket(def) {
            handed.display_dir = Some(inherited.add(File::open(dir.path()).unwrap()));
        }
        let found = installed().await;
        images(def, &mut handed, &mut inherited).await;
        let chosen = qemu::choose(def, &found).unwrap();
        firmware(def, chosen, dir.path(), &mut handed, &mut inherited);
        handed.next = inherited.next();
        let planned = qemu::plan(def, &def.uuid.unwrap(), chosen, &handed);
        assert_eq!(planned.findings, []);
        for file in &planned.sealed {
            assert_eq!(inherited.add(copy::sealed_text(&file.content).unwrap()), file.fd);
        }
        let argv = planned.argv;
        let (child, qmp) = launch(&chosen.path, &argv, inherited, &monitor).await;
        let rig = Self { child, qmp, _dir: dir, _peers: peers };
        for (command, arguments) in planned.settings {
            rig.ask(command, arguments).await;
        }
        (rig, argv)
    }

    pub(crate) async fn ask(&self, command: &str, arguments: Value) -> Value {
        self.qmp.execute(command, arguments, DEADLINE).await.unwrap()
    }

    pub(crate) async fn quit(mut self) {
        assert_eq!(self.ask("query-status", Value::Null).await["status"], "prelaunch");
        self.ask("quit", Value::Null).await;
        assert!(self.child.wait().unwrap().success());
    }
}

async fn launch(program: &Path, argv: &[String], inherited: Inherited, monitor: &Path) -> (Child, Qmp) {
    let mut command = Command::new(program);
    let mappings = inherited.0.into_iter().zip(FIRST_FD..);
    let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect();
    command.args(argv).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.fd_mappings(mappings).unwrap();
    let mut child = command.spawn().unwrap();
    // The command holds our copies of the descriptors: with QEMU gone the socket must be closed.
    drop(command);
    let stream = tokio::net::UnixStream::connect(monitor).await.unwrap();
    match Qmp::connect(stream, DEADLINE).await {
        Ok((qmp, _events)) => (child, qmp),
        Err(error) => {
            drop(child.kill());
            let output = child.wait_with_output().unwrap();
            panic!("{error}: {}\n{}", String::from_utf8_lossy(&output.stderr), argv.join(" "));
        }
    }
}

fn nic_fd(
    nic: &InterfaceDef,
    arch: &str,
    inherited: &mut Inherited,
    peers: &mut Vec<(TcpListener, TcpStream)>,
) -> NicFd {
    match &nic.kind {
        // As without /dev/vhost-net, which a machine in a machine seldom has.
        kind if kind.has_tap() => {
            let (queues, _) = qemu::queues(nic, arch, false);
            NicFd::Tap {
                queues: taps(queues).into_iter().map(|tap| inherited.add(tap)).collect(),
                vhost: vec![],
            }
        }
        InterfaceKind::Client(_) => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (peer, _) = listener.accept().unwrap();
            peers.push((listener, peer));
            NicFd::Client(inherited.add(client))
        }
        _ => NicFd::None,
    }
}

/// The queues of a TAP device of the namespace, with any name.
fn taps(queues: u32) -> Vec<OwnedFd> {
    if queues == 1 {
        return vec![tap::open("", true).unwrap().fd];
    }
    let first = tap::open_queue("", true).unwrap();
    let others: Vec<_> = (1..queues).map(|_| tap::open_queue(&first.name, false).unwrap().fd).collect();
    std::iter::once(first.fd).chain(others).collect()
}

/// Opens the firmware that is chosen; its variables are a copy of the template in `dir`.
fn firmware(def: &DomainDef, qemu: &QemuFacts, dir: &Path, handed: &mut Handed, inherited: &mut Inherited) {
    let sets = u32::try_from(def.disks().count()).unwrap() * 100 + 100;
    match firmware_choice::choose(def, qemu).unwrap() {
        None => {}
        Some(GuestFirmware::Rom(image)) => {
            let content = copy::sealed_text(&std::fs::read(image.path).unwrap()).unwrap();
            handed.code = Some(FlashFd { fd: inherited.add(content), set: sets });
        }
        Some(GuestFirmware::Flash(flash)) => {
            let code = File::open(flash.code.path).unwrap();
            handed.code = Some(FlashFd { fd: inherited.add(code), set: sets });
            if let Some(template) = flash.vars.and_then(|vars| vars.template) {
                let path = dir.join("VARS");
                std::fs::copy(template.path, &path).unwrap();
                let vars = File::options().read(true).write(true).open(path).unwrap();
                handed.vars = Some(FlashFd { fd: inherited.add(vars), set: sets + 1 });
            }
        }
    }
}

/// Opens disks, kernel and initrd as the daemon does.
async fn images(def: &DomainDef, handed: &mut Handed, inherited: &mut Inherited) {
    let open = async |request| -> Vec<OpenedImage> {
        let opener = Opener { exe: env!("CARGO_BIN_EXE_warrend").into(), identity: None };
        let ledger = Ledger::new(Limits::default());
        let mut memory = ledger.note(0, Resource::GuestMemory, 0);
        let mut descriptors = ledger.note(0, Resource::Descriptors, 0);
        opener.open(&[request], &mut memory, &mut descriptors).await.unwrap().remove(0)
    };
    let mut set = 0;
    for disk in def.disks() {
        let mut chain = Vec::new();
        let mut formats = disk.source.iter().flat_map(Image::chain).map(|i| i.format);
        for request in images_of(disk) {
            for image in open(request).await {
                let said = if image.qcow2 { DiskFormat::Qcow2 } else { DiskFormat::Raw };
                let format = formats.next().unwrap_or(said);
                let (readonly, block) = (image.readonly, image.block);
                chain.push(ImageFd { fd: inherited.add(image.fd), set, format, readonly, block });
                set += 1;
            }
        }
        handed.disks.push(chain);
    }
    for filesystem in def.filesystems() {
        let directory = match filesystem.source_directory() {
            Some(path) => open(request(Path::new(path), ImageKind::Directory)).await.pop(),
            None => None,
        };
        handed.filesystems.push(directory.map(|d| inherited.add(d.fd)));
    }
    for (path, into) in [(&def.os.kernel, &mut handed.kernel), (&def.os.initrd, &mut handed.initrd)] {
        if let Some(path) = path {
            *into = Some(inherited.add(open(request(path, ImageKind::Blob)).await.remove(0).fd));
        }
    }
}

fn request(path: &Path, kind: ImageKind) -> ImageRequest {
    ImageRequest::new(path, kind)
}
