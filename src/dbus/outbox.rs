//! Whose answer is next.
//!
//! Owns the messages that go out and are not written yet. A bus reads little at a time from each of its connections,
//! the service's too, so the way out is what callers contend for; whoever is told much must not be in front of
//! whoever is told one thing. Must never change the order of what one receiver hears.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use zbus::message::{Message, Type};

/// Bytes that may wait here; one who has more to say then waits itself.
const ROOM: usize = 64 << 20;

/// The same for signals: what is to be told then waits where it is joined to what comes after it.
const ROOM_FOR_SIGNALS: usize = 4 << 20;

/// All that goes out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    more: Notify,
    less: Notify,
}

/// Where a message stands: its stretch, its turn in it, and its number, which no other has.
type Place = (u64, u64, u64);

#[derive(Debug, Default)]
struct Waiting {
    messages: BTreeMap<Place, Message>,
    bytes: usize,
    /// What all hear ends a stretch and begins one: nothing overtakes it, and it overtakes nothing.
    stretch: u64,
    /// The turn that the last one taken had, in the stretch that is written to.
    turn: u64,
    /// The next turn of each receiver in the stretch that is written to.
    turns: HashMap<String, u64>,
    number: u64,
    /// Why nothing goes out any more.
    closed: Option<zbus::Error>,
}

impl Waiting {
    fn put(&mut self, message: Message) {
        self.number += 1;
        self.bytes += message.data().len();
        let to = message.header().destination().map(ToString::to_string);
        let place = match to {
            Some(to) => {
                // One that was silent stands with those whose turn it is, not before them.
                let next = self.turns.entry(to).or_default();
                let turn = self.turn.max(*next);
                *next = turn + 1;
                (self.stretch, turn, self.number)
            }
            None => {
                self.begin_stretch();
                let alone = (self.stretch, 0, self.number);
                self.begin_stretch();
                alone
            }
        };
        self.messages.insert(place, message);
    }

    fn begin_stretch(&mut self) {
        self.stretch += 1;
        self.turn = 0;
        self.turns.clear();
    }

    fn take(&mut self) -> Option<Message> {
        let ((stretch, turn, _), message) = self.messages.pop_first()?;
        self.bytes -= message.data().len();
        if self.messages.is_empty() {
            self.begin_stretch();
        } else if stretch == self.stretch {
            self.turn = turn;
        }
        Some(message)
    }
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is to go out.
    ///
    /// # Errors
    /// Nothing goes out any more.
    pub(super) async fn put(&self, message: &Message) -> zbus::Result<()> {
        let is_signal = message.message_type() == Type::Signal;
        let room = if is_signal { ROOM_FOR_SIGNALS } else { ROOM };
        loop {
            {
                let mut waiting = self.lock();
                if let Some(why) = &waiting.closed {
                    return Err(why.clone());
                }
                if waiting.bytes < room {
                    waiting.put(message.clone());
                    break;
                }
            }
            self.less.notified().await;
        }
        self.more.notify_one();
        Ok(())
    }

    /// The next message, when there is one; nothing when all is out and no more comes. For one that writes.
    pub(super) async fn next(&self) -> Option<Message> {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(message) = waiting.take() {
                    self.less.notify_one();
                    return Some(message);
                }
                if waiting.closed.is_some() {
                    return None;
                }
            }
            self.more.notified().await;
        }
    }

    /// Nothing more is taken in; why, those hear who have something to say.
    pub(super) fn close(&self, why: zbus::Error) {
        self.lock().closed.get_or_insert(why);
        self.more.notify_one();
        self.less.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(to: &str, n: usize) -> Message {
        let call = Message::method_call("/", "M").sender(to).build(&()).unwrap();
        Message::method_return(&call.header()).build(&(n as u64)).unwrap()
    }

    fn signal(n: usize) -> Message {
        Message::signal("/", "org.example.I", "S").build(&(n as u64)).unwrap()
    }

    /// The receiver, or none of what all hear, and the number.
    fn told(message: &Message) -> (Option<String>, u64) {
        (message.header().destination().map(ToString::to_string), message.body().deserialize().unwrap())
    }

    fn taken(waiting: &mut Waiting) -> Vec<(Option<String>, u64)> {
        std::iter::from_fn(|| waiting.take()).map(|message| told(&message)).collect()
    }

    fn numbers(waiting: &mut Waiting) -> Vec<u64> {
        taken(waiting).into_iter().map(|(_, n)| n).collect()
    }

    #[test]
    fn one_who_is_told_much_is_not_in_front() {
        let mut waiting = Waiting::default();
        for n in 0..4 {
            waiting.put(reply(":1.1", n));
        }
        waiting.put(reply(":1.2", 10));
        assert_eq!(waiting.take().map(|m| told(&m).1), Some(0));
        assert_eq!(waiting.take().map(|m| told(&m).1), Some(10));
        assert_eq!(waiting.take().map(|m| told(&m).1), Some(1));
        waiting.put(reply(":1.2", 11));
        waiting.put(reply(":1.3", 20));
        waiting.put(reply(":1.3", 21));
        assert_eq!(numbers(&mut waiting), [11, 20, 2, 21, 3]);
        assert_eq!(waiting.bytes, 0);
    }

    #[test]
    fn nothing_overtakes_what_all_hear() {
        let mut waiting = Waiting::default();
        for n in 0..3 {
            waiting.put(reply(":1.1", n));
        }
        waiting.put(signal(3));
        waiting.put(reply(":1.2", 4));
        waiting.put(signal(5));
        assert_eq!(numbers(&mut waiting), [0, 1, 2, 3, 4, 5]);
    }

    proptest! {
        #[test]
        fn each_receiver_hears_all_in_order(steps in prop::collection::vec(0..6_usize, 0..200)) {
            let (mut waiting, mut out, mut sent) = (Waiting::default(), Vec::new(), 0);
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    0 => out.extend(waiting.take().map(|message| told(&message))),
                    1 => { waiting.put(signal(n)); sent += 1; }
                    to => { waiting.put(reply(&format!(":1.{to}"), n)); sent += 1; }
                }
            }
            out.extend(taken(&mut waiting));
            prop_assert_eq!(out.len(), sent);
            for to in (2..6).map(|to| Some(format!(":1.{to}"))) {
                let heard: Vec<_> = out.iter().filter(|(by, _)| by.is_none() || *by == to).map(|(_, n)| n).collect();
                prop_assert!(heard.is_sorted(), "{:?} hears {:?}", to, heard);
            }
        }
    }
}
