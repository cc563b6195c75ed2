//! A small client of QEMU's monitor protocol, QMP.
//!
//! Owns one connection: the greeting, commands matched to their replies by id, events in order. What
//! QEMU sends is not trusted: a line has a length limit, JSON a depth limit, the event queue a bound, and
//! each wait a deadline. Must never know what a command means to a guest.

mod codec;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::unix;

pub use codec::{LineBuffer, Message, decode};

/// Events that may wait for their reader; what comes on top is dropped and counted.
const EVENT_QUEUE: usize = 256;
/// Commands that may wait to be written.
const COMMAND_QUEUE: usize = 64;

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// QEMU did not answer in time. The connection stays; a late answer is dropped.
    #[error("QEMU did not answer '{command}' within {} s", .deadline.as_secs_f32())]
    Timeout {
        /// What was asked.
        command: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// The connection is closed.
    #[error("QEMU closed its monitor")]
    Disconnected,
    /// What came is not QMP; the connection was closed.
    #[error("QEMU's monitor does not speak QMP: {0}")]
    Protocol(String),
    /// QEMU refused the command.
    #[error("QEMU refused '{command}': {message}")]
    Refused {
        /// What was asked.
        command: String,
        /// QEMU's error class, as `GenericError`.
        class: String,
        /// QEMU's own words.
        message: String,
    },
}

/// Something that QEMU tells unasked.
#[derive(Debug, Clone, PartialEq)]
pub struct QmpEvent {
    /// Its name, as `SHUTDOWN`.
    pub name: String,
    /// Its data; null where it has none.
    pub data: Value,
    /// QEMU's clock in microseconds since 1970; 0 where QEMU gives none.
    pub timestamp_usec: u64,
}

/// One connection to a QEMU. Clones share it; it is closed when the last one is gone.
#[derive(Debug, Clone)]
pub struct Qmp {
    commands: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
}

/// A line for QEMU, with a descriptor if the command takes one.
#[derive(Debug)]
struct Outgoing {
    line: Vec<u8>,
    fd: Option<OwnedFd>,
}

#[derive(Debug, Default)]
struct Shared {
    next_id: AtomicU64,
    dropped_events: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<u64, oneshot::Sender<Value>>,
    /// Set once the connection has ended: `Some` with what was wrong, if QEMU did not just close it.
    ended: Option<Option<String>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why_ended(&self) -> QmpError {
        match self.lock().ended.clone().flatten() {
            Some(what) => QmpError::Protocol(what),
            None => QmpError::Disconnected,
        }
    }
}

impl Qmp {
    /// Takes the greeting and enters command mode. The receiver gets QEMU's events in order and is closed
    /// when the connection ends. `deadline` bounds both steps together.
    pub async fn connect(
        stream: UnixStream,
        deadline: Duration,
    ) -> Result<(Self, mpsc::Receiver<QmpEvent>), QmpError> {
        let late = || QmpError::Timeout { command: "the greeting".into(), deadline };
        timeout(deadline, Self::handshake(stream, deadline)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn handshake(
        stream: UnixStream,
        deadline: Duration,
    ) -> Result<(Self, mpsc::Receiver<QmpEvent>), QmpError> {
        let (reader, writer) = stream.into_split();
        let mut lines = Lines { reader, buffer: LineBuffer::default() };
        match lines.next().await {
            Ok(Some(line)) => match decode(&line).map_err(QmpError::Protocol)? {
                Message::Greeting => {}
                _ => return Err(QmpError::Protocol("its first line is no greeting".into())),
            },
            Ok(None) => return Err(QmpError::Disconnected),
            Err(what) => return Err(QmpError::Protocol(what)),
        }
        let shared = Arc::new(Shared::default());
        let (commands, command_queue) = mpsc::channel(COMMAND_QUEUE);
        let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
        tokio::spawn(run(lines, writer, command_queue, event_sender, Arc::clone(&shared)));
        let qmp = Self { commands, shared };
        qmp.execute("qmp_capabilities", Value::Null, deadline).await?;
        Ok((qmp, events))
    }

    /// Runs one command and gives what it returns; `arguments` is an object or null. Several may be under
    /// way at once: QEMU runs them in the order in which they were given.
    pub async fn execute(
        &self,
        command: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<Value, QmpError> {
        self.execute_with_fd(command, arguments, None, deadline).await
    }

    /// As [`Self::execute`], with a descriptor for a command that takes one, as `getfd`.
    pub async fn execute_with_fd(
        &self,
        command: &str,
        arguments: Value,
        fd: Option<OwnedFd>,
        deadline: Duration,
    ) -> Result<Value, QmpError> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let mut request = json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        request["id"] = id.into();
        let mut line = request.to_string().into_bytes();
        line.push(b'\n');

        let (sender, reply) = oneshot::channel();
        {
            let mut state = self.shared.lock();
            if state.ended.is_none() {
                state.waiting.insert(id, sender);
            }
        }
        let _forget = Forget { shared: &self.shared, id };
        let exchange = async {
            self.commands.send(Outgoing { line, fd }).await.ok()?;
            reply.await.ok()
        };
        match timeout(deadline, exchange).await {
            Err(_) => Err(QmpError::Timeout { command: command.into(), deadline }),
            Ok(None) => Err(self.shared.why_ended()),
            Ok(Some(reply)) => unpack(command, reply),
        }
    }

    /// How many events were dropped because their reader was too slow.
    pub fn dropped_events(&self) -> u64 {
        self.shared.dropped_events.load(Ordering::Relaxed)
    }
}

/// Takes a command off the list of those that wait, however the wait ends: a late reply then has no
/// receiver and is dropped.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.lock().waiting.remove(&self.id);
    }
}

