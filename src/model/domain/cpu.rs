//! `<cpu>`: the guest's processor and its NUMA cells. Owns libvirt's words and defaults for it; must never
//! know what a host or a QEMU has.

use super::memory::{self, MemoryAccess};
use crate::model::MemorySize;
use crate::model::doc::required;
use crate::xml::view::View;

/// `<cpu>`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuDef {
    /// `@mode`.
    pub mode: CpuMode,
    /// `@match`: how the features of a custom model are taken.
    pub matching: Option<CpuMatch>,
    /// `@check`: whether a start looks for what the CPU did not get.
    pub check: Option<CpuCheck>,
    /// `@migratable`: leave out what cannot be moved to another host.
    pub migratable: Option<bool>,
    /// `<model>`; absent means the machine's own.
    pub model: Option<String>,
    /// `<model fallback='forbid'>`: no other model will do.
    pub no_fallback: bool,
    /// `<model vendor_id>`, 12 characters: what the guest is told.
    pub vendor_id: Option<String>,
    /// `<vendor>`: the host must be of this one.
    pub vendor: Option<String>,
    /// `<topology>`.
    pub topology: Option<CpuTopology>,
    /// `<cache>`.
    pub cache: Option<CpuCache>,
    /// `<maxphysaddr>`.
    pub max_phys_addr: Option<MaxPhysAddr>,
    /// `<feature>` in order.
    pub features: Vec<CpuFeature>,
    /// `<numa><cell>` in order of their numbers.
    pub cells: Vec<NumaCell>,
    /// `<numa><interconnects>` in order.
    pub interconnects: Vec<Interconnect>,
}

/// `<cpu mode>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum CpuMode {
    #[default]
    Custom,
    HostModel,
    HostPassthrough,
    Maximum,
}

/// `<cpu match>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum CpuMatch {
    Minimum,
    Exact,
    Strict,
}

/// `<cpu check>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum CpuCheck {
    None,
    Partial,
    Full,
}

/// `<topology>`: each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub struct CpuTopology {
    pub sockets: u32,
    pub dies: u32,
    pub clusters: u32,
    pub cores: u32,
    pub threads: u32,
}

impl CpuTopology {
    /// How many CPUs it has room for.
    pub fn cpus(&self) -> u64 {
        [self.sockets, self.dies, self.clusters, self.cores, self.threads]
            .iter()
            .map(|n| u64::from(*n))
            .product()
    }
}

/// `<cache>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuCache {
    /// `@level`, 3 where it is emulated.
    pub level: Option<u8>,
    /// `@mode`.
    pub mode: CacheMode,
}

/// `<cache mode>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum CacheMode {
    Emulate,
    Passthrough,
    Disable,
}

/// `<maxphysaddr>`: how wide physical addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPhysAddr {
    /// `mode='passthrough'`: as the host's.
    pub passthrough: bool,
    /// `@bits` where it is emulated.
    pub bits: Option<u8>,
    /// `@limit` on the host's.
    pub limit: Option<u8>,
}

/// `<feature>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuFeature {
    /// `@name`, in libvirt's words.
    pub name: String,
    /// `@policy`.
    pub policy: FeaturePolicy,
}

/// `<feature policy>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum FeaturePolicy {
    Force,
    Require,
    Optional,
    Disable,
    Forbid,
}

/// `<numa><cell>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumaCell {
    /// Path of the element, for findings.
    pub path: String,
    /// `@cpus`; empty for a cell of memory alone.
    pub cpus: Vec<u32>,
    /// `@memory`.
    pub memory: MemorySize,
    /// `@memAccess`.
    pub access: Option<MemoryAccess>,
    /// `<distances>`: cell and distance.
    pub distances: Vec<(u32, u8)>,
    /// `<cache>` of the memory's side.
    pub caches: Vec<NumaCache>,
}

