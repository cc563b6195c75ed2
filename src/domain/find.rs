//! QEMUs of guests, found without a record.
//!
//! Owns what proves that a process is the QEMU of a domain. Must never take a process for one that the user, or another
//! program of the user, may have started.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Context;
use super::guest::{identity_file, stderr_fifo};
use crate::desk::off_thread;
use crate::scope::{Scope, ScopeKind};
use crate::store::{Kind, live_uuids};
use crate::sys::process::{Identity, Seen, processes, read_identity};

/// A QEMU that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its domain.
    pub uuid: Uuid,
    /// The domain's name when it was started.
    pub(super) name: String,
    pub(super) seen: Seen,
    /// Whether what it shows is proof; else a record must name it, too.
    pub(super) sure: bool,
}

impl Found {
    /// The user that it runs as.
    pub fn uid(&self) -> u32 {
        self.seen.uid
    }
}

/// Who the guests of a service run as, and where their files are.
#[derive(Debug)]
struct Marks {
    /// Nobody but Warren starts anything under these. Empty: guests run as the service's own user.
    uids: std::ops::Range<u32>,
    own: u32,
    /// Alone on this host with those uids.
    system: bool,
    run: PathBuf,
}

impl Marks {
    fn of(scope: &Scope) -> Self {
        // As the kernel tells it of files.
        let run = std::fs::canonicalize(&scope.dirs.run).unwrap_or_else(|_| scope.dirs.run.clone());
        Self { uids: scope.reserved_uids(), own: scope.uid, system: scope.kind == ScopeKind::System, run }
    }

    fn may_be_guest(&self, uid: u32) -> bool {
        if self.uids.is_empty() { uid == self.own } else { self.uids.contains(&uid) }
    }

    fn read(&self, seen: Seen) -> Option<Found> {
        let uuid = Uuid::try_parse(seen.value("-uuid")?).ok()?;
        let name = name(seen.value("-name")?)?;
        let sure = match &seen.stderr {
            // QEMU says to this what goes wrong, as long as it runs.
            Some(stderr) if *stderr == stderr_fifo(&self.run.join("domains").join(uuid.to_string())) => true,
            Some(_) => return None,
            None => self.system,
        };
        Some(Found { uuid, name, seen, sure })
    }
}

/// The name in QEMU's `-name guest=NAME,…`, in which a comma is two.
fn name(value: &str) -> Option<String> {
    let value = value.strip_prefix("guest=")?;
    let mut name = String::new();
    let mut chars = value.chars().peekable();
    while let Some(char) = chars.next() {
        if char == ',' && chars.next_if_eq(&',').is_none() {
            break;
        }
        name.push(char);
    }
    Some(name)
}

/// The QEMUs of all guests of this service that run.
pub async fn running(context: &Context) -> io::Result<Vec<Found>> {
    let scope = context.scope.clone();
    off_thread(move || {
        let marks = Marks::of(&scope);
        let seen = processes(|uid| marks.may_be_guest(uid))?;
        let found: Vec<Found> = seen.into_iter().filter_map(|seen| marks.read(seen)).collect();
        Ok(without_pretenders(found, &recorded(&scope.dirs.run)))
    })
    .await
}

/// Whose QEMU each process is by the records of domains, as far as those can be read.
fn recorded(run: &Path) -> Vec<(Identity, Uuid)> {
    let of = |uuid: Uuid| {
        let dir = run.join("domains").join(uuid.to_string());
        Some((read_identity(&identity_file(&dir)).ok()??, uuid))
    };
    live_uuids(run, Kind::Domain).unwrap_or_default().into_iter().filter_map(of).collect()
}

/// A process can write over its own arguments: one that a record names as another domain's is that one's.
fn without_pretenders(mut found: Vec<Found>, recorded: &[(Identity, Uuid)]) -> Vec<Found> {
    found.retain(|found| {
        let mut records = recorded.iter().filter(|(identity, _)| *identity == found.seen.identity);
        records.all(|(_, uuid)| *uuid == found.uuid)
    });
    found
}

/// The uid of its own that a guest has, by what its process shows.
pub(super) fn own_uid(scope: &Scope, found: &Found) -> Option<u32> {
    scope.reserved_uids().contains(&found.seen.uid).then_some(found.seen.uid)
}

/// Which of these is of that domain; one that is sure before others.
pub(super) fn of_domain<'a>(found: &'a [Found], uuid: &Uuid) -> Option<&'a Found> {
    let of = || found.iter().filter(|found| found.uuid == *uuid);
    of().find(|found| found.sure).or_else(|| of().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: Uuid = Uuid::from_u128(7);

    fn seen(uid: u32, args: &[&str], stderr: Option<&Path>) -> Seen {
        let identity = Identity { pid: 2, start_time: 3 };
        let args = args.iter().map(Into::into).collect();
        Seen { identity, uid, args, stderr: stderr.map(Path::to_owned) }
    }

    fn found(system: bool, args: &[&str], stderr: Option<&str>) -> Option<(String, bool)> {
        let marks = Marks { uids: 100..200, own: 0, system, run: "/run/w".into() };
        let found = marks.read(seen(150, args, stderr.map(Path::new)))?;
        assert_eq!(found.uuid, UUID);
        Some((found.name, found.sure))
    }

    #[test]
    fn only_what_writes_to_the_domains_own_fifo_is_surely_its_qemu() {
        let uuid = UUID.to_string();
        let args = ["/usr/bin/qemu", "-name", "guest=a,,b,debug-threads=on", "-uuid", &uuid];
        let own = format!("/run/w/domains/{uuid}/stderr");
        assert_eq!(found(false, &args, Some(&own)), Some(("a,b".into(), true)));
        assert_eq!(found(false, &args, Some("/dev/null")), None, "another program of the user's");
        assert_eq!(found(false, &args, None), Some(("a,b".into(), false)));
        assert_eq!(found(true, &args, None), Some(("a,b".into(), true)), "nobody else has such a uid");
        assert_eq!(found(true, &args[..3], Some(&own)), None);
        assert_eq!(found(true, &["qemu", "-uuid", &uuid], Some(&own)), None);
    }

    #[test]
    fn what_a_record_names_as_anothers_is_no_other_domains() {
        let pretender = |uuid: Uuid| {
            let seen = seen(150, &["qemu"], None);
            Found { uuid, name: "n".into(), seen, sure: true }
        };
        let (mine, others) = (UUID, Uuid::from_u128(8));
        let identity = pretender(mine).seen.identity;
        let left = |uuid, recorded: &[_]| without_pretenders(vec![pretender(uuid)], recorded).len();
        assert_eq!(left(mine, &[]), 1, "its record is lost");
        assert_eq!(left(mine, &[(identity, mine)]), 1);
        assert_eq!(left(others, &[(identity, mine)]), 0);
    }

    #[test]
    fn guests_run_under_reserved_uids_or_as_the_user() {
        let root = Marks { uids: 100..200, own: 0, system: true, run: "/".into() };
        assert!(root.may_be_guest(100) && !root.may_be_guest(0) && !root.may_be_guest(200));
        let user = Marks { uids: 0..0, own: 1000, system: false, run: "/".into() };
        assert!(user.may_be_guest(1000) && !user.may_be_guest(0));
    }
}
