//! Follows QEMU's monitor: what is news, how much of it is taken, and what is asked where some was lost.
//!
//! Owns the rate of one guest's news. A guest that sends more than is taken loses events, and from then on is asked
//! for its state, at most once in each [`LOOK`], until none was lost since the last answer: so a lost event never
//! leaves a wrong state for good. The same is asked first on a connection that comes late. Must never hold up anything
//! but this one guest's news.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::commands::{self, Status};
use super::report::{News, Report};
use crate::pace::Meter;
use crate::sys::qmp::{Qmp, QmpEvent};

/// Events that are taken at once, and how long one takes in the long run.
const BURST: u32 = 32;
const EVERY: Duration = Duration::from_millis(100);
/// How long after a look at the state the next one is, at the earliest.
const LOOK: Duration = Duration::from_secs(1);
/// The same where QEMU did not answer, beyond the answer's own deadline.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The events that mean something to a guest's state; all others cost nothing.
const HEEDED: [&str; 6] = ["BLOCK_IO_ERROR", "STOP", "RESUME", "WAKEUP", "SUSPEND", "SHUTDOWN"];

/// What is known of a guest's news, and what was lost of them. Places are those in what QEMU has sent.
#[derive(Debug)]
struct Attention {
    meter: Meter,
    /// The place of the last event that was lost.
    lost: u64,
    /// The place of the last answer that told the state; none yet, where the state is not known at all.
    sure: Option<u64>,
    /// Before this there is no look.
    next_look: Instant,
    /// Why the guest was switched off, if that was lost.
    shutdown: Option<String>,
}

impl Attention {
    fn new(knows_the_state: bool, now: Instant) -> Self {
        let sure = knows_the_state.then_some(0);
        Self { meter: Meter::new(BURST, EVERY), lost: 0, sure, next_look: now, shutdown: None }
    }

    /// Whether this event is passed on.
    fn takes(&mut self, event: &QmpEvent, now: Instant) -> bool {
        if !HEEDED.contains(&event.name.as_str()) {
            return false;
        }
        if self.meter.admits(now) {
            return true;
        }
        self.lose(event.seq);
        if event.name == "SHUTDOWN" {
            self.shutdown = event.data["reason"].as_str().map(str::to_owned);
        }
        false
    }

    fn lose(&mut self, seq: u64) {
        self.lost = self.lost.max(seq);
    }

    /// When the state is to be asked for; `None`: all is known.
    fn look(&self) -> Option<Instant> {
        self.sure.is_none_or(|sure| sure < self.lost).then_some(self.next_look)
    }

    /// The state was asked for; `at`: the place of the answer, if there was one.
    fn looked(&mut self, at: Option<u64>, now: Instant) {
        self.next_look = now + if at.is_some() { LOOK } else { LOOK_AGAIN };
        self.sure = self.sure.max(at);
    }
}

/// Passes QEMU's news of guest number `guest` on to its actor, until the monitor closes. `knows_the_state`: else it
/// is asked first.
pub(super) async fn follow(
    qmp: Qmp,
    mut events: mpsc::Receiver<QmpEvent>,
    reports: mpsc::Sender<Report>,
    guest: u64,
    knows_the_state: bool,
) {
    let tell = async |news| drop(reports.send(Report::News { guest, news }).await);
    let mut attention = Attention::new(knows_the_state, Instant::now());
    loop {
        attention.lose(qmp.last_dropped());
        let look = attention.look().map(tokio::time::Instant::from_std);
        let event = tokio::select! {
            biased;
            () = tokio::time::sleep_until(look.unwrap_or_else(tokio::time::Instant::now)), if look.is_some() => None,
            event = events.recv() => match event {
                Some(event) => Some(event),
                None => break,
            },
        };
        if let Some(event) = event {
            if attention.takes(&event, Instant::now()) {
                tell(News::Event(event)).await;
            }
            continue;
        }
        if attention.lost > 0 {
            tell(News::Flooded).await;
        }
        match commands::status(&qmp).await {
            Ok(status) => {
                attention.looked(Some(status.seq), Instant::now());
                let shutdown = attention.shutdown.take();
                tell(News::Status(Status { shutdown, ..status })).await;
            }
            Err(e) => {
                tracing::debug!("a guest's state is not known: {}", crate::chain(&e));
                attention.looked(None, Instant::now());
            }
        }
    }
    tell(News::Closed).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(name: &str, seq: u64) -> QmpEvent {
        let data = json!({ "reason": "guest-reset" });
        QmpEvent { name: name.into(), data, timestamp_usec: 0, seq }
    }

    #[test]
    fn a_flood_is_taken_at_the_rate_and_followed_by_a_look() {
        let begun = Instant::now();
        let mut attention = Attention::new(true, begun);
        assert_eq!(attention.look(), None);
        let mut taken = 0;
        for seq in 1..=10_000 {
            let now = begun + Duration::from_micros(100 * seq);
            taken +=
                u32::from(attention.takes(&event(if seq % 2 == 0 { "STOP" } else { "RESUME" }, seq), now));
        }
        let now = begun + Duration::from_secs(1);
        assert!((BURST..=BURST + 10).contains(&taken), "{taken}");
        assert_eq!(attention.look(), Some(begun), "at once");
        attention.looked(Some(10_001), now);
        assert_eq!(attention.look(), None, "nothing was lost since");
        attention.lose(10_002);
        assert_eq!(attention.look(), Some(now + LOOK), "not before its time");
        attention.looked(None, now + LOOK);
        assert_eq!(attention.look(), Some(now + LOOK + LOOK_AGAIN), "no answer is no news");
    }

    #[test]
    fn what_is_lost_while_the_state_is_asked_for_is_asked_for_again() {
        let now = Instant::now();
        let mut attention = Attention::new(false, now);
        assert_eq!(attention.look(), Some(now), "nothing is known yet");
        attention.lose(7);
        attention.looked(Some(5), now);
        assert_eq!(attention.look(), Some(now + LOOK));
        attention.looked(Some(9), now);
        assert_eq!(attention.look(), None);
    }

    #[test]
    fn why_a_guest_was_switched_off_is_not_lost() {
        let now = Instant::now();
        let mut attention = Attention::new(true, now);
        while attention.takes(&event("STOP", 1), now) {}
        assert!(!attention.takes(&event("SHUTDOWN", 2), now));
        assert_eq!(attention.shutdown.as_deref(), Some("guest-reset"));
    }

    #[test]
    fn what_nobody_heeds_costs_nothing() {
        let now = Instant::now();
        let mut attention = Attention::new(true, now);
        assert!((1..1000).all(|seq| !attention.takes(&event("RTC_CHANGE", seq), now)));
        assert!(attention.takes(&event("STOP", 1000), now));
        assert_eq!(attention.look(), None);
    }
}
