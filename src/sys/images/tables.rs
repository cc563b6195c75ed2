//! How much of an image QEMU keeps in memory for as long as it has it open: the tables that lead from a place on the
//! guest's disk to one in the file, which are as large as the image's header says, whatever size the file has.
//!
//! Owns what each format takes at most, and the refusal of what is beyond all measure. What a header says is its
//! owner's word: must never allocate by it, nor read more than the few fields that say a size.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::{ImageFormat, qcow2};

/// What the tables of one image may take, in bytes; QEMU's caches come on top.
pub(super) const TABLES_LIMIT: u64 = 64 << 20;

/// An image in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a> {
    file: &'a File,
    /// Where in the file it begins.
    at: u64,
}

/// Bytes of memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Read as a whole when the image is opened, or grown up to this.
    pub(super) tables: u64,
    /// The most of what is read as it is needed.
    pub(super) caches: u64,
}

impl<'a> Bytes<'a> {
    /// The image that begins with the file.
    pub(super) fn of(file: &'a File) -> Self {
        Self { file, at: 0 }
    }

    /// The image that begins so far into the file.
    pub(super) fn from(file: &'a File, at: u64) -> Self {
        Self { file, at }
    }

    pub(super) fn read(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let at = self.at.checked_add(at).filter(|at| *at <= i64::MAX as u64);
        self.file.read_exact_at(into, at.ok_or(io::ErrorKind::UnexpectedEof)?)
    }

    /// Of the file or of the device.
    pub(super) fn size(&self) -> io::Result<u64> {
        let mut file = self.file;
        file.seek(SeekFrom::End(0))
    }

    /// Bytes of a header. An image that has none is nothing that QEMU opens.
    fn header<const N: usize>(&self, at: u64) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        match self.read(&mut bytes, at) {
            Ok(()) => Ok(bytes),
            Err(e) => Err(format!("has a broken header: {e}")),
        }
    }
}

/// What QEMU keeps of an image, or what is wrong with it, as the end of a sentence. `cache`: what the document gives
/// QEMU for qcow2's caches.
pub(super) fn held(
    image: Bytes<'_>,
    format: ImageFormat,
    readonly: bool,
    cache: Option<u64>,
) -> Result<u64, String> {
    let Held { tables, caches } = match format {
        ImageFormat::Raw => Held::default(),
        ImageFormat::Qcow2 => qcow2::held(image, readonly, cache)?,
        ImageFormat::Qcow => qcow(image)?,
        ImageFormat::Qed => qed(image, readonly)?,
        ImageFormat::Vdi => {
            let blocks = le32(&image.header::<4>(384)?, 0);
            tables(u64::from(blocks) * 4 + 512)
        }
        ImageFormat::Vpc => vpc(image)?,
        ImageFormat::Vhdx => vhdx(image)?,
        ImageFormat::Parallels => parallels(image)?,
        // Of more, QEMU says that it is too large.
        ImageFormat::Bochs => tables(4 << 20),
        ImageFormat::Cloop => {
            let header = image.header::<8>(128)?;
            let (block, blocks) = (u64::from(be32(&header, 0)), u64::from(be32(&header, 4)));
            Held { tables: (blocks + 1) * 8, caches: 3 * block }
        }
    };
    if tables > TABLES_LIMIT {
        let (mib, limit) = (tables >> 20, TABLES_LIMIT >> 20);
        return Err(format!(
            "has tables of {mib} MiB, which QEMU would keep in memory, and the limit is {limit} MiB; convert it with \
             'qemu-img convert -O qcow2 -o cluster_size=2M'"
        ));
    }
    Ok(tables.saturating_add(caches))
}

fn tables(tables: u64) -> Held {
    Held { tables, caches: 0 }
}

fn qcow(image: Bytes<'_>) -> Result<Held, String> {
    let header = image.header::<34>(0)?;
    let (cluster, second, size) = (u32::from(header[32]), u32::from(header[33]), be64(&header, 24));
    if cluster > 16 || second > 13 {
        return Err("has a broken header".into());
    }
    let entries = size.div_ceil(1 << (cluster + second));
    Ok(Held { tables: entries.saturating_mul(8), caches: ((16 * 8) << second) + (2 << cluster) })
}

