//! WebSocket, the server's side: the key of the handshake, bytes to events and back.
//!
//! ```text
//!  fin 1│0 3│opcode 4│masked 1│length 7 (126: 2 more bytes, 127: 8 more)│mask 4, from the client│payload…
//! ```
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`decode`] | what the client sends |
//! | [`encode`] | what we send |
//!
//! *Invariant:* no payload but that of a control frame (125 bytes) is kept here. No extension is agreed to.
//!
//! Source: RFC 6455.

pub(crate) mod decode;
pub(crate) mod encode;
#[cfg(test)]
mod fuzz;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

const CONTINUED: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Why a connection is closed (RFC 6455, 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// All is said.
    Normal = 1000,
    /// The server stops, or the connection idled.
    Away = 1001,
    /// The client broke the protocol.
    Protocol = 1002,
    /// A message is not what was agreed on.
    Invalid = 1007,
    /// A message is too long.
    TooLong = 1009,
}

/// The answer to the key of a handshake; `None` if it is no key: 16 bytes in base64.
pub(crate) fn accept(key: &[u8]) -> Option<String> {
    let bytes = STANDARD.decode(key).ok()?;
    let digest =
        Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    (bytes.len() == 16).then(|| STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::accept;

    #[test]
    fn the_key_is_answered_as_in_the_rfc() {
        let answer = Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), answer);
        for bad in [&b""[..], b"dGhlIHNhbXBsZSBub25jZQ", b"c2hvcnQ=", b"not base64!!!!!!!!!!!!!=="] {
            assert_eq!(accept(bad), None);
        }
    }
}
