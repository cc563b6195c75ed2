//! What the service and the opener say to each other, one packet each. Owns the bounds of a packet and of an
//! answer; must never touch a file.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The largest packet between the two sides: a path of 4096 bytes, escaped, fits several times.
pub(super) const PACKET: usize = 1 << 16;
/// The deepest backing chain.
pub(super) const CHAIN_LIMIT: usize = 32;

/// What the opener says; one or more for each request, the last being no image and no size.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// How much of memory a copy would take. It is made once a [`Permit`] has come.
    Size { bytes: u64 },
    /// The next image of the chain, and the bytes that QEMU keeps of it in memory; comes with its descriptor.
    Image { path: PathBuf, qcow2: bool, held: u64 },
    /// The chain is complete.
    Done,
    /// The kernel said no.
    Refused { what: String, errno: i32 },
    /// The file cannot serve.
    Unfit { what: String, problem: String },
    /// The file is over the request's limit.
    TooLarge { bytes: u64 },
    /// Before any request: it did not become whom it opens for.
    NotBecome { step: String, errno: i32 },
}

/// A file may be copied into memory.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Permit {
    /// How much of it.
    pub(super) bytes: u64,
}

/// The packet that carries a message.
pub(super) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(message)?;
    if text.len() > PACKET { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(text) }
}
