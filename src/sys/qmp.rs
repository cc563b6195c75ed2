//! A small client of QEMU's monitor protocol, QMP.
//!
//! Owns one connection: the greeting, commands matched to their replies by id, events in order. Events and replies
//! carry their place in what QEMU has sent, so that news that come by two ways can be put in order.
//!
//! What QEMU sends is not trusted: it is read at a bounded rate, a line has a length limit, JSON limits of depth and
//! size, the event queue a bound, and each wait a deadline. Must never know what a command means to a guest.

mod codec;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::unix;
use crate::pace::Meter;

pub use codec::{LineBuffer, Message, decode, read_reply};

/// Events that may wait for their reader; what comes on top is dropped and counted.
const EVENT_QUEUE: usize = 64;
/// Commands that may wait to be written.
const COMMAND_QUEUE: usize = 64;
/// The longest answer to a command, in bytes, where no more is asked for.
const REPLY_LIMIT: usize = 64 << 10;
/// What is read at once, in lines and KiB; beyond it a QEMU that says more has to wait.
const READ_BURST: u32 = 1024;
/// How long one of them takes in the long run.
const READ_EVERY: Duration = Duration::from_micros(200);

/// The place of the next line in what all QEMUs have sent: of a later connection it is a later one.
static SEQ: AtomicU64 = AtomicU64::new(1);

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
    /// The answer is larger than the command's can be; it was not read.
    #[error("QEMU's answer to '{command}' is larger than {limit} bytes")]
    HugeReply {
        /// What was asked.
        command: String,
        /// What is read at most.
        limit: usize,
    },
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
    /// Its place in what QEMU has sent, by one connection or several.
    pub seq: u64,
}

/// One connection to a QEMU. Clones share it; it is closed when the last one is gone.
#[derive(Debug, Clone)]
pub struct Qmp {
    commands: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
    reply_limit: usize,
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
    /// The place of the last event that was dropped.
    last_dropped: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<u64, Waiting>,
    /// Set once the connection has ended: `Some` with what was wrong, if QEMU did not just close it.
    ended: Option<Option<String>>,
}

/// Somebody who waits for an answer, and how much of one is wanted.
#[derive(Debug)]
struct Waiting {
    sender: oneshot::Sender<Answer>,
    limit: usize,
}

/// An answer as it came, and its place in what QEMU has sent; `None`: it is beyond the limit.
type Answer = (Option<Vec<u8>>, u64);

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
            Ok(Some(line)) => match decode(line).map_err(QmpError::Protocol)? {
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
        let qmp = Self { commands, shared, reply_limit: REPLY_LIMIT };
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
        Ok(self.exchange(command, arguments, None, deadline).await?.0)
    }

    /// As [`Self::execute`], with the answer's place in what QEMU has sent: what was sent before it is older.
    pub async fn execute_at(
        &self,
        command: &str,
        arguments: Value,
        deadline: Duration,
    ) -> Result<(Value, u64), QmpError> {
        self.exchange(command, arguments, None, deadline).await
    }

    /// The same connection for commands whose answers are long, as lists of all that QEMU can do.
    #[must_use]
    pub fn with_long_replies(self) -> Self {
        Self { reply_limit: codec::LINE_LIMIT, ..self }
    }

    /// As [`Self::execute`], with a descriptor for a command that takes one, as `getfd`.
    pub async fn execute_with_fd(
        &self,
        command: &str,
        arguments: Value,
        fd: Option<OwnedFd>,
        deadline: Duration,
    ) -> Result<Value, QmpError> {
        Ok(self.exchange(command, arguments, fd, deadline).await?.0)
    }

    async fn exchange(
        &self,
        command: &str,
        arguments: Value,
        fd: Option<OwnedFd>,
        deadline: Duration,
    ) -> Result<(Value, u64), QmpError> {
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
                state.waiting.insert(id, Waiting { sender, limit: self.reply_limit });
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
            Ok(Some((Some(line), seq))) => Ok((unpack(command, &line)?, seq)),
            Ok(Some((None, _))) => {
                Err(QmpError::HugeReply { command: command.into(), limit: self.reply_limit })
            }
        }
    }

    /// How many events were dropped because their reader was too slow, or they were too large.
    pub fn dropped_events(&self) -> u64 {
        self.shared.dropped_events.load(Ordering::Relaxed)
    }

    /// The place of the last event that was dropped; 0 where none was.
    pub fn last_dropped(&self) -> u64 {
        self.shared.last_dropped.load(Ordering::Relaxed)
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

fn unpack(command: &str, line: &[u8]) -> Result<Value, QmpError> {
    let mut reply = read_reply(line).map_err(QmpError::Protocol)?;
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
        let mut meter = Meter::new(READ_BURST, READ_EVERY);
        loop {
            let line = match lines.next().await {
                Ok(Some(line)) => line,
                Ok(None) => return None,
                Err(what) => return Some(what),
            };
            let seq = SEQ.fetch_add(1, Ordering::Relaxed);
            let cost = 1 + u32::try_from(line.len() >> 10).unwrap_or(u32::MAX);
            match decode(line) {
                Ok(message) => take(message, seq, &events, &shared),
                Err(what) => return Some(what),
            }
            // Only this QEMU waits for it.
            if let Some(pause) = meter.charge(cost, Instant::now()) {
                tokio::time::sleep(pause).await;
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

fn take(message: Message, seq: u64, events: &mpsc::Sender<QmpEvent>, shared: &Shared) {
    match message {
        Message::Event(event) => {
            let event = QmpEvent { seq, ..event };
            if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
                drop_event(seq, &event.name, shared);
            }
        }
        Message::HugeEvent => drop_event(seq, "one that is too large", shared),
        Message::Reply { id, line } => {
            if let Some(Waiting { sender, limit }) = shared.lock().waiting.remove(&id) {
                let line = codec::is_within(&line, limit).then_some(line);
                // The one who asked may have given up in this moment.
                drop(sender.send((line, seq)));
            }
        }
        Message::Greeting | Message::Other => {}
    }
}

fn drop_event(seq: u64, name: &str, shared: &Shared) {
    shared.last_dropped.store(seq, Ordering::Relaxed);
    if shared.dropped_events.fetch_add(1, Ordering::Relaxed) == 0 {
        tracing::warn!(event = name, "QEMU sends more events than are read");
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
