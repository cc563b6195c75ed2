//! What a guest's QEMU may open by path: its own program and data, its directory for sockets, and what the document
//! lets it open by itself ([`crate::plan::qemu::reach`]).
//!
//! Owns the list of what every QEMU needs of the system. Must never allow the directory in RUN that holds the daemon's
//! records, nor a directory that users can write to.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{Context, displays};
use crate::desk::off_thread;
use crate::model::DomainDef;
use crate::plan::host::QemuFacts;
use crate::plan::qemu::{Reach, reach, uses_ssh};
use crate::scope::ScopeKind;
use crate::sys::landlock::{self, Landlock};
use crate::sys::qemu_probe::standard_paths;

/// What libraries read: their loader's cache, names of hosts, certificates, the time zone; facts on CPUs and memory.
const READS: [&str; 31] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies",
    "/etc/gnutls",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/version",
    "/proc/filesystems",
    "/proc/sys/vm",
    "/proc/sys/kernel",
    "/sys/devices/system",
    "/sys/kernel/mm",
    "/sys/bus/nd",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
];

/// The hosts that SSH knows for all users.
const KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts";
/// Where a user's own keys and known hosts are.
const SSH: &str = ".ssh";

/// The rules for the QEMU that runs as `uid` and whose runtime directory is `dir`; `None`: it may open whatever its
/// user may. `directories`: those that it shows the guest itself.
pub(super) async fn rules(
    context: &Context,
    dir: &Path,
    def: &DomainDef,
    qemu: &QemuFacts,
    uid: Option<u32>,
    directories: &[Option<OwnedFd>],
) -> io::Result<Option<Landlock>> {
    let Some(reach) = reach(def, &qemu.path, &standard_paths()) else { return Ok(None) };
    let (own, program) = (dir.join(displays::DIR), qemu.path.clone());
    let shown = directories.iter().zip(def.filesystems());
    let shown =
        shown.filter_map(|(fd, shown)| Some(fd.as_ref()?.try_clone().map(|fd| (fd, !shown.readonly))));
    let shown = shown.collect::<io::Result<Vec<_>>>()?;
    let home = home(uid);
    let instead = (context.scope.kind == ScopeKind::System).then(|| context.scope.dirs.run.clone());
    // Links are followed on the disk.
    let rules = move || {
        let rules = system(Landlock::new().execute(program).sockets(own).itself().alone());
        let rules = instead.iter().fold(rules, Landlock::or_own_root);
        let rules = shown.into_iter().fold(rules, |rules, (fd, writable)| rules.opened(fd, writable));
        reach.into_iter().fold(rules, |rules, reach| match reach {
            Reach::Read(path) => rules.read(path),
            Reach::Use(path) => rules.device(path),
            Reach::Ssh => home.iter().fold(rules.read(KNOWN_HOSTS), |rules, home| rules.read(home.join(SSH))),
        })
    };
    Ok(Some(off_thread(rules).await))
}

fn system(rules: Landlock) -> Landlock {
    let rules = READS.iter().fold(rules.programs(), Landlock::read);
    // A plain file is replaced by another when the host's network changes: a guest keeps the servers that it knows.
    let resolver = landlock::resolv_conf().filter(|place| place.starts_with("/run"));
    resolver.iter().fold(rules, Landlock::read).device("/dev/null")
}

/// The variable by which a QEMU that must not read `/etc/passwd` finds keys for SSH.
pub(super) fn env(def: &DomainDef, uid: Option<u32>) -> Option<(&'static str, PathBuf)> {
    uses_ssh(def).then(|| home(uid)).flatten().map(|home| ("HOME", home))
}

/// The home directory of the user whose guests these are; guests that have uids to themselves have none.
fn home(uid: Option<u32>) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    home.filter(|home| uid.is_none() && home.is_absolute())
}
