//! Records in RUN: what runs, for the next daemon.
//!
//! Owns how they are written, and which of them are of this boot. Must never remove one because another is lost.

use std::io;
use std::path::Path;

use fs_err as fs;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{Kind, StoreError};
use crate::sys::dirs::Dir;
use crate::sys::unix;

/// Empties RUN of what a former boot left (below `/tmp` it stays): its pids mean other processes now. Then
/// marks it as of this boot. A mark that is lost says nothing: what is there is kept, and each record says of which
/// boot it is.
pub fn forget_former_boot(run: &Path, boot_id: &str) -> Result<(), StoreError> {
    let path = run.join("boot-id");
    let noted = match fs::read(&path) {
        Ok(noted) => String::from_utf8_lossy(&noted).into_owned(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(StoreError::Read { path, source }),
    };
    if noted == boot_id {
        return Ok(());
    }
    let failed = |source| StoreError::Write { path: run.to_owned(), source };
    let mut left = Vec::new();
    for entry in fs::read_dir(run).map_err(failed)? {
        left.push(entry.map_err(failed)?.path());
    }
    left.retain(|path| path.file_name().is_some_and(|name| name != "lock" && name != "boot-id"));
    if Uuid::try_parse(&noted).is_ok() && !has_records_of(run, boot_id) {
        for path in left {
            if path.is_dir() {
                remove_live(&path)?;
            } else {
                fs::remove_file(&path).map_err(failed)?;
            }
        }
    } else if !left.is_empty() {
        tracing::error!("'{}' is lost or broken; what is beside it is kept", path.display());
    }
    write_live(&path, boot_id.as_bytes())
}

/// Whether a record of an object there is of that boot.
fn has_records_of(run: &Path, boot_id: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct OfBoot {
        boot_id: String,
    }
    let is_of = |kind: Kind| {
        let dirs = live_uuids(run, kind).unwrap_or_default();
        let read = |uuid: Uuid| load_live::<OfBoot>(&run.join(kind.dir()).join(uuid.to_string()));
        dirs.into_iter().any(|uuid| read(uuid).is_ok_and(|live| live.is_some_and(|l| l.boot_id == boot_id)))
    };
    [Kind::Network, Kind::Domain].into_iter().any(is_of)
}

/// Writes live state.
pub fn save_live<T: Serialize>(dir: &Path, state: &T) -> Result<(), StoreError> {
    let path = dir.join("state.json");
    match serde_json::to_vec_pretty(state) {
        Ok(text) => write_live(&path, &text),
        Err(e) => Err(StoreError::Write { path, source: e.into() }),
    }
}

/// Writes a file of RUN: complete or not at all. Not synced, since RUN is gone after a boot anyway.
pub fn write_live(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let written = unix::write_private(Path::new(&new), content).and_then(|()| fs::rename(&new, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&new);
        StoreError::Write { path: path.to_owned(), source }
    })
}

/// Reads live state; `None` where there is none.
pub fn load_live<T: DeserializeOwned>(dir: &Path) -> Result<Option<T>, StoreError> {
    let path = dir.join("state.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::Read { path, source }),
    };
    serde_json::from_slice(&text).map(Some).map_err(|e| StoreError::Broken { path, reason: e.to_string() })
}

/// The UUIDs that have a directory in RUN.
pub fn live_uuids(run: &Path, kind: Kind) -> Result<Vec<Uuid>, StoreError> {
    let dir = run.join(kind.dir());
    let read = |source| StoreError::Read { path: dir.clone(), source };
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(read)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(read)?.file_name();
        found.extend(name.to_str().and_then(|name| Uuid::try_parse(name).ok()));
    }
    Ok(found)
}

/// Removes a directory with all that is in it; one that is not there is as good.
pub fn remove_live(dir: &Path) -> Result<(), StoreError> {
    // Those that a helper or a guest can fill are below it.
    match (dir.parent().map(Dir::open), dir.file_name().and_then(|name| name.to_str())) {
        (Some(Ok(parent)), Some(name)) => parent.remove(name),
        (Some(Err(e)), _) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
    .map_err(|source| StoreError::Remove { path: dir.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_former_boot_left_is_forgotten_and_what_may_be_of_this_one_kept() {
        let (one, two) = (Uuid::from_u128(1).to_string(), Uuid::from_u128(2).to_string());
        let run = tempfile::tempdir().unwrap();
        let left = run.path().join(format!("domains/{}", Uuid::nil()));
        let prepare = || {
            fs::create_dir_all(&left).unwrap();
            fs::write(run.path().join("nethost.stat"), "1").unwrap();
        };
        let begin = |boot: &str| {
            prepare();
            forget_former_boot(run.path(), boot).unwrap();
            let kept = left.exists() && run.path().join("nethost.stat").exists();
            assert_eq!(fs::read_to_string(run.path().join("boot-id")).unwrap(), boot);
            kept
        };
        assert!(begin(&one), "no boot is noted");
        assert!(!begin(&two), "another one is");
        assert!(begin(&two));
        for broken in [&b""[..], b"\xff\0x", &two.as_bytes()[..10]] {
            fs::write(run.path().join("boot-id"), broken).unwrap();
            assert!(begin(&two), "{broken:?}");
        }
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("state.json"), format!("{{\"boot_id\":\"{one}\"}}")).unwrap();
        assert!(begin(&one), "a record is of this boot");
        assert!(!begin(&two));
    }
}
