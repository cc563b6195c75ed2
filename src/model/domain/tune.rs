//! How the host serves the guest: CPUs, I/O threads, limits and weights. Owns libvirt's words for them, and
//! says of each that has no effect that it has none; must never set one.

use super::memory;
use crate::model::doc::required;
use crate::xml::view::View;

/// `<vcpu>` and `<vcpus>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vcpus {
    /// How many there can be.
    pub max: u32,
    /// `@current`: how many there are at the start.
    pub current: u32,
}

/// `<iothread>`: a thread of QEMU's that serves disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoThread {
    /// `@id`, from 1.
    pub id: u32,
    /// `@thread_pool_min`.
    pub pool_min: Option<u32>,
    /// `@thread_pool_max`.
    pub pool_max: Option<u32>,
    /// `<poll max grow shrink>`: nanoseconds, and factors.
    pub poll: [Option<u64>; 3],
}

/// `<defaultiothread>`: the pool of QEMU's main loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub struct DefaultIoThread {
    pub pool_min: Option<u32>,
    pub pool_max: Option<u32>,
}

/// `<numatune>`: the host's nodes that memory comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumaTune {
    /// `<memory>`.
    pub memory: Option<NodePolicy>,
    /// `<memnode>` with the cell it is for.
    pub cells: Vec<(u32, NodePolicy)>,
}

/// Where memory comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePolicy {
    /// `@mode`: QEMU's `bind`, `preferred` or `interleave`; none where only the processes' CPUs count.
    pub policy: Option<&'static str>,
    /// `@nodeset`: nodes of the host.
    pub nodes: Vec<u32>,
}

