//! Whose call is next.
//!
//! Owns the calls that have come and are not handed on yet, those of each connection in their order, and gives
//! each connection its turn, and no more than [`AT_ONCE`] calls that are being answered: ten thousand calls of one
//! stand in nobody's way but its own. What is no call (answers to this service, signals of the bus) goes first.
//! Must never keep more than [`ROOM`] for long, nor refuse a connection that has nothing waiting; nor keep a
//! descriptor that came with a call, nor a signal that somebody else than the bus has sent: nothing here takes either.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::mem::ManuallyDrop;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use zbus::DBusError;
use zbus::message::{Flags, Header, Message, Type};

use super::callers::Claim;
use super::error::Error;

/// Who sends the only signals that are heard.
const BUS: &str = "org.freedesktop.DBus";

/// Bytes of calls that may wait, of all connections. Each that waits has an equal part of it.
const ROOM: usize = 256 << 20;

/// What a call that waits takes besides its bytes.
const EACH: usize = 512;

/// Calls of one connection that are being answered; its others wait, in its own queue. Work, too, is shared by
/// all. So many a system bus lets one connection have.
const AT_ONCE: usize = 128;

/// Refusals that may wait for one connection; a call beyond them is dropped without an answer.
const REFUSED: usize = 16 << 10;

/// All that has come.
#[derive(Debug)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    more: Notify,
    /// Bounded by [`REFUSED`] for each connection.
    refusals: mpsc::UnboundedSender<Message>,
}

#[derive(Debug, Default)]
struct Waiting {
    first: VecDeque<Message>,
    /// Connections with calls that wait and may be handed on, the next one first.
    turns: VecDeque<String>,
    calls: HashMap<String, Calls>,
    /// Why nothing comes any more.
    closed: Option<zbus::Error>,
}

/// Of one connection, with something waiting or under way.
#[derive(Debug, Default)]
struct Calls {
    messages: VecDeque<Message>,
    bytes: usize,
    /// How many are being answered.
    under_way: usize,
    /// When those came that wait or are being answered, by their serial numbers.
    arrivals: HashMap<NonZeroU32, Instant>,
    /// What is kept until the answer to a call of that number is out. Callers choose the numbers: two may be alike.
    kept: HashMap<NonZeroU32, Vec<Claim>>,
}

/// Whether it is counted as under way until it is answered.
fn is_answered(call: &Message) -> bool {
    !call.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED)
}

/// Closes the descriptors of a message in a thread of its own. Without a thread they stay open.
fn close_elsewhere(message: Message) {
    let message = ManuallyDrop::new(message);
    let close = move || drop(ManuallyDrop::into_inner(message));
    // What cannot be spawned is dropped here, and so closes nothing.
    let _ = std::thread::Builder::new().name("closes".to_owned()).spawn(close);
}

fn taken_by(call: &Message) -> usize {
    call.data().len() + EACH
}

/// The answer to a call that is not taken in; none where none is expected.
fn refusal(call: &Message, why: &Error) -> Option<Message> {
    is_answered(call).then(|| why.create_reply(&call.header()).ok()).flatten()
}

impl Waiting {
    /// Takes a message in; or answers a call for which there is no room in its connection's part, or that brings
    /// what nobody takes.
    fn put(&mut self, message: Message, room: usize) -> Option<Message> {
        let header = message.header();
        let sender = match (header.message_type(), header.sender()) {
            (Type::MethodCall, Some(sender)) => sender.as_str().to_owned(),
            (Type::Signal, sender) if sender.is_some_and(|sender| sender.as_str() != BUS) => return None,
            _ => {
                drop(header);
                self.first.push_back(message);
                return None;
            }
        };
        drop(header);
        let part = room / self.calls.len().max(1);
        let calls = self.calls.entry(sender.clone()).or_default();
        let bytes = taken_by(&message);
        let why = if !message.data().fds().is_empty() {
            Some(Error::not_yet("a call that brings descriptors"))
        } else if !calls.messages.is_empty() && calls.bytes + bytes > part {
            Some(Error::limit_exceeded("this connection has too many calls waiting; wait for some answers"))
        } else {
            None
        };
        if let Some(why) = why {
            let refusal = (calls.under_way < AT_ONCE + REFUSED).then(|| refusal(&message, &why)).flatten();
            // It is an answer like any other.
            calls.under_way += usize::from(refusal.is_some());
            if calls.under_way == 0 && calls.messages.is_empty() {
                self.calls.remove(&sender);
            }
            return refusal;
        }
        if calls.messages.is_empty() && calls.under_way < AT_ONCE {
            self.turns.push_back(sender);
        }
        calls.bytes += bytes;
        if is_answered(&message) {
            calls.arrivals.insert(message.primary_header().serial_num(), Instant::now());
        }
        calls.messages.push_back(message);
        None
    }