fn unpack(command: &str, mut reply: Value) -> Result<Value, QmpError> {
    if let Some(value) = reply.get_mut("return") {
        return Ok(value.take());
    }
    let text = |key| reply["error"][key].as_str().unwrap_or("no reason given").to_owned();
    Err(QmpError::Refused { command: command.into(), class: text("class"), message: text("desc") })
}

/// Serves one connection until it ends from either side.
async fn run(
    mut lines: Lines,
    mut writer: OwnedWriteHalf,
    mut commands: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<QmpEvent>,
    shared: Arc<Shared>,
) {
    // Reading goes on while a write waits: QEMU may take no command before its output is read.
    let write = async {
        while let Some(outgoing) = commands.recv().await {
            if send(&mut writer, outgoing).await.is_err() {
                // What QEMU still had to say is read to its end.
                std::future::pending::<()>().await;
            }
        }
    };
    let read = async {
        loop {
            match lines.next().await {
                Ok(Some(line)) => match decode(&line) {
                    Ok(message) => take(message, &events, &shared),
                    Err(what) => return Some(what),
                },
                Ok(None) => return None,
                Err(what) => return Some(what),
            }
        }
    };
    let ended = tokio::select! {
        () = write => None,
        ended = read => ended,
    };
    let mut state = shared.lock();
    state.ended = Some(ended);
    state.waiting.clear();
}

/// A descriptor goes with the first byte of its command.
async fn send(writer: &mut OwnedWriteHalf, Outgoing { line, fd }: Outgoing) -> io::Result<()> {
    let mut sent = 0;
    if let Some(fd) = fd {
        let stream: &UnixStream = writer.as_ref();
        let send = || unix::send_message(stream.as_fd(), &line, Some(fd.as_fd()));
        sent = stream.async_io(Interest::WRITABLE, send).await?;
    }
    writer.write_all(&line[sent..]).await
}

fn take(message: Message, events: &mpsc::Sender<QmpEvent>, shared: &Shared) {
    match message {
        Message::Event(event) => {
            if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
                let before = shared.dropped_events.fetch_add(1, Ordering::Relaxed);
                if before == 0 {
                    tracing::warn!(event = event.name, "QEMU sends events faster than they are read");
                }
            }
        }
        Message::Reply { id, reply } => {
            if let Some(sender) = shared.lock().waiting.remove(&id) {
                // The one who asked may have given up in this moment.
                drop(sender.send(reply));
            }
        }
        Message::Greeting | Message::Other => {}
    }
}

/// The lines of a connection.
struct Lines {
    reader: OwnedReadHalf,
    buffer: LineBuffer,
}

