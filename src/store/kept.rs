//! What is kept of a domain beside its definition: the variables of its firmware, and a note of which that is.
//!
//! Owns the files of `domains/UUID/`. Must never leave one half-written, nor hold the content in memory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Kind, Store, StoreError, commit, forget, write_atomically};
use crate::sys::{copy, unix};

/// A file beside a domain's firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NvramFile {
    /// The variables.
    Vars,
    /// Which firmware they are of.
    Firmware,
}

impl NvramFile {
    fn name(self) -> &'static str {
        match self {
            Self::Vars => "VARS",
            Self::Firmware => "FIRMWARE",
        }
    }
}

impl Store {
    /// The firmware's variables that are kept for a domain (`domains/UUID/nvram/VARS`), for reading and
    /// writing; `None` before the first start.
    pub fn open_vars(&self, uuid: &Uuid) -> Result<Option<File>, StoreError> {
        let path = self.nvram(uuid, NvramFile::Vars);
        match File::options().read(true).write(true).open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Read { path, source }),
        }
    }

    /// Which firmware the variables are of, as it was noted beside them.
    pub fn noted_firmware<T: DeserializeOwned>(&self, uuid: &Uuid) -> Result<Option<T>, StoreError> {
        let path = self.nvram(uuid, NvramFile::Firmware);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Read { path, source }),
        };
        let noted = serde_json::from_slice(&text);
        noted.map(Some).map_err(|e| StoreError::Broken { path, reason: e.to_string() })
    }

    /// Notes what [`Self::noted_firmware`] tells; `note` is its JSON.
    pub fn note_firmware(&self, uuid: &Uuid, note: &[u8]) -> Result<(), StoreError> {
        let path = self.make_nvram(uuid, NvramFile::Firmware)?;
        write_atomically(&path, note).map_err(|source| StoreError::Write { path, source })
    }

    /// Whether that file is there.
    pub fn has_nvram(&self, uuid: &Uuid, file: NvramFile) -> bool {
        self.nvram(uuid, file).exists()
    }

    fn nvram(&self, uuid: &Uuid, file: NvramFile) -> PathBuf {
        self.object_dir(Kind::Domain, uuid).join("nvram").join(file.name())
    }

    /// Where that file is, the directory being made.
    fn make_nvram(&self, uuid: &Uuid, file: NvramFile) -> Result<PathBuf, StoreError> {
        let own = self.object_dir(Kind::Domain, uuid);
        for dir in [own.clone(), own.join("nvram")] {
            unix::make_dir(&dir, 0o700).map_err(|source| StoreError::Write { path: dir, source })?;
        }
        Ok(self.nvram(uuid, file))
    }

    /// Makes what [`Self::open_vars`] opens, from the first `size` bytes of `template`; it is on the disk, with all
    /// of them, or not there.
    pub fn make_vars(&self, uuid: &Uuid, template: &File, size: u64) -> Result<(), StoreError> {
        let path = self.make_nvram(uuid, NvramFile::Vars)?;
        let fill = |to: &mut File| copy::contents(template, to, size);
        commit(&path, fill).map_err(|source| StoreError::Write { path, source })
    }

    /// Removes these files; one that is not there is as good.
    pub fn remove_nvram(&self, uuid: &Uuid, files: &[NvramFile]) -> Result<(), StoreError> {
        for path in files.iter().map(|file| self.nvram(uuid, *file)) {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::Remove { path, source: e });
                }
                _ => {}
            }
        }
        // With something else in them they stay.
        let own = self.object_dir(Kind::Domain, uuid);
        let _ = fs::remove_dir(own.join("nvram")).and_then(|()| fs::remove_dir(&own));
        Ok(())
    }

    /// The bytes that are kept of an object beside its definition. What a service that was killed had begun to
    /// write there is removed.
    pub fn kept_bytes(&self, kind: Kind, uuid: &Uuid) -> Result<u64, StoreError> {
        let dir = self.object_dir(kind, uuid);
        bytes_below(&dir).map_err(|source| StoreError::Read { path: dir, source })
    }
}

/// What is in a directory and all below it, by the files' sizes.
fn bytes_below(dir: &Path) -> io::Result<u64> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            bytes += bytes_below(&entry.path())?;
        } else if entry.file_name().as_encoded_bytes().starts_with(b".") {
            forget(&entry.path());
        } else {
            bytes += meta.len();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Envelope;
    use std::io::Write;

    #[test]
    fn variables_are_private_and_go_with_the_definition() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let uuid = Uuid::from_u128(5);
        let envelope = Envelope { owner: 1000, generation: 1, autostart: false, access: "admin".into() };
        store.save(Kind::Domain, &uuid, &envelope, "<domain/>").unwrap();
        assert!(store.open_vars(&uuid).unwrap().is_none());
        let mut template = tempfile::tempfile().unwrap();
        template.write_all(b"boot and more").unwrap();
        store.make_vars(&uuid, &template, 4).unwrap();
        let mut file = store.open_vars(&uuid).unwrap().unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        file.write_all(b"B").unwrap();
        let path = dir.path().join(format!("domains/{uuid}/nvram/VARS"));
        assert_eq!(fs::read(&path).unwrap(), b"Boot");
        assert_eq!(store.load(Kind::Domain).unwrap().0.len(), 1);
        // A service was killed while it wrote this.
        fs::write(path.with_file_name(".VARS.x1y2"), "half").unwrap();
        store.note_firmware(&uuid, b"{}").unwrap();
        assert_eq!(store.kept_bytes(Kind::Domain, &uuid).unwrap(), 6);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
        store.remove_nvram(&uuid, &[NvramFile::Firmware]).unwrap();
        assert_eq!(store.kept_bytes(Kind::Domain, &uuid).unwrap(), 4);
        store.remove_nvram(&uuid, &[NvramFile::Vars, NvramFile::Firmware]).unwrap();
        assert!(!dir.path().join(format!("domains/{uuid}")).exists());
        store.remove(Kind::Domain, &uuid).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("domains")).unwrap().count(), 0);
    }
}
