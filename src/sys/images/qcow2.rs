//! Reads the few fields of a qcow2 header that say what else must be opened. Owns the refusals that keep
//! an image from naming something unexpected; must never read guest data.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Incompatible feature: guest data lies in another file.
const EXTERNAL_DATA: u64 = 1 << 2;
const EXTERNAL_DATA_IS: &str = "keeps its data in another file, which is not supported; \
                                convert it with 'qemu-img convert -O qcow2'";
/// Header extension that names the backing file's format.
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// The longest backing file name that the format allows, in bytes.
const NAME_LIMIT: u32 = 1023;
/// Header extensions that are looked at; images have three or four.
const EXTENSION_LIMIT: usize = 64;

/// The image below.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Backing {
    /// Its path, a relative one made absolute by the directory of the image above.
    pub(super) file: PathBuf,
    /// Whether it is qcow2; otherwise it is raw.
    pub(super) qcow2: bool,
}

/// Refuses an image whose data lies elsewhere: QEMU would open what the header names.
pub(super) fn refuse_external_data(image: &File) -> Result<(), String> {
    let external = Header::read(image)?.incompatible & EXTERNAL_DATA != 0;
    if external { Err(EXTERNAL_DATA_IS.into()) } else { Ok(()) }
}

/// The backing file that the image names, if it has one. The error says what is wrong with the image, as
/// the end of a sentence.
pub(super) fn backing(image: &File, path: &Path) -> Result<Option<Backing>, String> {
    let header = Header::read(image)?;
    if header.incompatible & EXTERNAL_DATA != 0 {
        return Err(EXTERNAL_DATA_IS.into());
    }
    if header.backing_offset == 0 {
        return Ok(None);
    }
    if header.backing_size == 0 || header.backing_size > NAME_LIMIT {
        return Err(format!("names a backing file of {} bytes", header.backing_size));
    }
    let mut name = vec![0; header.backing_size as usize];
    image.read_exact_at(&mut name, header.backing_offset).map_err(|e| unreadable(&e))?;
    let name = String::from_utf8(name).map_err(|_| "names a backing file that is not UTF-8".to_owned())?;
    if name.contains('\0') {
        return Err("names a backing file with a zero byte".into());
    }
    if name.split('/').next().is_some_and(|first| first.contains(':')) {
        return Err(format!("has the backing file '{name}': only a path on this host can be one"));
    }
    let qcow2 = match header.backing_format(image)?.as_deref() {
        Some("qcow2") => true,
        Some("raw") => false,
        Some(other) => {
            return Err(format!("has a backing file of format '{other}'; raw and qcow2 are known"));
        }
        None => {
            return Err(format!(
                "does not say the format of its backing file '{name}', and it is never guessed; \
                 say it with 'qemu-img rebase -u -F FORMAT -b {name} {}', FORMAT being raw or qcow2",
                path.display()
            ));
        }
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    Ok(Some(Backing { file: directory.join(name), qcow2 }))
}

struct Header {
    backing_offset: u64,
    backing_size: u32,
    incompatible: u64,
    length: u64,
}

impl Header {
    fn read(image: &File) -> Result<Self, String> {
        let mut bytes = [0; 104];
        let known = image.read_exact_at(&mut bytes[..72], 0);
        if known.is_err() || bytes[..4] != MAGIC {
            return Err("is not a qcow2 image: give its format in <driver type='…'>".into());
        }
        let mut header = Self {
            backing_offset: be64(&bytes, 8),
            backing_size: be32(&bytes, 16),
            incompatible: 0,
            length: 72,
        };
        match be32(&bytes, 4) {
            2 => {}
            3 => {
                image.read_exact_at(&mut bytes[72..], 72).map_err(|e| unreadable(&e))?;
                header.incompatible = be64(&bytes, 72);
                header.length = be32(&bytes, 100).into();
            }
            other => return Err(format!("has qcow2 version {other}; 2 and 3 are known")),
        }
        Ok(header)
    }

    fn backing_format(&self, image: &File) -> Result<Option<String>, String> {
        let mut at = self.length;
        // Extensions lie between the header and the backing file's name.
        for _ in 0..EXTENSION_LIMIT {
            if at + 8 > self.backing_offset {
                return Ok(None);
            }
            let mut bytes = [0; 8];
            image.read_exact_at(&mut bytes, at).map_err(|e| unreadable(&e))?;
            let (kind, size) = (be32(&bytes, 0), be32(&bytes, 4));
            if kind == 0 {
                return Ok(None);
            }
            if kind == BACKING_FORMAT {
                if size > 64 {
                    return Err(format!("names a backing format of {size} bytes"));
                }
                let mut name = vec![0; size as usize];
                image.read_exact_at(&mut name, at + 8).map_err(|e| unreadable(&e))?;
                return Ok(Some(String::from_utf8_lossy(&name).escape_debug().to_string()));
            }
            at += 8 + u64::from(size).next_multiple_of(8);
        }
        Err(format!("has more than {EXTENSION_LIMIT} header extensions"))
    }
}

fn unreadable(error: &io::Error) -> String {
    format!("has a broken qcow2 header: {error}")
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |n, b| n << 8 | u32::from(*b))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A version 3 header with one extension and a backing file name.
    fn image(backing: &str, format: Option<&str>, incompatible: u64) -> File {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(3u32.to_be_bytes());
        let at: u64 = if backing.is_empty() { 0 } else { 136 };
        bytes.extend(at.to_be_bytes());
        bytes.extend((backing.len() as u32).to_be_bytes());
        bytes.resize(72, 0);
        bytes.extend(incompatible.to_be_bytes());
        bytes.resize(100, 0);
        bytes.extend(104u32.to_be_bytes());
        if let Some(format) = format {
            bytes.extend(BACKING_FORMAT.to_be_bytes());
            bytes.extend((format.len() as u32).to_be_bytes());
            bytes.extend(format.as_bytes());
        }
        bytes.resize(136, 0);
        bytes.extend(backing.as_bytes());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    fn read(backing: &str, format: Option<&str>) -> Result<Option<Backing>, String> {
        super::backing(&image(backing, format, 0), Path::new("/d/top.qcow2"))
    }

    #[test]
    fn backing_files_are_found_beside_the_image() {
        assert_eq!(read("", None), Ok(None));
        let relative = Backing { file: "/d/base.img".into(), qcow2: false };
        assert_eq!(read("base.img", Some("raw")), Ok(Some(relative)));
        let absolute = Backing { file: "/e/a:b".into(), qcow2: true };
        assert_eq!(read("/e/a:b", Some("qcow2")), Ok(Some(absolute)));
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        assert!(read("base.img", None).unwrap_err().contains("qemu-img rebase -u -F FORMAT -b base.img"));
        assert!(read("base.img", Some("vmdk")).unwrap_err().contains("'vmdk'"));
        for name in ["json:{}", "nbd://host/x", "nbd:unix:/s", "file:/etc/shadow"] {
            assert!(read(name, Some("raw")).unwrap_err().contains(name));
        }
        let external = image("", None, EXTERNAL_DATA);
        assert!(super::backing(&external, Path::new("/x")).unwrap_err().contains("another file"));
        let mut raw = tempfile::tempfile().unwrap();
        raw.write_all(&[0; 512]).unwrap();
        assert!(super::backing(&raw, Path::new("/x")).unwrap_err().contains("not a qcow2 image"));
    }
}
