//! What a previous daemon left: networks that run on, and networks that were half made.
//!
//! Owns the comparison of RUN with the kernel. A network's own actor makes it, before it answers anybody; so one whose
//! firewall, dnsmasq or nethost hangs holds up only those who ask for it. Must never adopt a network whose start was
//! not finished, and never touch what is not Warren's.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::actor::Actor;
use super::bring_up::{self, Up};
use super::leases::{self, NetworkLease};
use super::record::{self, Live};
use super::state::State;
use super::{Context, Definition, Error};
use crate::desk::off_thread;
use crate::model::{DocError, NetworkDef, NetworkDoc};
use crate::plan::ports::DEFAULT_MTU;
use crate::reason::{Cause, Reason};
use crate::store::{self, StoreError};
use crate::sys::dnsmasq;
use crate::sys::netlink::{Link, NetlinkError};
use crate::sys::netspace::NetSpace;
use crate::sys::nft;

/// A network taken over from a previous daemon.
#[derive(Debug)]
pub struct Adopted {
    pub(super) up: Up,
    /// Whether what is stored says something else.
    pub(super) differs: bool,
    /// What is wrong with it by now, in words that everybody may read.
    pub(super) warnings: Vec<String>,
    /// The same with all that is known of it.
    pub(super) failure: String,
    /// Those that are known already, and no news.
    pub(super) leases: Vec<NetworkLease>,
}

/// The warning of a network whose dnsmasq is gone.
pub(super) const NO_DNSMASQ: &str = "no DHCP and no DNS: dnsmasq ended";

/// The warning of a network whose record is lost, and of one that is not taken over yet.
const LOST: &str = "its record was lost or broken while it was up";
const UNSURE: &str = "it could not be taken over yet from the daemon before this one";

/// The pause before what could not be taken over is tried once more: at first, and at most.
pub(super) const ATTEMPT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How many networks are taken over at once: each runs nft, and a host has few processors.
const AT_ONCE: usize = 8;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// What is there of a network of a previous daemon.
#[derive(Debug)]
pub struct Left {
    /// Whether it is up, as far as is known.
    pub(super) active: bool,
}

/// The definition of a network that stands, as RUN has it: all that is left where what was stored is lost.
pub fn what_stands(context: &Context, uuid: &Uuid) -> Option<Definition> {
    let live = store::load_live::<Live>(&context.scope.network_run_dir(uuid)).ok()??;
    let stands = live.active && live.boot_id == *context.boot_id;
    stands.then(|| Definition::read(live.xml).ok()).flatten()
}

/// What a network runs with: with this text, or, where that is broken or not known, with what is stored.
fn running(text: Option<String>, stored: Option<&Definition>) -> Result<Running, DocError> {
    let read = |text: String| match stored {
        Some(stored) if text == stored.xml() => Ok(stored.clone()),
        _ => Definition::read(text),
    };
    let (definition, broken) = match (text.map(read).transpose(), stored) {
        (Ok(Some(definition)), _) => (definition, None),
        (Ok(None), Some(stored)) => (stored.clone(), None),
        (Err(e), Some(stored)) => (stored.clone(), Some(e)),
        (Err(e), None) => return Err(e),
        // Nobody asks for what is neither here nor there.
        (Ok(None), None) => (Definition::read(String::new())?, None),
    };
    let differs = stored.is_some_and(|stored| !definition.says_the_same(stored));
    let def = NetworkDoc::parse(definition.xml())?.into_def();
    Ok(Running { definition, def, differs, broken })
}

/// What is there of a network; `None`: nothing. `defined`: else what stands is to be removed. `stands`: its bridge is
/// there.
pub fn left(context: &Context, uuid: &Uuid, defined: bool, stands: bool) -> Option<Left> {
    let dir = context.scope.network_run_dir(uuid);
    if !dir.exists() && !stands {
        return None;
    }
    let active = match store::load_live::<Live>(&dir) {
        Ok(Some(live)) => live.active && live.boot_id == *context.boot_id,
        // It may be; its bridge says so.
        Ok(None) | Err(_) => true,
    };
    Some(Left { active: active && defined })
}

