//! What a former service left: networks that run on, and networks that were half made.
//!
//! Owns the comparison of RUN with the kernel. Must never adopt a network whose start was not finished,
//! and never touch what is not Warren's.

use uuid::Uuid;

use super::bring_up::{self, Live, Up};
use super::{Context, Error};
use crate::model::NetworkDoc;
use crate::store;
use crate::sys::dnsmasq;
use crate::sys::nft;

/// A network taken over from a former service.
#[derive(Debug)]
pub struct Adopted(pub(super) Up);

/// What stands for one UUID in RUN.
#[derive(Debug)]
pub enum Leftover {
    /// It runs and was taken over.
    Adopted(Box<Adopted>),
    /// Nothing, or what was there has been removed.
    Clean,
}

/// Looks at what RUN says of a network, and adopts it or removes it.
pub async fn recover(context: &Context, uuid: &Uuid, defined: bool) -> Result<Leftover, Error> {
    let dir = context.scope.network_run_dir(uuid);
    let live = match store::load_live::<Live>(&dir) {
        Ok(Some(live)) if live.boot_id == *context.boot_id => live,
        Ok(_) => {
            store::remove_live(&dir)?;
            return Ok(Leftover::Clean);
        }
        Err(e) => {
            tracing::warn!("{}", crate::chain(&e));
            store::remove_live(&dir)?;
            return Ok(Leftover::Clean);
        }
    };
    let doc = match NetworkDoc::parse(&live.xml) {
        Ok(doc) => doc,
        Err(e) => {
            tracing::warn!(network = %uuid, "the live definition is broken: {e}");
            store::remove_live(&dir)?;
            return Ok(Leftover::Clean);
        }
    };
    let space = context.ground.hold(&bring_up::holder(uuid)).await?;
    if live.active && defined && bridge_is_there(&space, uuid, &live.bridge).await? {
        let up = take_over(context, uuid, doc, live.bridge, &space).await?;
        return Ok(Leftover::Adopted(Box::new(Adopted(up))));
    }
    for problem in bring_up::down(context, uuid, &space, doc.def(), None).await {
        tracing::warn!(network = %uuid, "while removing what a former service left: {problem}");
    }
    Ok(Leftover::Clean)
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

/// The rules are loaded again in any case: it is one transaction, and they may have been flushed.
async fn take_over(
    context: &Context,
    uuid: &Uuid,
    doc: NetworkDoc,
    bridge: String,
    space: &crate::sys::netspace::NetSpace,
) -> Result<Up, Error> {
    if let Some(rules) = crate::plan::firewall::plan(doc.def(), uuid, &bridge) {
        nft::apply(space, &rules.to_string()).await?;
    }
    let running = dnsmasq::adopt(&context.scope.network_run_dir(uuid)).unwrap_or_else(|e| {
        tracing::warn!(network = %uuid, "dnsmasq is not found again: {e}");
        None
    });
    let dnsmasq = match running {
        Some(dnsmasq) => Some(dnsmasq),
        None => bring_up::start_dnsmasq(context, uuid, doc.def(), &bridge, space).await?,
    };
    Ok(Up { bridge, space: space.clone(), dnsmasq, doc })
}
