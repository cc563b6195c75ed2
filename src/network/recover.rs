//! What a previous daemon left: networks that run on, and networks that were half made.
//!
//! Owns the comparison of RUN with the kernel. A network's own actor makes it, before it answers anybody; so one whose
//! firewall, dnsmasq or nethost hangs holds up only those who ask for it. Must never adopt a network whose start was
//! not finished, and never touch what is not Warren's.

use tokio::sync::Semaphore;
use uuid::Uuid;

use super::bring_up::{self, Live, Up};
use super::leases::{self, NetworkLease};
use super::{Context, Definition, Error};
use crate::model::{DocError, NetworkDef, NetworkDoc};
use crate::plan::ports::DEFAULT_MTU;
use crate::store;
use crate::sys::dnsmasq;
use crate::sys::netlink::NetlinkError;
use crate::sys::nft;

/// A network taken over from a former service.
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

/// How many networks are taken over at once: each runs nft, and a host has few processors.
const AT_ONCE: usize = 8;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// What RUN has of a network of a previous daemon.
#[derive(Debug)]
pub struct Left {
    live: Option<Live>,
    /// Whether it was up, by the record.
    pub(super) active: bool,
}

/// The definition of a network that stands, as RUN has it: all that is left where what was stored is lost.
pub fn what_stands(context: &Context, uuid: &Uuid) -> Option<Definition> {
    let live = store::load_live::<Live>(&context.scope.network_run_dir(uuid)).ok()??;
    let stands = live.active && live.boot_id == *context.boot_id;
    stands.then(|| Definition::read(live.xml).ok()).flatten()
}

/// What a network runs with.
fn running(text: String, stored: &Definition) -> Result<(Definition, NetworkDef, bool), DocError> {
    let definition = if text == stored.xml() { stored.clone() } else { Definition::read(text)? };
    let differs = !definition.says_the_same(stored);
    let def = NetworkDoc::parse(definition.xml())?.into_def();
    Ok((definition, def, differs))
}

/// What RUN has of a network; `None`: nothing. `defined`: else what stands is to be removed.
pub fn left(context: &Context, uuid: &Uuid, defined: bool) -> Option<Left> {
    let dir = context.scope.network_run_dir(uuid);
    if !dir.exists() {
        return None;
    }
    let live = store::load_live::<Live>(&dir).unwrap_or_else(|e| {
        tracing::warn!("{}", crate::chain(&e));
        None
    });
    let live = live.filter(|live| live.boot_id == *context.boot_id);
    let active = defined && live.as_ref().is_some_and(|live| live.active);
    Some(Left { live, active })
}

impl Left {
    /// Adopts the network, of which this is stored, or removes what is left of it; answers what was adopted.
    pub async fn recover(
        self,
        context: &Context,
        uuid: &Uuid,
        stored: Option<&Definition>,
    ) -> Option<Adopted> {
        let _turn = TURNS.acquire().await;
        self.compare(context, uuid, stored).await.unwrap_or_else(|e| {
            tracing::error!(network = %uuid, "could not be taken over: {}", crate::chain(&e));
            None
        })
    }

    async fn compare(
        self,
        context: &Context,
        uuid: &Uuid,
        stored: Option<&Definition>,
    ) -> Result<Option<Adopted>, Error> {
        let space = context.ground.hold(&bring_up::holder(uuid)).await?;
        let mut mac = None;
        if let Some(live) = self.live {
            let (text, known) = (live.xml, stored.cloned());
            // One that is not defined any more is only to be found.
            let read = move || match known {
                Some(stored) => running(text, &stored),
                None => Definition::read(text.clone()).and_then(|d| running(text, &d)),
            };
            let runs = context.desk.run_own(usize::MAX, read).await;
            if let Ok((definition, ..)) = &runs
                && self.active
            {
                // Before anything can fail: what is kept is not restored under the network.
                context.forwarding.keep(uuid, definition.forwarding()).await;
            }
            match runs {
                Ok((definition, def, differs))
                    if self.active && bridge_is_there(&space, uuid, &live.bridge).await? =>
                {
                    let up = Up {
                        bridge: live.bridge,
                        space: space.clone(),
                        dnsmasq: None,
                        uid: live.uid,
                        definition,
                        mac: def.mac,
                    };
                    return Ok(Some(take_over(context, uuid, up, &def, differs).await));
                }
                Ok((_, def, _)) => mac = def.mac,
                Err(e) => tracing::warn!(network = %uuid, "the live definition is broken: {e}"),
            }
        }
        // Without a record what stands is found by its alias, its table and the identity of its dnsmasq.
        for problem in bring_up::down(context, uuid, &space, mac, None).await {
            tracing::warn!(network = %uuid, "while removing what a former service left: {problem}");
        }
        Ok(None)
    }
}

async fn bridge_is_there(
    space: &crate::sys::netspace::NetSpace,
    uuid: &Uuid,
    bridge: &str,
) -> Result<bool, Error> {
    let failed = |source| Error::Netlink { step: "looking for the bridge", source };
    let netlink = space.netlink().await.map_err(failed)?;
    let link = netlink.link(bridge).await.map_err(failed)?;
    Ok(link.is_some_and(|l| l.alias.as_deref() == Some(bring_up::alias(uuid).as_str())))
}

async fn shield(
    space: &crate::sys::netspace::NetSpace,
    bridge: &str,
    def: &NetworkDef,
) -> Result<(), NetlinkError> {
    let netlink = space.netlink().await?;
    let Some(bridge) = netlink.link(bridge).await? else { return Ok(()) };
    netlink.shield_bridge(&bridge, def.mtu.unwrap_or(DEFAULT_MTU)).await
}

/// The rules are loaded again in any case: it is one transaction, and they may have been flushed. What fails does
/// not take the network from the guests that are on it.
async fn take_over(context: &Context, uuid: &Uuid, mut up: Up, def: &NetworkDef, differs: bool) -> Adopted {
    let (mut warnings, mut details) = (Vec::new(), Vec::new());
    let mut warn = |what: &str, e: &dyn std::error::Error| {
        warnings.push(what.to_owned());
        details.push(format!("{what}: {}", crate::chain(e)));
    };
    if let Err(e) = shield(&up.space, &up.bridge, def).await {
        warn("guests may change the network's MTU", &e);
    }
    if let Some(rules) = crate::plan::firewall::plan(def, uuid, &up.bridge)
        && let Err(e) = nft::apply(&up.space, &rules.to_string()).await
    {
        warn("the firewall's rules may be gone, and cannot be made again", &e);
    }
    let dir = context.scope.network_run_dir(uuid);
    let dnsmasq = dnsmasq::adopt(&dir).unwrap_or_else(|e| {
        tracing::warn!(network = %uuid, "dnsmasq is not found again: {e}");
        None
    });
    up.dnsmasq = dnsmasq;
    if up.dnsmasq.is_none()
        && let Err(e) = bring_up::revive_dnsmasq(context, uuid, &mut up).await
    {
        warn(NO_DNSMASQ, &e);
    }
    let leases = leases::read_now(&dir, &up.definition).await.unwrap_or_default();
    for detail in &details {
        tracing::error!(network = %up.definition.name(), "{detail}");
    }
    warnings.extend(context.forwarding.notes(up.definition.forwarding()).await);
    Adopted { up, differs, warnings, failure: details.join("; "), leases }
}
