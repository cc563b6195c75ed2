//! Asks QEMU programs what they can do.
//!
//! Owns the list of places where QEMU is looked for, the one program that is asked at a time, and a cache of the
//! answers, kept while a program's file is unchanged, for the next daemon too. Must never start a guest: a probed
//! program has no machine. Must never trust a program, nor let one that does not answer keep what is known of the
//! others.

mod ask;
mod cache;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::cache::Stamp;
use super::process::{RunAs, SpawnError};
use super::qmp::QmpError;
use super::{firmware, tap};
use crate::plan::host::{FirmwareFacts, QemuFacts};

/// How long one program may take for all answers together; it takes about 100 ms.
const DEADLINE: Duration = Duration::from_secs(10);

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where distributions put QEMU.
const PLACES: [&str; 3] =
    ["/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-system-i386", "/usr/libexec/qemu-kvm"];

/// The kernel's KVM.
const KVM: &str = "/dev/kvm";

/// Where distributions put QEMU: what the service chooses by itself.
pub fn standard_paths() -> [&'static Path; 3] {
    PLACES.map(Path::new)
}

/// As whom programs are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeUser {
    /// A user that is for nothing else, with the groups that a guest has.
    pub run_as: RunAs,
    /// A uid that no process has: what ends those of the user cannot be ended by them.
    pub shield: u32,
}

/// Why a program's abilities are not known.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The program is not there.
    #[error("'{}' cannot be run", .path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The program cannot be started.
    #[error("'{}' cannot be started", .path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: SpawnError,
    },
    /// The program runs but gives no answer over QMP.
    #[error("'{}' does not answer like a QEMU", .path.display())]
    Ask {
        /// The program.
        path: PathBuf,
        /// What went wrong in the conversation.
        #[source]
        source: QmpError,
    },
}

/// `None`: programs are asked as the daemon's own user.
static USER: Mutex<Option<ProbeUser>> = Mutex::new(None);

/// Keeps in this directory what is learned, and takes over what a previous daemon has learned since the machine
/// was booted. The directory must be one that is emptied at a boot: another kernel means other answers. Programs are
/// asked as `user` from now on, and what still runs as that user is ended.
pub async fn begin(dir: &Path, user: Option<ProbeUser>) {
    USER.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&user);
    let dir = dir.to_owned();
    let begun = tokio::task::spawn_blocking(move || {
        if let Some(user) = &user {
            ask::sweep(user);
        }
        cache::begin(&dir);
    });
    if let Err(e) = begun.await {
        tracing::warn!("what was known of QEMU is not read: {e}");
    }
}

/// What comes and goes while the programs stay.
async fn of_the_host() -> (Vec<FirmwareFacts>, bool) {
    let vhost = tokio::task::spawn_blocking(|| tap::open_vhost().is_ok());
    (firmware::installed().await, vhost.await.unwrap_or(false))
}

/// What the QEMU program at `path` can do. Its facts carry `path` as it is given.
pub async fn probe(path: &Path) -> Result<QemuFacts, ProbeError> {
    let facts = known_or_asked(path).await?;
    let (firmware, vhost_net) = of_the_host().await;
    Ok(QemuFacts { firmware, vhost_net, ..facts })
}

async fn known_or_asked(path: &Path) -> Result<QemuFacts, ProbeError> {
    let not_run = |source| ProbeError::Run { path: path.to_owned(), source };
    let turn = cache::turn(path);
    let _turn = turn.lock().await;
    let program = path.to_owned();
    let looking = tokio::task::spawn_blocking(move || Stamp::of(&program));
    // It may lie on a disk that does not answer.
    let Ok(stamp) = tokio::time::timeout(DEADLINE, looking).await else {
        return Err(not_run(io::ErrorKind::TimedOut.into()));
    };
    let stamp = stamp.unwrap_or_else(|e| Err(io::Error::other(e))).map_err(not_run)?;
    if let Some(facts) = cache::known(path, &stamp) {
        return Ok(facts);
    }
    let user = USER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let facts = ask::run(path, user).await?;
    let (program, learned) = (path.to_owned(), facts.clone());
    let learning = tokio::task::spawn_blocking(move || cache::learn(&program, stamp, learned));
    if let Err(e) = learning.await {
        tracing::warn!("what '{}' can do is not kept: {e}", path.display());
    }
    Ok(facts)
}

/// The facts of every QEMU that is installed where distributions put it. One that does not answer is left
/// out with a warning in the log.
pub async fn probe_all() -> Vec<QemuFacts> {
    let (firmware, vhost_net) = of_the_host().await;
    let mut found = Vec::new();
    for path in PLACES.iter().map(Path::new) {
        match known_or_asked(path).await {
            Ok(facts) => found.push(QemuFacts { firmware: firmware.clone(), vhost_net, ..facts }),
            Err(ProbeError::Run { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(cause, "{error}");
            }
        }
    }
    found
}

/// Whether the kernel offers KVM, to whomever.
pub fn kvm_is_there() -> bool {
    Path::new(KVM).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_installed_qemu_tells_its_machines_and_devices() {
        let found = probe_all().await;
        let x86_64 = found.iter().find(|q| q.arch == "x86_64").expect("qemu-system-x86_64 is installed");
        assert!(x86_64.version >= (7, 2, 0));
        assert!(x86_64.canonical_machine("pc").unwrap().starts_with("pc-i440fx-"));
        assert!(x86_64.devices.contains("virtio-net-pci"));
        assert!(x86_64.devices.contains("chardev-socket"));
        assert!(x86_64.cpu_models.contains("qemu64") && x86_64.cpu_models.contains("max"));
        assert_eq!(probe(&x86_64.path).await.unwrap(), *x86_64);
    }

    #[tokio::test]
    async fn a_program_is_asked_once_also_by_a_next_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let (qemu, asked) = (dir.path().join("qemu"), dir.path().join("asked"));
        let script = format!("#!/bin/sh\necho >>{}\nexec {} \"$@\"\n", asked.display(), PLACES[0]);
        std::fs::write(&qemu, script).unwrap();
        std::fs::set_permissions(&qemu, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let times = || std::fs::read(&asked).unwrap().len();
        begin(dir.path(), None).await;
        let (one, other) = tokio::join!(probe(&qemu), probe(&qemu));
        assert_eq!(one.unwrap(), other.unwrap());
        assert_eq!(times(), 1, "who comes later waits for the answer");
        let facts = probe(&qemu).await.unwrap();

        // As a next daemon begins.
        begin(dir.path(), None).await;
        assert_eq!(probe(&qemu).await.unwrap(), facts);
        assert_eq!(times(), 1, "what the last one has learned is known");
        let longer = std::fs::read_to_string(&qemu).unwrap() + "# another\n";
        std::fs::write(&qemu, longer).unwrap();
        assert_eq!(probe(&qemu).await.unwrap(), facts);
        assert_eq!(times(), 2, "another program is asked");
        let mode = std::fs::metadata(dir.path().join("qemu.json")).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o7777, 0o600);
    }

    #[tokio::test]
    async fn a_program_that_is_no_qemu_is_an_error() {
        let missing = probe(Path::new("/nonexistent/qemu")).await;
        assert!(matches!(missing, Err(ProbeError::Run { .. })));
        let other = probe(Path::new("/bin/true")).await;
        assert!(matches!(other, Err(ProbeError::Ask { .. })));
    }
}
