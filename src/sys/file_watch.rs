//! Tells when a file has been written.
//!
//! Owns one inotify descriptor on the file's directory, so that a file that is not there yet, or is replaced,
//! is watched too. Must never read the file.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A watch on one file.
#[derive(Debug)]
pub struct FileWatch {
    name: OsString,
    fd: AsyncFd<OwnedFd>,
}

impl FileWatch {
    /// Watches a file in a directory that is there.
    pub fn new(path: &Path) -> io::Result<Self> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the path of a file"));
        };
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        let what = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE;
        inotify::add_watch(&fd, dir, what)?;
        // SAFETY: the descriptor is owned by the AsyncFd, is never replaced in it, and is closed with it.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self { name: name.to_owned(), fd })
    }

    /// Returns when the file has been written, made, replaced or removed since the last time.
    pub async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            match ready.try_io(|fd| self.drain(fd.get_ref())) {
                Ok(Ok(true)) => return Ok(()),
                Ok(Err(e)) => return Err(e),
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }

    /// Takes all events that are there; whether one is about the file.
    fn drain(&self, fd: &OwnedFd) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(fd, &mut buffer);
        let mut mine = false;
        loop {
            match events.next() {
                Ok(event) => {
                    let overflowed = event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
                    let named =
                        event.file_name().is_some_and(|n| n.to_bytes() == self.name.as_encoded_bytes());
                    mine |= overflowed || named;
                }
                Err(rustix::io::Errno::AGAIN) if mine => return Ok(true),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn only_the_file_itself_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases");
        let watch = FileWatch::new(&path).unwrap();
        let told = async || tokio::time::timeout(Duration::from_millis(200), watch.changed()).await.is_ok();
        std::fs::write(dir.path().join("other"), "x").unwrap();
        assert!(!told().await, "another file");
        std::fs::write(&path, "x").unwrap();
        assert!(told().await, "it was made");
        assert!(!told().await, "nothing since");
        std::fs::write(&path, "y").unwrap();
        assert!(told().await, "it was written");
        std::fs::rename(dir.path().join("other"), &path).unwrap();
        assert!(told().await, "it was replaced");
    }
}
