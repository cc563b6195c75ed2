//! `<clock>`: what time the guest reads. Owns libvirt's words and defaults for it; must never read a clock.

use crate::model::doc::required;
use crate::xml::view::View;

/// `<clock>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockDef {
    /// `@offset`.
    pub offset: ClockOffset,
    /// `<timer>` in order.
    pub timers: Vec<TimerDef>,
}

impl Default for ClockDef {
    fn default() -> Self {
        Self { offset: ClockOffset::Utc, timers: Vec::new() }
    }
}

/// `<clock offset>`: what the guest's clock shows at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClockOffset {
    /// The host's time, in UTC.
    Utc,
    /// The host's time, in the host's zone.
    Localtime,
    /// The time in a zone, by its name.
    Timezone(String),
    /// The host's time and some seconds.
    Variable {
        /// `@adjustment`, in seconds.
        adjustment: i64,
        /// `@basis='localtime'`.
        localtime: bool,
    },
    /// A time: seconds since 1970.
    Absolute(i64),
}

/// `<timer>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerDef {
    /// Path of the element, for findings.
    pub path: String,
    /// `@name`.
    pub name: TimerName,
    /// `@present`.
    pub present: Option<bool>,
    /// `@tickpolicy`: what becomes of ticks that the guest missed.
    pub tick_policy: Option<TickPolicy>,
    /// `@track` of `rtc`.
    pub track: Option<TimerTrack>,
    /// `@frequency` in Hz, of `tsc`.
    pub frequency: Option<u64>,
    /// `@mode` of `tsc`.
    pub mode: Option<String>,
}

/// `<timer name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum TimerName {
    Platform,
    Hpet,
    Kvmclock,
    Hypervclock,
    Pit,
    Rtc,
    Tsc,
    Armvtimer,
}

/// `<timer tickpolicy>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum TickPolicy {
    Delay,
    Catchup,
    Merge,
    Discard,
}

/// `<timer track>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are libvirt's")]
pub enum TimerTrack {
    Boot,
    Guest,
    Wall,
    Realtime,
}

const NAMES: &[(&str, TimerName)] = &[
    ("platform", TimerName::Platform),
    ("hpet", TimerName::Hpet),
    ("kvmclock", TimerName::Kvmclock),
    ("hypervclock", TimerName::Hypervclock),
    ("pit", TimerName::Pit),
    ("rtc", TimerName::Rtc),
    ("tsc", TimerName::Tsc),
    ("armvtimer", TimerName::Armvtimer),
];

const POLICIES: &[(&str, TickPolicy)] = &[
    ("delay", TickPolicy::Delay),
    ("catchup", TickPolicy::Catchup),
    ("merge", TickPolicy::Merge),
    ("discard", TickPolicy::Discard),
];

const TRACKS: &[(&str, TimerTrack)] = &[
    ("boot", TimerTrack::Boot),
    ("guest", TimerTrack::Guest),
    ("wall", TimerTrack::Wall),
    ("realtime", TimerTrack::Realtime),
];

pub(super) fn read(root: &View<'_>) -> ClockDef {
    let Some(view) = root.child("clock") else { return ClockDef::default() };
    ClockDef { offset: offset(&view), timers: timers(&view) }
}

fn offset(view: &View<'_>) -> ClockOffset {
    let adjustment = view.filled("adjustment");
    let seconds = |given: Option<&str>| match given {
        // How a guest's clock begins again after it was set: Warren begins with the document's.
        None | Some("reset") => 0,
        Some(text) => text.parse().unwrap_or_else(|_| {
            view.error_at("adjustment", format!("'{text}' is not a number of seconds"), "");
            0
        }),
    };
    match view.filled("offset").unwrap_or("utc") {
        // With an adjustment, libvirt means the same as by 'variable'.
        "utc" if adjustment.is_some() => {
            ClockOffset::Variable { adjustment: seconds(adjustment), localtime: false }
        }
        "utc" => ClockOffset::Utc,
        "localtime" if adjustment.is_some() => {
            ClockOffset::Variable { adjustment: seconds(adjustment), localtime: true }
        }
        "localtime" => ClockOffset::Localtime,
        "timezone" => match required(view.filled("timezone"), view, "timezone", "name a zone") {
            Some(zone) => ClockOffset::Timezone(zone.to_owned()),
            None => ClockOffset::Utc,
        },
        "variable" => {
            let bases = [("utc", false), ("localtime", true)];
            let localtime = view.one_of("basis", &bases).unwrap_or(false);
            ClockOffset::Variable { adjustment: seconds(adjustment), localtime }
        }
        "absolute" => match required(view.parsed("start"), view, "start", "give seconds since 1970") {
            Some(start) => ClockOffset::Absolute(start),
            None => ClockOffset::Utc,
        },
        other => {
            let remedy = "known are utc, localtime, timezone, variable, absolute";
            view.error_at("offset", format!("'{other}' is not known"), remedy);
            ClockOffset::Utc
        }
    }
}

fn timers(view: &View<'_>) -> Vec<TimerDef> {
    let mut timers: Vec<TimerDef> = Vec::new();
    for timer in view.children("timer") {
        let Some(name) = required(timer.one_of("name", NAMES), &timer, "name", "name the timer") else {
            timer.accept();
            continue;
        };
        if timers.iter().any(|t| t.name == name) {
            timer.error_at("name", "the timer is there twice", "leave one out");
        }
        let catchup = timer.child("catchup");
        let limit = |name: &str| catchup.as_ref().and_then(|c| c.parsed::<u64>(name));
        if ["threshold", "slew", "limit"].map(limit).iter().any(Option::is_some) {
            timer.warning(
                "QEMU knows no limits for catching up, and libvirt tells it none",
                "leave <catchup> out",
            );
        }
        timers.push(TimerDef {
            path: timer.path().to_owned(),
            name,
            present: timer.yes_no("present"),
            tick_policy: timer.one_of("tickpolicy", POLICIES),
            track: timer.one_of("track", TRACKS),
            frequency: timer.parsed("frequency"),
            mode: mode(&timer),
        });
    }
    timers
}

fn mode(timer: &View<'_>) -> Option<String> {
    let modes = [
        ("auto", "auto"),
        ("native", "native"),
        ("emulate", "emulate"),
        ("paravirt", "paravirt"),
        ("smpsafe", "smpsafe"),
    ];
    timer.one_of("mode", &modes).map(str::to_owned)
}
