//! What a network may do next.
//!
//! Owns the rules of a network's life as a pure function. Must never do anything itself.
//!
//! ```text
//!             Start                Up
//!  Inactive ─────────► Starting ────────► Active
//!     ▲  ▲                │                  │ Stop (no ports, or forced), Lost
//!     │  └──── UpFailed ──┘                  ▼
//!     └────────────── Down ────────────── Stopping
//! ```

use std::fmt;

/// Where a network is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum State {
    Inactive,
    Starting,
    Active,
    Stopping,
}

impl State {
    /// The word on the bus.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Starting => "starting",
            Self::Active => "active",
            Self::Stopping => "stopping",
        }
    }
}

/// What happened, or was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Event {
    Start,
    Up,
    UpFailed,
    Stop,
    /// The bridge vanished under a running network.
    Lost,
    Down,
    Undefine,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Effect {
    None,
    BringUp,
    TakeDown,
    Forget,
}

/// Why not; a fragment that follows the network's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Denial {
    AlreadyActive,
    NotActive,
    MustStopFirst,
    InBetween(State),
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyActive => f.write_str("is already active"),
            Self::NotActive => f.write_str("is not active"),
            Self::MustStopFirst => f.write_str("is active; stop it before it is undefined"),
            Self::InBetween(state) => write!(f, "is {} just now", state.as_str()),
        }
    }
}

/// The rules.
pub fn step(state: State, event: Event) -> Result<(State, Effect), Denial> {
    use {Effect as F, Event as E, State as S};
    Ok(match (state, event) {
        (S::Inactive, E::Start) => (S::Starting, F::BringUp),
        (S::Starting, E::Up) => (S::Active, F::None),
        (S::Starting, E::UpFailed) => (S::Inactive, F::None),
        (S::Active, E::Stop | E::Lost) => (S::Stopping, F::TakeDown),
        (S::Stopping, E::Down) => (S::Inactive, F::None),
        (S::Inactive, E::Undefine) => (S::Inactive, F::Forget),

        (S::Active, E::Start) => return Err(Denial::AlreadyActive),
        (S::Active, E::Undefine) => return Err(Denial::MustStopFirst),
        (S::Inactive, E::Stop | E::Lost) => return Err(Denial::NotActive),
        (state, _) => return Err(Denial::InBetween(state)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 4] = [State::Inactive, State::Starting, State::Active, State::Stopping];
    const EVENTS: [Event; 7] =
        [Event::Start, Event::Up, Event::UpFailed, Event::Stop, Event::Lost, Event::Down, Event::Undefine];

    #[test]
    fn nothing_is_torn_down_that_was_not_up() {
        for state in STATES {
            for event in EVENTS {
                if let Ok((next, Effect::TakeDown)) = step(state, event) {
                    assert_eq!((state, next), (State::Active, State::Stopping));
                }
                if let Ok((_, Effect::BringUp)) = step(state, event) {
                    assert_eq!(state, State::Inactive);
                }
                if let Ok((_, Effect::Forget)) = step(state, event) {
                    assert_eq!(state, State::Inactive);
                }
            }
        }
    }

    #[test]
    fn every_state_has_a_way_back_to_inactive() {
        for start in STATES {
            let mut reached = vec![start];
            for _ in 0..STATES.len() {
                let next = reached.iter().flat_map(|s| EVENTS.map(|e| step(*s, e).map(|(n, _)| n)));
                let next: Vec<State> = next.flatten().collect();
                reached.extend(next);
            }
            assert!(reached.contains(&State::Inactive), "{start:?}");
        }
    }
}