/// The networks whose bridges stand, by the host or by the nethost that is there.
pub async fn standing(context: &Context) -> HashSet<Uuid> {
    let links = context.ground.links_that_stand().await.unwrap_or_else(|e| {
        tracing::error!("the bridges that stand are not known: {}", crate::chain(&e));
        Vec::new()
    });
    let bridges = links.into_iter().filter(|link| link.kind.as_deref() == Some("bridge"));
    let uuid = |link: Link| link.alias.as_deref().and_then(bring_up::uuid_of_alias);
    bridges.filter_map(uuid).collect()
}

impl Left {
    /// Adopts the network, of which this is stored, or removes what is left of it; answers what was adopted. An error
    /// means that neither is known: it is to be tried again.
    pub async fn recover(
        &self,
        context: &Context,
        uuid: &Uuid,
        stored: Option<&Definition>,
    ) -> Result<Option<Adopted>, Error> {
        let _turn = TURNS.acquire().await;
        let (live, lost) = match record::load(context, uuid).await {
            Ok(Some(live)) if live.boot_id == *context.boot_id => (Some(live), None),
            Ok(Some(_)) => (None, None),
            Ok(None) => (None, Some("there is none".to_owned())),
            Err(StoreError::Broken { reason, .. }) => (None, Some(reason)),
            Err(e) => return Err(e.into()),
        };
        let space = context.ground.hold(&bring_up::holder(uuid)).await?;
        let active = live.as_ref().map_or(lost.is_some(), |live| live.active) && stored.is_some();
        let (text, known) = (live.as_ref().map(|live| live.xml.clone()), stored.cloned());
        let runs = match (&text, &known) {
            (None, None) => None,
            _ => Some(context.desk.run_own(usize::MAX, move || running(text, known.as_ref())).await),
        };
        let mut mac = None;
        match runs {
            Some(Ok(runs)) => {
                mac = runs.def.mac;
                if active {
                    // Before anything can fail: what is kept is not restored under the network.
                    context.forwarding.keep(uuid, runs.definition.forwarding()).await;
                    let recorded = live.as_ref().map(|live| live.bridge.as_str());
                    if let Some(bridge) = bridge_that_stands(&space, uuid, recorded).await? {
                        let up = Stands { bridge, space, live, lost };
                        return Ok(Some(up.take_over(context, uuid, runs).await));
                    }
                }
            }
            Some(Err(e)) => tracing::warn!(network = %uuid, "the live definition is broken: {e}"),
            None => {}
        }
        // Without a record what stands is found by its alias, its table and the identity of its dnsmasq.
        for problem in bring_up::down(context, uuid, &space, mac, None).await {
            tracing::warn!(network = %uuid, "while removing what a previous daemon left: {problem}");
        }
        Ok(None)
    }
}

/// The bridge of a network that is there: the one that is recorded, or any where that is not known.
async fn bridge_that_stands(
    space: &NetSpace,
    uuid: &Uuid,
    recorded: Option<&str>,
) -> Result<Option<String>, Error> {
    let failed = |source| Error::Netlink { step: "looking for the bridge", source };
    let netlink = space.netlink().await.map_err(failed)?;
    let alias = bring_up::alias(uuid);
    let is_it = |link: &Link| {
        link.alias.as_deref() == Some(&alias)
            && link.kind.as_deref() == Some("bridge")
            && recorded.is_none_or(|name| name == link.name)
    };
    Ok(netlink.links().await.map_err(failed)?.into_iter().find(is_it).map(|link| link.name))
}

async fn shield(space: &NetSpace, bridge: &str, def: &NetworkDef) -> Result<(), NetlinkError> {
    let netlink = space.netlink().await?;
    let Some(bridge) = netlink.link(bridge).await? else { return Ok(()) };
    netlink.shield_bridge(&bridge, def.mtu.unwrap_or(DEFAULT_MTU)).await
}