fn qed(image: Bytes<'_>, readonly: bool) -> Result<Held, String> {
    const NEED_CHECK: u64 = 1 << 1;
    let header = image.header::<24>(0)?;
    let (cluster, clusters) = (u64::from(le32(&header, 4)), u64::from(le32(&header, 8)));
    let table = cluster.saturating_mul(clusters);
    let mut tables = table;
    if !readonly && le64(&header, 16) & NEED_CHECK != 0 {
        // QEMU notes which clusters are used.
        tables = tables.saturating_add(file_size(image)? / cluster.max(1) / 8);
    }
    Ok(Held { tables, caches: table.saturating_mul(50) })
}

/// One without tables begins with its content.
fn vpc(image: Bytes<'_>) -> Result<Held, String> {
    let footer = image.header::<24>(0)?;
    if &footer[..8] != b"conectix" {
        return Ok(Held::default());
    }
    let place = be64(&footer, 16);
    // One that says that there is none.
    if place == u64::MAX {
        return Ok(Held::default());
    }
    let entries = be32(&image.header::<4>(place.saturating_add(28))?, 0);
    Ok(tables(u64::from(entries) * 4))
}

fn vhdx(image: Bytes<'_>) -> Result<Held, String> {
    const REGIONS: u64 = 192 << 10;
    const LOG_LENGTH: u64 = 68;
    let count = u64::from(le32(&image.header::<4>(REGIONS + 8)?, 0)).min(2047);
    let mut held = 0;
    for n in 0..count {
        // The table of blocks is one of them, the others are small.
        held += u64::from(le32(&image.header::<4>(REGIONS + 16 + n * 32 + 24)?, 0));
    }
    for header in [64 << 10, 128 << 10] {
        held += u64::from(le32(&image.header::<4>(header + LOG_LENGTH)?, 0));
    }
    Ok(tables(held))
}

fn parallels(image: Bytes<'_>) -> Result<Held, String> {
    let header = image.header::<36>(0)?;
    let (cluster, entries) = (u64::from(le32(&header, 28)) * 512, u64::from(le32(&header, 32)));
    // Newer ones of QEMU note which clusters are used, too.
    Ok(tables(64 + entries * 4 + file_size(image)? / cluster.max(512) / 8))
}

fn file_size(image: Bytes<'_>) -> Result<u64, String> {
    image.size().map_err(|e| format!("cannot be measured: {e}"))
}

pub(super) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from(bytes[at]) << 8 | u16::from(bytes[at + 1])
}

pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |n, b| n << 8 | u32::from(*b))
}

pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    be32(bytes, at).swap_bytes()
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    be64(bytes, at).swap_bytes()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn create(dir: &Path, format: &str, options: &str, size: &str) -> File {
        let path = dir.join(format);
        let options = if options.is_empty() { vec![] } else { vec!["-o", options] };
        let create = ["create", "-q", "-f", format];
        let done = Command::new("qemu-img").args(create).args(options).arg(&path).arg(size).status();
        assert!(done.unwrap().success(), "{format}");
        File::options().read(true).write(true).open(path).unwrap()
    }

    fn held_of(image: &File, format: ImageFormat) -> Result<u64, String> {
        held(Bytes::of(image), format, true, None)
    }

    #[test]
    fn the_tables_of_every_format_are_known() {
        let dir = tempfile::tempdir().unwrap();
        // By name, options, size, and the bytes that its tables have then.
        for (format, name, options, size, least, most) in [
            (ImageFormat::Raw, "raw", "", "1T", 0, 0),
            // 2^21 entries of the first level, and caches.
            (ImageFormat::Qcow2, "qcow2", "", "1P", (16 << 20) + (32 << 20), 49 << 20),
            (ImageFormat::Qcow2, "qcow2", "cluster_size=512", "1G", 256 << 10, 17 << 20),
            (ImageFormat::Qcow, "qcow", "", "16G", 64 << 10, 2 << 20),
            (ImageFormat::Qed, "qed", "", "16T", 256 << 10, 14 << 20),
            (ImageFormat::Vdi, "vdi", "", "1T", 4 << 20, 5 << 20),
            (ImageFormat::Vpc, "vpc", "", "1T", 2 << 20, 3 << 20),
            (ImageFormat::Vpc, "vpc", "subformat=fixed", "16M", 0, 0),
            (ImageFormat::Vhdx, "vhdx", "", "1T", 1 << 20, 8 << 20),
            (ImageFormat::Parallels, "parallels", "", "1T", 4 << 20, 5 << 20),
        ] {
            let image = create(dir.path(), name, options, size);
            let held = held_of(&image, format).unwrap();
            assert!((least..=most).contains(&held), "{name}: {held}");
        }
        // What QEMU is told to have for its caches.
        let image = create(dir.path(), "qcow2", "", "1G");
        assert!(held(Bytes::of(&image), ImageFormat::Qcow2, false, Some(1 << 30)).unwrap() > 1 << 30);
    }

    #[test]
    fn an_image_may_begin_within_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let image = create(dir.path(), "qcow2", "", "1P");
        let mut bytes = vec![0; 1 << 16];
        image.read_exact_at(&mut bytes, 0).unwrap();
        let other = tempfile::tempfile().unwrap();
        other.write_all_at(&bytes, 4096).unwrap();
        assert!(held_of(&other, ImageFormat::Qcow2).unwrap_err().contains("not a qcow2"));
        let inner = held(Bytes::from(&other, 4096), ImageFormat::Qcow2, true, None);
        assert_eq!(inner, held_of(&image, ImageFormat::Qcow2));
    }

    #[test]
    fn tables_beyond_all_measure_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let says = |image: &File, format| held_of(image, format).unwrap_err();
        // In each, the field that says how many entries there are.
        for (format, name, at, value) in [
            (ImageFormat::Qcow2, "qcow2", 36, 0x7fff_ffff_u32.to_be_bytes()),
            (ImageFormat::Qcow2, "qcow2", 56, 0x7fff_u32.to_be_bytes()),
            (ImageFormat::Qcow, "qcow", 24, 0x7f00_0000_u32.to_be_bytes()),
            (ImageFormat::Qed, "qed", 4, (64u32 << 20).to_le_bytes()),
            (ImageFormat::Vdi, "vdi", 384, 0x3fff_ffff_u32.to_le_bytes()),
            (ImageFormat::Vpc, "vpc", 512 + 28, 0x1fff_ffff_u32.to_be_bytes()),
            (ImageFormat::Vhdx, "vhdx", (192 << 10) + 16 + 24, (1u32 << 30).to_le_bytes()),
            (ImageFormat::Parallels, "parallels", 32, 0x1fff_ffff_u32.to_le_bytes()),
        ] {
            let image = create(dir.path(), name, "", "1G");
            image.write_all_at(&value, at).unwrap();
            let says = says(&image, format);
            assert!(says.contains("MiB") && says.contains("qemu-img convert"), "{name} at {at}: {says}");
        }
        let cloop = tempfile::tempfile().unwrap();
        cloop.write_all_at(&[0x7f; 8], 128).unwrap();
        assert!(says(&cloop, ImageFormat::Cloop).contains("qemu-img convert"));
    }

    #[test]
    fn bitmaps_snapshots_and_a_repair_count() {
        let dir = tempfile::tempdir().unwrap();
        let image = create(dir.path(), "qcow2", "", "16G");
        let before = held_of(&image, ImageFormat::Qcow2).unwrap();
        let path = dir.path().join("qcow2");
        let run = |args: &[&str]| {
            let done = Command::new("qemu-img").args(args).status();
            assert!(done.unwrap().success(), "{args:?}");
        };
        let path = path.to_str().unwrap();
        run(&["snapshot", "-c", "one", path]);
        let with_snapshot = held_of(&image, ImageFormat::Qcow2).unwrap();
        assert!(with_snapshot > before);
        run(&["snapshot", "-d", "one", path]);
        run(&["bitmap", "--add", "-g", "512", path, "fine"]);
        // A bit for each 512 bytes.
        let with_bitmap = held_of(&image, ImageFormat::Qcow2).unwrap();
        assert!(with_bitmap >= before + (4 << 20), "{with_bitmap}");
        // So many snapshots that there cannot be.
        let image = create(dir.path(), "qcow2", "", "16G");
        image.write_all_at(&u32::MAX.to_be_bytes(), 60).unwrap();
        image.write_all_at(&(1u64 << 20).to_be_bytes(), 64).unwrap();
        image.set_len(1 << 40).unwrap();
        assert!(held_of(&image, ImageFormat::Qcow2).unwrap_err().contains("tables of 64 MiB"));
        let image = create(dir.path(), "qcow2", "", "16G");
        image.write_all_at(&1u64.to_be_bytes(), 72).unwrap();
        image.set_len(1 << 43).unwrap();
        let writable = |readonly| held(Bytes::of(&image), ImageFormat::Qcow2, readonly, None);
        assert!(writable(false).unwrap_err().contains("qemu-img check -r all"));
        assert_eq!(writable(true).unwrap(), before);
    }
}
