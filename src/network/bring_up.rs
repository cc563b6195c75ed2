//! The steps that make a network and the ones that undo them.
//!
//! Owns the order: record, bridge, settings, rules, addresses, up, dnsmasq, verify; and backwards. A
//! step that fails undoes all before it. Must never leave something in the kernel that RUN does not
//! know of: what is about to be made is recorded first.

use std::path::PathBuf;

use uuid::Uuid;

use super::forwarding::Needs;
use super::record::{forget, half_made, load, save, uid_of};
use super::{Context, Definition, Error};
use crate::desk::off_thread;
use crate::model::{Mac, NetworkDef};
use crate::plan;
use crate::scope::ScopeKind;
use crate::sys::dnsmasq::{self, Dnsmasq, DnsmasqSpec};
use crate::sys::netlink::{BridgeSpec, Link, Netlink, Route};
use crate::sys::netspace::NetSpace;
use crate::sys::nft;
use crate::sys::process::RunAs;
use crate::sys::unix;
use crate::uids::Purpose;

/// How many generated bridge names are tried.
const BRIDGES: u32 = 4096;
/// What generated bridge names look like.
const TEMPLATE: &str = "wbr%d";

/// A network that is up.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) bridge: String,
    pub(super) space: NetSpace,
    pub(super) dnsmasq: Option<Dnsmasq>,
    /// dnsmasq's uid, where it has its own.
    pub(super) uid: Option<u32>,
    /// As it runs.
    pub(super) definition: Definition,
    /// The bridge's own.
    pub(super) mac: Option<Mac>,
}

/// The name under which a network holds the ground.
pub(super) fn holder(uuid: &Uuid) -> String {
    format!("network {uuid}")
}

/// Brings a complete definition up, whose meaning is `def`, or leaves nothing behind.
pub(super) async fn up(
    context: &Context,
    uuid: &Uuid,
    definition: &Definition,
    def: &NetworkDef,
) -> Result<Up, Error> {
    // What could not be removed when it was stopped would be in its own way.
    for problem in clear(context, uuid, def).await? {
        tracing::warn!(network = %uuid, "while removing what is left of it: {problem}");
    }
    let space = context.ground.hold(&holder(uuid)).await?;
    match steps(context, uuid, definition, def, &space).await {
        Ok(up) => Ok(up),
        Err(e) => {
            for problem in down(context, uuid, &space, def.mac, None).await {
                tracing::warn!(network = %uuid, "while undoing a start that failed: {problem}");
            }
            Err(e)
        }
    }
}

async fn steps(
    context: &Context,
    uuid: &Uuid,
    definition: &Definition,
    def: &NetworkDef,
    space: &NetSpace,
) -> Result<Up, Error> {
    let netlink =
        space.netlink().await.map_err(|source| Error::Netlink { step: "opening netlink", source })?;
    refuse_other_ways_out(context, def).await?;
    refuse_used_subnets(def, &netlink).await?;
    let uid = dnsmasq_uid(context, def)?;
    // From here on RUN knows it, and what undoes the start gives it back.
    save(context, uuid, definition, "", uid, false).await.inspect_err(|_| {
        if let Some(uid) = uid {
            context.uids.give_back(uid);
        }
    })?;
    let (bridge, index) = make_bridge(context, uuid, definition, def, uid, &netlink).await?;
    settings(context, uuid, def, &bridge, space).await?;
    let rules = plan::firewall::plan(def, uuid, &bridge);
    if let Some(rules) = &rules {
        nft::apply(space, &rules.to_string()).await?;
    }
    let failed = |step| move |source| Error::Netlink { step, source };
    for net in def.ips.iter().filter_map(|ip| ip.net) {
        netlink.add_address(index, net).await.map_err(failed("giving the bridge its address"))?;
    }
    netlink.set_up(index, true).await.map_err(failed("setting the bridge up"))?;
    for route in &def.routes {
        // libvirt's metric where none is given.
        let metric = route.metric.unwrap_or(1);
        let added = netlink.add_route(index, route.dst, route.gateway, metric).await;
        added.map_err(failed("making a route through a guest"))?;
    }
    let dnsmasq = start_dnsmasq(context, uuid, def, &bridge, uid, space).await?;
    verify(def, &bridge, rules.map(|rules| rules.table), &netlink, space).await?;
    save(context, uuid, definition, &bridge, uid, true).await?;
    Ok(Up { bridge, space: space.clone(), dnsmasq, uid, definition: definition.clone(), mac: def.mac })
}

