//! What was learned of programs, kept while a program's file is unchanged, for the next daemon too.
//!
//! Owns `RUN/qemu.json`. Must never wait for a file on the thread that answers callers, nor grow with the number of
//! programs that documents name.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{KVM, PLACES, VERSION};
use crate::plan::host::QemuFacts;
use crate::sys::unix;

/// Programs that are remembered. One more takes the place of another that a document has named.
const MOST: usize = 16;
/// Bytes of the file: more than so many programs can fill, see [`super::ask`].
const FILE: u64 = 16 << 20;

/// Where distributions put QEMU's modules.
const MODULES: [&str; 3] = ["/usr/lib/x86_64-linux-gnu/qemu", "/usr/lib64/qemu", "/usr/lib/qemu"];

/// What was learned holds while this is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    modified: SystemTime,
    length: u64,
    /// When a module of QEMU's came or went: devices and displays may be in packages of their own.
    modules: Option<SystemTime>,
    /// Which device KVM is, and when its owner, its mode or its access list was changed.
    kvm: Option<(u64, i64, i64)>,
}

impl Stamp {
    /// What changes when a program is replaced. A wrapper script (as Debian's qemu-system-i386) tells nothing of the
    /// program behind it, but both come in one package. Blocks: the program may be anywhere.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let file = std::fs::metadata(path)?;
        let kvm = std::fs::metadata(KVM).ok().map(|kvm| (kvm.rdev(), kvm.ctime(), kvm.ctime_nsec()));
        let changed = |dir: &str| std::fs::metadata(dir).and_then(|dir| dir.modified()).ok();
        let modules = MODULES.iter().filter_map(|dir| changed(dir)).max();
        Ok(Self { modified: file.modified()?, length: file.len(), modules, kvm })
    }
}

type Known = HashMap<PathBuf, (Stamp, QemuFacts)>;

/// What is learned of programs.
#[derive(Debug, Default)]
struct Cache {
    known: Known,
    /// Programs that are being asked: who wants to know the same waits for it.
    asked: HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>,
    /// Where the next daemon finds it.
    file: Option<PathBuf>,
}

/// What is in the file; of another version it is not read.
#[derive(Serialize, Deserialize)]
struct Kept<T> {
    version: String,
    known: T,
}

static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);
/// Held while the file is written.
static FILE_TURN: Mutex<()> = Mutex::new(());

fn cache() -> MutexGuard<'static, Cache> {
    CACHE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins with what a previous daemon has left in that directory. Blocks.
pub(super) fn begin(dir: &Path) {
    let file = dir.join("qemu.json");
    let kept = read(&file).ok().and_then(|text| serde_json::from_slice::<Kept<Known>>(&text).ok());
    let known = kept.filter(|kept| kept.version == VERSION).map(|kept| kept.known).unwrap_or_default();
    *cache() = Cache { known, file: Some(file), ..Cache::default() };
}

/// What is known of a program that still has this stamp.
pub(super) fn known(path: &Path, stamp: &Stamp) -> Option<QemuFacts> {
    cache().known.get(path).filter(|(at, _)| at == stamp).map(|(_, facts)| facts.clone())
}

/// To be held while a program is asked.
pub(super) fn turn(path: &Path) -> Arc<tokio::sync::Mutex<()>> {
    let mut cache = cache();
    // Those that nobody waits for any more.
    cache.asked.retain(|_, turn| Arc::strong_count(turn) > 1);
    cache.asked.entry(path.to_owned()).or_default().clone()
}

/// Remembers, also for the next daemon. Blocks.
pub(super) fn learn(path: &Path, stamp: Stamp, facts: QemuFacts) {
    let file = {
        let mut cache = cache();
        cache.known.insert(path.to_owned(), (stamp, facts));
        while cache.known.len() > MOST {
            let standard = |known: &Path| PLACES.iter().any(|place| Path::new(place) == known);
            let other = cache.known.keys().find(|known| *known != path && !standard(known)).cloned();
            let Some(other) = other else { break };
            cache.known.remove(&other);
        }
        cache.file.clone()
    };
    let Some(file) = file else { return };
    let _turn = FILE_TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = cache().known.clone();
    let text = serde_json::to_vec(&Kept { version: VERSION.to_owned(), known });
    if let Err(e) = text.map_err(io::Error::from).and_then(|text| write(&file, &text)) {
        tracing::info!("the next daemon asks QEMU again what it can do: '{}': {e}", file.display());
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.uid() != rustix::process::geteuid().as_raw() || meta.len() > FILE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = Vec::new();
    file.take(FILE).read_to_end(&mut text)?;
    Ok(text)
}

/// All of it or nothing; only the daemon's own user reads it.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => unix::write_private(&new, text)?,
    }
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_of_ours_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(&at("good"), b"{}").unwrap();
        assert_eq!(read(&at("good")).unwrap(), b"{}");
        assert_eq!(std::fs::metadata(at("good")).unwrap().mode() & 0o7777, 0o600);
        std::os::unix::fs::symlink(at("good"), at("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        File::create(at("large")).unwrap().set_len(FILE + 1).unwrap();
        for name in ["link", "fifo", "large", "missing"] {
            assert!(read(&at(name)).is_err(), "{name}");
        }
        // What stands in the way is replaced, and not written to.
        std::os::unix::fs::symlink(at("good"), at("other.json")).unwrap();
        std::os::unix::fs::symlink(at("good"), at("other.json.new")).unwrap();
        write(&at("other.json"), b"[]").unwrap();
        assert_eq!(
            (read(&at("other.json")).unwrap(), read(&at("good")).unwrap()),
            (b"[]".to_vec(), b"{}".to_vec())
        );
    }
}
