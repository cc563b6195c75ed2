//! Everything that differs between the system and the session service.
//!
//! Owns where files live, which uid each child runs under, and the configuration file. Must never act
//! on what it says: it answers questions, the other rooms do the work.

use std::env;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Deserialize;

use crate::sys::dirs::Dir;
use crate::sys::images::{self, Identity, Opener};
use crate::sys::process::{self, RunAs};
use crate::sys::qemu_probe::ProbeUser;
use crate::sys::unix;

/// Uids from `uid-base` on that are for helpers; those of guests follow.
const HELPER_UIDS: u32 = 4096;

/// The first and the last of them, each for one purpose of the whole service. A guest that a former version started
/// may have one of the first but that of nethost and pasta.
const FIRST_HELPERS: u32 = 16;
const LAST_HELPERS: u32 = 16;

/// Which of the two services this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    /// Root, the system bus, polkit, the host's network.
    System,
    /// One user, the session bus, networks in namespaces of that user.
    Session,
}

impl ScopeKind {
    /// The word on the bus: `system` or `session`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Session => "session",
        }
    }
}

/// Why the scope could not be set up.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ScopeError {
    #[error("the system service needs root; an ordinary user runs 'warrend --session'")]
    NotRoot,
    #[error("neither {0} nor HOME is set, so there is no place for Warren's files")]
    NoHome(&'static str),
    #[error("cannot prepare the directory '{path}'")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error(
        "the directory '{path}' belongs to uid {owner}, not to uid {me}; remove it or set RUNTIME_DIRECTORY"
    )]
    ForeignDirectory { path: PathBuf, owner: u32, me: u32 },
    #[error("cannot read '{path}'")]
    ReadConfig { path: PathBuf, source: std::io::Error },
    #[error("'{path}' is not a valid configuration")]
    Config { path: PathBuf, source: toml::de::Error },
    #[error(
        "'{path}': uid-base {base} and uid-count {count} leave no uids for guests: {HELPER_UIDS} are for helpers, so \
        uid-count must be larger, and all of them must be between 1 and 4294967294"
    )]
    Uids { path: PathBuf, base: u32, count: u32 },
    #[error(
        "'{path}' cannot be used by root: '{parent}', through which it is reached, can be changed by uid {owner} or others"
    )]
    OthersParent { path: PathBuf, parent: PathBuf, owner: u32 },
    #[error("cannot find out which program this is")]
    Exe(#[source] std::io::Error),
}

/// `CONFIG/warrend.toml`; every key has a default.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// First of the uids (and gids of the same number) that Warren keeps for guests and helpers when it
    /// runs as root. The default lies in the range that systemd leaves to the administrator.
    pub uid_base: u32,
    /// How many uids there are from `uid-base` on: the first 4096 are for helpers, each other for one running guest.
    pub uid_count: u32,
    /// Seconds without a call after which a service with nothing running ends; 0 means never.
    pub idle_seconds: u64,
    /// What one user may take of the service at once.
    pub limits: Limits,
}

/// What one uid may have, so that no caller can hold up another or fill the machine. What is beyond is refused
/// (`LimitExceeded`), never kept waiting. What is in flight (calls, jobs, subscriptions) and the sizes of one file are
/// limited for everybody, since the service itself depends on it; root has none of the other limits.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Calls that are being answered.
    pub calls: usize,
    /// Starts, stops and other work under way, whether a call waits for it or a Job stands for it.
    pub jobs: usize,
    /// Networks and domains defined.
    pub objects: usize,
    /// Connections with a subscription.
    pub subscriptions: usize,
    /// Bytes of all documents of its networks and domains.
    pub documents_bytes: u64,
    /// Bytes that Warren writes for it on the host's disk: documents and variables of firmware.
    pub stored_bytes: u64,
    /// Bytes of memory of its running guests; 0: three quarters of the host's.
    pub guest_memory: u64,
    /// vCPUs of its running guests; 0: eight for each CPU of the host.
    pub guest_vcpus: u64,
    /// Threads that QEMU may have for its running guests.
    pub guest_threads: u64,
    /// Descriptors that the service holds for it; 0: a quarter of those that the service may have.
    pub descriptors: u64,
    /// Bytes of one image of firmware, or of one template of its variables.
    pub firmware_bytes: u64,
    /// Bytes of one kernel.
    pub kernel_bytes: u64,
    /// Bytes of one initrd.
    pub initrd_bytes: u64,
}

