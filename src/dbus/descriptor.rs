//! A descriptor in a reply.
//!
//! Owns its way into the message: the bus library duplicates what it sends, and where there is no room for the
//! duplicate its error is none of the contract's. Must never let that happen: the room is kept free from the start.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use serde::{Serialize, Serializer};
use zbus::Signature;

use super::error::Error;

/// What a method answers with `h`.
#[derive(Debug)]
pub(super) struct Descriptor {
    fd: zbus::OwnedFd,
    /// Closed when the message is built, which takes its place.
    room: Mutex<Option<OwnedFd>>,
}

impl Descriptor {
    /// For a reply.
    ///
    /// # Errors
    /// `LimitExceeded`: the service has as many descriptors open as it may.
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Error> {
        let room = fd.as_fd().try_clone_to_owned().map_err(|e| Error::no_descriptors(&e))?;
        Ok(Self { fd: fd.into(), room: Mutex::new(Some(room)) })
    }
}

impl zbus::Type for Descriptor {
    const SIGNATURE: &'static Signature = zbus::OwnedFd::SIGNATURE;
}

impl Serialize for Descriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        drop(self.room.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.fd.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sent_as_a_descriptor() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let reply =
            zbus::message::Message::method_call("/", "M").build(&Descriptor::new(file.into()).unwrap());
        let reply = reply.unwrap();
        assert_eq!(reply.body().signature().to_string(), "h");
        assert_eq!(reply.data().fds().len(), 1);
    }
}
