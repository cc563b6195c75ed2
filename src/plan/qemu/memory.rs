//! The guest's memory and its NUMA cells.

use serde_json::{Value, json};

use super::Plan;
use crate::model::{
    Device, Interconnect, MemballoonModel, MemoryAccess, MemoryDeviceDef, MemorySize, MemorySource,
    NodePolicy, NumaCell,
};

/// libvirt's name for the memory of a machine without cells.
const RAM: &str = "pc.ram";

/// What a piece of memory is for.
pub(super) struct Piece<'a> {
    pub(super) id: &'a str,
    pub(super) size: MemorySize,
    /// The guest's cell.
    pub(super) node: Option<u32>,
    pub(super) access: Option<MemoryAccess>,
    /// What the piece itself says of its pages and of the host's nodes.
    pub(super) device: Option<&'a MemoryDeviceDef>,
}

/// The option of `-machine` that names the memory; none where the cells have it.
pub(super) fn machine_option(plan: &Plan<'_>) -> String {
    if plan.def.cpu.cells.is_empty() { format!(",memory-backend={RAM}") } else { String::new() }
}

/// How much there is, and what it is made of.
pub(super) fn add(plan: &mut Plan<'_>) {
    let def = plan.def;
    let initial = def.initial_memory();
    let mut size = format!("size={}k", initial.kib());
    if let Some(max) = def.max_memory {
        size.push_str(&format!(",slots={},maxmem={}k", max.slots, max.size.kib()));
    }
    plan.args.pair("-m", size);
    if def.cpu.cells.is_empty() {
        let piece = Piece { id: RAM, size: initial, node: None, access: None, device: None };
        let object = backend(plan, &piece);
        plan.args.json("-object", &object);
    }
    if let Some(now) = def.current_memory.filter(|now| now.0 > 0 && now.kib() < def.memory.kib()) {
        less_at_the_start(plan, now);
    }
    let locked = if def.memory_backing.locked { "on" } else { "off" };
    plan.args.pair("-overcommit", format!("mem-lock={locked}"));
    if def.memory_backing.locked {
        let message = "a guest of Warren's has no right to lock its memory";
        plan.unsupported("/domain/memoryBacking/locked", message, "leave it out");
    }
    if def.memory_backing.source == Some(MemorySource::File) && def.memory_backing.hugepages.is_none() {
        let path = "/domain/memoryBacking/source/@type";
        let message = "Warren does not keep a guest's memory in a file; memfd shares it as well";
        plan.unsupported(path, message, "write type='memfd'");
    }
}

/// The guest's balloon is asked for what it is not to have yet; a guest without one keeps all.
fn less_at_the_start(plan: &mut Plan<'_>, now: MemorySize) {
    let none = |d: &Device| matches!(d, Device::Memballoon(b) if b.model == MemballoonModel::None);
    if plan.def.devices.iter().any(none) {
        let message = "a guest without a balloon has all its memory from the start";
        plan.unsupported(
            "/domain/currentMemory",
            message,
            "write as much as <memory>, or give it a <memballoon>",
        );
        return;
    }
    plan.settings.push(("balloon", json!({ "value": now.0 })));
}

/// The object that a piece of memory is made of.
pub(super) fn backend(plan: &Plan<'_>, piece: &Piece<'_>) -> Value {
    let def = plan.def;
    let backing = &def.memory_backing;
    let own_pages = piece.device.and_then(|d| d.page_size);
    let pages = own_pages.map(Some).or_else(|| pages(plan, piece.node));
    let shared = piece.access.or(backing.access) == Some(MemoryAccess::Shared);
    // Pages of another size and pages for others come by a memfd: no file on the host is named.
    let memfd = pages.is_some() || shared || backing.source == Some(MemorySource::Memfd);
    let mut object = json!({
        "qom-type": if memfd { "memory-backend-memfd" } else { "memory-backend-ram" },
        "id": piece.id,
    });
    if let Some(size) = pages {
        object["hugetlb"] = true.into();
        if let Some(size) = size {
            object["hugetlbsize"] = size.0.into();
        }
        object["prealloc"] = true.into();
    }
    if memfd {
        object["share"] = shared.into();
        object["x-use-canonical-path-for-ramblock-id"] = false.into();
    }
    if backing.immediate {
        object["prealloc"] = true.into();
    }
    if let Some(threads) = backing.threads.filter(|_| object.get("prealloc").is_some()) {
        object["prealloc-threads"] = threads.into();
    }
    object["size"] = (piece.size.kib() * 1024).into();
    let of_device = piece.device.map(|d| d.nodes.as_slice()).filter(|n| !n.is_empty());
    if let Some(nodes) = of_device {
        object["host-nodes"] = nodes.into();
        object["policy"] = "bind".into();
    } else if let Some(NodePolicy { policy: Some(policy), nodes }) = nodes(plan, piece.node) {
        object["host-nodes"] = nodes.as_slice().into();
        object["policy"] = (*policy).into();
    }
    object
}