impl Limits {
    /// Chooses by the host what is left to Warren.
    fn fill_in(&mut self) {
        if self.guest_memory == 0 {
            let host = rustix::system::sysinfo();
            self.guest_memory = (host.totalram as u64).saturating_mul(u64::from(host.mem_unit)) / 4 * 3;
        }
        if self.guest_vcpus == 0 {
            let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
            self.guest_vcpus = cpus * 8;
        }
        if self.descriptors == 0 {
            self.descriptors = process::most_descriptors() / 4;
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 512,
            jobs: 256,
            objects: 4096,
            subscriptions: 64,
            documents_bytes: 64 << 20,
            stored_bytes: 4 << 30,
            guest_memory: 0,
            guest_vcpus: 0,
            guest_threads: 8192,
            descriptors: 0,
            firmware_bytes: 64 << 20,
            kernel_bytes: 256 << 20,
            initrd_bytes: 2 << 30,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { uid_base: 1_900_000_000, uid_count: 65_536, idle_seconds: 60, limits: Limits::default() }
    }
}

impl Config {
    /// Without a uid for each, guests would run as root.
    fn refuse_too_few_uids(&self, path: &Path) -> Result<(), ScopeError> {
        let (base, count) = (self.uid_base, self.uid_count);
        // The last number stands for none.
        let end = base.checked_add(count).filter(|end| *end < u32::MAX);
        if base == 0 || count <= HELPER_UIDS || end.is_none() {
            return Err(ScopeError::Uids { path: path.to_owned(), base, count });
        }
        Ok(())
    }
}

/// The three places for files, each existing and of mode 0700 (RUN 0711 for root, so that helpers
/// without privileges reach their own directory below it).
#[derive(Debug, Clone)]
pub struct Dirs {
    /// Definitions and what belongs to them; survives a boot.
    pub state: PathBuf,
    /// Live state; gone after a boot.
    pub run: PathBuf,
    /// Written by people, only read here; need not exist.
    pub config: PathBuf,
}

/// The answers for one running service.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Which service.
    pub kind: ScopeKind,
    /// Where files live.
    pub dirs: Dirs,
    /// The configuration.
    pub config: Config,
    /// Our own program, for its helper modes.
    pub exe: PathBuf,
    /// The uid the service runs under.
    pub uid: u32,
}

impl Scope {
    /// Finds the directories (`STATE_DIRECTORY`, `RUNTIME_DIRECTORY`, `CONFIGURATION_DIRECTORY`, else the
    /// scope's own), makes them and reads the configuration.
    pub fn prepare(kind: ScopeKind) -> Result<Self, ScopeError> {
        let uid = rustix::process::geteuid().as_raw();
        if kind == ScopeKind::System && uid != 0 {
            return Err(ScopeError::NotRoot);
        }
        let dirs = find_dirs(kind, uid)?;
        if uid == 0 {
            [&dirs.state, &dirs.run, &dirs.config]
                .into_iter()
                .try_for_each(|dir| refuse_others_parents(dir))?;
        }
        make_dir(&dirs.state, 0o700, uid)?;
        make_dir(&dirs.run, if uid == 0 { 0o711 } else { 0o700 }, uid)?;
        let path = dirs.config.join("warrend.toml");
        let mut config = read_config(&path)?;
        if uid == 0 {
            config.refuse_too_few_uids(&path)?;
        }
        config.limits.fill_in();
        let exe = env::current_exe().map_err(ScopeError::Exe)?;
        Ok(Self { kind, dirs, config, exe, uid })
    }

    /// Whether the service itself runs as root.
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// The uid for helpers that hold nothing of a user (nethost, pasta); `None`: the service's own.
    pub fn helper_user(&self) -> Option<RunAs> {
        self.numbered_helper(0)
    }

    /// The user under which programs are asked what they can do, with what a guest may use, as KVM; `None`: the
    /// service's own.
    pub fn probe_user(&self) -> Option<ProbeUser> {
        let run_as = self.numbered_helper(HELPER_UIDS - 2).map(|user| self.guest_user(user.uid))?;
        Some(ProbeUser { run_as, shield: self.numbered_helper(HELPER_UIDS - 3)?.uid })
    }