/// A uid for the dnsmasq that the definition asks for; `None` where it runs as the service or as the other helpers.
pub(super) fn dnsmasq_uid(context: &Context, def: &NetworkDef) -> Result<Option<u32>, Error> {
    let enters = context.scope.kind == ScopeKind::System || unix::may_enter_namespaces();
    if !enters || !plan::dnsmasq::is_needed(def) {
        return Ok(None);
    }
    Ok(context.uids.take(Purpose::Network)?)
}

/// Starts again the dnsmasq of a network that is up.
pub(super) async fn revive_dnsmasq(context: &Context, uuid: &Uuid, up: &mut Up) -> Result<(), Error> {
    let definition = up.definition.clone();
    let def = context.desk.run_own(definition.bytes(), move || definition.def()).await?;
    if up.uid.is_none() {
        // A former version gave it none of its own.
        up.uid = dnsmasq_uid(context, &def)?;
        save(context, uuid, &up.definition, &up.bridge, up.uid, true).await?;
    }
    up.dnsmasq = start_dnsmasq(context, uuid, &def, &up.bridge, up.uid, &up.space).await?;
    Ok(())
}

/// The user of a network's dnsmasq, which has this uid of its own or none.
pub(super) fn dnsmasq_user(context: &Context, uid: Option<u32>) -> Option<RunAs> {
    uid.map(|uid| context.scope.service_user(uid)).or_else(|| context.scope.helper_user())
}

/// The dnsmasq of a network that runs, by its record or without, and its uid where it has one of its own.
pub(super) async fn find_dnsmasq(
    context: &Context,
    uuid: &Uuid,
) -> std::io::Result<Option<(Dnsmasq, Option<u32>)>> {
    let (dir, own) = (context.scope.network_run_dir(uuid), context.scope.uid);
    let (at, reserved, guests) = (dir.clone(), context.scope.reserved_uids(), context.scope.guest_uids());
    // What runs as a guest may say of itself what it likes.
    let of = move |uid| {
        if reserved.is_empty() { uid == own } else { reserved.contains(&uid) && !guests.contains(&uid) }
    };
    let Some(seen) = off_thread(move || dnsmasq::find(&at, of)).await? else { return Ok(None) };
    let uid = Some(seen.uid).filter(|uid| context.scope.service_uids().contains(uid));
    Ok(dnsmasq::adopt(&dir, seen.identity)?.map(|dnsmasq| (dnsmasq, uid)))
}

/// Starts dnsmasq if the definition asks for DHCP or DNS.
async fn start_dnsmasq(
    context: &Context,
    uuid: &Uuid,
    def: &NetworkDef,
    bridge: &str,
    uid: Option<u32>,
    space: &NetSpace,
) -> Result<Option<Dnsmasq>, Error> {
    let dir = context.scope.network_run_dir(uuid);
    let upstream = context.ground.upstream_dns().await;
    let (leases, hosts) = (dnsmasq::new_lease_file(&dir), dnsmasq::hosts_file(&dir));
    let files = plan::dnsmasq::Files { leases: &leases, hosts: &hosts };
    let Some(plan) = plan::dnsmasq::plan(def, bridge, &files, upstream) else {
        return Ok(None);
    };
    let run_as = dnsmasq_user(context, uid);
    // Lines of the user's own may name any file.
    let roots = def.ips.iter().filter_map(|ip| ip.tftp_root.as_deref()).map(PathBuf::from);
    let reads = def.dnsmasq_options.is_empty().then(|| roots.collect());
    let spec = DnsmasqSpec { dir, conf: plan.conf, hosts: plan.hosts, run_as, reads };
    Ok(Some(dnsmasq::start(space, &spec).await?))
}

/// In session scope the kernel's forwarding ends at the uplink, behind which sockets of the user do the
/// rest: a rule for an interface of the host would let nothing through, without a word.
async fn refuse_other_ways_out(context: &Context, def: &NetworkDef) -> Result<(), Error> {
    let Some(forward) = &def.forward else { return Ok(()) };
    let Some(uplink) = context.ground.only_uplink().await else { return Ok(()) };
    let name = || def.name.to_string();
    match &forward.dev {
        Some(dev) if uplink != dev.as_str() => {
            Err(Error::NoSuchWayOut { name: name(), dev: dev.to_string() })
        }
        _ if forward.nat.addresses.is_some() => Err(Error::NoSuchAddress { name: name() }),
        _ => Ok(()),
    }
}

