//! Reads the few fields of a qcow2 image that say what else must be opened, and how much of it QEMU keeps in memory.
//! Owns the refusals that keep an image from naming something unexpected; must never read guest data.

use std::io;
use std::path::{Path, PathBuf};

use super::tables::{Bytes, Held, TABLES_LIMIT, be16, be32, be64};

const MAGIC: [u8; 4] = *b"QFI\xfb";
/// Incompatible feature: the counts of references are out of date, so QEMU counts anew when it opens it for writing.
const DIRTY: u64 = 1 << 0;
/// Incompatible feature: guest data lies in another file.
const EXTERNAL_DATA: u64 = 1 << 2;
const EXTERNAL_DATA_IS: &str = "keeps its data in another file, which is not supported; \
                                convert it with 'qemu-img convert -O qcow2'";
/// Incompatible feature: entries of the second level are twice as large.
const EXTENDED_L2: u64 = 1 << 4;
/// Header extension that names the backing file's format.
const BACKING_FORMAT: u32 = 0xe279_2aca;
/// Header extension that says where the bitmaps are.
const BITMAPS: u32 = 0x2385_2875;
/// The longest backing file name that the format allows, in bytes.
const NAME_LIMIT: u32 = 1023;
/// Header extensions that are looked at; images have three or four.
const EXTENSION_LIMIT: usize = 64;
/// The most that QEMU keeps of the second level, unless it is told otherwise, in bytes.
const L2_CACHE: u64 = 32 << 20;
/// The largest table of counts of references that QEMU opens, in bytes.
const REFCOUNT_TABLE: u64 = 8 << 20;
/// What QEMU has for one snapshot or bitmap besides its texts and bits, in bytes.
const RECORD: u64 = 512;

/// The image below.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Backing {
    /// Its path, a relative one made absolute by the directory of the image above.
    pub(super) file: PathBuf,
    /// Whether it is qcow2; otherwise it is raw.
    pub(super) qcow2: bool,
}

/// Refuses an image whose data lies elsewhere: QEMU would open what the header names.
pub(super) fn refuse_external_data(image: Bytes<'_>) -> Result<(), String> {
    let external = Header::read(image)?.incompatible & EXTERNAL_DATA != 0;
    if external { Err(EXTERNAL_DATA_IS.into()) } else { Ok(()) }
}