    /// The uid that keeps the opener of files out of its owner's reach; `None`: the service's own.
    pub fn opener_user(&self) -> Option<RunAs> {
        self.numbered_helper(HELPER_UIDS - 1)
    }

    fn numbered_helper(&self, offset: u32) -> Option<RunAs> {
        self.is_root().then(|| numbered_user(self.config.uid_base.saturating_add(offset), Vec::new()))
    }

    /// The uids from which each helper that serves one network gets its own; empty: they run as the service.
    pub fn service_uids(&self) -> std::ops::Range<u32> {
        if !self.is_root() {
            return 0..0;
        }
        let base = self.config.uid_base;
        base.saturating_add(FIRST_HELPERS)..base.saturating_add(HELPER_UIDS - LAST_HELPERS)
    }

    /// The uids from which each running guest gets one of its own; empty: guests run as the service.
    pub fn guest_uids(&self) -> std::ops::Range<u32> {
        if !self.is_root() {
            return 0..0;
        }
        let base = self.config.uid_base;
        base.saturating_add(HELPER_UIDS)..base.saturating_add(self.config.uid_count)
    }

    /// All uids that are kept for guests and helpers; empty: they run as the service.
    pub fn reserved_uids(&self) -> std::ops::Range<u32> {
        let base = self.config.uid_base;
        if self.is_root() { base..base.saturating_add(self.config.uid_count) } else { 0..0 }
    }

    /// The identity of a helper that serves one network.
    pub fn service_user(&self, uid: u32) -> RunAs {
        numbered_user(uid, Vec::new())
    }

    /// The identity of a guest with that uid. The group `kvm` comes along, which owns `/dev/kvm`.
    pub fn guest_user(&self, uid: u32) -> RunAs {
        numbered_user(
            uid,
            unix::group_of_file(Path::new("/dev/kvm")).into_iter().filter(|g| *g != 0).collect(),
        )
    }

    /// By whom the files of a domain of `owner` are opened.
    pub async fn opener(&self, owner: u32) -> std::io::Result<Opener> {
        let exe = self.exe.clone();
        if owner == self.uid {
            return Ok(Opener { exe, identity: None });
        }
        let owner = images::groups_of(owner).await?;
        // Whoever is not root and opens for somebody else fails there, as it should.
        let reserved = self.opener_user().unwrap_or_else(|| owner.clone());
        Ok(Opener { exe, identity: Some(Identity { owner, reserved }) })
    }

    /// `RUN/networks/UUID`.
    pub fn network_run_dir(&self, uuid: &uuid::Uuid) -> PathBuf {
        self.dirs.run.join("networks").join(uuid.to_string())
    }

    /// `RUN/domains/UUID`.
    pub fn domain_run_dir(&self, uuid: &uuid::Uuid) -> PathBuf {
        self.dirs.run.join("domains").join(uuid.to_string())
    }
}

fn numbered_user(uid: u32, groups: Vec<u32>) -> RunAs {
    RunAs { uid, gid: uid, groups }
}

fn find_dirs(kind: ScopeKind, uid: u32) -> Result<Dirs, ScopeError> {
    let given = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let or = |name, default: Result<PathBuf, ScopeError>| given(name).map_or(default, Ok);
    Ok(match kind {
        ScopeKind::System => Dirs {
            state: or("STATE_DIRECTORY", Ok("/var/lib/warren".into()))?,
            run: or("RUNTIME_DIRECTORY", Ok("/run/warren".into()))?,
            config: or("CONFIGURATION_DIRECTORY", Ok("/etc/warren".into()))?,
        },
        ScopeKind::Session => {
            let home = given("HOME");
            let xdg = |name: &'static str, below: &str| {
                let base = given(name).or_else(|| home.as_ref().map(|h| h.join(below)));
                base.map(|b| b.join("warren")).ok_or(ScopeError::NoHome(name))
            };
            // Root's helpers have uids of their own, and pass through no directory that is root's alone.
            let run = given("XDG_RUNTIME_DIR");
            let run = run.filter(|dir| uid != 0 || (others_pass(dir) && refuse_others_parents(dir).is_ok()));
            let run = run.map_or_else(|| PathBuf::from(format!("/tmp/warren-{uid}")), |d| d.join("warren"));
            Dirs {
                state: or("STATE_DIRECTORY", xdg("XDG_STATE_HOME", ".local/state"))?,
                run: or("RUNTIME_DIRECTORY", Ok(run))?,
                config: or("CONFIGURATION_DIRECTORY", xdg("XDG_CONFIG_HOME", ".config"))?,
            }
        }
    })
}

