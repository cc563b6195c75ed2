//! What a program may reach by path, kept by the kernel (Landlock) beside its uid.
//!
//! Owns the rules of one child: they are made ready before the fork and put in force between fork and exec
//! ([`Spawn::landlock`](super::process::Spawn::landlock)). What is not allowed here is refused whatever the uid may do;
//! descriptors that the child was given are not affected. Where the kernel has no Landlock, a root directory of the
//! child's own may stand in for it ([`super::own_root`]). Must never allow a path that a caller could replace: a rule
//! holds for the file that is there when the rules are made.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use super::own_root::OwnRoot;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope, make_bitflags,
};

/// The newest of the kernel's rights that are refused by default. An older kernel knows fewer of them.
const RIGHTS: ABI = ABI::V5;
/// Where signals and abstract sockets came in.
const SCOPES: ABI = ABI::V6;

/// What a rule is about; a directory stands for all below it.
#[derive(Debug, Clone)]
enum Place {
    Path(PathBuf),
    Opened(Arc<OwnedFd>),
}

impl Place {
    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Path(path) => Some(path.clone()),
            Self::Opened(_) => None,
        }
    }
}

/// Nothing but what is added. A path that is not there is left out; a directory stands for all below it.
#[derive(Debug, Clone, Default)]
pub struct Landlock {
    rules: Vec<(Place, BitFlags<AccessFs>)>,
    alone: bool,
    itself: bool,
    or_root: Option<PathBuf>,
}

/// What [`restrict_self`] puts in force.
#[derive(Debug)]
pub(super) enum Prepared {
    Rules { rules: OwnedFd, itself: bool },
    Root(Box<OwnRoot>),
}

impl Landlock {
    /// Allows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Files to be read, directories to be listed.
    pub fn read(self, path: impl AsRef<Path>) -> Self {
        self.allow(path, reading())
    }

    /// As [`Self::read`], and to be run.
    pub fn execute(self, path: impl AsRef<Path>) -> Self {
        self.allow(path, AccessFs::from_read(RIGHTS))
    }

    /// A directory to make, change and remove files and sockets in.
    pub fn write(self, path: impl AsRef<Path>) -> Self {
        self.allow(path, writing())
    }

    /// A directory to make and remove sockets in.
    pub fn sockets(self, path: impl AsRef<Path>) -> Self {
        self.allow(path, make_bitflags!(AccessFs::{MakeSock | RemoveFile | ReadDir}))
    }

    /// A directory that is open already, wherever it is: as [`Self::write`], or as [`Self::read`].
    pub fn opened(mut self, directory: OwnedFd, writable: bool) -> Self {
        let rights = if writable { writing() } else { reading() };
        self.rules.push((Place::Opened(Arc::new(directory)), rights));
        self
    }

    /// A device, or another single file, that is there already: to be read, written and given ioctls.
    pub fn device(self, path: impl AsRef<Path>) -> Self {
        self.allow(path, make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev | Truncate}))
    }

    /// Programs of the system with their modules, data and libraries, to be run.
    pub fn programs(self) -> Self {
        ["/usr", "/lib", "/lib64", "/bin", "/sbin"].into_iter().fold(self, Self::execute)
    }

    /// What programs of the system need to start and to look things up: libraries, data, `/etc`, `/proc`, and the
    /// devices that anybody may use. Libraries and programs of the system can be run.
    pub fn system(self) -> Self {
        let looks = ["/etc", "/proc", "/sys/devices/system", "/dev/urandom", "/dev/random", "/dev/zero"];
        looks.into_iter().fold(self.programs(), Self::read).device("/dev/null")
    }

    /// What the child's own `/proc/self` says, and nothing of other processes. It has its pid only after the fork.
    pub fn itself(mut self) -> Self {
        self.itself = true;
        self
    }

    /// On a kernel without Landlock the child, which must be an ordinary user, sees the paths alone. `place`: a
    /// directory that this user can reach and of which nothing is allowed.
    pub fn or_own_root(mut self, place: impl AsRef<Path>) -> Self {
        self.or_root = Some(place.as_ref().to_owned());
        self
    }

    /// Also no signal to, and no abstract socket of, a process without these rules.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    fn allow(mut self, path: impl AsRef<Path>, rights: BitFlags<AccessFs>) -> Self {
        self.rules.push((Place::Path(path.as_ref().to_owned()), rights));
        self
    }

    /// What is for [`restrict_self`] to do; `None` where the kernel has no Landlock, which is logged once, and nothing
    /// stands in for it. `user`: uid and gid of the child, if they are its own.
    pub(super) fn prepare(&self, user: Option<(u32, u32)>) -> io::Result<Option<Prepared>> {
        let failed = io::Error::other::<landlock::RulesetError>;
        let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        rules = rules.handle_access(AccessFs::from_all(RIGHTS)).map_err(failed)?;
        if self.alone {
            rules = rules.scope(Scope::from_all(SCOPES)).map_err(failed)?;
        }
        let mut rules = rules.create().map_err(failed)?;
        for (place, rights) in &self.rules {
            // Opened only as a place: neither a FIFO nor a device is touched by it.
            let opened = match place {
                Place::Path(path) => PathFd::new(path).ok(),
                Place::Opened(_) => None,
            };
            let place = match (place, &opened) {
                (Place::Opened(fd), _) => fd.as_fd(),
                (Place::Path(_), Some(fd)) => fd.as_fd(),
                (Place::Path(_), None) => continue,
            };
            rules = rules.add_rule(PathBeneath::new(place, *rights)).map_err(failed)?;
        }
        let rules: Option<OwnedFd> = rules.into();
        match (rules, &self.or_root, user) {
            (Some(rules), ..) => Ok(Some(Prepared::Rules { rules, itself: self.itself })),
            (None, Some(place), Some(user)) => {
                self.own_root(place, user).map(|root| Some(Prepared::Root(Box::new(root))))
            }
            (None, ..) => {
                static TOLD: Once = Once::new();
                let message = "this kernel has no Landlock: what a program may open, its uid alone decides";
                TOLD.call_once(|| tracing::warn!("{message}"));
                Ok(None)
            }
        }
    }

    fn own_root(&self, place: &Path, user: (u32, u32)) -> io::Result<OwnRoot> {
        let paths: Option<Vec<PathBuf>> = self.rules.iter().map(|(place, _)| place.path()).collect();
        // From a directory that is open, everything above it could be reached.
        let paths = paths.ok_or_else(|| {
            io::Error::other(
                "a directory of the host for a guest needs Landlock, which this kernel does not have",
            )
        })?;
        OwnRoot::plan(place, user, &paths)
    }
}

