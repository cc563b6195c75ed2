//! Files opened by the real helper, as an ordinary user. Runs as root, which it takes to become another.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "common/records.rs"]
mod records;

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use std::error::Error as _;
use tempfile::TempDir;
use warren::ledger::{Ledger, Resource, Share};
use warren::scope::Limits;
use warren::sys::images::{
    Identity, ImageFormat, ImageKind, ImageRequest, ImagesError, OpenedImage, Opener, SizeLimit,
};
use warren::sys::process::RunAs;

const OWNER: u32 = 64_321;
/// Like OWNER, of whom one test looks for processes.
const OTHER: u32 = 64_322;
const RESERVED: u32 = 64_333;
const DISK: ImageKind = ImageKind::Disk { block: false };

/// A directory of the owner's, below one that all may pass.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(dir.path(), Some(OWNER), Some(OWNER)).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file of `uid` that nobody else may open.
    fn file(&self, name: &str, uid: u32) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, name).unwrap();
        private(&path, uid);
        path
    }

    fn qcow2(&self, name: &str, backing: &[&str]) -> PathBuf {
        let path = self.path(name);
        let args = ["create", "-q", "-f", "qcow2", "-u"];
        let done = Command::new("qemu-img").args(args).args(backing).arg(&path).arg("1M").status().unwrap();
        assert!(done.success());
        private(&path, OWNER);
        path
    }
}

fn private(path: &Path, uid: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
}

fn request(path: &Path, format_qcow2: bool, kind: ImageKind) -> ImageRequest {
    let format = if format_qcow2 { ImageFormat::Qcow2 } else { ImageFormat::Raw };
    ImageRequest { format, readonly: false, ..ImageRequest::new(path, kind) }
}

fn opener(uid: u32) -> Opener {
    let user = |uid, groups| RunAs { uid, gid: uid, groups };
    let identity = Identity { owner: user(uid, vec![uid]), reserved: user(RESERVED, Vec::new()) };
    Opener { exe: env!("CARGO_BIN_EXE_warrend").into(), identity: Some(identity) }
}

fn memory() -> Share {
    Ledger::new(Limits { guest_memory: 4 << 30, ..Limits::default() }).note(OWNER, Resource::GuestMemory, 0)
}

fn descriptors() -> Share {
    Ledger::new(Limits { descriptors: 64, ..Limits::default() }).note(OWNER, Resource::Descriptors, 0)
}

async fn open(requests: Vec<ImageRequest>) -> Result<Vec<Vec<OpenedImage>>, ImagesError> {
    records::begin().await;
    opener(OWNER).open(&requests, &mut memory(), &mut descriptors()).await
}

async fn refusal(request: ImageRequest) -> String {
    let error = open(vec![request]).await.unwrap_err();
    let cause = error.source().map(|c| format!(": {c}")).unwrap_or_default();
    format!("{error}{cause}")
}

#[tokio::test]
async fn chains_are_followed_with_the_owners_rights() {
    let place = Place::new();
    place.file("base.img", OWNER);
    place.qcow2("mid.qcow2", &["-F", "raw", "-b", "base.img"]);
    let top = place.qcow2("top.qcow2", &["-F", "qcow2", "-b", "mid.qcow2"]);
    let plain = place.file("plain.img", OWNER);
    let opened = open(vec![request(&top, true, DISK), request(&plain, false, DISK)]).await.unwrap();
    let shape: Vec<Vec<(&str, bool, bool)>> = opened
        .iter()
        .map(|chain| {
            chain
                .iter()
                .map(|i| (i.path.file_name().unwrap().to_str().unwrap(), i.qcow2, i.readonly))
                .collect()
        })
        .collect();
    let chain = vec![("top.qcow2", true, false), ("mid.qcow2", true, true), ("base.img", false, true)];
    assert_eq!(shape, [chain, vec![("plain.img", false, false)]]);
    let file = std::fs::File::from(opened.into_iter().nth(1).unwrap().remove(0).fd);
    file.write_all_at(b"P", 0).unwrap();
    assert_eq!(std::fs::read(plain).unwrap(), b"Plain.img");
}

#[tokio::test]
async fn what_the_owner_may_not_open_is_not_opened() {
    let place = Place::new();
    let roots = place.file("roots.img", 0);
    let denied = format!("uid {OWNER} cannot open '{}': Permission denied (os error 13)", roots.display());
    assert_eq!(refusal(request(&roots, false, DISK)).await, denied);
    assert_eq!(refusal(request(&roots, false, ImageKind::Blob)).await, denied);

    let top = place.qcow2("top.qcow2", &["-F", "raw", "-b", "roots.img"]);
    let chained = refusal(request(&top, true, DISK)).await;
    assert!(chained.contains("roots.img', the backing file of") && chained.contains("Permission denied"));
    let link = place.path("link");
    symlink("/etc/shadow", &link).unwrap();
    assert!(refusal(request(&link, false, DISK)).await.contains("Permission denied"));
    let missing = place.path("missing");
    assert!(refusal(request(&missing, false, DISK)).await.contains("No such file"));
}

