//! What the client sends, event by event.
//!
//! ```text
//!              data header, of a new message or the next part of one
//!  Between ──────────────────────────────▶ Data ── payload, piece by piece ──▶ Between
//!     │        control header                       whole payload there
//!     └──────────────────────────────▶ Control ──────────────────────────▶ Between
//! ```
//!
//! *Invariant:* a message is handed on as it comes, in pieces; nothing but a control frame, 125 bytes, is waited for. Where the bytes
//! are cut makes no difference but to the pieces. After a fault nothing more is read.

use bytes::{Buf, Bytes, BytesMut};

use super::{BINARY, CLOSE, CONTINUED, Close, PING, PONG, TEXT};

/// The longest message. It is never kept as a whole, so this bounds no memory; it ends what cannot be meant.
const MESSAGE: u64 = 32 << 20;

/// How a client broke the protocol: in words, and what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) &'static str, pub(crate) Close);

const fn broken(words: &'static str) -> Fault {
    Fault(words, Close::Protocol)
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A piece of a message: `first` of it, `last` of it. Text and binary are not told apart: clients send either for the same.
    Piece { piece: Bytes, first: bool, last: bool },
    /// Wants a pong with the same payload.
    Ping(Bytes),
    /// The client is done, and says why or does not.
    Close(Option<u16>),
}

enum State {
    Between,
    Data { left: u64, at: usize, mask: [u8; 4], fin: bool },
    Control { opcode: u8, length: usize, mask: [u8; 4] },
}

/// Reads events.
pub(crate) struct Decoder {
    state: State,
    /// Bytes of the message so far, while one is open.
    open: Option<u64>,
    /// Whether the open message's first piece was handed on.
    begun: bool,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Decoder { state: State::Between, open: None, begun: false }
    }

    /// The next event of what `bytes` holds; `None` if more is needed.
    pub(crate) fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<Event>, Fault> {
        loop {
            match self.state {
                State::Between => match self.begin(bytes)? {
                    Some(state) => self.state = state,
                    None => return Ok(None),
                },
                State::Data { left, at, mask, fin } => {
                    if bytes.is_empty() && left > 0 {
                        return Ok(None);
                    }
                    let size = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let mut piece = bytes.split_to(size);
                    unmask(&mut piece, mask, at);
                    let left = left - size as u64;
                    self.state = match left {
                        0 => State::Between,
                        _ => State::Data { left, at: (at + size) % 4, mask, fin },
                    };
                    let last = fin && left == 0;
                    if piece.is_empty() && !last {
                        continue;
                    }
                    let first = !std::mem::replace(&mut self.begun, !last);
                    if last {
                        self.open = None;
                    }
                    return Ok(Some(Event::Piece { piece: piece.freeze(), first, last }));
                }
                State::Control { opcode, length, mask } => {
                    if bytes.len() < length {
                        return Ok(None);
                    }
                    self.state = State::Between;
                    let mut payload = bytes.split_to(length);
                    unmask(&mut payload, mask, 0);
                    match opcode {
                        PING => return Ok(Some(Event::Ping(payload.freeze()))),
                        CLOSE => return close(&payload).map(Some),
                        // A pong that nobody asked for is allowed.
                        _ => {}
                    }
                }
            }
        }
    }

    /// Reads a header, once it is there as a whole.
    fn begin(&mut self, bytes: &mut BytesMut) -> Result<Option<State>, Fault> {
        let Some([first, second]) = bytes.first_chunk().copied() else { return Ok(None) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err(broken("a frame of an extension that was not agreed on"));
        }
        if second & 0x80 == 0 {
            return Err(broken("a frame is not masked"));
        }
        let (extra, short) = match second & 0x7f {
            126 => (2, 126),
            127 => (8, 127),
            short => (0, short),
        };
        if opcode >= CLOSE && (!fin || short > 125) {
            return Err(broken("a control frame is in parts or too long"));
        }
        let Some(header) = bytes.get(..2 + extra + 4) else { return Ok(None) };
        let length = match extra {
            0 => u64::from(short),
            _ => header[2..2 + extra].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        let mask = [header[2 + extra], header[3 + extra], header[4 + extra], header[5 + extra]];
        if (extra == 2 && length < 126) || (extra == 8 && u16::try_from(length).is_ok()) {
            return Err(broken("a length is written longer than it needs"));
        }
        bytes.advance(2 + extra + 4);
        match opcode {
            CLOSE | PING | PONG => Ok(Some(State::Control { opcode, length: usize::from(short), mask })),
            _ => {
                self.part(opcode, length)?;
                Ok(Some(State::Data { left: length, at: 0, mask, fin }))
            }
        }
    }

    /// Takes note of a part of a message.
    fn part(&mut self, opcode: u8, length: u64) -> Result<(), Fault> {
        let before = match (opcode, self.open) {
            (TEXT | BINARY, None) => 0,
            (CONTINUED, Some(before)) => before,
            (TEXT | BINARY, Some(_)) => return Err(broken("a message begins within another")),
            (CONTINUED, None) => return Err(broken("a part of no message")),
            _ => return Err(broken("a frame of a kind that is not known")),
        };
        let size = before.saturating_add(length);
        if size > MESSAGE {
            return Err(Fault("a message is too long", Close::TooLong));
        }
        self.open = Some(size);
        Ok(())
    }
}

fn close(payload: &[u8]) -> Result<Event, Fault> {
    let Some((code, words)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(Event::Close(None)) } else { Err(broken("half a close code")) };
    };
    let code = u16::from_be_bytes(*code);
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => {}
        _ => return Err(broken("a close code that cannot be sent")),
    }
    std::str::from_utf8(words).map_err(|_| Fault("a close has words that are no text", Close::Invalid))?;
    Ok(Event::Close(Some(code)))
}

/// Takes the mask off, eight bytes at a time. `at`: which byte of the mask is the first one's.
fn unmask(bytes: &mut [u8], mut mask: [u8; 4], at: usize) {
    mask.rotate_left(at % 4);
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}