    fn take(&mut self) -> Option<Message> {
        if let Some(message) = self.first.pop_front() {
            return Some(message);
        }
        let sender = self.turns.pop_front()?;
        let calls = self.calls.get_mut(&sender)?;
        let message = calls.messages.pop_front()?;
        calls.bytes -= taken_by(&message);
        calls.under_way += usize::from(is_answered(&message));
        if !calls.messages.is_empty() && calls.under_way < AT_ONCE {
            self.turns.push_back(sender);
        } else if calls.messages.is_empty() && calls.under_way == 0 {
            self.calls.remove(&sender);
        }
        Some(message)
    }

    /// A call of this connection, of that serial number, is answered; whether one that waited for that has its turn now.
    fn answered(&mut self, receiver: &str, serial: Option<NonZeroU32>) -> bool {
        let Some(calls) = self.calls.get_mut(receiver) else { return false };
        serial.map(|serial| calls.arrivals.remove(&serial));
        if let Some(Entry::Occupied(mut kept)) = serial.map(|serial| calls.kept.entry(serial)) {
            kept.get_mut().pop();
            if kept.get().is_empty() {
                kept.remove();
            }
        }
        let stood = calls.under_way >= AT_ONCE && !calls.messages.is_empty();
        calls.under_way = calls.under_way.saturating_sub(1);
        if calls.messages.is_empty() && calls.under_way == 0 {
            self.calls.remove(receiver);
        }
        let goes_on = stood && self.calls.get(receiver).is_some_and(|calls| calls.under_way < AT_ONCE);
        if goes_on {
            self.turns.push_back(receiver.to_owned());
        }
        goes_on
    }
}