fn others_pass(dir: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
}

/// Root follows no path through a directory in which somebody else can put another one: what is there of it, from the
/// top, is root's, and others write there only where names stay their owners' (`/tmp`).
fn refuse_others_parents(path: &Path) -> Result<(), ScopeError> {
    use std::os::unix::fs::MetadataExt;
    let there = path.ancestors().find_map(|dir| fs::canonicalize(dir).ok());
    for parent in there.iter().flat_map(|there| there.ancestors()) {
        let Ok(meta) = fs::symlink_metadata(parent) else { continue };
        let (writable, sticky) = (meta.mode() & 0o022 != 0, meta.mode() & 0o1000 != 0);
        if meta.uid() != 0 || (writable && !sticky) {
            let (path, parent) = (path.to_owned(), parent.to_owned());
            return Err(ScopeError::OthersParent { path, parent, owner: meta.uid() });
        }
    }
    Ok(())
}

/// Makes a directory, and refuses one that somebody else put there (in `/tmp` anyone may).
fn make_dir(path: &Path, mode: u32, me: u32) -> Result<(), ScopeError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let failed = |source| ScopeError::Directory { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        // As the standard of XDG wants those that it names.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
    }
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(e)),
        _ => {}
    }
    let meta = fs::symlink_metadata(path).map_err(failed)?;
    if meta.uid() != me || !meta.is_dir() {
        return Err(ScopeError::ForeignDirectory { path: path.to_owned(), owner: meta.uid(), me });
    }
    Dir::open(path).and_then(|dir| dir.give(mode, None)).map_err(failed)
}

fn read_config(path: &Path) -> Result<Config, ScopeError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
        Err(source) => return Err(ScopeError::ReadConfig { path: path.to_owned(), source }),
    };
    toml::from_str(&text).map_err(|source| ScopeError::Config { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_has_defaults_and_refuses_unknown_keys() {
        let config: Config = toml::from_str("idle-seconds = 5").unwrap();
        assert_eq!(config.idle_seconds, 5);
        assert_eq!(config.uid_count, 65_536);
        let error = toml::from_str::<Config>("idle = 5").unwrap_err().to_string();
        assert!(error.contains("idle-seconds"), "{error}");
    }

    #[test]
    fn too_few_uids_are_refused_by_name() {
        let with = |uid_base, uid_count| {
            let config = Config { uid_base, uid_count, ..Config::default() };
            config.refuse_too_few_uids(Path::new("w.toml"))
        };
        with(1_900_000_000, 4097).unwrap();
        for (base, count) in [(1_900_000_000, 4096), (1_900_000_000, 0), (0, 65_536), (u32::MAX - 5000, 5000)]
        {
            let error = with(base, count).unwrap_err().to_string();
            assert!(error.contains("uid-count") && error.contains("w.toml"), "{error}");
        }
    }

    #[test]
    fn root_goes_through_no_directory_that_others_can_change() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let path = dir.path().join("not/there");
        assert_eq!(refuse_others_parents(&path).is_ok(), is_root);
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(refuse_others_parents(&path), Err(ScopeError::OthersParent { .. })));
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(refuse_others_parents(&path).is_ok(), is_root);
        if is_root {
            std::os::unix::fs::chown(dir.path(), Some(64_123), None).unwrap();
            assert!(matches!(
                refuse_others_parents(&path),
                Err(ScopeError::OthersParent { owner: 64_123, .. })
            ));
        }
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        make_dir(&path, 0o700, rustix::process::geteuid().as_raw()).unwrap();
        assert!(matches!(make_dir(&path, 0o700, 12345), Err(ScopeError::ForeignDirectory { .. })));
    }
}
