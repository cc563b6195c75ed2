//! Files opened by the real helper, as an ordinary user. Runs as root, which it takes to become another.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use std::error::Error as _;
use tempfile::TempDir;
use warren::sys::images::{ImageKind, ImageRequest, ImagesError, OpenedImage, open_as};
use warren::sys::process::{RunAs, keep_records};

const OWNER: u32 = 64_321;
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
    ImageRequest { path: path.to_owned(), format_qcow2, readonly: false, optional: false, kind }
}

/// What a daemon does before it starts a child.
async fn begin() {
    static RECORDS: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let begin = || async { keep_records(&tempfile::tempdir().unwrap().keep()).await.unwrap() };
    RECORDS.get_or_init(begin).await;
}

async fn open(requests: Vec<ImageRequest>) -> Result<Vec<Vec<OpenedImage>>, ImagesError> {
    begin().await;
    let owner = RunAs { uid: OWNER, gid: OWNER, groups: vec![OWNER] };
    open_as(Path::new(env!("CARGO_BIN_EXE_warrend")), Some(owner), requests).await
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
async fn a_helper_that_cannot_run_is_named() {
    begin().await;
    let missing = open_as(Path::new("/nonexistent/warrend"), None, vec![]).await.unwrap_err();
    assert!(missing.to_string().contains("'/nonexistent/warrend' cannot be started"));
    let request = request(Path::new("/etc/hostname"), false, DISK);
    let mute = open_as(Path::new("/bin/true"), None, vec![request]).await.unwrap_err();
    assert!(mute.to_string().contains("broke off"), "{mute}");
}
