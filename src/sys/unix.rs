//! Small pieces of Unix: sockets in deep directories, the lock of a directory, owners of files.
//!
//! Owns the way around the 108 bytes of a socket's path: sockets are reached through a descriptor of
//! their directory. Must never follow a path that a caller gave.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::fs::{FlockOperation, Mode, OFlags};

/// A listening stream socket `name` in `dir`, close-on-exec. What stood there before is removed.
pub fn listen(dir: &Path, name: &str) -> io::Result<OwnedFd> {
    let (_dir, path) = through_descriptor(dir, name)?;
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    Ok(std::os::unix::net::UnixListener::bind(&path)?.into())
}

/// Connects to the stream socket `name` in `dir`.
pub async fn connect(dir: &Path, name: &str) -> io::Result<tokio::net::UnixStream> {
    let (_dir, path) = through_descriptor(dir, name)?;
    tokio::net::UnixStream::connect(&path).await
}

fn through_descriptor(dir: &Path, name: &str) -> io::Result<(OwnedFd, PathBuf)> {
    let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", fd.as_raw_fd()));
    Ok((fd, path))
}

/// The lock of a service's run directory, held as long as the value lives.
#[derive(Debug)]
pub struct DirLock {
    _file: fs::File,
}

impl DirLock {
    /// Takes `dir/lock` and writes our pid into it. `Ok(Err(pid))`: another process holds it.
    pub fn take(dir: &Path) -> io::Result<Result<Self, String>> {
        use std::io::{Read, Write};
        let path = dir.join("lock");
        let mut file =
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                return Ok(Err(holder.trim().to_owned()));
            }
            Err(e) => return Err(e.into()),
        }
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Ok(Self { _file: file }))
    }
}

/// The group of a file, if the file is there.
pub fn group_of_file(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|m| m.gid())
}

/// Makes `path` and what is missing above it; the last with `mode`.
pub fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path)?;
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_in_a_very_deep_directory_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120)).join("y".repeat(120));
        make_dir(&deep, 0o700).unwrap();
        let listener = listen(&deep, "qmp.sock").unwrap();
        connect(&deep, "qmp.sock").await.unwrap();
        drop(listener);
        assert!(connect(&deep, "qmp.sock").await.is_err());
        listen(&deep, "qmp.sock").unwrap();
    }

    #[test]
    fn a_lock_is_held_once_and_names_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::take(dir.path()).unwrap().unwrap();
        assert_eq!(DirLock::take(dir.path()).unwrap().unwrap_err(), std::process::id().to_string());
        drop(held);
        DirLock::take(dir.path()).unwrap().unwrap();
    }
}
