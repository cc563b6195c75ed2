//! `<features>`: what the machine and its CPUs have besides devices. Owns libvirt's words and defaults for
//! them; must never decide which of them a QEMU has.

use std::collections::BTreeMap;

use crate::model::MemorySize;
use crate::model::doc::required;
use crate::xml::view::View;

/// `<features>`, in the order of the document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features(pub Vec<Feature>);

/// One feature, or one part of a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Path of the element, for findings.
    pub path: String,
    /// The element's name.
    pub name: String,
    /// `@state`; a feature that is named without one is on.
    pub state: State,
    /// Further attributes, and values of sub-elements by their name.
    pub values: BTreeMap<String, String>,
    /// Parts that are features themselves: of `hyperv`, `kvm`, `xen`, `tlbflush`.
    pub parts: Vec<Self>,
}

/// Whether a feature is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum State {
    On,
    Off,
    /// QEMU's own choice.
    Auto,
}

impl Features {
    /// The feature of this name.
    pub fn get(&self, name: &str) -> Option<&Feature> {
        self.0.iter().find(|f| f.name == name)
    }

    /// Whether the feature is there and on.
    pub fn on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|f| f.state == State::On)
    }

    /// Whether the feature is on or off, if the document says so.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.get(name).and_then(Feature::switch)
    }

    /// Switches a feature on that is there without any further say.
    pub fn add(&mut self, name: &str) {
        self.0.push(Feature {
            path: format!("/domain/features/{name}"),
            name: name.to_owned(),
            state: State::On,
            values: BTreeMap::new(),
            parts: Vec::new(),
        });
    }
}

impl Feature {
    /// Whether it is on or off, if the document says so.
    pub fn switch(&self) -> Option<bool> {
        match self.state {
            State::On => Some(true),
            State::Off => Some(false),
            State::Auto => None,
        }
    }

    /// A value by its name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A part by its name.
    pub fn part(&self, name: &str) -> Option<&Self> {
        self.parts.iter().find(|f| f.name == name)
    }
}

/// How a feature says whether it is there.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    /// By being there.
    Presence,
    /// By `@state`, which may be left out.
    MayState,
    /// By `@state`.
    MustState,
}

use Says::{MayState, MustState, Presence};

/// All features, with how they say that they are there and their further attributes.
const FEATURES: &[(&str, Says, &[&str])] = &[
    ("acpi", Presence, &[]),
    ("apic", Presence, &["eoi"]),
    ("pae", Presence, &[]),
    ("privnet", Presence, &[]),
    ("viridian", Presence, &[]),
    ("hap", MayState, &[]),
    ("pvspinlock", MayState, &[]),
    ("pmu", MayState, &[]),
    ("vmport", MayState, &[]),
    ("smm", MayState, &[]),
    ("vmcoreinfo", MayState, &[]),
    ("htm", MustState, &[]),
    ("nested-hv", MustState, &[]),
    ("ccf-assist", MustState, &[]),
    ("ras", MustState, &[]),
    ("ps2", MustState, &[]),
    ("async-teardown", MayState, &["enabled"]),
    ("hyperv", Presence, &["mode"]),
    ("kvm", Presence, &[]),
    ("xen", Presence, &[]),
    ("tcg", Presence, &[]),
    ("ioapic", Presence, &["driver"]),
    ("gic", Presence, &["version"]),
    ("hpt", Presence, &["resizing"]),
    ("msrs", Presence, &["unknown"]),
    ("cfpc", Presence, &["value"]),
    ("sbbc", Presence, &["value"]),
    ("ibs", Presence, &["value"]),
    ("capabilities", Presence, &["policy"]),
    ("aia", Presence, &["value"]),
];

/// Parts of `<hyperv>`.
const HYPERV: &[(&str, &[&str])] = &[
    ("relaxed", &[]),
    ("vapic", &[]),
    ("spinlocks", &["retries"]),
    ("vpindex", &[]),
    ("runtime", &[]),
    ("synic", &[]),
    ("stimer", &[]),
    ("reset", &[]),
    ("vendor_id", &["value"]),
    ("frequencies", &[]),
    ("reenlightenment", &[]),
    ("tlbflush", &[]),
    ("ipi", &[]),
    ("evmcs", &[]),
    ("avic", &[]),
    ("emsr_bitmap", &[]),
    ("xmm_input", &[]),
];

/// Parts of `<kvm>`.
const KVM: &[(&str, &[&str])] = &[
    ("hidden", &[]),
    ("hint-dedicated", &[]),
    ("poll-control", &[]),
    ("pv-ipi", &[]),
    ("dirty-ring", &["size"]),
];

/// Parts of `<xen>`.
const XEN: &[(&str, &[&str])] = &[("e820_host", &[]), ("passthrough", &["mode"])];

/// Attributes that say on or off, whatever the word.
const SWITCHES: &[&str] = &["eoi", "enabled"];

const STATES: &[(&str, State)] = &[("on", State::On), ("off", State::Off), ("auto", State::Auto)];