#[tokio::test]
async fn a_format_is_never_guessed() {
    let place = Place::new();
    // What a guest could write into its raw disk.
    let disguised = place.qcow2("disguised.img", &["-F", "raw", "-b", "/etc/shadow"]);
    let opened = open(vec![request(&disguised, false, DISK)]).await.unwrap();
    assert!(opened[0].len() == 1 && !opened[0][0].qcow2);

    let raw = place.file("raw.img", OWNER);
    assert!(refusal(request(&raw, true, DISK)).await.contains("is not a qcow2 image"));
}

#[tokio::test]
async fn strange_files_and_chains_are_refused_at_once() {
    let place = Place::new();
    let fifo = place.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for strange in [fifo.as_path(), Path::new("/dev/zero"), Path::new("/tmp")] {
        let says = refusal(request(strange, false, DISK)).await;
        assert!(says.contains("neither a regular file nor a block device"), "{says}");
    }
    assert!(refusal(request(Path::new("x"), false, DISK)).await.contains("not an absolute path"));
    let plain = place.file("plain.img", OWNER);
    let as_block = request(&plain, false, ImageKind::Disk { block: true });
    assert!(refusal(as_block).await.contains("<disk type='file'>"));

    place.qcow2("b.qcow2", &["-F", "qcow2", "-b", "a.qcow2"]);
    let a = place.qcow2("a.qcow2", &["-F", "qcow2", "-b", "b.qcow2"]);
    assert!(refusal(request(&a, true, DISK)).await.contains("already in the chain"));

    for n in 0..33 {
        place.qcow2(&format!("{n}.qcow2"), &["-F", "qcow2", "-b", &format!("{}.qcow2", n + 1)]);
    }
    assert!(refusal(request(&place.path("0.qcow2"), true, DISK)).await.contains("at most 32"));
}

#[tokio::test]
async fn a_kernel_is_a_copy_that_nothing_changes() {
    let place = Place::new();
    let kernel = place.file("kernel", OWNER);
    let mut opened = open(vec![request(&kernel, false, ImageKind::Blob)]).await.unwrap();
    std::fs::write(&kernel, "changed").unwrap();
    let mut copy = std::fs::File::from(opened.remove(0).remove(0).fd);
    let mut text = String::new();
    copy.read_to_string(&mut text).unwrap();
    assert_eq!(text, "kernel");
    copy.seek(SeekFrom::Start(0)).unwrap();
    assert!(copy.write_all(b"x").is_err());
}

#[tokio::test]
async fn a_file_over_its_limit_is_not_copied() {
    let place = Place::new();
    let sparse = place.file("sparse", OWNER);
    std::fs::File::options().write(true).open(&sparse).unwrap().set_len(1000 << 20).unwrap();
    for kind in [ImageKind::Blob, ImageKind::Layer { block: false }] {
        let limit = Some(SizeLimit { bytes: 64 << 20, key: "firmware-bytes" });
        let says = refusal(ImageRequest { limit, ..request(&sparse, false, kind) }).await;
        for word in ["/sparse' has 1048576000 bytes", "the limit is 67108864", "'firmware-bytes'"] {
            assert!(says.contains(word), "{says}");
        }
    }
    // What counts for its owner is what it would take.
    let mut memory = memory();
    let limit = Some(SizeLimit { bytes: 2 << 30, key: "initrd-bytes" });
    let request = ImageRequest { limit, ..request(&sparse, false, ImageKind::Blob) };
    opener(OWNER).open(&[request], &mut memory, &mut descriptors()).await.unwrap();
    assert_eq!(memory.amount(), 1000 << 20);
}

/// The pid of the opener that works for this uid.
fn pid_of_opener(uid: u32) -> Option<i32> {
    let words = format!("open-images\0{uid}\0");
    let is_it = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&words))
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).find(is_it)
}

