//! What there is to tell the bus, until it is told.
//!
//! Owns the order of events and the bound of what waits: of one object at most [`EACH`] changes, beyond which a change
//! is joined to the one before it (only the last state matters, and a lease that came and went is none). All other
//! events are caused by calls, of which each user has a share. Must never wait for who tells them, nor lose the last
//! state of anything.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use super::Event;

/// Changes of one object that wait to be told one by one.
const EACH: usize = 16;

/// A feed of events: many tell, one takes. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Feed {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    more: Notify,
}

/// What a change is of.
type Subject = (What, Uuid);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Network,
    Leases,
    Domain,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
    /// How many have been taken, so that an event keeps its number while it waits.
    taken: u64,
    /// How many changes of each wait, and the number of the last.
    changes: HashMap<Subject, (usize, u64)>,
}

fn subject(event: &Event) -> Option<Subject> {
    match event {
        Event::NetworkChanged { new, .. } => Some((What::Network, new.uuid)),
        Event::Leases { network, .. } => Some((What::Leases, *network)),
        Event::DomainChanged { new, .. } => Some((What::Domain, new.uuid)),
        _ => None,
    }
}

/// Makes one of two changes of the same object.
fn join(before: &mut Event, after: Event) {
    match (before, after) {
        (Event::NetworkChanged { new, .. }, Event::NetworkChanged { new: newer, .. }) => *new = newer,
        (Event::DomainChanged { new, .. }, Event::DomainChanged { new: newer, .. }) => *new = newer,
        (Event::Leases { change, .. }, Event::Leases { change: newer, .. }) => change.join(&newer),
        _ => {}
    }
}

impl Waiting {
    fn put(&mut self, event: Event) {
        let number = self.taken + self.events.len() as u64;
        let Some(subject) = subject(&event) else { return self.events.push_back(event) };
        let (count, last) = self.changes.entry(subject).or_default();
        let at = usize::try_from(last.saturating_sub(self.taken)).unwrap_or(usize::MAX);
        if *count >= EACH
            && let Some(before) = self.events.get_mut(at)
        {
            return join(before, event);
        }
        (*count, *last) = (*count + 1, number);
        self.events.push_back(event);
    }

    fn take(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        self.taken += 1;
        if let Some(subject) = subject(&event)
            && let Some((count, _)) = self.changes.get_mut(&subject)
        {
            *count -= 1;
            if *count == 0 {
                self.changes.remove(&subject);
            }
        }
        Some(event)
    }
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is to be told.
    pub(super) fn put(&self, event: Event) {
        self.lock().put(event);
        self.inner.more.notify_one();
    }

    /// The next event, when there is one; for one that tells them.
    pub async fn next(&self) -> Event {
        loop {
            if let Some(event) = self.lock().take() {
                return event;
            }
            self.inner.more.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain;

    fn changed(uuid: Uuid, from: u64, to: u64) -> Event {
        let view = |generation| {
            Arc::new(domain::View {
                name: String::new(),
                uuid,
                title: String::new(),
                state: domain::State::Running,
                reason: crate::reason::Reason::None,
                autostart: false,
                pending_changes: false,
                generation,
                owner: 0,
                pid: 0,
                vcpus: 1,
                memory_bytes: 0,
                started_ticks: None,
            })
        };
        Event::DomainChanged { old: view(from), new: view(to) }
    }

    fn told(waiting: &mut Waiting) -> Vec<(u64, u64)> {
        let next = || waiting.take();
        let generations = |event| match event {
            Event::DomainChanged { old, new } => Some((old.generation, new.generation)),
            _ => None,
        };
        std::iter::from_fn(next).filter_map(generations).collect()
    }

    #[test]
    fn few_changes_are_told_one_by_one() {
        let mut waiting = Waiting::default();
        (0..EACH as u64).for_each(|n| waiting.put(changed(Uuid::nil(), n, n + 1)));
        let all: Vec<_> = (0..EACH as u64).map(|n| (n, n + 1)).collect();
        assert_eq!(told(&mut waiting), all);
    }

    #[test]
    fn many_changes_are_joined_and_the_last_is_told() {
        let (mut waiting, other) = (Waiting::default(), Uuid::from_u128(1));
        for n in 0..10_000 {
            waiting.put(changed(Uuid::nil(), n, n + 1));
            if n % 100 == 0 {
                waiting.put(Event::DomainRemoved(other));
            }
        }
        assert_eq!(waiting.events.len(), EACH + 100);
        let first = waiting.take();
        assert!(matches!(first, Some(Event::DomainChanged { .. })));
        waiting.put(changed(Uuid::nil(), 10_000, 10_001));
        let told = told(&mut waiting);
        assert_eq!(told.len(), EACH);
        assert_eq!(told.last(), Some(&(10_000, 10_001)));
        assert!(told.windows(2).all(|pair| pair[0].1 == pair[1].0), "no step is missing: {told:?}");
        assert!(waiting.changes.is_empty());
    }
}
