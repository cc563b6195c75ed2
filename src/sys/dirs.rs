//! Directories by descriptor, and what is in them by name: for those that another uid owns, or could fill.
//!
//! Owns the rule that root follows nobody there: a name is one component, no symbolic link is followed, no other
//! mount entered, only regular files of the directory's own user are read, and no more of them than asked for. Must never
//! take a path apart that leads through a directory of another's: the first [`Dir`] is one in which only root, or the
//! service's own user, can write.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

/// How many names are read of a directory before they are removed.
const BATCH: usize = 1024;
/// How many names are removed at once: who fills a directory cannot keep anybody busy for longer than that.
const MOST: usize = 1 << 20;
/// How often a directory is emptied in which somebody makes new files meanwhile.
const ROUNDS: usize = 8;

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

impl Dir {
    /// A directory by its path, of which only the last part must not be a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// The directory `name` in this one.
    pub fn dir(&self, name: &str) -> io::Result<Self> {
        Ok(Self { fd: self.open_name(name, OFlags::RDONLY | OFlags::DIRECTORY)? })
    }

    /// As [`Self::dir`], made if it is missing; with this mode and, where given, this user and group.
    pub fn make(&self, name: &str, mode: u32, owner: Option<(u32, u32)>) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.fd, component(name)?, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let dir = self.dir(name)?;
        dir.give(mode, owner)?;
        Ok(dir)
    }

    /// Sets its mode and, where given, its user and group. One that is as it should be is not touched: a disk that has
    /// become read-only is good for reading.
    pub fn give(&self, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
        let is = rustix::fs::fstat(&self.fd)?;
        if let Some((user, group)) = owner
            && (is.st_uid, is.st_gid) != (user, group)
        {
            rustix::fs::fchown(&self.fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        }
        if is.st_mode & 0o7777 != mode {
            rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode))?;
        }
        Ok(())
    }

    /// Whose it is.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(&self.fd)?.st_uid)
    }

    /// Writes a file: complete, under this mode and, where given, this user and group; or not at all.
    pub fn write(&self, name: &str, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
        let new = format!(".{}.new", component(name)?);
        match rustix::fs::unlinkat(&self.fd, &new, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        let written = || -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::openat(&self.fd, &new, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(content)?;
            if let Some((user, group)) = owner {
                rustix::fs::fchown(&file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
            }
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            Ok(rustix::fs::renameat(&self.fd, &new, &self.fd, name)?)
        };
        written().inspect_err(|_| {
            // There may be none.
            let _ = rustix::fs::unlinkat(&self.fd, &new, AtFlags::empty());
        })
    }

    /// What is in a regular file of the directory's own user; `None` where there is none. Longer than `limit` bytes
    /// is an error, as is anything else of that name.
    pub fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        // Without blocking: a FIFO would wait for somebody who writes, and a file with a lease for its holder.
        let opened = self.open_name(name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY);
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let refuse = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, format!("'{name}' {what}")));
        let is = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(is.st_mode) != FileType::RegularFile {
            return refuse("is no regular file");
        }
        if is.st_uid != self.owner()? {
            return refuse("is of another user");
        }
        if u64::try_from(is.st_size).unwrap_or(0) > limit {
            return refuse("is too long");
        }
        let mut content = Vec::new();
        // It may have grown since.
        File::from(file).take(limit + 1).read_to_end(&mut content)?;
        if content.len() as u64 > limit { refuse("is too long") } else { Ok(Some(content)) }
    }

    /// A descriptor of the directory as a place only, to be handed to a process that cannot reach it by its path.
    pub fn place(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.fd, c".", flags, Mode::empty())?)
    }

    /// Removes what has that name, with all that is in it; what is not there is as good. However deep and full it
    /// is, it takes no more descriptors and stack than this. Of very many files not all are removed: that is an error,
    /// and the next call goes on.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.remove_some(name, MOST)
    }

    fn remove_some(&self, name: &str, most: usize) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, component(name)?, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Each file system has its own word for a directory.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(e) => return Err(e.into()),
        }
        let mut left = most;
        for _ in 0..ROUNDS {
            self.dir(name)?.empty(&mut left)?;
            match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(Errno::NOTEMPTY.into())
    }

    /// Removes all that is in it, but no more than so `many`. Directories that are not empty come up into this one
    /// first, so that there is one level and no recursion.
    fn empty(&self, many: &mut usize) -> io::Result<()> {
        let mut lifted = 0u64;
        let mut count = || {
            *many = many
                .checked_sub(1)
                .ok_or_else(|| io::Error::other("very many files are in it; not all are removed yet"))?;
            Ok::<_, io::Error>(())
        };
        loop {
            let names = self.names()?;
            if names.is_empty() {
                return Ok(());
            }
            for name in names {
                count()?;
                if self.remove_simple(&name)? {
                    continue;
                }
                let sub =
                    Self { fd: open_beneath(self.fd.as_fd(), &name, OFlags::RDONLY | OFlags::DIRECTORY)? };
                loop {
                    let inner = sub.names()?;
                    if inner.is_empty() {
                        break;
                    }
                    for name in inner {
                        count()?;
                        if !sub.remove_simple(&name)? {
                            lifted = self.lift(&sub, &name, lifted)?;
                        }
                    }
                }
                self.remove_simple(&name)?;
            }
        }
    }

    /// Moves a directory up into this one, under a number that is free; answers that.
    fn lift(&self, sub: &Self, name: &std::ffi::CStr, last: u64) -> io::Result<u64> {
        let mut number = last;
        loop {
            number += 1;
            match rustix::fs::renameat(&sub.fd, name, &self.fd, format!(".lifted-{number}")) {
                Ok(()) => return Ok(number),
                // Of an earlier call that has not come to its end.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Removes a file or an empty directory; false where it is a directory that is not empty.
    fn remove_simple(&self, name: &std::ffi::CStr) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(true),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(e) => return Err(e.into()),
        }
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Some of the names that are in it; none where it is empty.
    fn names(&self) -> io::Result<Vec<std::ffi::CString>> {
        let entries = rustix::fs::Dir::read_from(&self.fd)?;
        let names = entries.map(|entry| entry.map(|e| e.file_name().to_owned()));
        let mut found = Vec::new();
        for name in names {
            let name = name?;
            if !matches!(name.to_bytes(), b"." | b"..") {
                found.push(name);
            }
            if found.len() == BATCH {
                break;
            }
        }
        Ok(found)
    }

    fn open_name(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let name = std::ffi::CString::new(component(name)?).map_err(io::Error::other)?;
        open_beneath(self.fd.as_fd(), &name, flags)
    }
}

fn open_beneath(dir: BorrowedFd<'_>, name: &std::ffi::CStr, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve) {
        // systemd's RestrictSUIDSGID= lets no filter of system calls look into its arguments, and denies all of it.
        Err(Errno::NOSYS) => open_here(dir, name, flags),
        opened => Ok(opened?),
    }
}

