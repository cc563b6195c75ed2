//! QMP as bytes: lines, each a JSON object, and what kind of message each is.
//!
//! Owns the bounds of what is taken from QEMU, in bytes and in parts: a short text can make many values (`{"":0},`
//! takes a hundred times its length). Only what somebody waits for becomes values. Must never wait.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::QmpEvent;

/// The longest line that is taken from QEMU, in bytes. Its longest regular answer, the list of all types,
/// has about 100 KiB.
pub(super) const LINE_LIMIT: usize = 1 << 20;

/// The longest event, in bytes; regular ones have some hundred.
const EVENT_LIMIT: usize = 8 << 10;

/// The most parts of an event.
const EVENT_PARTS: usize = 256;

/// Room that an idle line buffer keeps.
const KEPT: usize = 64 << 10;

/// One line of QEMU's.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first line of a connection.
    Greeting,
    /// Something told unasked.
    Event(QmpEvent),
    /// An event that is too large to be one of QEMU's.
    HugeEvent,
    /// The answer to a command of ours.
    Reply {
        /// The number that the command had.
        id: u64,
        /// The whole line, for [`read_reply`]: `return` or `error` is in it.
        line: Vec<u8>,
    },
    /// Nothing that anybody waits for.
    Other,
}

/// The parts of a line that say what it is; the rest is looked at, but not kept.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    id: Option<u64>,
    #[serde(rename = "QMP")]
    greeting: Option<IgnoredAny>,
}

/// An upper limit of the number of values in a JSON text.
fn parts(text: &[u8]) -> usize {
    text.iter().filter(|byte| matches!(byte, b'{' | b'[' | b',' | b':')).count()
}

/// Reads a line, which must be a JSON object.
pub fn decode(line: Vec<u8>) -> Result<Message, String> {
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err("a line is not a JSON object".into());
    }
    let not_json = |e: serde_json::Error| format!("a line is not JSON: {e}");
    let envelope: Envelope<'_> = serde_json::from_slice(&line).map_err(not_json)?;
    if let Some(name) = envelope.event {
        if line.len() > EVENT_LIMIT || parts(&line) > EVENT_PARTS {
            return Ok(Message::HugeEvent);
        }
        let mut event: Value = serde_json::from_slice(&line).map_err(not_json)?;
        let part = |key| event["timestamp"][key].as_u64().unwrap_or(0);
        let timestamp_usec = part("seconds").saturating_mul(1_000_000).saturating_add(part("microseconds"));
        let (name, data) = (name.into_owned(), event["data"].take());
        return Ok(Message::Event(QmpEvent { name, timestamp_usec, data, seq: 0 }));
    }
    Ok(match envelope.id {
        Some(id) => Message::Reply { id, line },
        None if envelope.greeting.is_some() => Message::Greeting,
        None => Message::Other,
    })
}

/// Reads the answer to a command.
pub fn read_reply(line: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(line).map_err(|e| format!("an answer is not JSON: {e}"))
}

/// Whether an answer is within this limit, in bytes.
pub(super) fn is_within(line: &[u8], limit: usize) -> bool {
    // Regular answers have a part for each 10 to 20 bytes.
    line.len() <= limit && parts(line) <= limit / 8
}

/// Bytes as they come, taken out as lines of bounded length.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to where there is known to be no end of it.
    searched: usize,
}

impl LineBuffer {
    /// The bytes, to be appended to.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The next whole line that is not blank, without its end; `None` where more bytes are needed.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, String> {
        while let Some(at) = self.bytes[self.searched..].iter().position(|b| *b == b'\n') {
            let end = self.searched + at;
            let line = &self.bytes[self.start..end];
            let blank = line.iter().all(u8::is_ascii_whitespace);
            let line = if blank { Vec::new() } else { line.to_vec() };
            (self.start, self.searched) = (end + 1, end + 1);
            if !blank {
                return Ok(Some(line));
            }
        }
        self.bytes.drain(..self.start);
        if self.bytes.len() < KEPT {
            self.bytes.shrink_to(KEPT);
        }
        (self.start, self.searched) = (0, self.bytes.len());
        if self.bytes.len() > LINE_LIMIT {
            return Err(format!("a line has more than {LINE_LIMIT} bytes"));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_and_makes_much_is_not_read() {
        let many = r#"{"":0},"#.repeat(1000);
        let event = format!(r#"{{"event": "E", "data": [{many}0]}}"#);
        assert_eq!(decode(event.into_bytes()), Ok(Message::HugeEvent));
        let reply = format!(r#"{{"id": 1, "return": [{many}0]}}"#).into_bytes();
        assert!(!is_within(&reply, 16 << 10), "it has {} bytes", reply.len());
        let Ok(Message::Reply { id: 1, line }) = decode(reply.clone()) else { panic!("it is a reply") };
        assert_eq!(line, reply);
        let regular = r#"{"name": "virtio-net-pci", "parent": "device"},"#.repeat(1000);
        assert!(is_within(regular.as_bytes(), 64 << 10));
    }

    #[test]
    fn what_is_deep_is_no_event_and_no_answer() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let event = format!(r#"{{"event": "E", "data": {deep}}}"#);
        assert!(decode(event.into_bytes()).is_err());
        let reply = format!(r#"{{"id": 1, "return": {deep}}}"#);
        assert!(read_reply(reply.as_bytes()).is_err());
        let deeper = format!(r#"{{"id": 1, "return": {}"#, "[".repeat(100_000));
        assert!(decode(deeper.into_bytes()).is_err());
    }
}