/// `<cell><cache>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumaCache {
    /// `@level`, from 1.
    pub level: u32,
    /// `@associativity`: `none`, `direct` or `full`, in QEMU's words `none`, `direct`, `complex`.
    pub associativity: &'static str,
    /// `@policy`: `none`, `writeback` or `writethrough`, in QEMU's words.
    pub policy: &'static str,
    /// `<size>`.
    pub size: MemorySize,
    /// `<line>`.
    pub line: MemorySize,
}

/// `<interconnects>`: how fast one cell reaches the memory of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interconnect {
    /// `@initiator`.
    pub initiator: u32,
    /// `@target`.
    pub target: u32,
    /// `@cache`: the level that is reached instead of the memory.
    pub cache: u32,
    /// `@type`: `access`, `read` or `write`.
    pub kind: &'static str,
    /// Nanoseconds.
    pub latency: Option<u64>,
    /// KiB a second.
    pub bandwidth: Option<u64>,
}

const MODES: &[(&str, CpuMode)] = &[
    ("custom", CpuMode::Custom),
    ("host-model", CpuMode::HostModel),
    ("host-passthrough", CpuMode::HostPassthrough),
    ("maximum", CpuMode::Maximum),
];

const MATCHES: &[(&str, CpuMatch)] =
    &[("minimum", CpuMatch::Minimum), ("exact", CpuMatch::Exact), ("strict", CpuMatch::Strict)];

const CHECKS: &[(&str, CpuCheck)] =
    &[("none", CpuCheck::None), ("partial", CpuCheck::Partial), ("full", CpuCheck::Full)];

const POLICIES: &[(&str, FeaturePolicy)] = &[
    ("force", FeaturePolicy::Force),
    ("require", FeaturePolicy::Require),
    ("optional", FeaturePolicy::Optional),
    ("disable", FeaturePolicy::Disable),
    ("forbid", FeaturePolicy::Forbid),
];

pub(super) fn read(cpu: &View<'_>) -> CpuDef {
    let model = cpu.child("model");
    let fallback = model.as_ref().and_then(|m| m.one_of("fallback", &[("allow", false), ("forbid", true)]));
    let name = model.as_ref().map(|m| m.text().into_owned()).filter(|m| !m.is_empty());
    if cpu.yes_no("deprecated_features").is_some() {
        cpu.unsupported_at("deprecated_features", "it is for CPUs of s390", "leave it out");
    }
    let mode = cpu.one_of("mode", MODES).unwrap_or_default();
    let def = CpuDef {
        mode,
        matching: cpu.one_of("match", MATCHES),
        check: cpu.one_of("check", CHECKS),
        migratable: cpu.yes_no("migratable"),
        no_fallback: fallback.unwrap_or(false),
        vendor_id: model.as_ref().and_then(vendor_id),
        model: name,
        vendor: vendor(cpu, mode),
        topology: cpu.child("topology").and_then(|t| topology(&t)),
        cache: cpu.child("cache").and_then(|c| cache(&c)),
        max_phys_addr: cpu.child("maxphysaddr").and_then(|m| max_phys_addr(&m)),
        features: features(cpu),
        cells: cpu.child("numa").map(|n| cells(&n)).unwrap_or_default(),
        interconnects: cpu.child("numa").map(|n| interconnects(&n)).unwrap_or_default(),
    };
    if def.mode == CpuMode::Custom && def.model.is_none() && !def.features.is_empty() {
        cpu.error("<cpu> lists features of a model that it does not name", "add <model>");
    }
    if def.migratable.is_some() && !matches!(def.mode, CpuMode::HostPassthrough | CpuMode::Maximum) {
        let remedy = "leave it out, or write mode='host-passthrough'";
        cpu.error_at("migratable", "'migratable' is for the modes host-passthrough and maximum", remedy);
    }
    def
}

/// libvirt compares it with the host's for a custom model alone.
fn vendor(cpu: &View<'_>, mode: CpuMode) -> Option<String> {
    let view = cpu.child("vendor")?;
    let text = Some(view.text().into_owned()).filter(|t| !t.is_empty());
    if text.is_some() && mode != CpuMode::Custom {
        view.warning("the CPU is of the host's own maker, whichever that is", "leave <vendor> out");
    }
    text
}

