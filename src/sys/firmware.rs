//! The firmware that is installed for QEMU, by the descriptors that come with it (QEMU's
//! `docs/interop/firmware.json`).
//!
//! Owns where descriptors lie, how they are read, and what was read while they are unchanged. Must never choose among
//! them, never open what a guest's document names, and never read on the thread that answers callers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::Deserialize;

use crate::plan::host::{FirmwareFacts, FirmwareMapping, FirmwareTarget, FlashFile};

/// The distribution's, then the administrator's: a file of the same name there stands in its place.
const PLACES: [&str; 2] = ["/usr/share/qemu/firmware", "/etc/qemu/firmware"];

/// Descriptors that are read: distributions have about ten.
const MOST: usize = 256;
/// Bytes of one descriptor: they have about 1 KiB.
const DESCRIPTOR: u64 = 64 << 10;

/// Descriptors by their names, as long as they are the same files.
type Listing = BTreeMap<std::ffi::OsString, (PathBuf, Option<(SystemTime, u64)>)>;

static KNOWN: Mutex<Option<(Listing, Vec<FirmwareFacts>)>> = Mutex::new(None);

/// What is installed, by the names of the descriptors: the first that fits is meant to be used. A broken
/// descriptor is logged and passed over; an empty one hides what the distribution has under that name.
pub async fn installed() -> Vec<FirmwareFacts> {
    let looked = tokio::task::spawn_blocking(|| {
        let listing = list(&PLACES.map(Path::new));
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, facts)) if *of == listing => facts.clone(),
            _ => {
                let facts = read_all(&listing);
                *known = Some((listing, facts.clone()));
                facts
            }
        }
    });
    looked
        .await
        .inspect_err(|e| tracing::warn!("what firmware is installed is not known: {e}"))
        .unwrap_or_default()
}

/// A file that a descriptor names, for reading, and its size.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    // Without waiting, should it be a FIFO.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() {
        Ok((file, meta.len()))
    } else {
        Err(io::Error::other(format!("'{}' is not a regular file", path.display())))
    }
}

fn list(places: &[&Path]) -> Listing {
    let mut files = Listing::new();
    for place in places {
        let Ok(entries) = std::fs::read_dir(place) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "json") {
                let stamp = std::fs::metadata(&path).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
                files.insert(entry.file_name(), (path, stamp));
            }
        }
    }
    files
}

fn read_all(files: &Listing) -> Vec<FirmwareFacts> {
    if files.len() > MOST {
        tracing::warn!("of {} descriptors of firmware the first {MOST} are read", files.len());
    }
    files.values().take(MOST).filter_map(|(path, _)| read(path)).collect()
}

fn text(path: &Path) -> io::Result<Vec<u8>> {
    let (file, _) = open(path)?;
    let mut text = Vec::new();
    if file.take(DESCRIPTOR + 1).read_to_end(&mut text)? as u64 > DESCRIPTOR {
        return Err(io::Error::other(format!("'{}' has more than {DESCRIPTOR} bytes", path.display())));
    }
    Ok(text)
}

fn read(path: &Path) -> Option<FirmwareFacts> {
    let text = text(path).inspect_err(|e| tracing::warn!("{e}")).ok()?;
    if text.is_empty() {
        return None;
    }
    let descriptor = serde_json::from_slice(&text);
    let descriptor = descriptor
        .inspect_err(|e| tracing::warn!("'{}' does not describe firmware: {e}", path.display()))
        .ok()?;
    facts(descriptor)
}

/// `None` where QEMU would have to be told in a way that is for other machines than a PC.
fn facts(descriptor: Descriptor) -> Option<FirmwareFacts> {
    let mapping = match descriptor.mapping {
        Mapping::Flash { mode, executable, nvram_template } => {
            let template = match mode.as_deref() {
                None | Some("split") => Some(nvram_template?.into()),
                Some("stateless") => None,
                Some(_) => return None,
            };
            FirmwareMapping::Flash { executable: executable.into(), template }
        }
        Mapping::Memory { filename } => FirmwareMapping::Memory(filename),
        Mapping::Other => return None,
    };
    let target = |t: Target| FirmwareTarget { arch: t.architecture, machines: t.machines };
    Some(FirmwareFacts {
        interfaces: descriptor.interface_types,
        mapping,
        targets: descriptor.targets.into_iter().map(target).collect(),
        features: descriptor.features.into_iter().collect(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Descriptor {
    interface_types: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
    features: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "device", rename_all = "kebab-case")]
enum Mapping {
    #[serde(rename_all = "kebab-case")]
    Flash {
        mode: Option<String>,
        executable: FileEntry,
        nvram_template: Option<FileEntry>,
    },
    Memory {
        filename: PathBuf,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct FileEntry {
    filename: PathBuf,
    format: String,
}

impl From<FileEntry> for FlashFile {
    fn from(file: FileEntry) -> Self {
        Self { path: file.filename, format: file.format }
    }
}

#[derive(Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    fn descriptor(code: &str) -> String {
        format!(
            r#"{{"description": "", "interface-types": ["uefi"], "mapping": {{"device": "flash",
                 "executable": {{"filename": "{code}", "format": "raw"}},
                 "nvram-template": {{"filename": "/vars", "format": "qcow2"}}}},
                 "targets": [{{"architecture": "x86_64", "machines": ["pc-q35-*"]}}],
                 "features": ["secure-boot"], "tags": []}}"#
        )
    }

    #[test]
    fn descriptors_are_sorted_by_name_and_the_administrators_go_first() {
        let (usr, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let kernel = r#"{"interface-types": [], "mapping": {"device": "kernel", "filename": "/k"},
                         "targets": [], "features": []}"#;
        for (dir, name, text) in [
            (&usr, "60-b.json", descriptor("/b")),
            (&usr, "40-hidden.json", descriptor("/hidden")),
            (&usr, "50-a.json", descriptor("/a")),
            (&usr, "55-broken.json", "{".to_owned()),
            (&usr, "56-kernel.json", kernel.to_owned()),
            (&usr, "note.txt", descriptor("/note")),
            (&etc, "40-hidden.json", String::new()),
            (&etc, "60-b.json", descriptor("/mine")),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::write(usr.path().join("57-large.json"), descriptor("/large") + &" ".repeat(70_000)).unwrap();
        fs::create_dir(usr.path().join("58-directory.json")).unwrap();
        let found = read_all(&list(&[usr.path(), etc.path(), Path::new("/nonexistent")]));
        let code = |f: &FirmwareFacts| match &f.mapping {
            FirmwareMapping::Flash { executable, .. } => executable.path.clone(),
            FirmwareMapping::Memory(path) => path.clone(),
        };
        assert_eq!(found.iter().map(code).collect::<Vec<_>>(), [Path::new("/a"), Path::new("/mine")]);
        let FirmwareMapping::Flash { template: Some(template), .. } = &found[0].mapping else {
            panic!("it has a template");
        };
        assert_eq!(template.format, "qcow2");
        assert_eq!(found[0].targets[0].machines, ["pc-q35-*"]);
    }
}
