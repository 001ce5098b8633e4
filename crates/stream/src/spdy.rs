//! SPDY/3.1, as much of it as Kubernetes' clients speak: bytes to frames and back.
//!
//! ```text
//!  control: 1│version 15│type 16│flags 8│length 24│payload…      data: 0│stream 31│flags 8│length 24│payload…
//!
//!  SYN_STREAM  stream 4│associated 4│priority 1│slot 1│headers…   a stream; its headers say what it is for
//!  SYN_REPLY   stream 4│headers…                                  yes
//!  RST_STREAM  stream 4│status 4                                  ends a stream in both directions
//!  GOAWAY      last stream 4│status 4                             ends the connection
//!  PING        number 4                                           is sent back
//!  headers:    compressed as one zlib stream per direction: count 4, then (length 4│name│length 4│value) each
//! ```
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`decode`] | what the client sends |
//! | [`encode`] | what we send |
//! | [`headers`] | header blocks, and the limits on what they unpack to |
//!
//! *Invariant:* no payload of data is kept here, and a control frame is at most [`decode::CONTROL`] long. WINDOW_UPDATE is neither sent
//! nor waited for: the clients' implementation, moby/spdystream, does neither, either.
//!
//! Source: SPDY Protocol, draft 3.1 (chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1).

pub(crate) mod decode;
pub(crate) mod encode;
#[cfg(test)]
mod fuzz;
pub(crate) mod headers;

/// The version in control frames; 3.1 differs from 3 only in flow control.
const VERSION: u16 = 3;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// The last frame of a stream in this direction.
const FIN: u8 = 1;
/// On SYN_STREAM: nothing will come back.
const UNIDIRECTIONAL: u8 = 2;

/// Why a stream is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    /// It is not what the protocol says.
    Protocol = 1,
    /// It was not processed.
    Refused = 3,
    /// It is no longer wanted.
    Cancel = 5,
    /// What it was for does not read.
    Overrun = 7,
}

/// Why the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// All is said.
    Fine = 0,
    /// The client broke the protocol.
    Protocol = 1,
}