fn vendor_id(model: &View<'_>) -> Option<String> {
    let id = model.filled("vendor_id")?;
    if id.chars().count() != 12 || id.contains(',') {
        model.error_at("vendor_id", format!("'{id}' is not a vendor"), "give 12 characters without a comma");
        return None;
    }
    Some(id.to_owned())
}

fn topology(view: &View<'_>) -> Option<CpuTopology> {
    let number = |name: &str| {
        let n: Option<u32> = view.parsed(name);
        if n == Some(0) {
            view.error_at(name, format!("there are 0 {name}"), "give at least 1");
        }
        n
    };
    let needed = |name: &str| required(number(name), view, name, "give a number from 1");
    let (sockets, cores, threads) = (needed("sockets"), needed("cores"), needed("threads"));
    let (dies, clusters) = (number("dies").unwrap_or(1), number("clusters").unwrap_or(1));
    Some(CpuTopology { sockets: sockets?, dies, clusters, cores: cores?, threads: threads? })
}

fn cache(view: &View<'_>) -> Option<CpuCache> {
    let modes = [
        ("emulate", CacheMode::Emulate),
        ("passthrough", CacheMode::Passthrough),
        ("disable", CacheMode::Disable),
    ];
    let level: Option<u8> = view.parsed("level");
    let mode = required(view.one_of("mode", &modes), view, "mode", "give emulate, passthrough or disable")?;
    match (mode, level) {
        (CacheMode::Emulate, Some(level)) if level != 3 => {
            view.error_at("level", format!("a cache of level {level} cannot be emulated"), "level 3 can");
        }
        (CacheMode::Passthrough | CacheMode::Disable, Some(_)) => {
            view.error_at("level", "only a cache that is emulated has a level", "leave it out");
        }
        _ => {}
    }
    Some(CpuCache { level, mode })
}

fn max_phys_addr(view: &View<'_>) -> Option<MaxPhysAddr> {
    let mode = view.one_of("mode", &[("emulate", false), ("passthrough", true)]);
    let passthrough = required(mode, view, "mode", "give emulate or passthrough")?;
    let (bits, limit) = (view.parsed("bits"), view.parsed("limit"));
    if passthrough && bits.is_some() {
        view.error_at("bits", "the width is the host's", "leave 'bits' out, or write mode='emulate'");
    }
    if !passthrough && limit.is_some() {
        view.error_at("limit", "only the host's width is limited", "write 'bits' instead");
    }
    Some(MaxPhysAddr { passthrough, bits, limit })
}

fn features(cpu: &View<'_>) -> Vec<CpuFeature> {
    let mut features: Vec<CpuFeature> = Vec::new();
    for view in cpu.children("feature") {
        let policy = view.one_of("policy", POLICIES).unwrap_or(FeaturePolicy::Require);
        let Some(name) = required(view.filled("name"), &view, "name", "name the feature") else { continue };
        if name.contains([',', '=']) {
            view.error_at("name", format!("'{}' is not a feature", name.escape_debug()), "");
        } else if features.iter().any(|f| f.name == name) {
            view.error_at("name", format!("the CPU feature '{name}' is there twice"), "leave one out");
        } else {
            features.push(CpuFeature { name: name.to_owned(), policy });
        }
    }
    features
}

fn cells(numa: &View<'_>) -> Vec<NumaCell> {
    let views = numa.children("cell");
    let mut cells: Vec<Option<NumaCell>> = (0..views.len()).map(|_| None).collect();
    for (at, view) in views.iter().enumerate() {
        let id = view.parsed("id").unwrap_or(at);
        let cell = cell(view);
        match cells.get_mut(id) {
            Some(place @ None) => *place = cell,
            Some(Some(_)) => view.error_at("id", format!("cell {id} is there twice"), "give each its own"),
            None => {
                let last = views.len().saturating_sub(1);
                view.error_at(
                    "id",
                    format!("{id} leaves a gap in the cells' numbers"),
                    format!("0 to {last}"),
                );
            }
        }
    }
    cells.into_iter().flatten().collect()
}