/// What the owner's processes are told when they reach for the opener, one word for each attempt.
fn attempts(pid: i32) -> Vec<(&'static str, Option<rustix::io::Errno>)> {
    use rustix::process::{Gid, Pid, PidfdFlags, PidfdGetfdFlags, Signal, Uid};
    // The system calls change this thread alone.
    let as_owner = move || {
        let (uid, gid) = (Uid::from_raw(OTHER), Gid::from_raw(OTHER));
        rustix::thread::set_thread_groups(&[gid]).unwrap();
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        let target = Pid::from_raw(pid).unwrap();
        let pidfd = rustix::process::pidfd_open(target, PidfdFlags::empty()).unwrap();
        let signal = |signal| rustix::process::kill_process(target, signal).err();
        #[expect(unsafe_code, reason = "no safe library traces")]
        let seize = || {
            // SAFETY: PTRACE_SEIZE takes numbers and touches no memory of ours.
            let result = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
            (result < 0).then(|| rustix::io::Errno::from_io_error(&std::io::Error::last_os_error()).unwrap())
        };
        let file = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
            rustix::fs::open(path, flags, rustix::fs::Mode::empty()).err()
        };
        vec![
            ("getfd", rustix::process::pidfd_getfd(&pidfd, 0, PidfdGetfdFlags::empty()).err()),
            ("seize", seize()),
            ("test", rustix::process::test_kill_process(target).err()),
            ("stop", signal(Signal::STOP)),
            ("kill", signal(Signal::KILL)),
            ("pidfd", rustix::process::pidfd_send_signal(&pidfd, Signal::STOP).err()),
            ("mem", file("mem")),
            ("fds", file("fd")),
        ]
    };
    std::thread::spawn(as_owner).join().unwrap()
}

#[tokio::test]
async fn its_owner_reaches_no_opener_at_work() {
    let place = Place::new();
    let path = place.path("full");
    let listener =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None);
    let listener = listener.unwrap();
    rustix::net::bind(&listener, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    // The next one waits until somebody accepts.
    let _first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let opening = tokio::spawn(async move {
        let request = request(&path, false, ImageKind::Socket);
        opener(OTHER).open(&[request], &mut memory(), &mut descriptors()).await
    });
    let status = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            let Some(pid) = pid_of_opener(OTHER) else { continue };
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            // Asleep as its owner: in the connection that nobody accepts.
            if status.contains("State:\tS") && status.contains(&format!("\t{OTHER}\t{RESERVED}")) {
                return (pid, status);
            }
        }
    };
    let (pid, status) = tokio::time::timeout(std::time::Duration::from_secs(5), status).await.unwrap();
    for line in [
        format!("Uid:\t{RESERVED}\t{OTHER}\t{RESERVED}\t{OTHER}\n"),
        format!("Gid:\t{RESERVED}\t{OTHER}\t{RESERVED}\t{OTHER}\n"),
        format!("Groups:\t{OTHER} \n"),
        "CapPrm:\t0000000000000000\n".into(),
        "CapEff:\t0000000000000000\n".into(),
        "CapBnd:\t0000000000000000\n".into(),
        "NoNewPrivs:\t1\n".into(),
    ] {
        assert!(status.contains(&line), "{line}: {status}");
    }
    for (attempt, refused) in attempts(pid) {
        let refused = refused.unwrap_or_else(|| panic!("{attempt} succeeds"));
        assert!(
            matches!(refused, rustix::io::Errno::PERM | rustix::io::Errno::ACCESS),
            "{attempt}: {refused}"
        );
    }
    // Whoever waited for it has left: so has it.
    opening.abort();
    let gone = async {
        while pid_of_opener(OTHER).is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), gone).await.unwrap();
}

#[tokio::test]
async fn without_the_means_to_change_nothing_is_opened() {
    // As an ordinary user, who can become nobody else.
    let place = Place::new();
    let plain = place.file("plain.img", OWNER);
    let (ours, theirs) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let mut ids = vec!["open-images".to_owned()];
    ids.extend([OWNER, OWNER, RESERVED, RESERVED].map(|id| id.to_string()));
    // Below the build directory, which not everybody passes: opened here, executed there.
    let exe = std::fs::File::open(env!("CARGO_BIN_EXE_warrend")).unwrap();
    let program = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&exe));
    rustix::io::fcntl_setfd(&exe, rustix::io::FdFlags::empty()).unwrap();
    let mut child = Command::new("setpriv")
        .args(["--reuid", "64321", "--regid", "64321", "--clear-groups", &program])
        .args(&ids)
        .stdin(theirs)
        .spawn()
        .unwrap();
    let request = serde_json::to_vec(&request(&plain, false, DISK)).unwrap();
    // It may have ended before it could be asked.
    let _ = rustix::net::send(&ours, &request, rustix::net::SendFlags::NOSIGNAL);
    let mut answer = vec![0; 4096];
    let (count, _) = rustix::net::recv(&ours, &mut answer[..], rustix::net::RecvFlags::empty()).unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.contains("NotBecome"), "{answer}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[tokio::test]
async fn a_helper_that_cannot_run_is_named() {
    records::begin().await;
    let with = |exe: &str| Opener { exe: exe.into(), identity: None };
    let missing =
        with("/nonexistent/warrend").open(&[], &mut memory(), &mut descriptors()).await.unwrap_err();
    assert!(missing.to_string().contains("'/nonexistent/warrend' cannot be started"));
    let request = request(Path::new("/etc/hostname"), false, DISK);
    let mute = with("/bin/true").open(&[request], &mut memory(), &mut descriptors()).await.unwrap_err();
    assert!(mute.to_string().contains("broke off"), "{mute}");
}
