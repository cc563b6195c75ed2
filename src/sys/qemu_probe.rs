//! Asks QEMU programs what they can do.
//!
//! Owns the list of places where QEMU is looked for and a cache of the answers, kept while a program's
//! file is unchanged, for the next daemon too. Must never start a guest: a probed program has no machine.
//! Must never let one program that does not answer keep what is known of the others.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::process::Command;

use super::qmp::{Qmp, QmpError};
use super::{firmware, tap, unix};
use crate::plan::host::{MachineFacts, QemuFacts};

/// How long one program may take for all answers together; it takes about 100 ms.
const DEADLINE: Duration = Duration::from_secs(10);

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where distributions put QEMU.
const PLACES: [&str; 3] =
    ["/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-system-i386", "/usr/libexec/qemu-kvm"];

/// The kernel's KVM.
const KVM: &str = "/dev/kvm";

/// Where distributions put QEMU's modules.
const MODULES: [&str; 3] = ["/usr/lib/x86_64-linux-gnu/qemu", "/usr/lib64/qemu", "/usr/lib/qemu"];

/// Where distributions put QEMU: what the service chooses by itself.
pub fn standard_paths() -> [&'static Path; 3] {
    PLACES.map(Path::new)
}

/// Why a program's abilities are not known.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The program cannot be run.
    #[error("'{}' cannot be run", .path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
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

/// What was learned holds while this is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    modified: SystemTime,
    length: u64,
    /// When a module of QEMU's came or went: devices and displays may be in packages of their own.
    modules: Option<SystemTime>,
    kvm: bool,
}

/// What is learned of programs.
#[derive(Debug, Default)]
struct Cache {
    known: HashMap<PathBuf, (Stamp, QemuFacts)>,
    /// Programs that are being asked: who wants to know the same waits for it.
    asked: HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>,
    /// Where the next daemon finds it.
    file: Option<PathBuf>,
}

/// What is in the file; of another version it is not read.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    version: String,
    known: T,
}

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

fn cache() -> MutexGuard<'static, Cache> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps in this directory what is learned, and takes over what a former daemon has learned since the machine
/// was booted. The directory must be one that is emptied at a boot: another kernel means other answers.
pub fn keep_in(dir: &Path) {
    let file = dir.join("qemu.json");
    let kept = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Kept<_>>(&text).ok());
    let known = kept.filter(|kept| kept.version == VERSION).map(|kept| kept.known).unwrap_or_default();
    *cache() = Cache { known, file: Some(file), ..Cache::default() };
}

/// What the QEMU program at `path` can do. Its facts carry `path` as it is given.
pub async fn probe(path: &Path) -> Result<QemuFacts, ProbeError> {
    let stamp = stamp(path).map_err(|source| ProbeError::Run { path: path.to_owned(), source })?;
    let turn = cache().asked.entry(path.to_owned()).or_default().clone();
    let _turn = turn.lock().await;
    let known = cache().known.get(path).filter(|(at, _)| *at == stamp).map(|(_, facts)| facts.clone());
    let facts = match known {
        Some(facts) => facts,
        None => {
            let facts = run(path).await?;
            cache().learn(path, stamp, facts.clone());
            facts
        }
    };
    // These come and go while the program stays.
    Ok(QemuFacts { firmware: firmware::installed(), vhost_net: tap::open_vhost().is_ok(), ..facts })
}

impl Cache {
    fn learn(&mut self, path: &Path, stamp: Stamp, facts: QemuFacts) {
        self.known.insert(path.to_owned(), (stamp, facts));
        let Some(file) = &self.file else { return };
        let kept = Kept { version: VERSION.into(), known: &self.known };
        let written = serde_json::to_vec(&kept)
            .map_err(io::Error::from)
            .and_then(|text| unix::write_private(file, &text));
        if let Err(e) = written {
            tracing::info!(
                "what QEMU can do will be asked again by the next daemon: '{}': {e}",
                file.display()
            );
        }
    }
}

async fn run(path: &Path) -> Result<QemuFacts, ProbeError> {
    let not_run = |source| ProbeError::Run { path: path.to_owned(), source };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(not_run)?;
    ours.set_nonblocking(true).map_err(not_run)?;
    let stream = UnixStream::from_std(ours).map_err(not_run)?;
    let theirs = OwnedFd::from(theirs);
    // Dropped at any moment, it takes its process along: it has no guest to lose.
    let mut child = Command::new(path)
        .args(["-S", "-no-user-config", "-nodefaults", "-display", "none", "-qmp", "stdio"])
        .args(["-machine", "none,accel=kvm:tcg"])
        .stdin(theirs.try_clone().map_err(not_run)?)
        .stdout(theirs)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_run)?;
    let asked = tokio::time::timeout(DEADLINE, ask(path, stream)).await;
    drop(child.start_kill());
    child.wait().await.map_err(not_run)?;
    let late = || QmpError::Timeout { command: "the probe".into(), deadline: DEADLINE };
    asked.unwrap_or_else(|_| Err(late())).map_err(|source| ProbeError::Ask { path: path.to_owned(), source })
}

