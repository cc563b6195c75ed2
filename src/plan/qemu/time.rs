//! Clocks: what time the guest reads, and what becomes of ticks that it missed.

use super::Plan;
use super::cpu::switch;
use crate::model::{ClockOffset, DomainKind, TickPolicy, TimerDef, TimerName, TimerTrack};

/// Options of `-machine`, each with its comma.
pub(super) fn machine_options(plan: &Plan<'_>) -> String {
    let mut options = String::new();
    for timer in &plan.def.clock.timers {
        let option = match timer.name {
            TimerName::Hpet => "hpet",
            TimerName::Pit => "pit",
            _ => continue,
        };
        if let Some(present) = timer.present {
            options.push_str(&format!(",{}", switch(option, present)));
        }
    }
    options
}

/// `-rtc` and what belongs to it. `now` is in seconds since 1970.
pub(super) fn add(plan: &mut Plan<'_>, now: i64) {
    let base = match &plan.def.clock.offset {
        ClockOffset::Utc | ClockOffset::Variable { adjustment: 0, localtime: false } => "utc".to_owned(),
        ClockOffset::Localtime | ClockOffset::Variable { adjustment: 0, localtime: true } => {
            "localtime".to_owned()
        }
        ClockOffset::Variable { adjustment, localtime } => {
            if *localtime {
                let message = "Warren does not count an adjustment from the host's own zone yet";
                plan.unsupported("/domain/clock/@basis", message, "write basis='utc'");
            }
            date(now.saturating_add(*adjustment))
        }
        ClockOffset::Absolute(seconds) => date(*seconds),
        ClockOffset::Timezone(zone) => {
            let message = format!("Warren does not set a guest's clock by the zone '{zone}' yet");
            plan.unsupported("/domain/clock/@timezone", message, "write offset='utc' or 'localtime'");
            "utc".to_owned()
        }
    };
    let rtc = plan.def.clock.timers.iter().find(|t| t.name == TimerName::Rtc);
    let mut line = format!("base={base}");
    match rtc.and_then(|t| t.track) {
        Some(TimerTrack::Guest) => line.push_str(",clock=vm"),
        Some(TimerTrack::Wall) => line.push_str(",clock=host"),
        Some(TimerTrack::Realtime) => line.push_str(",clock=rt"),
        Some(TimerTrack::Boot) | None => {}
    }
    if rtc.and_then(|t| t.tick_policy) == Some(TickPolicy::Catchup) {
        line.push_str(",driftfix=slew");
    }
    plan.args.pair("-rtc", line);
    for timer in plan.def.clock.timers.clone() {
        ticks(plan, &timer);
    }
}

/// What is said of a timer besides, and what QEMU cannot do.
fn ticks(plan: &mut Plan<'_>, timer: &TimerDef) {
    let policy = timer.tick_policy;
    let refused = match timer.name {
        TimerName::Platform | TimerName::Armvtimer => Some("a PC has no such timer"),
        TimerName::Rtc if matches!(policy, Some(TickPolicy::Merge | TickPolicy::Discard)) => {
            Some("the real-time clock delays ticks or catches up")
        }
        TimerName::Rtc if timer.track == Some(TimerTrack::Boot) => {
            Some("the real-time clock tracks guest, wall or realtime")
        }
        TimerName::Rtc if timer.present == Some(false) => Some("a PC has a real-time clock"),
        TimerName::Pit if policy == Some(TickPolicy::Merge) => Some("the PIT does not merge ticks"),
        TimerName::Hpet
            if matches!(policy, Some(TickPolicy::Catchup | TickPolicy::Merge | TickPolicy::Discard)) =>
        {
            Some("QEMU's HPET delays ticks")
        }
        TimerName::Tsc if timer.mode.as_deref().is_some_and(|m| m != "auto") => {
            Some("QEMU does not choose how the TSC is made")
        }
        _ => None,
    };
    if let Some(message) = refused {
        plan.unsupported(&timer.path, message, "leave it out");
    }
    if timer.name == TimerName::Pit && plan.def.kind == DomainKind::Kvm {
        let lost = match policy {
            Some(TickPolicy::Delay) => "delay",
            Some(TickPolicy::Discard) => "discard",
            _ => return,
        };
        plan.args.pair("-global", format!("kvm-pit.lost_tick_policy={lost}"));
    }
}

/// A time in QEMU's form: the proleptic Gregorian calendar, without a zone.
fn date(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1970 to a date, by eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn seconds_become_dates() {
        assert_eq!(date(0), "1970-01-01T00:00:00");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00");
        assert_eq!(date(1_709_210_096), "2024-02-29T12:34:56");
        assert_eq!(date(-1), "1969-12-31T23:59:59");
    }
}
