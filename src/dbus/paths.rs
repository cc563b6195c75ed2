//! Object paths. Owns their form; must never put a name into one.

use uuid::Uuid;
use zbus::OwnedObjectPath;

use crate::manager::Object;

pub(super) const ROOT: &str = "/org/warren1";

fn of(kind: &str, id: &str) -> OwnedObjectPath {
    let path = format!("{ROOT}/{kind}/{}", id.replace('-', "_"));
    OwnedObjectPath::try_from(path).unwrap_or_else(|_| done())
}

pub(super) fn network(uuid: &Uuid) -> OwnedObjectPath {
    of("network", &uuid.to_string())
}

pub(super) fn domain(uuid: &Uuid) -> OwnedObjectPath {
    of("domain", &uuid.to_string())
}

pub(super) fn job(id: u64) -> OwnedObjectPath {
    of("job", &id.to_string())
}

pub(super) fn object(object: Object) -> OwnedObjectPath {
    match object {
        Object::Network(uuid) => network(&uuid),
        Object::Domain(uuid) => domain(&uuid),
    }
}

/// The object of a path, which need not be there.
pub(super) fn read(path: &str) -> Option<Object> {
    let (kind, id) = path.strip_prefix(ROOT)?.strip_prefix('/')?.split_once('/')?;
    let uuid = Uuid::try_parse(&id.replace('_', "-")).ok()?;
    match kind {
        "network" => Some(Object::Network(uuid)),
        "domain" => Some(Object::Domain(uuid)),
        _ => None,
    }
}

/// `/`: there is no object, what was asked is done.
pub(super) fn done() -> OwnedObjectPath {
    OwnedObjectPath::default()
}

/// A job's path, or `/`.
pub(super) fn job_or_done(job: Option<u64>) -> OwnedObjectPath {
    job.map_or_else(done, self::job)
}