fn cell(view: &View<'_>) -> Option<NumaCell> {
    let cpus = match view.filled("cpus") {
        Some(text) => super::tune::cpu_set(text).or_else(|| {
            view.error_at("cpus", format!("'{text}' is not a set of CPUs"), "as 0-3,8");
            None
        })?,
        None => Vec::new(),
    };
    let amount: Option<u64> = required(view.parsed("memory"), view, "memory", "give an amount of memory");
    let unit = view.filled("unit").unwrap_or("KiB");
    let memory = match MemorySize::from_unit(amount?, unit) {
        Ok(size) => size,
        Err(e) => {
            view.error_at("unit", e.to_string(), "");
            return None;
        }
    };
    let siblings = view.child("distances").map(|d| d.children("sibling")).unwrap_or_default();
    let sibling = |s: &View<'_>| {
        let id = required(s.parsed("id"), s, "id", "");
        let value: Option<u8> = required(s.parsed("value"), s, "value", "give 10 to 255");
        if value.is_some_and(|v| v < 10) {
            s.error_at("value", "a distance below 10 has no meaning", "give 10 to 255");
        }
        Some((id?, value?))
    };
    memory::discard(view);
    Some(NumaCell {
        path: view.path().to_owned(),
        cpus,
        memory,
        access: view.one_of("memAccess", memory::ACCESS),
        distances: siblings.iter().filter_map(sibling).collect(),
        caches: view.children("cache").iter().filter_map(numa_cache).collect(),
    })
}

fn numa_cache(view: &View<'_>) -> Option<NumaCache> {
    let size = |name: &str| {
        let child = view.child(name)?;
        let value: Option<u64> = required(child.parsed("value"), &child, "value", "");
        let unit = child.filled("unit").unwrap_or("KiB");
        MemorySize::from_unit(value?, unit).map_err(|e| child.error_at("unit", e.to_string(), "")).ok()
    };
    let (whole, line) = (size("size"), size("line"));
    let words = [("none", "none"), ("direct", "direct"), ("full", "complex")];
    let associativity = required(view.one_of("associativity", &words), view, "associativity", "");
    let words = [("none", "none"), ("writeback", "write-back"), ("writethrough", "write-through")];
    let policy = required(view.one_of("policy", &words), view, "policy", "");
    let level = required(view.parsed("level"), view, "level", "give a number from 1");
    if whole.is_none() || line.is_none() {
        view.error("a memory side cache needs <size> and <line>", "");
    }
    Some(NumaCache {
        level: level?,
        associativity: associativity?,
        policy: policy?,
        size: whole?,
        line: line?,
    })
}

fn interconnects(numa: &View<'_>) -> Vec<Interconnect> {
    let Some(all) = numa.child("interconnects") else { return Vec::new() };
    let kinds = [("access", "access"), ("read", "read"), ("write", "write")];
    let mut found = Vec::new();
    for view in all.all_children() {
        if !matches!(view.name(), "latency" | "bandwidth") {
            view.leave();
            continue;
        }
        let initiator = required(view.parsed("initiator"), &view, "initiator", "");
        let target = required(view.parsed("target"), &view, "target", "");
        let kind = required(view.one_of("type", &kinds), &view, "type", "");
        let value: Option<u64> = required(view.parsed("value"), &view, "value", "");
        let cache = view.parsed("cache").unwrap_or(0);
        let unit = view.filled("unit").unwrap_or("KiB");
        let (Some(initiator), Some(target), Some(kind), Some(value)) = (initiator, target, kind, value)
        else {
            continue;
        };
        let latency = (view.name() == "latency").then_some(value);
        let kib = MemorySize::from_unit(value, unit).map(MemorySize::kib).unwrap_or(value);
        let bandwidth = latency.is_none().then_some(kib);
        found.push(Interconnect { initiator, target, cache, kind, latency, bandwidth });
    }
    found
}
