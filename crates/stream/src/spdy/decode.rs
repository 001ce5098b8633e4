//! What the client sends, frame by frame.
//!
//! ```text
//!            control header           whole payload there
//!  Between ─────────────────▶ Control ──────────────────▶ Between
//!     │      data header             part of the payload
//!     └─────────────────────▶ Data ◀────────────────────┐
//!                              └──── all of it ──▶ Between
//! ```
//!
//! *Invariant:* data is handed on as it comes, in pieces; nothing but one control frame is waited for. Where the bytes are cut makes no
//! difference but to the pieces. After a fault nothing more is read.

use bytes::{Buf, Bytes, BytesMut};

use super::headers::{Headers, Unpacker};
use super::{FIN, GOAWAY, HEADERS, PING, RST_STREAM, SYN_REPLY, SYN_STREAM, UNIDIRECTIONAL, VERSION};

/// The longest control frame that is read.
pub(crate) const CONTROL: usize = 16 << 10;

/// How a client broke the protocol, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) &'static str);

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A new stream. `last`: the client sends nothing on it.
    Open { stream: u32, headers: Headers, last: bool },
    /// A piece of a stream's data; `last`: its end. An empty piece is only told if it is the last.
    Data { stream: u32, piece: Bytes, last: bool },
    /// A stream ends at once.
    Reset { stream: u32 },
    /// Wants to be sent back.
    Ping { number: u32 },
    /// The client is done.
    Goodbye,
}

enum State {
    Between,
    Data { stream: u32, left: usize, last: bool },
    Control { kind: u16, flags: u8, length: usize },
}

/// Reads frames.
pub(crate) struct Decoder {
    state: State,
    unpacker: Unpacker,
    /// The highest stream so far.
    highest: u32,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Decoder { state: State::Between, unpacker: Unpacker::new(), highest: 0 }
    }

    /// The next frame, or piece of one, of what `bytes` holds; `None` if more is needed.
    pub(crate) fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, Fault> {
        loop {
            match self.state {
                State::Between => {
                    let Some(header) = bytes.first_chunk::<8>().copied() else { return Ok(None) };
                    bytes.advance(8);
                    self.state = self.begin(header)?;
                    if let State::Data { stream, left: 0, last } = self.state {
                        self.state = State::Between;
                        if last {
                            return Ok(Some(Frame::Data { stream, piece: Bytes::new(), last }));
                        }
                    }
                }
                State::Data { stream, left, last } => {
                    if bytes.is_empty() {
                        return Ok(None);
                    }
                    let piece = bytes.split_to(left.min(bytes.len())).freeze();
                    let left = left - piece.len();
                    self.state = if left == 0 { State::Between } else { State::Data { stream, left, last } };
                    return Ok(Some(Frame::Data { stream, piece, last: last && left == 0 }));
                }
                State::Control { kind, flags, length } => {
                    if bytes.len() < length {
                        return Ok(None);
                    }
                    self.state = State::Between;
                    let payload = bytes.split_to(length);
                    if let Some(frame) = self.control(kind, flags, &payload)? {
                        return Ok(Some(frame));
                    }
                }
            }
        }
    }

    fn begin(&self, header: [u8; 8]) -> Result<State, Fault> {
        let (word, flags) = (
            |at| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]),
            header[4],
        );
        let (first, length) = (word(0), (word(4) & 0x00ff_ffff) as usize);
        if first >> 31 == 0 {
            if first == 0 || first.is_multiple_of(2) || first > self.highest {
                return Err(Fault("data for a stream that was never opened"));
            }
            return Ok(State::Data { stream: first, left: length, last: flags & FIN != 0 });
        }
        if first >> 16 & 0x7fff != u32::from(VERSION) {
            return Err(Fault("a control frame of another version"));
        }
        if length > CONTROL {
            return Err(Fault("a control frame is too long"));
        }
        Ok(State::Control { kind: u16::from_be_bytes([header[2], header[3]]), flags, length })
    }

    fn control(&mut self, kind: u16, flags: u8, payload: &[u8]) -> Result<Option<Frame>, Fault> {
        let word = |at: usize| {
            let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
            bytes.map(|bytes| u32::from_be_bytes(*bytes)).ok_or(Fault("a control frame is too short"))
        };
        match kind {
            SYN_STREAM => {
                let stream = word(0)?;
                let packed = payload.get(10..).ok_or(Fault("a control frame is too short"))?;
                let headers = self.unpacker.read(packed)?;
                self.open(stream, headers, flags).map(Some)
            }
            HEADERS => {
                let stream = self.known(word(0)?)?;
                // Nobody sends these; they are unpacked to keep the compression in step.
                self.unpacker.read(&payload[4..])?;
                let end = Frame::Data { stream, piece: Bytes::new(), last: true };
                Ok((flags & FIN != 0).then_some(end))
            }
            RST_STREAM => {
                word(4)?;
                Ok(Some(Frame::Reset { stream: self.known(word(0)?)? }))
            }
            PING => {
                // Answers to ours, which have even numbers, say no more than that the client is there.
                let number = word(0)?;
                Ok((number % 2 == 1).then_some(Frame::Ping { number }))
            }
            GOAWAY => {
                word(4)?;
                Ok(Some(Frame::Goodbye))
            }
            SYN_REPLY => Err(Fault("a reply to a stream that was never opened")),
            // SETTINGS, WINDOW_UPDATE, CREDENTIAL, and what may be invented: to be ignored.
            _ => Ok(None),
        }
    }

    fn open(&mut self, stream: u32, headers: Headers, flags: u8) -> Result<Frame, Fault> {
        if stream.is_multiple_of(2) || stream >> 31 == 1 || stream <= self.highest {
            return Err(Fault("a stream has a number that cannot be"));
        }
        if flags & UNIDIRECTIONAL != 0 {
            return Err(Fault("a stream goes one way only"));
        }
        self.highest = stream;
        Ok(Frame::Open { stream, headers, last: flags & FIN != 0 })
    }

    fn known(&self, stream: u32) -> Result<u32, Fault> {
        if stream % 2 == 1 && stream <= self.highest {
            Ok(stream)
        } else {
            Err(Fault("a frame for a stream that was never opened"))
        }
    }
}
