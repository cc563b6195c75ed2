//! How often something may happen: a pause that grows with each attempt, and a bounded rate.
//!
//! Owns the arithmetic of both; the time is passed in. Must never wait itself.

use std::time::{Duration, Instant};

/// The pause before each attempt of something that fails again and again.
///
/// The first attempt is immediate. Each further one that comes within `most` of the one before waits twice as long
/// as that, from `first` up to `most`; so there is at most one in each `most` in the long run. After a longer
/// quiet time it begins anew.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    pause: Duration,
    last: Option<Instant>,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, pause: Duration::ZERO, last: None }
    }

    /// How long to wait, from `now`, before the next attempt.
    pub(crate) fn pause(&mut self, now: Instant) -> Duration {
        let lasted = self.last.is_none_or(|last| now.saturating_duration_since(last) >= self.most);
        self.pause = if lasted { Duration::ZERO } else { (self.pause * 2).clamp(self.first, self.most) };
        self.last = Some(now + self.pause);
        self.pause
    }
}

/// Admits `burst` events at once, and one more in each `every`.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    burst: u32,
    every: Duration,
    /// When all that was admitted is paid off.
    paid: Option<Instant>,
}

impl Meter {
    pub(crate) const fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, paid: None }
    }

    /// Whether one more is admitted at `now`; one that is not costs nothing.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        let admitted = self.debt(now) + self.every <= self.every * self.burst;
        if admitted {
            self.charge(1, now);
        }
        admitted
    }

    /// Counts what happens in any case; how long to pause where it is more than is admitted.
    pub(crate) fn charge(&mut self, cost: u32, now: Instant) -> Option<Duration> {
        let debt = self.debt(now) + self.every * cost;
        self.paid = Some(now + debt);
        let allowed = self.every * self.burst;
        // Half of it is paid off at once, so that there are few pauses.
        (debt > allowed).then(|| debt - allowed / 2)
    }

    fn debt(&self, now: Instant) -> Duration {
        self.paid.map_or(Duration::ZERO, |paid| paid.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pause_grows_to_its_limit_and_is_forgotten_after_a_quiet_time() {
        let mut backoff = Backoff::new(SECOND, 8 * SECOND);
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let pause = backoff.pause(now);
            pauses.push(pause.as_secs());
            now += pause;
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8, 8, 8]);
        assert_eq!(backoff.pause(now + 8 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_flood_is_admitted_at_the_rate_and_no_faster() {
        let mut meter = Meter::new(10, SECOND / 10);
        let begun = Instant::now();
        let mut admitted = 0;
        for millisecond in 0..5000 {
            let now = begun + Duration::from_millis(millisecond);
            admitted += (0..20).filter(|_| meter.admits(now)).count();
        }
        assert_eq!(admitted, 10 + 49);
        let later = begun + 60 * SECOND;
        assert_eq!((0..20).filter(|_| meter.admits(later)).count(), 10);
    }

    #[test]
    fn what_cannot_be_refused_pauses_until_it_is_paid_off() {
        let mut meter = Meter::new(100, SECOND / 100);
        let now = Instant::now();
        assert_eq!(meter.charge(100, now), None);
        assert_eq!(meter.charge(1000, now), Some(SECOND * 10 + SECOND / 2));
    }
}