/// The facts of every QEMU that is installed where distributions put it. One that does not answer is left
/// out with a warning in the log.
pub async fn probe_all() -> Vec<QemuFacts> {
    let mut found = Vec::new();
    for path in PLACES.iter().map(Path::new) {
        match probe(path).await {
            Ok(facts) => found.push(facts),
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

/// What changes when a program is replaced. A wrapper script (as Debian's qemu-system-i386) tells nothing
/// of the program behind it, but both come in one package.
fn stamp(path: &Path) -> io::Result<Stamp> {
    let file = std::fs::metadata(path)?;
    let kvm = rustix::fs::open(KVM, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).is_ok();
    let changed = |dir: &str| std::fs::metadata(dir).and_then(|dir| dir.modified()).ok();
    let modules = MODULES.iter().filter_map(|dir| changed(dir)).max();
    Ok(Stamp { modified: file.modified()?, length: file.len(), modules, kvm })
}

async fn ask(path: &Path, stream: UnixStream) -> Result<QemuFacts, QmpError> {
    let (qmp, _events) = Qmp::connect(stream, DEADLINE).await?;
    let qmp = qmp.with_long_replies();
    let version = qmp.execute("query-version", Value::Null, DEADLINE).await?;
    let part = |key| version["qemu"][key].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let target = qmp.execute("query-target", Value::Null, DEADLINE).await?;
    let kvm = qmp.execute("query-kvm", Value::Null, DEADLINE).await?;
    let machines = qmp.execute("query-machines", Value::Null, DEADLINE).await?;
    let concrete_devices = json!({"implements": "device", "abstract": false});
    let devices = qmp.execute("qom-list-types", concrete_devices, DEADLINE).await?;
    let concrete_chardevs = json!({"implements": "chardev", "abstract": false});
    let chardevs = qmp.execute("qom-list-types", concrete_chardevs, DEADLINE).await?;
    let cpus = qmp.execute("query-cpu-definitions", Value::Null, DEADLINE).await?;
    Ok(QemuFacts {
        path: path.to_owned(),
        version: (part("major"), part("minor"), part("micro")),
        arch: target["arch"].as_str().unwrap_or_default().to_owned(),
        machines: list(&machines).filter_map(machine).collect(),
        // QEMU falls back to TCG unless /dev/kvm opens and speaks the right API.
        kvm: kvm["enabled"].as_bool().unwrap_or(false),
        vhost_net: false,
        devices: list(&devices).chain(list(&chardevs)).filter_map(name).collect(),
        cpu_models: list(&cpus).filter_map(name).collect(),
        firmware: Vec::new(),
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn name(value: &Value) -> Option<String> {
    value["name"].as_str().map(str::to_owned)
}

fn machine(value: &Value) -> Option<MachineFacts> {
    Some(MachineFacts {
        name: value["name"].as_str()?.to_owned(),
        alias: value["alias"].as_str().map(str::to_owned),
        is_default: value["is-default"].as_bool().unwrap_or(false),
    })
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
        keep_in(dir.path());
        let (one, other) = tokio::join!(probe(&qemu), probe(&qemu));
        assert_eq!(one.unwrap(), other.unwrap());
        assert_eq!(times(), 1, "who comes later waits for the answer");
        let facts = probe(&qemu).await.unwrap();

        // As a next daemon begins.
        keep_in(dir.path());
        assert_eq!(probe(&qemu).await.unwrap(), facts);
        assert_eq!(times(), 1, "what the last one has learned is known");
        let longer = std::fs::read_to_string(&qemu).unwrap() + "# another\n";
        std::fs::write(&qemu, longer).unwrap();
        assert_eq!(probe(&qemu).await.unwrap(), facts);
        assert_eq!(times(), 2, "another program is asked");
    }

    #[tokio::test]
    async fn a_program_that_is_no_qemu_is_an_error() {
        let missing = probe(Path::new("/nonexistent/qemu")).await;
        assert!(matches!(missing, Err(ProbeError::Run { .. })));
        let other = probe(Path::new("/bin/true")).await;
        assert!(matches!(other, Err(ProbeError::Ask { .. })));
    }
}
