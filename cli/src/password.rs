//! A password, asked for at the terminal.
//!
//! *Invariant:* it is not shown while it is typed, and the terminal is as it was afterwards, also after Ctrl-C: while asking, that
//! is a byte like others, so no signal ends this program at the wrong moment.

use std::io::{self, Read, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// No password is longer.
const LONGEST: u64 = 64 << 10;

/// The password: all of standard input if `piped`, less its last newline; else ORLOP_PASSWORD; else asked for.
///
/// # Errors
/// `NoPassword` if there is nobody to ask.
pub(crate) fn get(username: &str, piped: bool) -> Result<String, Failure> {
    if piped {
        let mut text = String::new();
        io::stdin().lock().take(LONGEST).read_to_string(&mut text).map_err(Failure::Password)?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        return Ok(text.strip_suffix('\r').unwrap_or(text).to_owned());
    }
    match std::env::var("ORLOP_PASSWORD") {
        Ok(password) => Ok(password),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failure::Password(io::Error::new(io::ErrorKind::InvalidData, "ORLOP_PASSWORD is not UTF-8")))
        }
        Err(std::env::VarError::NotPresent) if !isatty(io::stdin()) => Err(Failure::NoPassword),
        Err(std::env::VarError::NotPresent) => ask(username),
    }
}

/// The terminal as it was, put back when this is dropped.
struct Restored(Termios);

impl Drop for Restored {
    fn drop(&mut self) {
        // There is nothing left to be done if it cannot be.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
        let _ = writeln!(io::stderr());
    }
}

fn ask(username: &str) -> Result<String, Failure> {
    let failed = |errno: rustix::io::Errno| Failure::Password(errno.into());
    let before = tcgetattr(io::stdin()).map_err(failed)?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    let _restored = Restored(before);
    tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).map_err(failed)?;
    let _ = write!(io::stderr(), "password of {}: ", crate::render::text::escape(username));
    let typed = line(io::stdin().lock().bytes())?;
    String::from_utf8(typed)
        .map_err(|error| Failure::Password(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// What is typed up to the end of the line, with what was taken back by the keys for that.
fn line(bytes: impl Iterator<Item = io::Result<u8>>) -> Result<Vec<u8>, Failure> {
    let mut typed = Vec::new();
    for byte in bytes {
        match byte.map_err(Failure::Password)? {
            // Ctrl-C, and Ctrl-D on an empty line.
            0x03 => return Err(Failure::Interrupted),
            0x04 if typed.is_empty() => return Err(Failure::Interrupted),
            b'\n' | b'\r' | 0x04 => return Ok(typed),
            // Backspace takes a character of UTF-8 back, Ctrl-U all.
            0x08 | 0x7f => while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            0x15 => typed.clear(),
            byte => typed.push(byte),
        }
    }
    Err(Failure::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str) -> Option<String> {
        line(keys.bytes().map(Ok)).ok().map(|typed| String::from_utf8(typed).unwrap())
    }

    #[test]
    fn keys_that_take_back_do() {
        assert_eq!(typed("secret\n").as_deref(), Some("secret"));
        assert_eq!(typed("wrong\u{15}xö\u{7f}y\r").as_deref(), Some("xy"));
        assert_eq!(typed("\u{7f}\u{8}a\n").as_deref(), Some("a"));
        assert_eq!(typed("ab\u{4}").as_deref(), Some("ab"));
        assert_eq!(typed("\n").as_deref(), Some(""));
    }

    #[test]
    fn whoever_leaves_gives_no_password() {
        for keys in ["ab\u{3}", "\u{4}", "ab", ""] {
            assert_eq!(typed(keys), None, "{keys:?}");
        }
    }
}
