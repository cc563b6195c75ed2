//! The host's forwarding, for the networks that lead out of it.
//!
//! Owns the kernel's switches, `accept_ra` of interfaces that have their routes from router advertisements, and the
//! record of both in RUN (`forwarding.json`): they are shared by all networks, so the first one that needs them
//! changes them and the last one restores them. What is about to be changed is recorded first, so that a daemon that
//! is killed at any moment leaves nothing that the next one does not restore. Must never touch the host in session
//! scope: a nethost's namespaces are Warren's own, and nothing there is restored.
//!
//! An interface that appears later, or gets its first advertisement later, is left as the administrator and the kernel
//! have it: with forwarding on, an `accept_ra` of 1 means that advertisements are ignored there.

mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;
use uuid::Uuid;

use super::Error;
use crate::model::NetworkDef;
use crate::scope::{Scope, ScopeKind};
use crate::store::{self, StoreError};
use crate::sys::advertised;
use crate::sys::netlink::{Link, NetlinkError};
use crate::sys::netspace::{NetSpace, SysctlError};
use record::{Family, Interface, LinkNow, Now, OfFamilies, Record, Setting, accept_ra};

/// What a network needs of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    v4: bool,
    v6: bool,
}

impl Needs {
    /// What this definition needs.
    pub(super) fn of(def: &NetworkDef) -> Self {
        let has = |v6: bool| def.ips.iter().filter_map(|ip| ip.net).any(|net| net.addr().is_ipv6() == v6);
        let forwards = def.forward.is_some();
        Self { v4: forwards && has(false), v6: forwards && has(true) }
    }

    fn has(self, family: Family) -> bool {
        if family == Family::V4 { self.v4 } else { self.v6 }
    }
}

/// Shared by all networks of a service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Forwarding {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None` in session scope.
    record: Option<PathBuf>,
    boot_id: Arc<str>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    record: Record,
    needs: BTreeMap<Uuid, Needs>,
    /// All networks that the previous daemon left are known.
    settled: bool,
}

/// Which interfaces are looked at, beside those with advertised routes.
enum Look {
    All,
    Advertised,
}

impl Forwarding {
    /// Changes nothing until [`Self::begin`].
    pub fn new(scope: &Scope, boot_id: Arc<str>) -> Self {
        let record = (scope.kind == ScopeKind::System).then(|| scope.dirs.run.join("forwarding.json"));
        Self { inner: Arc::new(Inner { record, boot_id, state: Mutex::default() }) }
    }

    /// Reads the record, or notes what the host has at the first start in a boot. What the previous daemon began to
    /// restore is restored.
    pub async fn begin(&self) {
        if self.inner.record.is_none() {
            return;
        }
        let mut state = self.inner.state.lock().await;
        let result = match self.inner.load() {
            Some(record) => {
                state.record = record;
                self.inner.finish(&mut state.record).await
            }
            None => {
                let at_boot = OfFamilies::new(is_on(Family::V4).await, is_on(Family::V6).await);
                state.record = Record::new(&self.inner.boot_id, at_boot);
                self.inner.save(&state.record).map_err(Error::from)
            }
        };
        if let Err(e) = result {
            tracing::error!("the host's forwarding: {}", crate::chain(&e));
        }
    }

    /// Switches on what a network needs, in the space where it is made.
    pub(super) async fn switch_on(&self, space: &NetSpace, uuid: &Uuid, needs: Needs) -> Result<(), Error> {
        if !space.is_host() {
            for family in Family::ALL.into_iter().filter(|family| needs.has(*family)) {
                space.sysctl(family.switch(), "1").await?;
            }
            return Ok(());
        }
        let mut state = self.inner.state.lock().await;
        self.inner.finish(&mut state.record).await?;
        state.needs.insert(*uuid, needs);
        for family in Family::ALL.into_iter().filter(|family| needs.has(*family)) {
            self.inner.raise(&mut state.record, family).await?;
        }
        Ok(())
    }

    /// Knows again a network that runs: it finds everything as it is.
    pub(super) async fn keep(&self, uuid: &Uuid, needs: Needs) {
        self.inner.state.lock().await.needs.insert(*uuid, needs);
    }

    /// A network is gone: restores what only that one needed.
    pub(super) async fn switch_off(&self, uuid: &Uuid) -> Result<(), Error> {
        let mut state = self.inner.state.lock().await;
        state.needs.remove(uuid);
        self.inner.restore(&mut state).await
    }

    /// All networks that the previous daemon left are known by now: restores what none of them needs.
    pub async fn settle(&self) {
        let mut state = self.inner.state.lock().await;
        state.settled = true;
        if let Err(e) = self.inner.restore(&mut state).await {
            tracing::error!("the host's forwarding is not as it was: {}", crate::chain(&e));
        }
    }

    /// Whether what such a network needed could not be restored.
    pub(super) async fn is_left(&self, needs: Needs) -> bool {
        let state = self.inner.state.lock().await;
        let is_left = |family: Family| {
            let is_needed = state.needs.values().any(|needs| needs.has(family));
            !is_needed && state.record.is_raised(family)
        };
        let asked = Family::ALL.into_iter().any(|family| needs.has(family));
        asked && state.settled && (!state.record.pending.is_empty() || Family::ALL.into_iter().any(is_left))
    }

    /// What somebody who looks at a network should know: what it changes, or would change, of the host's routes.
    pub(super) async fn notes(&self, needs: Needs) -> Vec<String> {
        self.advertised(needs)
            .await
            .into_iter()
            .map(|name| format!("while it runs, {}", changes(&name)))
            .collect()
    }