/// What a network runs with.
struct Running {
    definition: Definition,
    def: NetworkDef,
    /// What is stored says something else.
    differs: bool,
    /// The text with which it was started cannot be read.
    broken: Option<DocError>,
}

/// A network whose bridge is there.
struct Stands {
    bridge: String,
    space: NetSpace,
    live: Option<Live>,
    /// Why there is no record.
    lost: Option<String>,
}

impl Stands {
    /// The rules are loaded again in any case: it is one transaction, and they may have been flushed. What fails does
    /// not take the network from the guests that are on it.
    async fn take_over(self, context: &Context, uuid: &Uuid, runs: Running) -> Adopted {
        let Self { bridge, space, live, lost } = self;
        let Running { definition, def, differs, broken } = runs;
        let dir = context.scope.network_run_dir(uuid);
        let mut found = Findings::default();
        let recorded = match &live {
            Some(live) => live.uid,
            None => {
                let dir = dir.clone();
                off_thread(move || record::uid_of(&dir)).await
            }
        };
        // Where it could not be looked for, it may run: a second one is not started.
        let (dnsmasq, shown, may_run) = match bring_up::find_dnsmasq(context, uuid).await {
            Ok(found) => {
                let (dnsmasq, shown) = found.unzip();
                (dnsmasq, shown, false)
            }
            Err(e) => {
                found.add(NO_DNSMASQ, crate::chain(&e));
                (None, None, true)
            }
        };
        let uid = recorded.or(shown.flatten());
        if let Some(uid) = uid {
            context.uids.mark(uid);
        }
        let why = lost.or(broken.map(|e| e.to_string()));
        // A record of a former version has no uid.
        let to_record = why.is_some() || recorded != uid;
        if let Some(why) = why {
            let file = dir.join("state.json");
            found.add(LOST, format!("'{}': {why}; the definition that is stored counts", file.display()));
        }
        if to_record && let Err(e) = record::save(context, uuid, &definition, &bridge, uid, true).await {
            found.add("it will not be found again", crate::chain(&e));
        }
        let mut up = Up { bridge, space, dnsmasq, uid, definition, mac: def.mac };
        if let Err(e) = shield(&up.space, &up.bridge, &def).await {
            found.add("guests may change the network's MTU", crate::chain(&e));
        }
        if let Some(rules) = crate::plan::firewall::plan(&def, uuid, &up.bridge)
            && let Err(e) = nft::apply(&up.space, &rules.to_string()).await
        {
            found.add("the firewall's rules may be gone, and cannot be made again", crate::chain(&e));
        }
        if let Some(detail) = leases_without_name(context, uuid, &mut up).await {
            found.add("the record of its leases was lost", detail);
        }
        if up.dnsmasq.is_none()
            && !may_run
            && let Err(e) = bring_up::revive_dnsmasq(context, uuid, &mut up).await
        {
            found.add(NO_DNSMASQ, crate::chain(&e));
        }
        let leases = leases::read_now(&dir, &up.definition).await.unwrap_or_default();
        for detail in &found.details {
            tracing::error!(network = %up.definition.name(), "{detail}");
        }
        let mut warnings = found.warnings;
        warnings.extend(context.forwarding.notes(up.definition.forwarding()).await);
        Adopted { up, differs, warnings, failure: found.details.join("; "), leases }
    }
}

/// What is wrong with a network that is taken over.
#[derive(Debug, Default)]
struct Findings {
    /// In words that everybody may read.
    warnings: Vec<String>,
    /// The same with all that is known of it.
    details: Vec<String>,
}

impl Findings {
    fn add(&mut self, what: &str, detail: impl std::fmt::Display) {
        self.warnings.push(what.to_owned());
        self.details.push(format!("{what}: {detail}"));
    }
}

