//! The terminal as a plain line to the container: every key goes there, none is a signal here.
//!
//! *Invariant:* the terminal is as it was afterwards, however the session ends.

use std::io;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal that passes all on, until this is dropped.
pub(super) struct Plain(Option<Termios>);

impl Plain {
    /// If standard input is a terminal.
    ///
    /// # Errors
    /// As the kernel says.
    pub(super) fn new() -> io::Result<Self> {
        let input = io::stdin();
        if !isatty(&input) {
            return Ok(Plain(None));
        }
        let before = tcgetattr(&input)?;
        let mut plain = before.clone();
        plain.make_raw();
        tcsetattr(&input, OptionalActions::Now, &plain)?;
        Ok(Plain(Some(before)))
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // There is nothing left to be done if it cannot be.
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}

/// Columns and rows of the terminal, if there is one.
pub(super) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    (size.ws_col != 0 && size.ws_row != 0).then_some((size.ws_col, size.ws_row))
}