impl Lines {
    /// The next line without its end; `None` at the end of the stream.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            if let Some(line) = self.buffer.take()? {
                return Ok(Some(line));
            }
            // A reset connection is a closed one: QEMU died.
            match self.reader.read_buf(self.buffer.bytes_mut()).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::codec::LINE_LIMIT;
    use super::*;
    use tokio::io::{AsyncBufReadExt, BufReader};

    const SECOND: Duration = Duration::from_secs(1);
    const GREETING: &[u8] = b"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n";

    /// A QEMU that greets, answers the first command, and then is played by the test.
    async fn connected() -> (Qmp, mpsc::Receiver<QmpEvent>, BufReader<UnixStream>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut fake = BufReader::new(theirs);
        let play = async {
            fake.write_all(GREETING).await.unwrap();
            let id = read_id(&mut fake).await;
            answer(&mut fake, &json!({"return": {}, "id": id})).await;
        };
        let (connection, ()) = tokio::join!(Qmp::connect(ours, SECOND), play);
        let (qmp, events) = connection.unwrap();
        (qmp, events, fake)
    }

    async fn read_id(fake: &mut BufReader<UnixStream>) -> Value {
        let mut line = String::new();
        fake.read_line(&mut line).await.unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["id"].take()
    }

    async fn answer(fake: &mut BufReader<UnixStream>, value: &Value) {
        fake.write_all(format!("{value}\r\n").as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn replies_find_their_command_in_any_order() {
        let (qmp, _events, mut fake) = connected().await;
        let play = async {
            let (a, b) = (read_id(&mut fake).await, read_id(&mut fake).await);
            answer(&mut fake, &json!({"return": "second", "id": b})).await;
            answer(&mut fake, &json!({"error": {"class": "GenericError", "desc": "no"}, "id": a})).await;
        };
        let first = qmp.execute("a", Value::Null, SECOND);
        let second = qmp.execute("b", json!({"x": 1}), SECOND);
        let (first, second, ()) = tokio::join!(first, second, play);
        assert_eq!(second.unwrap(), "second");
        assert_eq!(first.unwrap_err().to_string(), "QEMU refused 'a': no");
    }

    #[tokio::test]
    async fn a_late_reply_is_dropped_and_the_connection_stays() {
        let (qmp, _events, mut fake) = connected().await;
        let slow = qmp.execute("slow", Value::Null, Duration::from_millis(20)).await;
        assert!(matches!(slow, Err(QmpError::Timeout { .. })));
        let late = read_id(&mut fake).await;
        answer(&mut fake, &json!({"return": "late", "id": late})).await;
        let play = async {
            let id = read_id(&mut fake).await;
            answer(&mut fake, &json!({"return": "now", "id": id})).await;
        };
        let (reply, ()) = tokio::join!(qmp.execute("quick", Value::Null, SECOND), play);
        assert_eq!(reply.unwrap(), "now");
    }

    #[tokio::test]
    async fn garbage_ends_the_connection() {
        let deep = format!("{}\n", "[".repeat(100_000));
        let long = "x".repeat(LINE_LIMIT + 2);
        for garbage in [b"\xff\xfe\n".as_slice(), b"[]\n", deep.as_bytes(), long.as_bytes()] {
            let (qmp, mut events, fake) = connected().await;
            let (_unread, mut out) = fake.into_inner().into_split();
            let bytes = garbage.to_vec();
            let writer = tokio::spawn(async move {
                // The reader may hang up before all of it is written.
                drop(out.write_all(&bytes).await);
                out
            });
            let reply = qmp.execute("x", Value::Null, Duration::from_secs(5)).await;
            assert!(matches!(reply, Err(QmpError::Protocol(_))), "{reply:?}");
            assert_eq!(events.recv().await, None);
            drop(writer.await.unwrap());
            assert!(matches!(qmp.execute("y", Value::Null, SECOND).await, Err(QmpError::Protocol(_))));
        }
    }

    #[tokio::test]
    async fn a_flood_of_events_is_bounded_and_does_not_hold_up_replies() {
        let (qmp, mut events, mut fake) = connected().await;
        let play = async {
            let id = read_id(&mut fake).await;
            for n in 0..1000 {
                let at = json!({"seconds": 2, "microseconds": 5});
                answer(&mut fake, &json!({"event": "E", "data": {"n": n}, "timestamp": at})).await;
            }
            answer(&mut fake, &json!({"return": {}, "id": id})).await;
        };
        let (reply, ()) = tokio::join!(qmp.execute("x", Value::Null, SECOND), play);
        reply.unwrap();
        assert_eq!(qmp.dropped_events(), 1000 - EVENT_QUEUE as u64);
        let first = events.recv().await.unwrap();
        assert_eq!((first.name.as_str(), first.timestamp_usec), ("E", 2_000_005));
        assert_eq!(first.data["n"], 0);
    }

    #[tokio::test]
    async fn hanging_up_is_told_to_both_sides() {
        let (qmp, mut events, mut fake) = connected().await;
        let other = qmp.clone();
        drop(qmp);
        let asking = tokio::spawn(async move { other.execute("x", Value::Null, SECOND).await });
        read_id(&mut fake).await;
        drop(fake);
        assert!(matches!(asking.await.unwrap(), Err(QmpError::Disconnected)));
        assert_eq!(events.recv().await, None);

        let (qmp, _events, mut fake) = connected().await;
        drop(qmp);
        let mut rest = String::new();
        assert_eq!(fake.read_line(&mut rest).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_silent_peer_and_a_wrong_greeting_are_refused() {
        let (ours, _silent) = UnixStream::pair().unwrap();
        let silent = Qmp::connect(ours, Duration::from_millis(20)).await;
        assert!(matches!(silent, Err(QmpError::Timeout { .. })));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"{\"hello\": 1}\n").await.unwrap();
        assert!(matches!(Qmp::connect(ours, SECOND).await, Err(QmpError::Protocol(_))));
    }
}
