//! Definitions and live state on disk.
//!
//! Owns the files of STATE (`networks/UUID.xml`, `domains/UUID.xml`: one file an object, the user's
//! document inside an envelope, so that one rename commits all) and the records of RUN. Must never
//! let a name become a path, leave a half-written file behind, or hide objects because one file is
//! broken: that one is kept aside and reported.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use uuid::Uuid;

use crate::sys::unix;
use crate::xml;

mod kept;
mod live;

pub use kept::NvramFile;
pub use live::{forget_former_boot, live_uuids, load_live, remove_live, save_live, write_live};

const NAMESPACE: &str = "urn:org.warren1:object:1";
const VERSION: &str = "1";
/// More than an envelope has, all of it written out.
const ENVELOPE: usize = 256;

/// Why something could not be kept or found again.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    #[error("cannot write '{path}'")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read '{path}'")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot remove '{path}'")]
    Remove { path: PathBuf, source: io::Error },
    #[error("'{path}' is broken: {reason}")]
    Broken { path: PathBuf, reason: String },
}

/// The kind of an object, which is also its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Network,
    Domain,
}

impl Kind {
    /// The directory of such objects, below STATE and RUN.
    pub fn dir(self) -> &'static str {
        match self {
            Self::Network => "networks",
            Self::Domain => "domains",
        }
    }
}

/// What Warren knows of an object beside its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// uid of who defined it.
    pub owner: u32,
    /// Counts the changes of the definition, from 1.
    pub generation: u64,
    /// Started once in a boot.
    pub autostart: bool,
    /// Networks: `admin` or `users`.
    pub access: String,
}

/// One stored object.
#[derive(Debug, Clone)]
pub struct Stored {
    /// From the file's name.
    pub uuid: Uuid,
    /// What is known beside the document.
    pub envelope: Envelope,
    /// The document.
    pub xml: String,
}

/// How many bytes the file of a definition has at most that has so many itself.
pub fn file_bytes(xml: usize) -> u64 {
    (xml + ENVELOPE) as u64
}

/// The files of one service.
#[derive(Debug, Clone)]
pub struct Store {
    state: PathBuf,
}

impl Store {
    /// Over the STATE directory, whose subdirectories are made.
    pub fn open(state: &Path) -> Result<Self, StoreError> {
        for kind in [Kind::Network, Kind::Domain] {
            let path = state.join(kind.dir());
            unix::make_dir(&path, 0o700).map_err(|source| StoreError::Write { path, source })?;
        }
        Ok(Self { state: state.to_owned() })
    }

    /// Where the definition of an object is.
    pub fn path(&self, kind: Kind, uuid: &Uuid) -> PathBuf {
        self.state.join(kind.dir()).join(format!("{uuid}.xml"))
    }

    /// Writes a definition; when this returns, it is on the disk.
    pub fn save(&self, kind: Kind, uuid: &Uuid, envelope: &Envelope, xml: &str) -> Result<(), StoreError> {
        let path = self.path(kind, uuid);
        write_atomically(&path, wrap(envelope, xml).as_bytes())
            .map_err(|source| StoreError::Write { path, source })
    }

    /// What is kept of an object beside its definition.
    fn object_dir(&self, kind: Kind, uuid: &Uuid) -> PathBuf {
        self.state.join(kind.dir()).join(uuid.to_string())
    }

