//! Asks QEMU programs what they can do.
//!
//! Owns the list of places where QEMU is looked for and a cache of the answers, kept while a program's
//! file is unchanged. Must never start a guest: a probed program has no machine.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::process::Command;

use super::qmp::{Qmp, QmpError};
use super::{firmware, tap};
use crate::plan::host::{MachineFacts, QemuFacts};

/// How long one program may take for all answers together; it takes about 100 ms.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where distributions put QEMU.
const PLACES: [&str; 3] =
    ["/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-system-i386", "/usr/libexec/qemu-kvm"];

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

type Stamp = (SystemTime, u64);
static CACHE: Mutex<Option<HashMap<PathBuf, (Stamp, QemuFacts)>>> = Mutex::new(None);

/// What the QEMU program at `path` can do. Its facts carry `path` as it is given.
pub async fn probe(path: &Path) -> Result<QemuFacts, ProbeError> {
    let not_run = |source| ProbeError::Run { path: path.to_owned(), source };
    let stamp = stamp(path).map_err(not_run)?;
    let kept =
        CACHE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().get(path).cloned();
    if let Some((at, facts)) = kept
        && at == stamp
    {
        return Ok(QemuFacts { firmware: firmware::installed(), ..facts });
    }
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
    let facts = asked
        .unwrap_or_else(|_| Err(late()))
        .map_err(|source| ProbeError::Ask { path: path.to_owned(), source })?;
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.get_or_insert_default().insert(path.to_owned(), (stamp, facts.clone()));
    Ok(QemuFacts { firmware: firmware::installed(), ..facts })
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

/// What changes when a program is replaced. A wrapper script (as Debian's qemu-system-i386) tells nothing
/// of the program behind it, but both come in one package.
fn stamp(path: &Path) -> io::Result<Stamp> {
    let file = std::fs::metadata(path)?;
    Ok((file.modified()?, file.len()))
}

async fn ask(path: &Path, stream: UnixStream) -> Result<QemuFacts, QmpError> {
    let (qmp, _events) = Qmp::connect(stream, DEADLINE).await?;
    let version = qmp.execute("query-version", Value::Null, DEADLINE).await?;
    let part = |key| version["qemu"][key].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let target = qmp.execute("query-target", Value::Null, DEADLINE).await?;
    let kvm = qmp.execute("query-kvm", Value::Null, DEADLINE).await?;
    let machines = qmp.execute("query-machines", Value::Null, DEADLINE).await?;
    let concrete_devices = json!({"implements": "device", "abstract": false});
    let devices = qmp.execute("qom-list-types", concrete_devices, DEADLINE).await?;
    let concrete_chardevs = json!({"implements": "chardev", "abstract": false});
    let chardevs = qmp.execute("qom-list-types", concrete_chardevs, DEADLINE).await?;
    Ok(QemuFacts {
        path: path.to_owned(),
        version: (part("major"), part("minor"), part("micro")),
        arch: target["arch"].as_str().unwrap_or_default().to_owned(),
        machines: list(&machines).filter_map(machine).collect(),
        // QEMU falls back to TCG unless /dev/kvm opens and speaks the right API.
        kvm: kvm["enabled"].as_bool().unwrap_or(false),
        vhost_net: tap::open_vhost().is_ok(),
        devices: list(&devices)
            .chain(list(&chardevs))
            .filter_map(|d| d["name"].as_str())
            .map(str::to_owned)
            .collect::<BTreeSet<_>>(),
        // It comes and goes while the program stays, so that it is not of what is kept.
        firmware: Vec::new(),
    })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
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
        assert_eq!(probe(&x86_64.path).await.unwrap(), *x86_64);
    }

    #[tokio::test]
    async fn a_program_that_is_no_qemu_is_an_error() {
        let missing = probe(Path::new("/nonexistent/qemu")).await;
        assert!(matches!(missing, Err(ProbeError::Run { .. })));
        let other = probe(Path::new("/bin/true")).await;
        assert!(matches!(other, Err(ProbeError::Ask { .. })));
    }
}
