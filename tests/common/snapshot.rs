//! The state of the test's machine, to be compared before and after.
//!
//! Owns what counts as state: links, firewall tables, processes and files of runtime state. Must never
//! change anything.

use std::collections::{BTreeSet, HashMap};
use std::fs::DirEntry;
use std::time::{Duration, Instant};

use super::world::{World, eventually};

/// How long what ends may take, on a machine that does much else. A daemon with nothing to do ends after a minute.
const PATIENCE: Duration = Duration::from_secs(50);

/// All that Warren could leave behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostState {
    links: BTreeSet<String>,
    tables: BTreeSet<String>,
    processes: Vec<String>,
    files: BTreeSet<String>,
}

impl HostState {
    /// As it is now.
    pub(crate) fn now(world: &World) -> Self {
        let lines = |text: String| text.lines().map(str::to_owned).collect();
        Self {
            links: lines(world.sh("ip -o link show | sed 's/^[0-9]*: \\([^:@]*\\).*/\\1/'")),
            tables: lines(world.sh("nft list tables")),
            processes: processes(),
            // What QEMU can do is asked beside everything else, and known until the next boot.
            files: lines(world.sh(&format!(
                "find {} -path '*/warren-*/run/*' ! -type d ! -name 'qemu.json*' ! -path '*/children/probe-*'",
                World::DIR
            ))),
        }
    }

    /// Waits until the machine is again as it was; says what differs if it does not become so.
    pub(crate) async fn restored(&self, world: &World) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Self::now(world);
        while *self != last && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
            last = Self::now(world);
        }
        if *self == last {
            return;
        }
        panic!("something was left behind\nbefore: {self:#?}\nafter: {last:#?}");
    }
}

/// The command lines of all processes of the world that run, sorted; zombies are gone, and so are the
/// short-lived tools of this harness.
fn processes() -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut found = running();
    // What the daemon starts is a copy of the daemon until it has become its own program.
    while found.values().any(|(line, parent)| {
        line.contains("/warrend ") && found.get(parent).is_some_and(|(parents, _)| parents == line)
    }) && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(1));
        found = running();
    }
    let mut lines: Vec<_> = found.into_values().map(|(line, _)| line).collect();
    lines.sort();
    lines
}

/// By pid: the command line and the parent's pid.
fn running() -> HashMap<u32, (String, u32)> {
    let read = |entry: DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        // Of a zombie it is empty; a process that ends meanwhile cannot be read.
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).trim_end_matches('\0').replace('\0', " ");
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
        // Nor does the daemon's question to a QEMU what it can do count, which is over at once.
        (!line.is_empty() && !line.contains("-machine none")).then_some((pid, (line, parent)))
    };
    std::fs::read_dir("/proc").expect("/proc is mounted").flatten().filter_map(read).collect()
}

/// Waits until no process of the world has `word` in its command line.
pub(crate) async fn none_runs(word: &str) {
    let what = format!("no process of '{word}' is left");
    eventually(&what, PATIENCE / 5, async || {
        (!processes().iter().any(|line| line.contains(word))).then_some(())
    })
    .await;
}
