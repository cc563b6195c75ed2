//! One program, run to be asked over QMP.
//!
//! Owns what it may use, and how much of its answers is believed: a document may name any program, so it runs under a
//! uid that owns nothing, without a right, with limits, and dies with the daemon. Must never give it a machine.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::{DEADLINE, ProbeError, ProbeUser};
use crate::plan::host::{MachineFacts, QemuFacts};
use crate::sys::process::{self, Leash, Limit, Purpose, Spawn};
use crate::sys::qmp::{Qmp, QmpError};

/// How long it may take to die.
const LAST_BREATH: Duration = Duration::from_secs(2);
/// A QEMU without a machine has about 300 MiB of addresses, with room for translated code 1 GiB more.
const MEMORY: u64 = 2 << 30;
const FILE_SIZE: u64 = 1 << 20;
/// A QEMU without a machine has three.
const THREADS: u64 = 64;

/// Entries in one list: QEMU has about 600 devices.
const MOST_NAMES: usize = 4096;
/// Bytes of one name.
const NAME: usize = 128;
/// Bytes of all names together: QEMU's have about 20 KiB.
const ALL_NAMES: usize = 256 << 10;

/// Probes that run under a uid of their own.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Counts one of them. The last one takes along what a program has left behind under that uid.
#[derive(Debug)]
struct Running(Option<ProbeUser>);

impl Running {
    fn begin(user: Option<ProbeUser>) -> Self {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        Self(user)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if RUNNING.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(user) = self.0.take()
        {
            sweep(&user);
        }
    }
}

/// Kills what is left under the probes' uid, where that uid is for nothing else.
pub(super) fn sweep(user: &ProbeUser) {
    let (uid, shield) = (user.run_as.uid, user.shield);
    // Returns at once: a fork and a signal.
    if let Err(e) = process::kill_all_of(uid, shield) {
        tracing::warn!("what probed programs have started may still run under uid {uid}: {e}");
    }
}

pub(super) async fn run(path: &Path, user: Option<ProbeUser>) -> Result<QemuFacts, ProbeError> {
    let not_run = |source| ProbeError::Run { path: path.to_owned(), source };
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(not_run)?;
    ours.set_nonblocking(true).map_err(not_run)?;
    let stream = UnixStream::from_std(ours).map_err(not_run)?;
    let theirs = OwnedFd::from(theirs);
    let _running = Running::begin(user.clone());
    let mut program = Spawn::brief(path, Purpose::Probe)
        .args(["-S", "-no-user-config", "-nodefaults", "-display", "none", "-qmp", "stdio"])
        .args(["-machine", "none,accel=kvm:tcg"])
        .stdin(theirs.try_clone().map_err(not_run)?)
        .stdout(theirs)
        .no_privileges()
        .limit(Limit::Memory, MEMORY)
        .limit(Limit::CpuSeconds, DEADLINE.as_secs())
        .limit(Limit::FileSize, FILE_SIZE);
    if let Some(user) = user {
        program = program.run_as(Some(user.run_as)).limit(Limit::Threads, THREADS);
    }
    let started = program.spawn().await;
    let child = Leash(started.map_err(|source| ProbeError::Start { path: path.to_owned(), source })?);
    let asked = tokio::time::timeout(DEADLINE, ask(path, stream)).await;
    let process = child.0.clone();
    drop(child);
    let _ = tokio::time::timeout(LAST_BREATH, process.exited()).await;
    let late = || QmpError::Timeout { command: "the probe".into(), deadline: DEADLINE };
    asked.unwrap_or_else(|_| Err(late())).map_err(|source| ProbeError::Ask { path: path.to_owned(), source })
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
    let mut room = Room(ALL_NAMES);
    let name = |room: &mut Room, value: &Value| room.name(&value["name"]);
    let machine = |room: &mut Room, value: &Value| {
        Ok(MachineFacts {
            name: room.name(&value["name"])?,
            alias: value.get("alias").map(|alias| room.name(alias)).transpose()?,
            is_default: value["is-default"].as_bool().unwrap_or(false),
        })
    };
    Ok(QemuFacts {
        path: path.to_owned(),
        version: (part("major"), part("minor"), part("micro")),
        arch: room.name(&target["arch"])?,
        machines: room.list(&machines, machine)?,
        // QEMU falls back to TCG unless /dev/kvm opens and speaks the right API.
        kvm: kvm["enabled"].as_bool().unwrap_or(false),
        vhost_net: false,
        devices: room.list(&devices, name)?.into_iter().chain(room.list(&chardevs, name)?).collect(),
        cpu_models: room.list(&cpus, name)?.into_iter().collect(),
        firmware: Vec::new(),
    })
}

/// How many bytes of names are still taken.
struct Room(usize);

impl Room {
    fn name(&mut self, value: &Value) -> Result<String, QmpError> {
        let odd = || QmpError::Protocol(format!("a name is no text of 1 to {NAME} plain characters"));
        let name = value.as_str().filter(|name| (1..=NAME).contains(&name.len())).ok_or_else(odd)?;
        if name.contains(|c: char| c.is_control()) {
            return Err(odd());
        }
        let left = self.0.checked_sub(name.len());
        self.0 =
            left.ok_or_else(|| QmpError::Protocol(format!("its names have more than {ALL_NAMES} bytes")))?;
        Ok(name.to_owned())
    }

    fn list<T>(
        &mut self,
        value: &Value,
        mut read: impl FnMut(&mut Self, &Value) -> Result<T, QmpError>,
    ) -> Result<Vec<T>, QmpError> {
        let entries = value.as_array().map(Vec::as_slice).unwrap_or_default();
        if entries.len() > MOST_NAMES {
            return Err(QmpError::Protocol(format!("a list has more than {MOST_NAMES} entries")));
        }
        entries.iter().map(|entry| read(self, entry)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_program_is_believed_without_a_bound() {
        let name = |room: &mut Room, value: &Value| room.name(&value["name"]);
        let list = |entries: Vec<Value>| Room(ALL_NAMES).list(&Value::Array(entries), name);
        let entry = |name: &str| json!({ "name": name });
        assert_eq!(list(vec![entry("virtio-net-pci"), entry("e1000")]).unwrap().len(), 2);
        for refused in [
            vec![entry("x"); MOST_NAMES + 1],
            vec![entry(&"x".repeat(NAME)); ALL_NAMES / NAME + 1],
            vec![entry(&"x".repeat(NAME + 1))],
            vec![entry("")],
            vec![entry("a\nb")],
            vec![json!({ "name": 7 })],
        ] {
            assert!(matches!(list(refused), Err(QmpError::Protocol(_))));
        }
    }
}