/// The backing file that the image names, if it has one. The error says what is wrong with the image, as
/// the end of a sentence.
pub(super) fn backing(image: Bytes<'_>, path: &Path) -> Result<Option<Backing>, String> {
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
    image.read(&mut name, header.backing_offset).map_err(|e| unreadable(&e))?;
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

/// What QEMU keeps of the image in memory. `cache`: what it is given for both of its caches.
pub(super) fn held(image: Bytes<'_>, readonly: bool, cache: Option<u64>) -> Result<Held, String> {
    let header = Header::read(image)?;
    if !(9..=21).contains(&header.cluster_bits) || header.refcount_order > 6 {
        return Err("has a broken qcow2 header".into());
    }
    let cluster = 1 << header.cluster_bits;
    let refcounts = |bytes: u64| (bytes.div_ceil(cluster) << header.refcount_order).div_ceil(8);
    let mut tables = u64::from(header.l1_entries) * 8;
    tables += u64::from(header.refcount_clusters) * cluster;
    if !readonly {
        // It grows with what is written.
        tables += (refcounts(header.size).div_ceil(cluster) * 8).min(REFCOUNT_TABLE);
    }
    tables += header.snapshots(image)?;
    for extension in header.extensions(image)?.into_iter().filter(|e| e.kind == BITMAPS) {
        tables = tables.saturating_add(bitmaps(image, &extension, cluster)?);
    }
    if !readonly && header.incompatible & DIRTY != 0 {
        let counts = refcounts(image.size().map_err(|e| unreadable(&e))?).saturating_mul(2);
        if counts > TABLES_LIMIT {
            let mib = counts >> 20;
            return Err(format!(
                "was not closed properly, and QEMU would take {mib} MiB to repair it; run 'qemu-img check -r all'"
            ));
        }
        tables += counts;
    }
    let entry = if header.incompatible & EXTENDED_L2 == 0 { 8 } else { 16 };
    let second = (header.size.div_ceil(cluster) * entry).next_multiple_of(cluster);
    let least = 2 * cluster + 4 * cluster;
    let caches = match cache {
        None => second.min(L2_CACHE).max(2 * cluster) + 4 * cluster,
        Some(bytes) => bytes.max(least),
    };
    Ok(Held { tables, caches })
}

/// What the bitmaps take, with their directory.
fn bitmaps(image: Bytes<'_>, extension: &Extension, cluster: u64) -> Result<u64, String> {
    let mut bytes = [0; 24];
    if extension.size < 24 {
        return Err("has a broken extension for bitmaps".into());
    }
    image.read(&mut bytes, extension.at).map_err(|e| unreadable(&e))?;
    let (count, size, mut at) = (be32(&bytes, 0), be64(&bytes, 8), be64(&bytes, 16));
    let mut held = size.saturating_mul(2);
    for _ in 0..count {
        if held > TABLES_LIMIT {
            break;
        }
        image.read(&mut bytes, at).map_err(|e| unreadable(&e))?;
        let (table, name, extra) = (u64::from(be32(&bytes, 8)), be16(&bytes, 18), be32(&bytes, 20));
        // Each level of a bitmap in memory has a 64th of the one below.
        held = held.saturating_add(RECORD + table * 8).saturating_add(table * cluster / 63 * 64);
        at = at.saturating_add((24 + u64::from(name) + u64::from(extra)).next_multiple_of(8));
    }
    Ok(held)
}

struct Header {
    backing_offset: u64,
    backing_size: u32,
    cluster_bits: u32,
    /// Of the disk that the guest sees.
    size: u64,
    l1_entries: u32,
    refcount_clusters: u32,
    refcount_order: u32,
    snapshots: u32,
    snapshots_offset: u64,
    incompatible: u64,
    length: u64,
}

/// A header extension: where its content is.
struct Extension {
    kind: u32,
    at: u64,
    size: u32,
}

impl Header {
    fn read(image: Bytes<'_>) -> Result<Self, String> {
        let mut bytes = [0; 104];
        let known = image.read(&mut bytes[..72], 0);
        if known.is_err() || bytes[..4] != MAGIC {
            return Err("is not a qcow2 image: give its format in <driver type='…'>".into());
        }
        let mut header = Self {
            backing_offset: be64(&bytes, 8),
            backing_size: be32(&bytes, 16),
            cluster_bits: be32(&bytes, 20),
            size: be64(&bytes, 24),
            l1_entries: be32(&bytes, 36),
            refcount_clusters: be32(&bytes, 56),
            refcount_order: 4,
            snapshots: be32(&bytes, 60),
            snapshots_offset: be64(&bytes, 64),
            incompatible: 0,
            length: 72,
        };
        match be32(&bytes, 4) {
            2 => {}
            3 => {
                image.read(&mut bytes[72..], 72).map_err(|e| unreadable(&e))?;
                header.incompatible = be64(&bytes, 72);
                header.refcount_order = be32(&bytes, 96);
                header.length = be32(&bytes, 100).into();
            }
            other => return Err(format!("has qcow2 version {other}; 2 and 3 are known")),
        }
        Ok(header)
    }

    /// Extensions lie between the header and the backing file's name, or the end of the first cluster.
    fn extensions(&self, image: Bytes<'_>) -> Result<Vec<Extension>, String> {
        let end = if self.backing_offset == 0 { 1 << self.cluster_bits.min(21) } else { self.backing_offset };
        let (mut at, mut found) = (self.length, Vec::new());
        for _ in 0..EXTENSION_LIMIT {
            if at + 8 > end {
                return Ok(found);
            }
            let mut bytes = [0; 8];
            image.read(&mut bytes, at).map_err(|e| unreadable(&e))?;
            let (kind, size) = (be32(&bytes, 0), be32(&bytes, 4));
            if kind == 0 {
                return Ok(found);
            }
            found.push(Extension { kind, at: at + 8, size });
            at += 8 + u64::from(size).next_multiple_of(8);
        }
        Err(format!("has more than {EXTENSION_LIMIT} header extensions"))
    }

    fn backing_format(&self, image: Bytes<'_>) -> Result<Option<String>, String> {
        let extensions = self.extensions(image)?;
        let Some(Extension { at, size, .. }) = extensions.into_iter().find(|e| e.kind == BACKING_FORMAT)
        else {
            return Ok(None);
        };
        if size > 64 {
            return Err(format!("names a backing format of {size} bytes"));
        }
        let mut name = vec![0; size as usize];
        image.read(&mut name, at).map_err(|e| unreadable(&e))?;
        Ok(Some(String::from_utf8_lossy(&name).escape_debug().to_string()))
    }

    /// What the table of snapshots takes.
    fn snapshots(&self, image: Bytes<'_>) -> Result<u64, String> {
        let (mut at, mut held) = (self.snapshots_offset, 0);
        for _ in 0..self.snapshots {
            if held > TABLES_LIMIT {
                break;
            }
            let mut bytes = [0; 40];
            image.read(&mut bytes, at).map_err(|e| unreadable(&e))?;
            let (id, name, extra) = (be16(&bytes, 12), be16(&bytes, 14), be32(&bytes, 36));
            let texts = u64::from(id) + u64::from(name) + u64::from(extra);
            held += RECORD + texts;
            at = at.saturating_add((40 + texts).next_multiple_of(8));
        }
        Ok(held)
    }
}

fn unreadable(error: &io::Error) -> String {
    format!("has a broken qcow2 header: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
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
        super::backing(Bytes::of(&image(backing, format, 0)), Path::new("/d/top.qcow2"))
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
        assert!(super::backing(Bytes::of(&external), Path::new("/x")).unwrap_err().contains("another file"));
        let mut raw = tempfile::tempfile().unwrap();
        raw.write_all(&[0; 512]).unwrap();
        assert!(super::backing(Bytes::of(&raw), Path::new("/x")).unwrap_err().contains("not a qcow2 image"));
    }
}
