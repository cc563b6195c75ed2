//! Numbers of a `<disk>`: `<blockio>`, `<geometry>`, `<iotune>`, `<throttlefilters>`. Owns libvirt's words for
//! them; must never judge whether they go together (see `plan::check`).

use super::words::words;
use crate::model::doc::required;
use crate::xml::view::View;

/// `<blockio>`, all in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Blockio {
    /// `@logical_block_size`: the least that the guest reads or writes.
    pub logical: Option<u32>,
    /// `@physical_block_size`: what the disk says its sectors have.
    pub physical: Option<u32>,
    /// `@discard_granularity`: the least that can be given back.
    pub discard_granularity: Option<u32>,
}

/// `<geometry>`: what a BIOS is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// `@cyls`.
    pub cylinders: u32,
    /// `@heads`.
    pub heads: u32,
    /// `@secs`: sectors of a track.
    pub sectors: u32,
    /// `@trans`.
    pub translation: Option<Translation>,
}

words! {
    /// `<geometry trans>`.
    Translation { None = "none", Auto = "auto", Lba = "lba" }
}

/// `<iotune>`: limits by libvirt's element names, as `total_bytes_sec`; absent or 0 is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Iotune {
    /// The limits in libvirt's order.
    pub limits: Vec<(&'static str, u64)>,
    /// `<group_name>`: disks of one group share its limits.
    pub group: Option<String>,
}

impl Iotune {
    /// A limit; 0 where there is none.
    pub fn limit(&self, name: &str) -> u64 {
        self.limits.iter().find(|(n, _)| *n == name).map_or(0, |(_, value)| *value)
    }
}

/// The limits of libvirt's `<iotune>`.
const LIMITS: &[&str] = &[
    "total_bytes_sec",
    "read_bytes_sec",
    "write_bytes_sec",
    "total_iops_sec",
    "read_iops_sec",
    "write_iops_sec",
    "total_bytes_sec_max",
    "read_bytes_sec_max",
    "write_bytes_sec_max",
    "total_iops_sec_max",
    "read_iops_sec_max",
    "write_iops_sec_max",
    "size_iops_sec",
    "total_bytes_sec_max_length",
    "read_bytes_sec_max_length",
    "write_bytes_sec_max_length",
    "total_iops_sec_max_length",
    "read_iops_sec_max_length",
    "write_iops_sec_max_length",
];

pub(super) fn blockio(view: &View<'_>) -> Blockio {
    Blockio {
        logical: view.parsed("logical_block_size"),
        physical: view.parsed("physical_block_size"),
        discard_granularity: view.parsed("discard_granularity"),
    }
}

pub(super) fn geometry(view: &View<'_>) -> Option<Geometry> {
    let number = |name: &str| required(view.parsed(name), view, name, "give a number");
    let (cylinders, heads, sectors) = (number("cyls"), number("heads"), number("secs"));
    let translation = view.one_of("trans", Translation::WORDS);
    Some(Geometry { cylinders: cylinders?, heads: heads?, sectors: sectors?, translation })
}

pub(super) fn iotune(view: &View<'_>) -> Iotune {
    let mut tune = Iotune::default();
    for name in LIMITS {
        if let Some(value) = crate::model::doc::text_of(view, name) {
            tune.limits.push((name, value));
        }
    }
    tune.group = view.child("group_name").map(|g| g.text().into_owned()).filter(|g| !g.is_empty());
    tune
}

/// The groups of `<throttlegroups>`, each by its name.
pub(super) fn throttle_groups(view: &View<'_>) -> Vec<(String, Iotune)> {
    let mut groups = Vec::new();
    for group in view.children("throttlegroup") {
        let tune = iotune(&group);
        match &tune.group {
            Some(name) => groups.push((name.clone(), tune)),
            None => group.error("the group has no name", "add <group_name>"),
        }
    }
    groups
}

pub(super) fn throttle_filters(view: &View<'_>) -> Vec<String> {
    let mut groups = Vec::new();
    for filter in view.children("throttlefilter") {
        groups.extend(required(filter.filled("group"), &filter, "group", "name a throttle group"));
    }
    groups.into_iter().map(str::to_owned).collect()
}
