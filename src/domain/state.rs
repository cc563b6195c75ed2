//! What a domain may do next.
//!
//! Owns the rules of a domain's life as a pure function. Must never do anything itself.
//!
//! ```text
//!                Start               Ran
//!   Shutoff ────────────► Starting ────────► Running ◄────────► Paused
//!   Crashed ────────────►    │                  │  Halted / Ran     │
//!      ▲                     │ Stop, StartFailed│                   │
//!      │                     ▼                  ▼ Stop, PoweredOff  ▼
//!      └──────── Gone ──── Stopping ◄───────────┴───────────────────┘
//! ```
//!
//! QEMU's end (`Gone`) in `Stopping` is a shut-off; anywhere else it is a crash. `PmSuspended` is a kind
//! of `Running` in which the guest sleeps.

use std::fmt;

/// Where a domain is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum State {
    Shutoff,
    Starting,
    Running,
    Paused,
    PmSuspended,
    Stopping,
    Crashed,
}

impl State {
    /// The word on the bus.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shutoff => "shutoff",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::PmSuspended => "pmsuspended",
            Self::Stopping => "stopping",
            Self::Crashed => "crashed",
        }
    }

    /// Whether there is a guest.
    pub fn is_live(self) -> bool {
        !matches!(self, Self::Shutoff | Self::Crashed)
    }
}

/// What happened, or was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Event {
    Start,
    StartFailed,
    /// The guest's CPUs run.
    Ran,
    /// The guest's CPUs were halted.
    Halted,
    /// The guest sleeps (ACPI S3).
    Slept,
    Stop,
    /// The guest switched itself off and is to end.
    PoweredOff,
    /// QEMU is gone.
    Gone,
    Undefine,
    /// A question to a running guest (shutdown, reset, suspend …).
    Command,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Effect {
    None,
    BringUp,
    /// Stop a start that is under way.
    CancelStart,
    EndQemu,
    CleanUp,
    Forget,
}

/// Why not; a fragment that follows the domain's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Denial {
    AlreadyRunning,
    NotRunning,
    MustStopFirst,
    InBetween(State),
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRunning => f.write_str("is already running"),
            Self::NotRunning => f.write_str("is not running"),
            Self::MustStopFirst => f.write_str("is running; stop it before it is undefined"),
            Self::InBetween(state) => write!(f, "is {} just now", state.as_str()),
        }
    }
}

/// The rules.
pub fn step(state: State, event: Event) -> Result<(State, Effect), Denial> {
    use {Effect as F, Event as E, State as S};
    Ok(match (state, event) {
        (S::Shutoff | S::Crashed, E::Start) => (S::Starting, F::BringUp),
        (S::Starting, E::StartFailed) => (S::Shutoff, F::None),
        (S::Starting, E::Stop) => (S::Stopping, F::CancelStart),
        (S::Stopping, E::StartFailed) => (S::Shutoff, F::None),

        (S::Starting | S::Running | S::Paused | S::PmSuspended, E::Ran) => (S::Running, F::None),
        (S::Starting | S::Running | S::Paused | S::PmSuspended, E::Halted) => (S::Paused, F::None),
        (S::Running, E::Slept) => (S::PmSuspended, F::None),
        (S::Running | S::Paused | S::PmSuspended, E::Command) => (state, F::None),

        (S::Running | S::Paused | S::PmSuspended, E::Stop | E::PoweredOff) => (S::Stopping, F::EndQemu),
        // A stop that is asked again waits for the one under way.
        (S::Stopping, E::Stop) => (S::Stopping, F::None),
        (S::Stopping, E::Gone) => (S::Shutoff, F::CleanUp),
        (S::Running | S::Paused | S::PmSuspended, E::Gone) => (S::Crashed, F::CleanUp),
        (S::Shutoff | S::Crashed, E::Undefine) => (S::Shutoff, F::Forget),

        (S::Running | S::Paused | S::PmSuspended, E::Start) => return Err(Denial::AlreadyRunning),
        (S::Running | S::Paused | S::PmSuspended, E::Undefine) => return Err(Denial::MustStopFirst),
        (S::Shutoff | S::Crashed, E::Stop | E::Command | E::PoweredOff | E::Ran | E::Halted) => {
            return Err(Denial::NotRunning);
        }
        (state, _) => return Err(Denial::InBetween(state)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVENTS: [Event; 10] = [
        Event::Start,
        Event::StartFailed,
        Event::Ran,
        Event::Halted,
        Event::Slept,
        Event::Stop,
        Event::PoweredOff,
        Event::Gone,
        Event::Undefine,
        Event::Command,
    ];

    proptest! {
        /// Whatever happens in whatever order: a guest is cleaned up exactly once for each time that it
        /// came up, and never while it is live.
        #[test]
        fn each_guest_is_cleaned_up_once(events in proptest::collection::vec(0usize..EVENTS.len(), 0..200)) {
            let mut state = State::Shutoff;
            let mut up = false;
            for event in events.into_iter().map(|i| EVENTS[i]) {
                let Ok((next, effect)) = step(state, event) else { continue };
                match effect {
                    Effect::BringUp => { prop_assert!(!up); up = true }
                    Effect::CleanUp => { prop_assert!(up && !next.is_live()); up = false }
                    Effect::Forget => prop_assert!(!up),
                    Effect::EndQemu | Effect::CancelStart => prop_assert!(up),
                    Effect::None => {}
                }
                if event == Event::StartFailed { up = false }
                prop_assert_eq!(up, next.is_live());
                state = next;
            }
        }
    }
}
