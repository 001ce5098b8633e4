//! The frames that we send: never masked, never in parts.
//!
//! *Invariant:* none of these can fail.

use super::{BINARY, CLOSE, Close, PING, PONG, TEXT};

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

/// The header of a whole message of `length` bytes, in the first bytes of what it returns.
pub(crate) fn message(kind: Kind, length: usize) -> ([u8; 10], usize) {
    let opcode = match kind {
        Kind::Text => TEXT,
        Kind::Binary => BINARY,
    };
    let mut header = [0; 10];
    header[0] = 0x80 | opcode;
    let used = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => {
            header[1] = short;
            2
        }
        (_, Ok(middle)) => {
            header[1] = 126;
            header[2..4].copy_from_slice(&middle.to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    (header, used)
}

/// The answer to a ping; `payload` is at most 125 bytes, as it came.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    control(PONG, payload)
}

/// A ping of our own.
pub(crate) fn ping() -> Vec<u8> {
    control(PING, &[])
}

/// The last frame. `code`: `None` answers a close that had none.
pub(crate) fn close(code: Option<u16>) -> Vec<u8> {
    control(CLOSE, code.map(u16::to_be_bytes).as_ref().map_or(&[], |code| &code[..]))
}

/// The last frame, when it is ours to say why.
pub(crate) fn closed(why: Close) -> Vec<u8> {
    close(Some(why as u16))
}

fn control(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or(125).min(125);
    [&[0x80 | opcode, length], &payload[..usize::from(length)]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_short_as_they_can_be() {
        let written = |length| {
            let (header, used) = message(Kind::Binary, length);
            header[..used].to_vec()
        };
        assert_eq!(written(0), [0x82, 0]);
        assert_eq!(written(125), [0x82, 125]);
        assert_eq!(written(126), [0x82, 126, 0, 126]);
        assert_eq!(written(65535), [0x82, 126, 0xff, 0xff]);
        assert_eq!(written(65536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(message(Kind::Text, 1).0[0], 0x81);
    }

    #[test]
    fn control_frames_are_what_the_rfc_draws() {
        assert_eq!(pong(b"ab"), [0x8a, 2, b'a', b'b']);
        assert_eq!(close(None), [0x88, 0]);
        assert_eq!(closed(Close::Normal), [0x88, 2, 0x03, 0xe8]);
    }
}