/// A set as libvirt writes it: `0-3,^2,8`.
pub(super) fn cpu_set(text: &str) -> Option<Vec<u32>> {
    let mut set = std::collections::BTreeSet::new();
    for part in text.split(',').map(str::trim) {
        if let Some(not) = part.strip_prefix('^') {
            set.remove(&not.parse().ok()?);
            continue;
        }
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= 16384 {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set.into_iter().collect())
}

/// `<vcpu>` and `<vcpus>`.
pub(super) fn vcpus(root: &View<'_>) -> Vcpus {
    let view = root.child("vcpu");
    let max = crate::model::doc::text_of(root, "vcpu").unwrap_or(1);
    let mut current = max;
    if let Some(view) = view {
        let auto = view.one_of("placement", &[("static", false), ("auto", true)]);
        if auto == Some(true) {
            view.warning_at("placement", "the host's own scheduler places the CPUs", "");
        }
        if let Some(set) = view.filled("cpuset") {
            match cpu_set(set) {
                Some(_) => view.warning_at("cpuset", "the CPUs are not bound to CPUs of the host", ""),
                None => view.error_at("cpuset", format!("'{set}' is not a set of CPUs"), "as 0-3,^2"),
            }
        }
        current = view.parsed("current").unwrap_or(max);
        if current > max || (current == 0 && max > 0) {
            let message = format!("{current} of {max} CPUs cannot be there at the start");
            view.error_at("current", message, format!("give 1 to {max}"));
        }
    }
    if let Some(view) = root.child("vcpus") {
        each_vcpu(&view, max, current);
    }
    Vcpus { max, current }
}

/// `<vcpus>` tells of each CPU whether it is there. QEMU has the first ones.
fn each_vcpu(view: &View<'_>, max: u32, current: u32) {
    let mut enabled = Vec::new();
    for cpu in view.children("vcpu") {
        let id: Option<u32> = required(cpu.parsed("id"), &cpu, "id", "");
        let on = required(cpu.yes_no("enabled"), &cpu, "enabled", "");
        cpu.yes_no("hotpluggable");
        cpu.parsed::<u32>("order");
        if id.is_some_and(|id| id >= max) {
            cpu.error_at("id", format!("there are {max} CPUs"), "");
        }
        if let (Some(id), Some(true)) = (id, on) {
            enabled.push(id);
        }
    }
    enabled.sort_unstable();
    if !enabled.is_empty() && !enabled.iter().copied().eq(0..current) {
        view.unsupported(
            "a guest's first CPUs are those that are there at the start",
            format!("enable 0 to {}", current.saturating_sub(1)),
        );
    }
}

/// `<iothreads>` and `<iothreadids>`: those that are described, and as many more as are asked for.
pub(super) fn iothreads(root: &View<'_>) -> Vec<IoThread> {
    let count: Option<u32> = crate::model::doc::text_of(root, "iothreads");
    let mut threads: Vec<IoThread> = Vec::new();
    let described = root.child("iothreadids").map(|v| v.children("iothread")).unwrap_or_default();
    for view in &described {
        let id: Option<u32> = required(view.parsed("id"), view, "id", "give a number from 1");
        let poll = view.child("poll");
        let of_poll = |name: &str| poll.as_ref().and_then(|p| p.parsed(name));
        let thread = IoThread {
            id: id.unwrap_or(0),
            pool_min: view.parsed("thread_pool_min"),
            pool_max: view.parsed("thread_pool_max"),
            poll: [of_poll("max"), of_poll("grow"), of_poll("shrink")],
        };
        if id == Some(0) {
            view.error_at("id", "I/O threads are numbered from 1", "");
        } else if threads.iter().any(|t| t.id == thread.id) {
            view.error_at("id", format!("I/O thread {} is there twice", thread.id), "");
        }
        threads.push(thread);
    }
    // So many that a document cannot ask for more work than it has letters.
    let count = count.unwrap_or(0).min(4096);
    let mut next = 1;
    while (threads.len() as u64) < u64::from(count) {
        if !threads.iter().any(|t| t.id == next) {
            threads.push(IoThread { id: next, pool_min: None, pool_max: None, poll: [None; 3] });
        }
        next += 1;
    }
    threads
}

/// `<defaultiothread>`.
pub(super) fn default_iothread(root: &View<'_>) -> Option<DefaultIoThread> {
    let view = root.child("defaultiothread")?;
    Some(DefaultIoThread {
        pool_min: view.parsed("thread_pool_min"),
        pool_max: view.parsed("thread_pool_max"),
    })
}

/// `<numatune>`.
pub(super) fn numatune(root: &View<'_>) -> NumaTune {
    let Some(view) = root.child("numatune") else { return NumaTune::default() };
    let memory = view.child("memory").and_then(|memory| {
        if memory.one_of("placement", &[("static", false), ("auto", true)]) == Some(true) {
            memory.warning_at("placement", "the host's own memory management chooses the nodes", "");
        }
        node_policy(&memory)
    });
    let cells = view.children("memnode").into_iter().filter_map(|node| {
        let cell = required(node.parsed("cellid"), &node, "cellid", "give the number of a <cell>");
        if node.filled("nodeset").is_none() {
            node.error_at("nodeset", "<memnode> names no nodes of the host", "add nodeset='0'");
        }
        Some((cell?, node_policy(&node)?))
    });
    NumaTune { cells: cells.collect(), memory }
}

fn node_policy(view: &View<'_>) -> Option<NodePolicy> {
    let modes = [
        ("strict", Some("bind")),
        ("preferred", Some("preferred")),
        ("interleave", Some("interleave")),
        ("restrictive", None),
    ];
    let policy = view.one_of("mode", &modes).unwrap_or(Some("bind"));
    let text = view.filled("nodeset")?;
    let Some(nodes) = cpu_set(text) else {
        view.error_at("nodeset", format!("'{text}' is not a set of nodes"), "as 0-1,3");
        return None;
    };
    if policy.is_none() {
        view.warning_at("mode", "a restrictive mode moves nothing: the host chooses the nodes", "");
    }
    Some(NodePolicy { policy, nodes })
}

/// Settings of the host's that change how fast a guest is, and nothing else.
pub(super) fn hints(root: &View<'_>, threads: &[IoThread]) {
    for (name, limits) in [
        ("cputune", &["quota", "period"][..]),
        ("blkiotune", &["_sec"]),
        ("memtune", &["hard_limit", "swap_hard_limit"]),
    ] {
        let Some(view) = root.child(name) else { continue };
        view.accept();
        for child in view.all_children() {
            let is_limit = |word: &str| limits.iter().any(|l| word.ends_with(l));
            let limit = is_limit(child.name()) || child.element().children().any(|c| is_limit(c.name()));
            if limit && child.name() != "period" {
                // Others on the host may rely on it.
                let message = format!("Warren does not limit a guest by <{}> yet", child.name());
                child.unsupported(message, "leave it out");
            } else if child.name() == "min_guarantee" {
                child.unsupported("QEMU guarantees no memory", "leave it out");
            } else {
                child.warning(format!("<{}> has no effect: it is a hint to the host", child.name()), "");
            }
            hint(&child, threads);
        }
    }
    if let Some(resource) = root.child("resource") {
        resource.accept();
        for group in resource.all_children() {
            let message = "the guest is put where the service puts its guests, not into this group";
            group.warning(message, "");
        }
    }
    if let Some(perf) = root.child("perf") {
        perf.accept();
        if perf.element().children().any(|e| e.attr("enabled") == Some("yes")) {
            perf.warning("no events are counted", "");
        }
    }
    memory_tune_amounts(root);
}

fn period(view: &View<'_>) {
    if number(view).is_some_and(|period| !(1000..=1_000_000).contains(&period)) {
        view.error("a period has 1000 to 1000000 microseconds", "");
    }
}

/// What libvirt demands of a hint, whether or not it is heeded.
fn hint(view: &View<'_>, threads: &[IoThread]) {
    match view.name() {
        "shares" => {
            number(view);
        }
        "period" | "global_period" | "emulator_period" | "iothread_period" => period(view),
        "vcpupin" => {
            let _: Option<u32> = required(view.parsed("vcpu"), view, "vcpu", "give the number of a CPU");
            pinned(view);
        }
        "emulatorpin" => pinned(view),
        "iothreadpin" => {
            let id: Option<u32> = required(view.parsed("iothread"), view, "iothread", "number it from 1");
            if id.is_some_and(|id| !threads.iter().any(|t| t.id == id)) {
                view.error_at("iothread", "there is no such I/O thread", "add one to <iothreads>");
            }
            pinned(view);
        }
        "vcpusched" | "iothreadsched" | "emulatorsched" => scheduled(view),
        _ => {}
    }
}

fn number(view: &View<'_>) -> Option<u64> {
    let text = view.text();
    let number = text.parse().ok();
    if number.is_none() {
        view.error(format!("'{text}' is not a number"), "");
    }
    number
}

/// `@cpuset`: CPUs of the host.
fn pinned(view: &View<'_>) {
    let set = required(view.filled("cpuset"), view, "cpuset", "name CPUs of the host, as 0-3,^2");
    if let Some(text) = set
        && cpu_set(text).is_none_or(|set| set.is_empty())
    {
        view.error_at("cpuset", format!("'{text}' is not a set of CPUs"), "as 0-3,^2");
    }
}

/// How the host's scheduler is to take threads.
fn scheduled(view: &View<'_>) {
    let schedulers = [("batch", false), ("idle", false), ("fifo", true), ("rr", true)];
    let realtime = view.one_of("scheduler", &schedulers);
    let realtime = required(realtime, view, "scheduler", "give batch, idle, fifo or rr");
    let priority: Option<i32> = view.parsed("priority");
    if realtime == Some(true) {
        required(priority, view, "priority", "give a priority");
    }
    for threads in ["vcpus", "iothreads"] {
        if let Some(text) = view.filled(threads)
            && cpu_set(text).is_none()
        {
            view.error_at(threads, format!("'{text}' is not a set of numbers"), "as 0-3,^2");
        }
    }
}

fn memory_tune_amounts(root: &View<'_>) {
    for limit in root.child("memtune").map(|m| m.all_children()).unwrap_or_default() {
        memory::amount(&limit);
    }
}