async fn refuse_used_subnets(def: &NetworkDef, netlink: &Netlink) -> Result<(), Error> {
    let failed = |source| Error::Netlink { step: "reading the routes", source };
    let mut used: Vec<_> = netlink.routes().await.map_err(failed)?.into_iter().map(|r| r.dst).collect();
    used.extend(netlink.addresses().await.map_err(failed)?.into_iter().map(|(_, net)| net.trunc()));
    // Two routes to one place: the kernel would take one of them, and nobody knows which.
    for route in &def.routes {
        if let Some(other) = used.iter().find(|other| **other == route.dst) {
            let (name, subnet) = (def.name.to_string(), route.dst);
            return Err(Error::SubnetInUse { name, subnet, other: *other });
        }
    }
    for subnet in def.ips.iter().filter_map(|ip| ip.net).map(|net| net.trunc()) {
        let overlaps = |other: &&ipnet::IpNet| {
            other.prefix_len() > 0 && (other.contains(&subnet) || subnet.contains(*other))
        };
        if let Some(other) = used.iter().find(overlaps) {
            return Err(Error::SubnetInUse { name: def.name.to_string(), subnet, other: *other });
        }
    }
    Ok(())
}

/// Makes the bridge under the name of the definition, or under the first free one that its template makes.
async fn make_bridge(
    context: &Context,
    uuid: &Uuid,
    definition: &Definition,
    def: &NetworkDef,
    uid: Option<u32>,
    netlink: &Netlink,
) -> Result<(String, u32), Error> {
    let failed = |source| Error::Netlink { step: "making the bridge", source };
    let in_use = |bridge: &str| Error::BridgeInUse { name: def.name.to_string(), bridge: bridge.to_owned() };
    let links: Vec<Link> = netlink.links().await.map_err(failed)?;
    let is_taken = |name: &str| links.iter().any(|l| l.name == name);
    let template = def.bridge.template.as_deref().unwrap_or(TEMPLATE);
    let candidates: Vec<String> = match &def.bridge.name {
        Some(name) if is_taken(name.as_str()) => return Err(in_use(name.as_str())),
        Some(name) => vec![name.to_string()],
        None => {
            let names = (0..BRIDGES).map(|n| template.replace("%d", &n.to_string()));
            // A long template has room for few numbers.
            names.filter(|name| name.len() <= 15 && !is_taken(name)).collect()
        }
    };
    for name in &candidates {
        save(context, uuid, definition, name, uid, false).await?;
        let spec = BridgeSpec {
            name: name.clone(),
            mac: def.mac.unwrap_or_else(|| Mac::for_guest([0; 3])).0,
            stp: def.bridge.stp,
            delay_seconds: def.bridge.delay,
            mtu: def.mtu.unwrap_or(plan::ports::DEFAULT_MTU),
            alias: alias(uuid),
        };
        match netlink.create_bridge(&spec).await {
            Ok(index) => return Ok((name.clone(), index)),
            // Another network, or another program, was faster.
            Err(e) if e.is_exists() => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Err(in_use(candidates.last().map_or(template, String::as_str)))
}

/// The alias by which everything of an object is found again in the kernel.
pub fn alias(uuid: &Uuid) -> String {
    format!("warren:{uuid}")
}

/// Whose alias that is.
pub(super) fn uuid_of_alias(alias: &str) -> Option<Uuid> {
    Uuid::try_parse(alias.strip_prefix("warren:")?).ok()
}

async fn settings(
    context: &Context,
    uuid: &Uuid,
    def: &NetworkDef,
    bridge: &str,
    space: &NetSpace,
) -> Result<(), Error> {
    let has_v6 = def.ips.iter().filter_map(|ip| ip.net).any(|net| net.addr().is_ipv6());
    // A kernel without IPv6 has none of these files, and nothing to switch off either.
    if space.sysctl_get("net/ipv6/conf/all/forwarding").await.is_ok() {
        let device = |key: &str| format!("net/ipv6/conf/{bridge}/{key}");
        space.sysctl(&device("disable_ipv6"), if has_v6 { "0" } else { "1" }).await?;
        space.sysctl(&device("accept_ra"), "0").await?;
    }
    context.forwarding.switch_on(space, uuid, Needs::of(def)).await
}

/// Asks the kernel whether it has what it was told.
async fn verify(
    def: &NetworkDef,
    bridge: &str,
    table: Option<String>,
    netlink: &Netlink,
    space: &NetSpace,
) -> Result<(), Error> {
    let missing = |what: String| Error::NotVerified { bridge: bridge.to_owned(), what };
    let failed = |source| Error::Netlink { step: "verifying the bridge", source };
    let link = netlink.link(bridge).await.map_err(failed)?.filter(|l| l.up);
    let link = link.ok_or_else(|| missing("being up".into()))?;
    let addresses = netlink.addresses().await.map_err(failed)?;
    for net in def.ips.iter().filter_map(|ip| ip.net) {
        if !addresses.contains(&(link.index, net)) {
            return Err(missing(format!("its address {net}")));
        }
    }
    let routes = netlink.routes().await.map_err(failed)?;
    for dst in def.routes.iter().map(|route| route.dst) {
        if !routes.contains(&Route { dst, oif: Some(link.index) }) {
            return Err(missing(format!("its route to {dst}")));
        }
    }
    if let Some(table) = table
        && !nft::tables(space).await?.iter().any(|(family, name)| family == "inet" && *name == table)
    {
        return Err(missing(format!("its firewall table '{table}'")));
    }
    Ok(())
}

/// Undoes all that [`up`] makes, as far as it is there; goes on after a failure and tells them all. While something
/// is left, RUN knows of it.
pub(super) async fn down(
    context: &Context,
    uuid: &Uuid,
    space: &NetSpace,
    mac: Option<Mac>,
    dnsmasq: Option<Dnsmasq>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut note = |what: &str, result: Result<(), String>| {
        if let Err(e) = result {
            problems.push(format!("{what}: {e}"));
        }
    };
    let dir = context.scope.network_run_dir(uuid);
    let uid = off_thread({
        let dir = dir.clone();
        move || uid_of(&dir)
    })
    .await;
    let dnsmasq = async {
        let found = match dnsmasq {
            Some(dnsmasq) => Ok(Some(dnsmasq)),
            None => find_dnsmasq(context, uuid).await.map(|found| found.map(|(dnsmasq, _)| dnsmasq)),
        };
        match found {
            Ok(Some(dnsmasq)) => dnsmasq.stop().await.map_err(|e| crate::chain(&e)),
            Ok(None) => Ok(()),
            Err(e) => Err(crate::chain(&e)),
        }
    };
    // Both take their time and do not need each other. The rules stay until the bridge is gone, so that no
    // guest is on it without them.
    let (dnsmasq, bridge) = tokio::join!(dnsmasq, remove_bridge(context, uuid, space, mac));
    note("dnsmasq", dnsmasq);
    note("the bridge", bridge.map_err(|e| crate::chain(&e)));
    let table = plan::firewall::table_name(uuid);
    note("the rules", nft::delete_table(space, "inet", &table).await.map_err(|e| crate::chain(&e)));
    let forwarding = context.forwarding.switch_off(uuid).await;
    note("the host's forwarding", forwarding.map_err(|e| crate::chain(&e)));
    let record = if problems.is_empty() { forget(dir).await } else { half_made(dir).await };
    match (record, uid) {
        (Ok(()), Some(uid)) if problems.is_empty() => context.uids.give_back(uid),
        (record, _) => {
            problems.extend(record.err().map(|e| format!("the runtime files: {}", crate::chain(&e))));
        }
    }
    context.ground.release(&holder(uuid)).await;
    problems
}

/// Whether a teardown has left something.
pub(super) async fn remains(context: &Context, uuid: &Uuid, needs: Needs) -> bool {
    context.scope.network_run_dir(uuid).exists() || context.forwarding.is_left(needs).await
}

/// Tries again what a teardown could not do; answers what is still there.
pub(super) async fn clear(context: &Context, uuid: &Uuid, def: &NetworkDef) -> Result<Vec<String>, Error> {
    if !remains(context, uuid, Needs::of(def)).await {
        return Ok(Vec::new());
    }
    let space = context.ground.hold(&holder(uuid)).await?;
    Ok(down(context, uuid, &space, def.mac, None).await)
}

/// Removes the bridge that RUN names, if it is ours: by alias, or, where the daemon died between making
/// it and naming it, by the MAC of the definition that it was made with.
async fn remove_bridge(
    context: &Context,
    uuid: &Uuid,
    space: &NetSpace,
    mac: Option<Mac>,
) -> Result<(), Error> {
    let failed = |source| Error::Netlink { step: "removing the bridge", source };
    let recorded = load(context, uuid).await.ok().flatten();
    let netlink = space.netlink().await.map_err(failed)?;
    for link in netlink.links().await.map_err(failed)? {
        let by_alias = link.alias.as_deref() == Some(alias(uuid).as_str());
        let by_mac = link.alias.is_none()
            && link.mac == mac.map(|m| m.0)
            && recorded.as_ref().is_some_and(|live| live.bridge == link.name);
        if link.kind.as_deref() == Some("bridge") && (by_alias || by_mac) {
            netlink.delete(link.index).await.map_err(failed)?;
        }
    }
    Ok(())
}
