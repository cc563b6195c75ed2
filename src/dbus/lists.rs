//! `ListDomains` and `ListNetworks`: what a list of all objects shows, in one call.
//!
//! Owns who sees what. The public properties of every object are for everybody. Addresses, displays and networks are
//! for callers who may ask each object for them without a prompt. Must never wait for a guest.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use zbus::message::Header;
use zbus::{OwnedObjectPath, Variant};

use super::dict::{Dict, dict, list};
use super::domain::{address, graphics};
use super::error::Error;
use super::paths;
use super::service::Call;
use crate::sys::process::{booted_usec, ticks_usec};
use crate::{domain, network};

/// How long a network may take to tell who has answered on it.
const NEIGHBOURS: Duration = Duration::from_secs(1);

/// About how many bytes of an answer one object is.
const LISTED: usize = 1024;

type Listed = HashMap<OwnedObjectPath, Dict>;

/// Every domain.
pub(super) async fn domains(call: &Call<'_>, header: &Header<'_>) -> Result<Listed, Error> {
    let (sight, booted) = (call.sight().await?, booted_usec());
    let of = async |handle: domain::Handle| {
        let view = handle.view();
        let mut told = public_domain(&view, booted);
        if sight.domain(view.owner) {
            told.extend(private_domain(call, &handle).await);
        }
        (paths::domain(&view.uuid), told)
    };
    listed(call, header, join_all(call.service.manager.domains().into_iter().map(of)).await)
}

/// Every network.
pub(super) async fn networks(call: &Call<'_>, header: &Header<'_>) -> Result<Listed, Error> {
    let sight = call.sight().await?;
    let of = async |handle: network::Handle| {
        let view = handle.view();
        let mut told = public_network(&view);
        if sight.network(&view.access)
            // One that is being forgotten has no addresses, and one that is being started is not waited for.
            && let Ok(Ok(info)) = tokio::time::timeout(NEIGHBOURS, handle.info()).await
        {
            let addresses: Vec<String> = info.addresses.iter().map(ToString::to_string).collect();
            told.extend(dict([("addresses", addresses.into())]));
        }
        (paths::network(&view.uuid), told)
    };
    listed(call, header, join_all(call.service.manager.networks().into_iter().map(of)).await)
}

/// The answer, which counts for the caller until it is out.
fn listed(call: &Call<'_>, header: &Header<'_>, all: Vec<(OwnedObjectPath, Dict)>) -> Result<Listed, Error> {
    call.answers_with(header, all.len() * LISTED)?;
    Ok(all.into_iter().collect())
}

/// `booted`: when the host was, where that is known.
fn public_domain(view: &domain::View, booted: Option<u64>) -> Dict {
    let started = view.started_ticks.zip(booted).map_or(0, |(ticks, booted)| booted + ticks_usec(ticks));
    dict([
        ("name", view.name.clone().into()),
        ("uuid", view.uuid.to_string().into()),
        ("title", view.title.clone().into()),
        ("state", view.state.as_str().into()),
        ("state-reason", view.reason.as_str().into()),
        ("persistent", true.into()),
        ("autostart", view.autostart.into()),
        ("pending-changes", view.pending_changes.into()),
        ("generation", view.generation.into()),
        ("owner", view.owner.into()),
        ("pid", view.pid.into()),
        ("vcpus", view.vcpus.into()),
        ("memory-bytes", view.memory_bytes.into()),
        ("started-usec", started.into()),
    ])
}

fn public_network(view: &network::View) -> Dict {
    dict([
        ("name", view.name.clone().into()),
        ("uuid", view.uuid.to_string().into()),
        ("bridge", view.bridge.clone().into()),
        ("forward-mode", view.forward_mode.clone().into()),
        ("state", view.state.as_str().into()),
        ("state-reason", view.reason.as_str().into()),
        ("persistent", true.into()),
        ("autostart", view.autostart.into()),
        ("pending-changes", view.pending_changes.into()),
        ("generation", view.generation.into()),
        ("owner", view.owner.into()),
        ("access", view.access.clone().into()),
        ("warnings", view.warnings.clone().into()),
    ])
}

/// Of one that is being forgotten, nothing; of one whose record is lost, what is known without it.
async fn private_domain(call: &Call<'_>, handle: &domain::Handle) -> Dict {
    let (by, manager) = (call.caller.uid, &call.service.manager);
    // A network that is being started is not waited for: its leases are known without it.
    let addresses = match tokio::time::timeout(NEIGHBOURS, manager.addresses(handle, by)).await {
        Ok(addresses) => addresses,
        Err(_) => manager.leased_addresses(handle).await,
    };
    let mut told = Dict::new();
    if let Ok(addresses) = addresses {
        told.extend(dict([("addresses", list(addresses.iter().map(address).collect()))]));
    }
    if let Ok(info) = handle.info(by).await {
        let mut networks: Vec<String> = Vec::new();
        for nic in info.interfaces.into_iter().filter(|nic| nic.kind == "network") {
            if !networks.contains(&nic.network) {
                networks.push(nic.network);
            }
        }
        told.extend(dict([
            ("graphics", list(info.graphics.into_iter().map(graphics).collect())),
            ("networks", Variant::from(networks)),
        ]));
    }
    told
}