/// Where resolv.conf is in truth, if not in `/etc`. It is replaced and not written, so the directory counts.
pub fn resolv_conf() -> Option<PathBuf> {
    let file = std::fs::canonicalize("/etc/resolv.conf").ok()?;
    let dir = file.parent()?;
    let is_small = dir.components().count() > 2;
    Some(if is_small { dir.to_owned() } else { file })
}

/// Whether this kernel has it, and uses it.
pub fn is_there() -> bool {
    const VERSION: libc::c_uint = 1;
    // SAFETY: the kernel asks for a null pointer and a zero with this flag, and answers a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<()>(), 0, VERSION) };
    version > 0
}

fn reading() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir})
}

fn writing() -> BitFlags<AccessFs> {
    let devices = make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock | IoctlDev});
    AccessFs::from_all(RIGHTS) & !devices
}

/// `struct landlock_path_beneath_attr`
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// `LANDLOCK_RULE_PATH_BENEATH`
const PATH_BENEATH: libc::c_long = 1;

/// Allows this process to read of itself in `/proc`. Async-signal-safe.
fn allow_itself(rules: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a literal with its NUL, and a struct of the kernel's layout that outlives its call; the descriptor is
    // closed again.
    unsafe {
        let parent_fd =
            libc::open(c"/proc/self".as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC);
        if parent_fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let rule = PathBeneathAttr { allowed_access: reading().bits(), parent_fd };
        let added =
            libc::syscall(libc::SYS_landlock_add_rule, rules.as_raw_fd(), PATH_BENEATH, &raw const rule, 0);
        let result = if added < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
        libc::close(parent_fd);
        result
    }
}

/// Puts what is prepared in force for this thread and all that comes of it. Async-signal-safe. The thread has given up
/// new privileges, as the kernel asks, and has become the user that the child is to be.
pub(super) fn restrict_self(prepared: &Prepared) -> io::Result<()> {
    let (rules, itself) = match prepared {
        Prepared::Rules { rules, itself } => (rules, *itself),
        Prepared::Root(root) => return root.enter(),
    };
    if itself {
        allow_itself(rules.as_fd())?;
    }
    // SAFETY: plain numbers, and a descriptor that is open.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::process::{Purpose, Spawn};

    const SOON: Duration = Duration::from_secs(10);

    async fn sh(rules: Landlock, script: &str) -> String {
        let run = Spawn::brief("sh", Purpose::Script).args(["-c", script]).landlock(Some(rules));
        let output = run.output(None, SOON).await.unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &output.stderr
    }

    #[tokio::test]
    async fn a_child_reaches_what_it_is_allowed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["own", "shown", "hidden"] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("file"), name).unwrap();
        }
        std::os::unix::fs::symlink(at("hidden/file"), at("own/link")).unwrap();
        let rules = Landlock::new().system().write(at("own")).read(at("shown")).read(at("not there")).alone();
        let said = sh(
            rules,
            &format!(
                "cd {}; cat own/file shown/file hidden/file own/link; echo x >own/new; echo x >shown/file; \
                 rm own/file; echo end; grep NoNewPrivs /proc/self/status",
                dir.path().display()
            ),
        )
        .await;
        assert!(said.starts_with("ownshownend\n"), "{said}");
        assert!(said.contains("NoNewPrivs:\t1"), "{said}");
        for refused in ["hidden/file", "own/link", "shown/file"] {
            let line = said.lines().find(|l| l.contains(refused) && l.contains("ermission denied"));
            assert!(line.is_some(), "{refused}: {said}");
        }
        assert!(at("own/new").exists() && !at("own/file").exists());
        assert_eq!(std::fs::read(at("shown/file")).unwrap(), b"shown");
    }

    #[tokio::test]
    async fn a_child_that_is_alone_signals_nobody_else() {
        let other = Spawn::brief("sleep", Purpose::Script).arg("60").spawn().await.unwrap();
        let kill = format!("kill -0 {}; kill -0 $$ && echo itself", other.identity().pid);
        let said = sh(Landlock::new().system().alone(), &kill).await;
        assert!(said.contains("itself") && said.contains("not permitted"), "{said}");
        other.terminate(SOON).await.unwrap();
    }
}