    /// Removes a definition and what is kept beside it; one that is not there is as good.
    pub fn remove(&self, kind: Kind, uuid: &Uuid) -> Result<(), StoreError> {
        remove_live(&self.object_dir(kind, uuid))?;
        let path = self.path(kind, uuid);
        match fs::remove_file(&path).and_then(|()| sync_dir(&path)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::Remove { path, source: e }),
            _ => Ok(()),
        }
    }

    /// Reads all definitions of a kind, and removes what a service that was killed had begun to write. A broken
    /// file is renamed to `….broken`, so that nothing overwrites it, and reported beside the others.
    pub fn load(&self, kind: Kind) -> Result<(Vec<Stored>, Vec<StoreError>), StoreError> {
        let dir = self.state.join(kind.dir());
        let read = |source| StoreError::Read { path: dir.clone(), source };
        let (mut found, mut broken) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&dir).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if is_unfinished(&path) {
                forget(&path);
                continue;
            }
            let Some(uuid) = uuid_of_file(&path) else { continue };
            match read_definition(&path) {
                Ok((envelope, xml)) => found.push(Stored { uuid, envelope, xml }),
                // That it cannot be read does not mean that it is broken; nor must one keep the others from being read.
                Err(e @ StoreError::Read { .. }) if is_passing(&e) => return Err(e),
                Err(e @ StoreError::Read { .. }) => broken.push(e),
                Err(e) => {
                    self.set_aside(&path);
                    broken.push(e);
                }
            }
        }
        found.sort_by_key(|s| s.uuid);
        Ok((found, broken))
    }

    /// Keeps a definition that cannot be used out of the way, under another name.
    pub fn set_aside(&self, path: &Path) {
        let aside = path.with_extension("xml.broken");
        if let Err(e) = fs::rename(path, &aside) {
            tracing::warn!("cannot keep '{}' aside: {e}", path.display());
        }
    }

    /// Whether `name` was never marked before; marks it. For what happens once in the life of a STATE.
    pub fn first_time(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.state.join(name);
        if path.exists() {
            return Ok(false);
        }
        write_atomically(&path, b"").map_err(|source| StoreError::Write { path, source })?;
        Ok(true)
    }
}

fn uuid_of_file(path: &Path) -> Option<Uuid> {
    if path.extension()? != "xml" {
        return None;
    }
    Uuid::try_parse(path.file_stem()?.to_str()?).ok()
}

/// Whether it is a definition that [`write_atomically`] has not come to the end of: `.UUID.xml.RANDOM`.
fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.and_then(|name| name.strip_prefix('.')).and_then(|name| name.rsplit_once('.'));
    name.is_some_and(|(whole, _)| uuid_of_file(Path::new(whole)).is_some())
}

fn forget(path: &Path) {
    if let Err(e) = fs::remove_file(path) {
        tracing::warn!("what was not written to its end stays: {e}");
    }
}

/// The envelope's start tag stands on a line of its own, so that the document inside is found again to
/// the byte, and its depth and line numbers stay its own.
fn wrap(envelope: &Envelope, xml: &str) -> String {
    let Envelope { owner, generation, autostart, access } = envelope;
    format!(
        "<w:object xmlns:w='{NAMESPACE}' version='{VERSION}' owner='{owner}' generation='{generation}' \
         autostart='{autostart}' access='{access}'>\n{}\n</w:object>\n",
        without_declaration(xml)
    )
}

/// An XML declaration may stand only at the start of a file.
fn without_declaration(xml: &str) -> &str {
    let text = xml.trim_start_matches('\u{feff}').trim_start();
    if !text.starts_with("<?xml ") {
        return text.trim_end();
    }
    text.split_once("?>").map_or(text, |(_, rest)| rest).trim()
}

/// Whether the service lacks something for the moment, and the file is as it was.
fn is_passing(error: &StoreError) -> bool {
    let StoreError::Read { source, .. } = error else { return false };
    matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

fn read_definition(path: &Path) -> Result<(Envelope, String), StoreError> {
    let text = std::fs::read(path).map_err(|source| StoreError::Read { path: path.to_owned(), source })?;
    let text = String::from_utf8(text).map_err(|e| e.to_string());
    text.and_then(|text| unwrap(&text)).map_err(|reason| StoreError::Broken { path: path.to_owned(), reason })
}

fn unwrap(text: &str) -> Result<(Envelope, String), String> {
    let (first, rest) = text.split_once('\n').ok_or("it has no envelope")?;
    let inner = rest.trim_end().strip_suffix("</w:object>").ok_or("its end is missing")?;
    let tag = first.strip_suffix('>').ok_or("its envelope is cut")?;
    let tag = xml::Document::parse(&format!("{tag}/>")).map_err(|e| e.to_string())?;
    let attr = |name: &str| tag.root().attr(name).ok_or(format!("its envelope has no {name}"));
    let number = |name: &str| attr(name)?.parse::<u64>().map_err(|e| format!("{name}: {e}"));
    if attr("version")? != VERSION {
        return Err(format!("its version is {}, this Warren knows {VERSION}", attr("version")?));
    }
    let envelope = Envelope {
        owner: u32::try_from(number("owner")?).map_err(|e| format!("owner: {e}"))?,
        generation: number("generation")?,
        autostart: attr("autostart")? == "true",
        access: attr("access")?.to_owned(),
    };
    Ok((envelope, inner.trim_end().to_owned()))
}

fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    commit(path, |file| file.write_all(content))
}