/// The same without openat2: the name is one component and no link is followed, so only a mount leads elsewhere.
fn open_here(dir: BorrowedFd<'_>, name: &std::ffi::CStr, flags: OFlags) -> io::Result<OwnedFd> {
    let opened = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    if rustix::fs::fstat(&opened)?.st_dev != rustix::fs::fstat(dir)?.st_dev {
        return Err(Errno::XDEV.into());
    }
    Ok(opened)
}

fn component(name: &str) -> io::Result<&str> {
    if name.is_empty() || name.contains('/') || matches!(name, "." | "..") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("'{name}' is not the name of a file"),
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::time::Duration;

    use super::*;

    const LIMIT: u64 = 1000;

    #[test]
    fn only_a_short_regular_file_of_the_same_user_is_read() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let at = |name: &str| temp.path().join(name);
        assert_eq!(dir.read("leases", LIMIT).unwrap(), None);
        std::fs::write(at("leases"), "text").unwrap();
        assert_eq!(dir.read("leases", LIMIT).unwrap().unwrap(), b"text");
        symlink(at("leases"), at("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::File::create(at("long")).unwrap().set_len(1 << 40).unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        let (told, done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let read = |name: &str| dir.read(name, LIMIT).is_err();
            told.send(["link", "fifo", "long", "dir", "../x", ".."].map(read)).unwrap();
        });
        assert_eq!(done.recv_timeout(Duration::from_secs(10)).unwrap(), [true; 6], "nothing is waited for");
    }

    #[test]
    fn a_link_in_the_way_is_replaced_and_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let victim = temp.path().join("victim");
        std::fs::write(&victim, "kept").unwrap();
        for name in ["conf", ".conf.new"] {
            symlink(&victim, temp.path().join(name)).unwrap();
        }
        dir.write("conf", b"new", 0o640, None).unwrap();
        let meta = std::fs::symlink_metadata(temp.path().join("conf")).unwrap();
        assert!(meta.is_file());
        assert_eq!(meta.mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read(&victim).unwrap(), b"kept");
        symlink(temp.path(), temp.path().join("sub")).unwrap();
        assert!(dir.make("sub", 0o700, None).is_err());
    }

    #[test]
    fn what_is_made_has_its_mode_whatever_the_umask_is() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        dir.make("sub", 0o751, None).unwrap();
        let mode = || std::fs::metadata(temp.path().join("sub")).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(), 0o751);
        dir.make("sub", 0o700, None).unwrap();
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn a_tree_of_any_depth_is_removed_and_links_are_not_followed() {
        // In memory, as RUN is.
        let temp = tempfile::tempdir_in("/dev/shm").unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        std::fs::create_dir(temp.path().join("kept")).unwrap();
        std::fs::write(temp.path().join("kept/file"), "x").unwrap();
        let mut at = dir.make("tree", 0o700, None).unwrap();
        for _ in 0..2000 {
            at.write("file", b"x", 0o600, None).unwrap();
            at = at.make("d", 0o700, None).unwrap();
        }
        for n in 0..1500 {
            at.write(&format!("f{n}"), b"", 0o600, None).unwrap();
        }
        symlink(temp.path().join("kept"), temp.path().join("tree/link")).unwrap();
        dir.remove("tree").unwrap();
        dir.remove("tree").unwrap();
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
        assert!(temp.path().join("kept/file").exists());
        dir.remove("kept/file").unwrap_err();
    }

    #[test]
    fn who_fills_a_directory_keeps_nobody_busy_and_it_is_removed_in_the_end() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let at = dir.make("tree", 0o700, None).unwrap();
        for n in 0..25 {
            let sub = at.make(&format!("d{n}"), 0o700, None).unwrap().make("e", 0o700, None).unwrap();
            sub.write("f", b"", 0o600, None).unwrap();
        }
        let mut calls = 1;
        while dir.remove_some("tree", 20).is_err() {
            calls += 1;
            assert!(calls < 20, "each call goes on where the last one stopped");
        }
        assert!(calls > 3 && !temp.path().join("tree").exists(), "{calls}");
    }

    #[test]
    fn where_openat2_is_denied_no_link_and_no_mount_is_entered_either() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let open = |at: &Path, name: &std::ffi::CStr| {
            let at = Dir::open(at).unwrap();
            open_here(at.fd.as_fd(), name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC)
        };
        assert!(open(dir.path(), c"file").is_ok());
        assert_eq!(open(dir.path(), c"link").unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert_eq!(open(Path::new("/"), c"proc").unwrap_err().raw_os_error(), Some(libc::EXDEV));
    }
}