    /// The same of a definition, for a check.
    pub async fn outlook(&self, def: &NetworkDef) -> Vec<String> {
        let names = self.advertised(Needs::of(def)).await;
        names.into_iter().map(|name| format!("while the network runs, {}", changes(&name))).collect()
    }

    async fn advertised(&self, needs: Needs) -> Vec<String> {
        if self.inner.record.is_none() || !needs.v6 {
            return Vec::new();
        }
        let state = self.inner.state.lock().await;
        match look(Family::V6, Look::Advertised).await {
            Ok(now) => state.record.advertised(&now),
            Err(e) => {
                tracing::warn!("the interfaces with advertised routes are not known: {}", crate::chain(&e));
                Vec::new()
            }
        }
    }
}

/// A clause, after 'while the network runs, '.
fn changes(interface: &str) -> String {
    format!(
        "net.ipv6.conf.{interface}.accept_ra is 2: once the host forwards IPv6, the kernel would otherwise drop the \
         routes that '{interface}' has from router advertisements"
    )
}

impl Inner {
    fn load(&self) -> Option<Record> {
        let path = self.record.as_ref()?;
        let text = match fs_err::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
            Err(e) => {
                tracing::warn!("what was changed of the host's forwarding is not known: {e}");
                return None;
            }
        };
        match serde_json::from_slice::<Record>(&text) {
            Ok(record) => Some(record).filter(|record| *record.boot_id == *self.boot_id),
            Err(e) => {
                tracing::warn!("'{}' is broken: {e}", path.display());
                None
            }
        }
    }

    fn save(&self, record: &Record) -> Result<(), StoreError> {
        let Some(path) = &self.record else { return Ok(()) };
        let text = serde_json::to_vec_pretty(record)
            .map_err(|e| StoreError::Write { path: path.clone(), source: e.into() })?;
        store::write_live(path, &text)
    }

    /// Writes what is pending.
    async fn finish(&self, record: &mut Record) -> Result<(), Error> {
        if record.pending.is_empty() {
            return Ok(());
        }
        for setting in &record.pending {
            write(setting).await?;
        }
        record.pending.clear();
        Ok(self.save(record)?)
    }

    async fn raise(&self, record: &mut Record, family: Family) -> Result<(), Error> {
        let on = is_on(family).await;
        if on && (family == Family::V4 || !record.is_raised(family)) {
            return Ok(());
        }
        let now = look(family, if on { Look::Advertised } else { Look::All }).await?;
        let settings = record.raise(family, &now);
        if settings.is_empty() {
            return Ok(());
        }
        self.save(record)?;
        for setting in settings {
            let made = write(&setting).await;
            made.map_err(|source| match setting.accepts_ra_on() {
                Some(interface) => Error::AcceptRa { interface: interface.to_owned(), source },
                None => Error::Sysctl(source),
            })?;
        }
        Ok(())
    }

    /// Restores what nobody needs any more.
    async fn restore(&self, state: &mut State) -> Result<(), Error> {
        if !state.settled || self.record.is_none() {
            return Ok(());
        }
        self.finish(&mut state.record).await?;
        for family in Family::ALL {
            let is_needed = state.needs.values().any(|needs| needs.has(family));
            if !is_needed && state.record.is_raised(family) {
                let now = look(family, Look::All).await?;
                state.record.lower(family, &now);
                self.save(&state.record)?;
            }
        }
        self.finish(&mut state.record).await
    }
}

/// Whether the host forwards; a kernel without the family does not.
async fn is_on(family: Family) -> bool {
    let value = NetSpace::host().sysctl_get(family.switch()).await;
    value.is_ok_and(|value| value.trim() != "0")
}

/// Makes a setting; one of an interface that is gone is as good.
async fn write(setting: &Setting) -> Result<(), SysctlError> {
    match NetSpace::host().sysctl(&setting.key, &setting.value).await {
        Err(e) if e.is_not_found() => Ok(()),
        other => other,
    }
}

async fn look(family: Family, which: Look) -> Result<Now, Error> {
    let failed = |source: NetlinkError| Error::Netlink { step: "looking at the host's interfaces", source };
    let host = NetSpace::host();
    let links = host.netlink().await.map_err(failed)?.links().await.map_err(failed)?;
    let read = move || read(family, &which, links);
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|e| Error::Forwarding(std::io::Error::other(e)))?.map_err(Error::Forwarding)
}

/// Reads the settings of interfaces, which can be many.
fn read(family: Family, which: &Look, links: Vec<Link>) -> std::io::Result<Now> {
    let value = |key: &str| {
        let value = fs_err::read_to_string(format!("/proc/sys/{key}"));
        value.ok().map(|value| value.trim().to_owned())
    };
    let is_set = |key: &str| value(key).is_some_and(|value| value != "0");
    let advertised = if family == Family::V6 { advertised::interfaces()? } else { BTreeSet::new() };
    let is_seen = |link: &Link| matches!(which, Look::All) || advertised.contains(&link.name);
    let links = links.into_iter().filter(is_seen).map(|link| LinkNow {
        forwards: is_set(&family.forwarding_of(&link.name)),
        accept_ra: (family == Family::V6).then(|| value(&accept_ra(&link.name))).flatten(),
        is_advertised: advertised.contains(&link.name),
        interface: Interface { index: link.index, name: link.name },
    });
    Ok(Now {
        on: is_set(family.switch()),
        default_on: is_set(&family.forwarding_of("default")),
        accept_redirects: (family == Family::V4).then(|| value(record::ACCEPT_REDIRECTS)).flatten(),
        links: links.collect(),
    })
}
