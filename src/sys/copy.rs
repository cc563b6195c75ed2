//! Copies of files that may be as large as a caller likes.
//!
//! Owns how: the kernel copies, holes stay holes, and nothing passes through the heap. Must never be called on
//! the thread that answers callers.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use rustix::fs::{MemfdFlags, SealFlags};

/// What keeps a file in memory as it is.
pub const SEALS: SealFlags =
    SealFlags::WRITE.union(SealFlags::GROW).union(SealFlags::SHRINK).union(SealFlags::SEAL);

/// Copies the first `size` bytes into an empty file. What `from` has lost of them meanwhile is zero.
pub fn contents(from: &File, to: &mut File, size: u64) -> io::Result<()> {
    let mut at = 0;
    while let Some((start, end)) = next_data(from, at, size)? {
        let mut source = from;
        source.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        if io::copy(&mut source.take(end - start), to)? < end - start {
            break;
        }
        at = end;
    }
    to.set_len(size)
}

/// The first `size` bytes as a file in memory that nobody changes.
pub fn sealed(from: &File, size: u64) -> io::Result<File> {
    let mut copy = memory()?;
    contents(from, &mut copy, size)?;
    seal(&copy)?;
    Ok(copy)
}

/// A sealed file in memory with this content, to be handed to another process.
pub fn sealed_text(content: &[u8]) -> io::Result<File> {
    let mut file = memory()?;
    io::Write::write_all(&mut file, content)?;
    seal(&file)?;
    Ok(file)
}

fn memory() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(rustix::fs::memfd_create("warren-blob", flags)?.into())
}

fn seal(file: &File) -> io::Result<()> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    Ok(rustix::fs::fcntl_add_seals(file, SEALS)?)
}

/// The next part from `at` on that is no hole, cut at `size`.
fn next_data(file: &File, at: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        // A file system that does not know of holes.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => return Ok(Some((at, size))),
        Err(e) => return Err(e.into()),
    };
    let end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?;
    Ok((start < size && end > start).then_some((start, end.min(size))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn holes_stay_holes_and_a_copy_in_memory_stays_as_it_is() {
        let mut from = tempfile::tempfile().unwrap();
        let size = 64 << 20;
        from.set_len(size).unwrap();
        from.write_all_at(b"begin", 0).unwrap();
        from.write_all_at(b"end", size - 3).unwrap();
        let mut copy = sealed(&from, size).unwrap();
        let meta = copy.metadata().unwrap();
        assert_eq!(meta.len(), size);
        assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
        assert!(copy.write_all(b"x").is_err() && copy.set_len(0).is_err());
        let mut back = tempfile::tempfile().unwrap();
        contents(&copy, &mut back, size).unwrap();
        assert!(back.metadata().unwrap().blocks() * 512 < 1 << 20);
        let mut end = [0; 4];
        back.read_exact_at(&mut end, size - 4).unwrap();
        assert_eq!(&end, b"\0end");
        from.rewind().unwrap();
        let part = sealed(&from, 3).unwrap();
        assert_eq!(io::read_to_string(part).unwrap(), "beg");
    }

    #[test]
    fn what_was_cut_off_meanwhile_is_zero() {
        let mut from = tempfile::tempfile().unwrap();
        from.write_all(b"abc").unwrap();
        let copy = sealed(&from, 5).unwrap();
        assert_eq!(io::read_to_string(copy).unwrap(), "abc\0\0");
    }
}