/// Makes or replaces a file that is complete, or as it was before.
fn commit(path: &Path, write: impl FnOnce(&mut std::fs::File) -> io::Result<()>) -> io::Result<()> {
    use atomic_write_file::unix::OpenOptionsExt as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::os::unix::fs::PermissionsExt;
    // Its mode from the first moment on, and whatever the file had before.
    let mut options = atomic_write_file::OpenOptions::new();
    options.mode(0o600).preserve_mode(false);
    let mut file = options.open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    write(file.as_file_mut())?;
    file.sync_all()?;
    file.commit()?;
    sync_dir(path)
}

/// Makes a rename or a removal in the directory of `path` durable.
fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        Envelope { owner: 1000, generation: 7, autostart: true, access: "admin".into() }
    }

    #[test]
    fn what_is_saved_is_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let uuid = Uuid::from_u128(5);
        let xml = "<!-- mine -->\n<network>\n  <name>a</name>\n</network>";
        store.save(Kind::Network, &uuid, &envelope(), &format!("<?xml version='1.0'?>\n{xml}\n")).unwrap();
        let (found, broken) = store.load(Kind::Network).unwrap();
        assert!(broken.is_empty());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].uuid, &found[0].envelope, found[0].xml.as_str()), (uuid, &envelope(), xml));
        store.remove(Kind::Network, &uuid).unwrap();
        store.remove(Kind::Network, &uuid).unwrap();
        assert!(store.load(Kind::Network).unwrap().0.is_empty());
    }

    #[test]
    fn a_broken_file_is_kept_aside_and_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (good, bad) = (Uuid::from_u128(1), Uuid::from_u128(2));
        store.save(Kind::Domain, &good, &envelope(), "<domain/>").unwrap();
        fs::write(store.path(Kind::Domain, &bad), "<w:object xmlns:w='urn:org").unwrap();
        let (found, broken) = store.load(Kind::Domain).unwrap();
        assert_eq!(found.len(), 1);
        assert!(broken[0].to_string().contains(&bad.to_string()));
        assert!(store.path(Kind::Domain, &bad).with_extension("xml.broken").exists());
        assert!(store.load(Kind::Domain).unwrap().1.is_empty());
        // What cannot be read stays where it is.
        let unreadable = store.path(Kind::Domain, &bad);
        fs::create_dir(&unreadable).unwrap();
        let (found, broken) = store.load(Kind::Domain).unwrap();
        assert_eq!((found.len(), broken.len()), (1, 1));
        assert!(unreadable.exists());
        let passing = |errno| {
            let source = io::Error::from_raw_os_error(errno);
            is_passing(&StoreError::Read { path: unreadable.clone(), source })
        };
        assert!(passing(libc::EMFILE) && !passing(libc::EIO));
    }

    #[test]
    fn what_was_not_written_to_its_end_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let path = store.path(Kind::Domain, &Uuid::from_u128(1));
        // Dropped without its end, it would remove itself; a service that is killed does not.
        let mut file = atomic_write_file::AtomicWriteFile::open(&path).unwrap();
        file.write_all(b"<w:obj").unwrap();
        std::mem::forget(file);
        let somebodys = path.with_file_name(".keep");
        fs::write(&somebodys, "").unwrap();
        let count = || fs::read_dir(dir.path().join("domains")).unwrap().count();
        assert_eq!(count(), 2);
        assert!(store.load(Kind::Domain).unwrap().0.is_empty());
        assert!(somebodys.exists() && count() == 1);
    }
}
