//! QMP as bytes: lines, each a JSON object, and what kind of message each is.
//!
//! Owns the bounds of what is taken from QEMU. Must never wait.

use serde_json::Value;

use super::QmpEvent;

/// The longest line that is taken from QEMU, in bytes. Its longest regular answer, the list of all types,
/// has about 100 KiB.
pub(super) const LINE_LIMIT: usize = 4 << 20;

/// One line of QEMU's.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first line of a connection.
    Greeting,
    /// Something told unasked.
    Event(QmpEvent),
    /// The answer to a command of ours.
    Reply {
        /// The number that the command had.
        id: u64,
        /// The whole answer: `return` or `error` is in it.
        reply: Value,
    },
    /// Nothing that anybody waits for.
    Other,
}

/// Reads a line, which must be a JSON object.
pub fn decode(line: &[u8]) -> Result<Message, String> {
    let mut message: Value = match serde_json::from_slice(line) {
        Ok(value @ Value::Object(_)) => value,
        Ok(_) => return Err("a line is not a JSON object".into()),
        Err(e) => return Err(format!("a line is not JSON: {e}")),
    };
    if let Some(name) = message["event"].as_str() {
        let part = |key| message["timestamp"][key].as_u64().unwrap_or(0);
        let timestamp_usec = part("seconds").saturating_mul(1_000_000).saturating_add(part("microseconds"));
        let event = QmpEvent { name: name.to_owned(), timestamp_usec, data: message["data"].take() };
        return Ok(Message::Event(event));
    }
    Ok(match message["id"].as_u64() {
        Some(id) => Message::Reply { id, reply: message },
        None if message.get("QMP").is_some() => Message::Greeting,
        None => Message::Other,
    })
}

/// Bytes as they come, taken out as lines of bounded length.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// How much of them is known to hold no end of line.
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
            let rest = self.bytes.split_off(self.searched + at + 1);
            let mut line = std::mem::replace(&mut self.bytes, rest);
            self.searched = 0;
            line.pop();
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(line));
            }
        }
        self.searched = self.bytes.len();
        if self.bytes.len() > LINE_LIMIT {
            return Err(format!("a line has more than {LINE_LIMIT} bytes"));
        }
        Ok(None)
    }
}