pub(super) fn read(view: &View<'_>) -> Features {
    let mut features: Vec<Feature> = Vec::new();
    for child in view.all_children() {
        let Some((name, says, attributes)) = FEATURES.iter().find(|(name, ..)| *name == child.name()) else {
            child.error(format!("there is no feature '{}'", child.name()), "leave it out");
            child.accept();
            continue;
        };
        if features.iter().any(|f| f.name == *name) {
            child.leave();
            continue;
        }
        let mut feature = one(&child, *says, attributes);
        match *name {
            "hyperv" => hyperv(&child, &mut feature),
            "kvm" => feature.parts = parts(&child, KVM),
            "xen" => feature.parts = parts(&child, XEN),
            "smm" => amount(&child, &mut feature, "tseg"),
            "tcg" => amount(&child, &mut feature, "tb-cache"),
            "hpt" => amount(&child, &mut feature, "maxpagesize"),
            "capabilities" => child.accept(),
            _ => {}
        }
        check(&child, &feature);
        features.push(feature);
    }
    Features(features)
}

fn one(view: &View<'_>, says: Says, attributes: &[&str]) -> Feature {
    let state = match says {
        Presence => None,
        MayState => view.one_of("state", STATES),
        MustState => required(view.one_of("state", STATES), view, "state", "give on or off"),
    };
    let value = |name: &&str| Some(((*name).to_owned(), view.filled(name)?.to_owned()));
    for name in attributes.iter().filter(|a| SWITCHES.contains(a)) {
        view.yes_no(name);
    }
    Feature {
        path: view.path().to_owned(),
        name: view.name().to_owned(),
        state: state.unwrap_or(State::On),
        values: attributes.iter().filter_map(value).collect(),
        parts: Vec::new(),
    }
}

fn parts(view: &View<'_>, known: &[(&str, &[&str])]) -> Vec<Feature> {
    let mut parts = Vec::new();
    for child in view.all_children() {
        match known.iter().find(|(name, _)| *name == child.name()) {
            Some((_, attributes)) => parts.push(one(&child, MustState, attributes)),
            None => {
                child.error(format!("<{}> has no part '{}'", view.name(), child.name()), "leave it out");
                child.accept();
            }
        }
    }
    parts
}

fn hyperv(view: &View<'_>, feature: &mut Feature) {
    let modes = [("custom", ()), ("passthrough", ()), ("host-model", ())];
    view.one_of("mode", &modes);
    feature.parts = parts(view, HYPERV);
    for child in view.all_children() {
        let Some(part) = feature.parts.iter_mut().find(|p| p.name == child.name()) else { continue };
        let on = part.state == State::On;
        match child.name() {
            "spinlocks" if on => match child.parsed::<u32>("retries") {
                Some(retries) if retries < 0xfff => {
                    let message = format!("{retries} tries are too few for spinlocks");
                    child.error_at("retries", message, "give at least 4095");
                }
                Some(_) => {}
                None => {
                    required(child.filled("retries"), &child, "retries", "give at least 4095");
                }
            },
            "vendor_id" if on => match child.filled("value") {
                Some(id) if id.len() > 12 || id.contains(',') => {
                    child.error_at("value", format!("'{id}' is not a vendor"), "12 characters, no comma");
                }
                Some(_) => {}
                None => {
                    required(None::<&str>, &child, "value", "give up to 12 characters");
                }
            },
            "stimer" => part.parts = nested(&child, &["direct"]),
            "tlbflush" => part.parts = nested(&child, &["direct", "extended"]),
            _ => {}
        }
    }
}

fn nested(view: &View<'_>, known: &[&str]) -> Vec<Feature> {
    known.iter().filter_map(|name| view.child(name)).map(|child| one(&child, MustState, &[])).collect()
}

/// A sub-element with an amount of memory: its value in bytes.
fn amount(view: &View<'_>, feature: &mut Feature, name: &str) {
    let Some(child) = view.child(name) else { return };
    let unit = child.filled("unit").unwrap_or(if name == "tseg" { "MiB" } else { "KiB" });
    let text = child.text();
    match text.parse::<u64>().map_err(|e| e.to_string()) {
        Ok(value) => match MemorySize::from_unit(value, unit) {
            Ok(size) => {
                feature.values.insert(name.to_owned(), size.0.to_string());
            }
            Err(e) => child.error_at("unit", e.to_string(), ""),
        },
        Err(_) => child.error(format!("'{text}' is not an amount of memory"), "give a whole number"),
    }
}

/// Words that an attribute may have.
fn check(view: &View<'_>, feature: &Feature) {
    let known: &[&str] = match feature.name.as_str() {
        "ioapic" => &["kvm", "qemu"],
        "hpt" => &["enabled", "disabled", "required"],
        "gic" => &["2", "3", "host"],
        "msrs" => &["ignore", "fault"],
        "cfpc" | "sbbc" | "ibs" => &["broken", "workaround", "fixed", "fixed-ibs", "fixed-ccd", "fixed-na"],
        _ => return,
    };
    for (name, value) in &feature.values {
        if !matches!(name.as_str(), "maxpagesize") && !known.contains(&value.as_str()) {
            view.error_at(name, format!("'{value}' is not known"), format!("known are {}", known.join(", ")));
        }
    }
}
