//! Processes whose record is lost, found again in `/proc`.
//!
//! Owns what a process shows of itself: its user, its arguments, and what its standard error is. Must never decide
//! whose it is: a caller compares all that it knows of a process of its own before it signals one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::Identity;
use crate::sys::unix;

/// Longer arguments are of no program that is looked for.
const ARGUMENTS: u64 = 1 << 20;

/// A process as `/proc` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its pid and start time, read before all else: where they still match, all of this is of that process.
    pub identity: Identity,
    /// Its user, which is its real, effective and saved one.
    pub uid: u32,
    /// What it was called with, the program first.
    pub args: Vec<OsString>,
    /// The file that its standard error is, where that may be read.
    pub stderr: Option<PathBuf>,
}

impl Seen {
    /// Whether it is the program of that name.
    pub fn is_program(&self, name: &str) -> bool {
        self.args.first().is_some_and(|program| Path::new(program).file_name() == Some(OsStr::new(name)))
    }

    /// The argument after `option`.
    pub fn value(&self, option: &str) -> Option<&str> {
        let at = self.args.iter().position(|arg| arg == option)?;
        self.args.get(at + 1)?.to_str()
    }

    /// The process of that pid; `None`: it is gone, or shows nothing of itself.
    pub fn of(pid: i32) -> io::Result<Option<Self>> {
        Self::read(pid, |_| true)
    }

    fn read(pid: i32, of: impl Fn(u32) -> bool) -> io::Result<Option<Self>> {
        use std::io::Read;
        let read = || -> io::Result<Option<Self>> {
            let Some(identity) = Identity::of_pid(pid)? else { return Ok(None) };
            let status = std::fs::read(format!("/proc/{pid}/status"))?;
            let Some(uid) = uid_of_status(&String::from_utf8_lossy(&status)).filter(|uid| of(*uid)) else {
                return Ok(None);
            };
            let mut line = Vec::new();
            std::fs::File::open(format!("/proc/{pid}/cmdline"))?.take(ARGUMENTS).read_to_end(&mut line)?;
            let args = arguments_of(&line);
            // Another user's may not be looked at without the right to trace it.
            let stderr = std::fs::read_link(format!("/proc/{pid}/fd/2")).ok().map(without_mark);
            Ok((!args.is_empty()).then_some(Self { identity, uid, args, stderr }))
        };
        match read() {
            // It may end meanwhile, and some show nothing to others. All else means that there may be more.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                Ok(None)
            }
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            other => other,
        }
    }
}

/// All processes that run under such a user alone. It reads much: not for the thread that answers callers.
pub fn processes(of: impl Fn(u32) -> bool) -> io::Result<Vec<Seen>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        found.extend(Seen::read(pid, &of)?);
    }
    Ok(found)
}

/// Writes the record of a process that has lost it, as the process itself would have.
pub fn note_identity(record: &Path, identity: Identity) -> io::Result<()> {
    let line = std::fs::read(format!("/proc/{}/stat", identity.pid))?;
    if Identity::of_stat(&String::from_utf8_lossy(&line)) != Some(identity) {
        return Err(io::ErrorKind::NotFound.into());
    }
    unix::write_private(record, &line)
}

/// The one user of `/proc/PID/status`.
fn uid_of_status(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut uids = line.split_whitespace().map(str::parse::<u32>);
    let first = uids.next()?.ok()?;
    uids.all(|uid| uid == Ok(first)).then_some(first)
}

fn arguments_of(line: &[u8]) -> Vec<OsString> {
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    if line.is_empty() {
        return Vec::new();
    }
    line.split(|byte| *byte == 0).map(|arg| OsString::from_vec(arg.to_vec())).collect()
}

/// The kernel marks what was removed.
fn without_mark(path: PathBuf) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    match bytes.strip_suffix(b" (deleted)") {
        Some(bytes) => PathBuf::from(OsStr::from_bytes(bytes)),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Purpose, Spawn, read_identity, stderr_fifo};
    use super::*;

    /// It has a name that is no text, and waits without a child.
    const NAMELESS: &str = "printf '\\377' >/proc/$$/comm; kill -STOP $$; :";

    #[tokio::test]
    async fn a_process_without_a_record_is_found_by_what_it_shows() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().canonicalize().unwrap().join("stderr");
        let (_read, write) = stderr_fifo(&fifo).unwrap();
        let process = Spawn::brief("sh", Purpose::Script).args(["-c", NAMELESS, "x", "-uuid", "901s"]);
        let process = process.stderr(write).spawn().await.unwrap();
        std::fs::remove_file(&fifo).unwrap();
        let me = rustix::process::geteuid().as_raw();
        let mine = |seen: &Seen| seen.value("-uuid") == Some("901s");
        let seen = loop {
            let mut all = processes(|uid| uid == me).unwrap();
            all.retain(mine);
            let comm = process.identity().pid;
            let is_nameless = std::fs::read(format!("/proc/{comm}/comm")).is_ok_and(|name| name == b"\xff\n");
            if let Some(seen) = all.pop().filter(|_| is_nameless) {
                break seen;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        assert!(seen.is_program("sh") && !seen.is_program("h"));
        assert_eq!((seen.identity, seen.uid), (process.identity(), me));
        assert_eq!(seen.stderr, Some(fifo), "the name stays when the file is gone");
        assert_eq!(Seen::of(seen.identity.pid).unwrap(), Some(seen.clone()));
        assert!(!processes(|uid| uid != me).unwrap().iter().any(mine));

        let record = dir.path().join("stat");
        note_identity(&record, seen.identity).unwrap();
        assert_eq!(read_identity(&record).unwrap(), Some(seen.identity));
        let other = Identity { start_time: 1, ..seen.identity };
        assert!(note_identity(&record, other).is_err());
        process.kill_session().unwrap();
        process.exited().await;
        assert_eq!(Seen::of(seen.identity.pid).unwrap(), None);
    }

    #[test]
    fn a_process_of_several_users_is_of_none() {
        assert_eq!(uid_of_status("Name:\tx\nUid:\t7\t7\t7\t7\n"), Some(7));
        assert_eq!(uid_of_status("Uid:\t7\t0\t7\t7\n"), None);
        assert_eq!(uid_of_status("Name:\tx\n"), None);
        assert_eq!(arguments_of(b"a\0\0b\0"), ["a", "", "b"]);
        assert!(arguments_of(b"").is_empty());
    }
}