/// The size of huge pages, `None` inside for the host's own; `None` for memory in ordinary pages.
fn pages(plan: &Plan<'_>, node: Option<u32>) -> Option<Option<MemorySize>> {
    let pages = plan.def.memory_backing.hugepages.as_ref()?;
    let of_node = |n: u32| pages.iter().find(|p| p.nodes.contains(&n));
    // A machine without cells has one, number 0.
    let found = of_node(node.unwrap_or(0)).or_else(|| pages.iter().find(|p| p.nodes.is_empty()));
    match found {
        // The size of ordinary pages is no huge page.
        Some(page) if page.size.0 == 4096 => None,
        Some(page) => Some(Some(page.size)),
        None if pages.is_empty() => Some(None),
        None => None,
    }
}

/// The host's nodes for a cell.
fn nodes<'a>(plan: &'a Plan<'_>, node: Option<u32>) -> Option<&'a NodePolicy> {
    let tune = &plan.def.numatune;
    let of_cell = node.and_then(|n| tune.cells.iter().find(|(cell, _)| *cell == n));
    of_cell.map(|(_, policy)| policy).or(tune.memory.as_ref())
}

/// The cells, after the number of CPUs.
pub(super) fn cells(plan: &mut Plan<'_>) {
    let def = plan.def;
    for (at, cell) in (0..).zip(&def.cpu.cells) {
        let id = format!("ram-node{at}");
        let piece = Piece { id: &id, size: cell.memory, node: Some(at), access: cell.access, device: None };
        let object = backend(plan, &piece);
        plan.args.json("-object", &object);
        let mut node = format!("node,nodeid={at}");
        for range in ranges(&cell.cpus) {
            node.push_str(&format!(",cpus={range}"));
        }
        if hmat(plan) && cell.cpus.is_empty() {
            node.push_str(&format!(",initiator={}", initiator(&def.cpu.interconnects, at)));
        } else if hmat(plan) {
            node.push_str(&format!(",initiator={at}"));
        }
        plan.args.pair("-numa", format!("{node},memdev={id}"));
    }
    for (at, cell) in (0..).zip(&def.cpu.cells) {
        distances(plan, at, cell);
    }
    if hmat(plan) {
        interconnects(plan);
    }
}

/// Whether the guest is told how fast the ways to memory are.
pub(super) fn hmat(plan: &Plan<'_>) -> bool {
    let cpu = &plan.def.cpu;
    !cpu.interconnects.is_empty() || cpu.cells.iter().any(|c| !c.caches.is_empty())
}

fn initiator(all: &[Interconnect], target: u32) -> u32 {
    all.iter().find(|i| i.target == target && i.initiator != target).map_or(0, |i| i.initiator)
}

/// Runs of numbers, as QEMU reads them.
fn ranges(numbers: &[u32]) -> Vec<String> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for n in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *n => *last = *n,
            _ => runs.push((*n, *n)),
        }
    }
    let show = |(first, last): (u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    runs.into_iter().map(show).collect()
}

fn distances(plan: &mut Plan<'_>, at: u32, cell: &NumaCell) {
    for (to, value) in &cell.distances {
        plan.args.pair("-numa", format!("dist,src={at},dst={to},val={value}"));
    }
}

fn interconnects(plan: &mut Plan<'_>) {
    let def = plan.def;
    for way in &def.cpu.interconnects {
        let hierarchy = match way.cache {
            0 => "memory",
            1 => "first-level",
            2 => "second-level",
            _ => "third-level",
        };
        let (kind, value) = match (way.latency, way.bandwidth) {
            (Some(latency), _) => ("latency", format!("latency={latency}")),
            (None, bandwidth) => ("bandwidth", format!("bandwidth={}K", bandwidth.unwrap_or(0))),
        };
        let line = format!(
            "hmat-lb,initiator={},target={},hierarchy={hierarchy},data-type={}-{kind},{value}",
            way.initiator, way.target, way.kind
        );
        plan.args.pair("-numa", line);
    }
    for (at, cell) in (0..).zip(&def.cpu.cells) {
        let at: u32 = at;
        for cache in &cell.caches {
            let line = format!(
                "hmat-cache,node-id={at},size={}K,level={},associativity={},policy={},line={}",
                cache.size.kib(),
                cache.level,
                cache.associativity,
                cache.policy,
                cache.line.0
            );
            plan.args.pair("-numa", line);
        }
    }
}
