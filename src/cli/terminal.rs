//! The terminal that a person sits at, as a raw line to a guest. Owns its mode; must always give it
//! back as it was.

use std::io;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Standard input in raw mode until this is dropped.
#[derive(Debug)]
pub(super) struct RawMode(Termios);

impl RawMode {
    /// Every key, Ctrl-C too, goes to whoever reads standard input, unseen and at once.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing is left to do for a terminal that has gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
