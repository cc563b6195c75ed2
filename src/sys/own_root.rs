//! A root directory with a few paths of the host's in it and nothing else, for a child on a kernel without Landlock.
//!
//! Owns how: the child, which is an ordinary user by then, makes namespaces in which it may mount, binds the paths
//! into an empty file system and makes that its root. Everything is made ready before the fork. Must never leave the
//! child with a capability: those of its user namespace are gone when it becomes its program.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The new root's own file system: read-only when it is done, and small until then.
const OPTIONS: &std::ffi::CStr = c"mode=0755,size=1m,nr_inodes=4096";

/// What a child does to get such a root.
#[derive(Debug)]
pub(super) struct OwnRoot {
    /// A directory that the child's user can reach, in which the root is made.
    place: CString,
    /// Files that say which users and groups the namespace has, with their content.
    maps: [(CString, Vec<u8>); 3],
    /// Directories to be made, parents first.
    dirs: Vec<CString>,
    /// Empty files to be made.
    files: Vec<CString>,
    /// What is shown, and where in the new root; both are there by then.
    binds: Vec<(CString, CString)>,
}

impl OwnRoot {
    /// A root that shows `paths`, each where it is on the host, and of `/proc` the child itself. What is not there is
    /// left out. `place`: an existing directory, of which nothing is shown. `user`: uid and gid of the child.
    pub(super) fn plan(place: &Path, user: (u32, u32), paths: &[PathBuf]) -> io::Result<Self> {
        let (uid, gid) = user;
        // What is in `place` is reached by descriptors alone.
        let paths = paths.iter().filter(|path| !path.starts_with(place));
        let mut shown: Vec<(&Path, bool)> =
            paths.filter_map(|path| Some((path.as_path(), is_dir(path)?))).collect();
        let itself = Path::new("/proc/self");
        shown.push((itself, true));
        // Parents first, so that what they have in them is there already.
        shown.sort();
        shown.dedup();
        let mut root = Self {
            place: c_path(place)?,
            maps: [
                (c"/proc/self/setgroups".to_owned(), b"deny".to_vec()),
                (c"/proc/self/uid_map".to_owned(), format!("{uid} {uid} 1").into_bytes()),
                (c"/proc/self/gid_map".to_owned(), format!("{gid} {gid} 1").into_bytes()),
            ],
            dirs: Vec::new(),
            files: Vec::new(),
            binds: Vec::new(),
        };
        let mut covers: Vec<&Path> = Vec::new();
        let mut made = BTreeSet::new();
        for (path, is_dir) in shown {
            if covers.iter().any(|dir| path.starts_with(dir)) {
                continue;
            }
            let at = place.join(path.strip_prefix("/").map_err(io::Error::other)?);
            let above: Vec<&Path> = at.ancestors().skip(usize::from(!is_dir)).collect();
            for dir in above.into_iter().rev().filter(|dir| dir.starts_with(place) && *dir != place) {
                if made.insert(dir.to_owned()) {
                    root.dirs.push(c_path(dir)?);
                }
            }
            if is_dir {
                covers.push(path);
            } else {
                root.files.push(c_path(&at)?);
            }
            root.binds.push((c_path(path)?, c_path(&at)?));
        }
        Ok(root)
    }

    /// Runs in the child. Async-signal-safe.
    pub(super) fn enter(&self) -> io::Result<()> {
        // SAFETY: all paths are C strings, all contents slices with their lengths, which were made before the fork.
        unsafe {
            // Without it the files of the maps are root's.
            check(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0))?;
            check(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS))?;
            for (path, content) in &self.maps {
                write(path, content)?;
            }
            let nothing = std::ptr::null();
            let none = c"".as_ptr();
            let place = self.place.as_ptr();
            check(libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, nothing))?;
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            check(libc::mount(c"warren".as_ptr(), place, c"tmpfs".as_ptr(), flags, OPTIONS.as_ptr().cast()))?;
            for dir in &self.dirs {
                check(libc::mkdir(dir.as_ptr(), 0o755))?;
            }
            for file in &self.files {
                check(libc::mknod(file.as_ptr(), libc::S_IFREG | 0o444, 0))?;
            }
            for (from, to) in &self.binds {
                let flags = libc::MS_BIND | libc::MS_REC;
                check(libc::mount(from.as_ptr(), to.as_ptr(), none, flags, nothing))?;
            }
            let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
            let flags = flags | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
            check(libc::mount(none, place, none, flags, nothing))?;
            check(libc::chdir(place))?;
            // The old root comes to lie over the new one, and is taken off.
            let here = c".".as_ptr();
            if libc::syscall(libc::SYS_pivot_root, here, here) < 0 {
                return Err(io::Error::last_os_error());
            }
            check(libc::umount2(here, libc::MNT_DETACH))?;
            check(libc::chdir(c"/".as_ptr()))
        }
    }
}

/// Whether it is a directory; `None`: it is not there.
fn is_dir(path: &Path) -> Option<bool> {
    Some(std::fs::metadata(path).ok()?.is_dir())
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn write(path: &CString, content: &[u8]) -> io::Result<()> {
    // SAFETY: a C string and a slice with its length; the descriptor is closed again.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(file)?;
        let written = libc::write(file, content.as_ptr().cast(), content.len());
        let result = if written < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
        libc::close(file);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_nothing_twice() {
        let paths = ["/usr/bin", "/etc/hosts", "/usr", "/usr/lib", "/not there", "/dev/null", "/run/w/own"]
            .map(PathBuf::from);
        let root = OwnRoot::plan(Path::new("/run/w"), (7, 8), &paths).unwrap();
        let text = |paths: &[CString]| -> Vec<String> {
            paths.iter().map(|path| path.to_str().unwrap().to_owned()).collect()
        };
        let dirs = ["/run/w/dev", "/run/w/etc", "/run/w/proc", "/run/w/proc/self", "/run/w/usr"];
        assert_eq!(text(&root.dirs), dirs);
        assert_eq!(text(&root.files), ["/run/w/dev/null", "/run/w/etc/hosts"]);
        let from: Vec<CString> = root.binds.iter().map(|(from, _)| from.clone()).collect();
        assert_eq!(text(&from), ["/dev/null", "/etc/hosts", "/proc/self", "/usr"]);
        assert_eq!(root.maps[1].1, b"7 7 1");
    }
}