impl Inbox {
    /// An empty one; answers to calls that it does not take go to `refusals`.
    pub(super) fn new(refusals: mpsc::UnboundedSender<Message>) -> Self {
        Self { waiting: Mutex::default(), more: Notify::new(), refusals }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message has come.
    pub(super) fn put(&self, message: Message) {
        // To close what somebody else has opened can take as long as that one wishes. Where the bus lets descriptors
        // through, they are closed when no other part of this service has the message any more.
        let closed_elsewhere = (!message.data().fds().is_empty()).then(|| message.clone());
        if let Some(refusal) = self.lock().put(message, ROOM) {
            // Nobody listens any more only when the service ends.
            let _ = self.refusals.send(refusal);
        }
        if let Some(message) = closed_elsewhere {
            close_elsewhere(message);
        }
        self.more.notify_one();
    }

    /// A message has gone out.
    pub(super) fn sent(&self, message: &Message) {
        let header = message.header();
        if let (Type::MethodReturn | Type::Error, Some(to)) = (header.message_type(), header.destination())
            && self.lock().answered(to.as_str(), header.reply_serial())
        {
            self.more.notify_one();
        }
    }

    /// When this call has come; now, where that is not known, as of one that asks for no answer.
    pub(super) fn arrival(&self, call: &Header<'_>) -> Instant {
        let waiting = self.lock();
        let calls = call.sender().and_then(|sender| waiting.calls.get(sender.as_str()));
        let arrival = calls.and_then(|calls| calls.arrivals.get(&call.primary().serial_num()));
        arrival.copied().unwrap_or_else(Instant::now)
    }

    /// Keeps a share until the answer to this call is out: a large one may wait long for its turn. Where the bus is
    /// reached without turns, nobody knows when that is.
    pub(super) fn keep_until_answered(&self, call: &Header<'_>, share: Claim) {
        let mut waiting = self.lock();
        let calls = call.sender().and_then(|sender| waiting.calls.get_mut(sender.as_str()));
        let is_answered = !call.primary().flags().contains(Flags::NO_REPLY_EXPECTED);
        if let Some(calls) = calls.filter(|calls| is_answered && calls.under_way > 0) {
            calls.kept.entry(call.primary().serial_num()).or_default().push(share);
        }
    }

    /// Whether all calls that have come are answered, and the answers are out, or can never be.
    pub(super) fn is_quiet(&self) -> bool {
        let waiting = self.lock();
        waiting.calls.is_empty() || waiting.closed.is_some()
    }

    /// No more will come.
    pub(super) fn close(&self, why: zbus::Error) {
        self.lock().closed = Some(why);
        self.more.notify_one();
    }

    /// The next message, when there is one; for one that waits.
    pub(super) async fn next(&self) -> zbus::Result<Message> {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(message) = waiting.take() {
                    return Ok(message);
                }
                if let Some(why) = &waiting.closed {
                    return Err(why.clone());
                }
            }
            self.more.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(sender: &str, member: &str) -> Message {
        let call = Message::method_call("/", member).sender(sender);
        call.build(&()).unwrap()
    }

    fn taken(waiting: &mut Waiting) -> Vec<String> {
        let next = || waiting.take();
        let member = |m: Message| m.header().member().map(ToString::to_string).unwrap_or_default();
        std::iter::from_fn(next).map(member).collect()
    }

    #[test]
    fn a_large_answer_counts_until_it_is_out() {
        use crate::dbus::callers::{Callers, Resource};
        let callers = Callers::new(crate::scope::Limits::default());
        let share = || callers.claim_much(1000, Resource::Byte, 40 << 20);
        let inbox = Inbox::new(mpsc::unbounded_channel().0);
        let (first, second) = (call(":1.1", "A"), call(":1.1", "B"));
        let no_reply = Message::method_call("/", "C").sender(":1.1").with_flags(Flags::NO_REPLY_EXPECTED);
        let no_reply = no_reply.build(&()).unwrap();
        for call in [&first, &second, &no_reply] {
            inbox.put(call.clone());
            assert!(inbox.lock().take().is_some());
        }
        let answer = |call: &Message| {
            let answer = Message::method_return(&call.header()).build(&()).unwrap();
            inbox.sent(&answer);
        };
        inbox.keep_until_answered(&first.header(), share().unwrap());
        answer(&second);
        assert!(share().is_err(), "it is not out");
        answer(&first);
        inbox.keep_until_answered(&no_reply.header(), share().unwrap());
        assert!(share().is_ok(), "it is never answered");
    }

    #[test]
    fn it_is_quiet_when_all_that_came_is_answered() {
        let inbox = Inbox::new(mpsc::unbounded_channel().0);
        assert!(inbox.is_quiet());
        let (first, second) = (call(":1.1", "A"), call(":1.2", "B"));
        inbox.put(first.clone());
        inbox.put(second.clone());
        assert!(!inbox.is_quiet(), "none is begun");
        let taken = |inbox: &Inbox| inbox.lock().take().is_some();
        assert!(taken(&inbox) && taken(&inbox) && !inbox.is_quiet(), "none is answered");
        let answer = |call: &Message| {
            inbox.sent(&Message::method_return(&call.header()).build(&()).unwrap());
        };
        answer(&first);
        assert!(!inbox.is_quiet());
        answer(&second);
        assert!(inbox.is_quiet());
        inbox.put(first);
        assert!(!inbox.is_quiet());
        inbox.close(zbus::Error::InvalidReply);
        assert!(inbox.is_quiet(), "nobody hears an answer");
    }

    #[test]
    fn a_calls_time_begins_when_it_comes() {
        let inbox = Inbox::new(mpsc::unbounded_channel().0);
        let call = call(":1.1", "A");
        inbox.put(call.clone());
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(inbox.lock().take().is_some());
        let arrival = inbox.arrival(&call.header());
        assert!(arrival.elapsed().as_millis() >= 20 && inbox.arrival(&call.header()) == arrival);
        inbox.sent(&Message::method_return(&call.header()).build(&()).unwrap());
        assert!(inbox.arrival(&call.header()) > arrival, "it is forgotten with its answer");
    }

    #[test]
    fn each_connection_has_its_turn_and_its_order() {
        let mut waiting = Waiting::default();
        for n in 1..=4 {
            assert!(waiting.put(call(":1.1", &format!("A{n}")), ROOM).is_none());
        }
        for message in [call(":1.2", "B1"), call(":1.3", "C1"), call(":1.2", "B2")] {
            assert!(waiting.put(message, ROOM).is_none());
        }
        let signal = Message::signal("/", "org.example.I", "S").build(&()).unwrap();
        assert!(waiting.put(signal, ROOM).is_none());
        assert_eq!(taken(&mut waiting), ["S", "A1", "B1", "C1", "A2", "B2", "A3", "A4"]);
        for sender in [":1.1", ":1.1", ":1.1", ":1.1", ":1.2", ":1.2", ":1.3"] {
            assert!(!waiting.answered(sender, None), "nothing waits");
        }
        assert!(waiting.calls.is_empty() && waiting.turns.is_empty());
    }

    #[test]
    fn a_connection_has_so_many_answered_at_once() {
        let mut waiting = Waiting::default();
        for n in 0..AT_ONCE + 2 {
            assert!(waiting.put(call(":1.1", &format!("A{n}")), ROOM).is_none());
        }
        assert_eq!(taken(&mut waiting).len(), AT_ONCE);
        assert!(waiting.put(call(":1.2", "B1"), ROOM).is_none());
        assert_eq!(taken(&mut waiting), ["B1"]);
        assert!(waiting.answered(":1.1", None));
        assert_eq!(taken(&mut waiting), [format!("A{AT_ONCE}")]);
        for _ in 0..AT_ONCE {
            waiting.answered(":1.1", None);
            taken(&mut waiting);
        }
        waiting.answered(":1.1", None);
        waiting.answered(":1.2", None);
        assert!(waiting.calls.is_empty() && waiting.turns.is_empty());
    }

    #[test]
    fn a_full_part_is_refused_and_an_empty_one_never() {
        let mut waiting = Waiting::default();
        let room = 3 * taken_by(&call(":1.1", "A1"));
        for n in 1..=3 {
            assert!(waiting.put(call(":1.1", &format!("A{n}")), room).is_none());
        }
        assert!(waiting.put(call(":1.1", "A4"), room).is_some());
        assert!(waiting.put(call(":1.2", "B1"), room).is_none(), "it has nothing waiting");
        assert!(
            waiting.put(call(":1.2", "B2"), room).is_some(),
            "of the room it has a half, now that two wait"
        );
        assert_eq!(taken(&mut waiting), ["A1", "B1", "A2", "A3"]);
    }

    #[test]
    fn refusals_do_not_pile_up() {
        let mut waiting = Waiting::default();
        let refusals = (0..3 * REFUSED).filter_map(|_| waiting.put(call(":1.1", "A"), 1)).count();
        assert!((REFUSED..=REFUSED + AT_ONCE).contains(&refusals), "{refusals}");
        assert!(waiting.put(call(":1.2", "B"), 1).is_none(), "another connection is not affected");
    }

    #[test]
    fn what_nobody_takes_is_not_kept() {
        let mut waiting = Waiting::default();
        let with_descriptor = |flags: Option<Flags>| {
            let call = Message::method_call("/", "Start").sender(":1.1");
            let call = flags.into_iter().fold(call, |call, flag| call.with_flags(flag));
            let fd = std::fs::File::open("/dev/null").unwrap();
            call.build(&zbus::Fd::from(std::os::fd::OwnedFd::from(fd))).unwrap()
        };
        let answer = waiting.put(with_descriptor(None), ROOM).unwrap();
        assert_eq!(answer.header().error_name().unwrap().as_str(), "org.warren1.Error.NotSupported");
        assert!(!waiting.answered(":1.1", None));
        assert!(waiting.put(with_descriptor(Some(Flags::NO_REPLY_EXPECTED)), ROOM).is_none());
        let signal = |sender: &'static str| {
            let signal = Message::signal("/", "org.freedesktop.DBus", "NameOwnerChanged").sender(sender);
            signal.build(&()).unwrap()
        };
        assert!(waiting.put(signal(":1.1"), ROOM).is_none());
        assert!(waiting.calls.is_empty() && waiting.turns.is_empty());
        assert_eq!(taken(&mut waiting), [""; 0]);
        assert!(waiting.put(signal(BUS), ROOM).is_none());
        assert_eq!(taken(&mut waiting), ["NameOwnerChanged"]);
    }
}