/// A dnsmasq whose lease file was removed would go on with one that nobody finds: it is ended, to be started again with
/// the leases that it had.
async fn leases_without_name(context: &Context, uuid: &Uuid, up: &mut Up) -> Option<String> {
    let dnsmasq = up.dnsmasq.as_ref()?;
    let (dir, identity) = (context.scope.network_run_dir(uuid), dnsmasq.process.identity());
    let at = dir.clone();
    let leases = match off_thread(move || dnsmasq::nameless_leases(&at, identity)).await {
        Ok(None) => return None,
        Ok(Some(leases)) => Some(leases),
        Err(e) => {
            tracing::warn!(network = %uuid, "what dnsmasq has of its leases cannot be read: {e}");
            None
        }
    };
    let (file, found) = (dnsmasq::new_lease_file(&dir), leases.is_some());
    let file = file.display();
    if let Err(e) = up.dnsmasq.take()?.stop().await {
        return Some(format!("'{file}', and dnsmasq cannot be ended: {}", crate::chain(&e)));
    }
    let user = bring_up::dnsmasq_user(context, up.uid);
    let written =
        off_thread(move || dnsmasq::restore_leases(&dir, &leases.unwrap_or_default(), user.as_ref()));
    let outcome = match written.await {
        Ok(()) if found => "dnsmasq had its leases, and was started again with them".to_owned(),
        Ok(()) => "dnsmasq was started again without its leases".to_owned(),
        Err(e) => format!("its leases cannot be written again: {e}"),
    };
    Some(format!("'{file}': {outcome}"))
}

impl Actor {
    /// Takes over what a previous daemon left, or removes it. Where neither can be done the network counts as what it
    /// was, and it is tried again after a pause that grows.
    pub(super) async fn recover(&mut self, left: Left) {
        match left.recover(&self.context, &self.uuid, Some(&self.definition)).await {
            Ok(adopted) => self.take_over(adopted),
            Err(e) => {
                let detail = crate::chain(&e);
                tracing::error!(network = %self.name(), "{UNSURE}: {detail}");
                if left.active {
                    self.context.forwarding.keep(&self.uuid, self.definition.forwarding()).await;
                }
                let pause = self.attempts.pause(Instant::now()).max(ATTEMPT.0);
                self.left = Some((left, Instant::now() + pause));
                self.warnings = vec![UNSURE.to_owned()];
                self.cause = Cause::new(self.cause.reason, detail);
                self.publish();
            }
        }
    }

    pub(super) async fn recover_again(&mut self) {
        if let Some((left, _)) = self.left.take() {
            self.recover(left).await;
            if let Some(up) = &self.up {
                self.reattach(up).await;
            }
        }
    }

    /// What a previous daemon left is known now.
    fn take_over(&mut self, adopted: Option<Adopted>) {
        let (state, cause) = match adopted {
            Some(Adopted { up, differs, warnings, failure, leases }) => {
                (self.up, self.differs, self.warnings) = (Some(up), differs, warnings);
                self.count();
                self.leases.know(leases, &self.context.scope.network_run_dir(&self.uuid));
                self.follow_leases();
                (State::Active, Cause::new(Reason::Adopted, failure))
            }
            None => {
                self.warnings.clear();
                (State::Inactive, Reason::None.into())
            }
        };
        self.enter(state, cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "<network><name>a</name></network>";

    #[test]
    fn what_is_not_known_of_a_network_that_runs_counts_as_what_is_stored() {
        let stored = Definition::read(TEXT.to_owned()).unwrap();
        let other = TEXT.replace("<name>", "<title>t</title><name>");
        let runs = |text: Option<&str>| {
            let runs = running(text.map(str::to_owned), Some(&stored)).unwrap();
            (runs.definition.is(&stored), runs.differs, runs.broken.is_some())
        };
        assert_eq!(runs(Some(TEXT)), (true, false, false));
        assert_eq!(runs(Some(&other)), (false, true, false));
        assert_eq!(runs(Some("<netw")), (true, false, true));
        assert_eq!(runs(None), (true, false, false));
        assert!(running(Some("<netw".to_owned()), None).is_err());
        assert!(running(Some(TEXT.to_owned()), None).is_ok());
    }
}
