//! The frames that we send.
//!
//! *Invariant:* none of these can fail, and none but a reply has a state: the compressed headers of our replies are always empty, so
//! they are written as stored blocks and no compressor is kept.

use super::{FIN, GOAWAY, Goodbye, PING, RST_STREAM, Reset, SYN_REPLY, VERSION};

/// The header of a data frame. `length` is below 2^24.
pub(crate) fn data(stream: u32, length: usize, last: bool) -> [u8; 8] {
    let flags = if last { u32::from(FIN) << 24 } else { 0 };
    let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00ff_ffff;
    both(stream, flags | length)
}

/// Ends a stream at once.
pub(crate) fn reset(stream: u32, why: Reset) -> Vec<u8> {
    control(RST_STREAM, &both(stream, why as u32))
}

/// A ping: ours have even numbers, answers to the client's odd ones.
pub(crate) fn ping(number: u32) -> Vec<u8> {
    control(PING, &number.to_be_bytes())
}

/// The last frame of a connection: `stream` is the last that was accepted.
pub(crate) fn goodbye(stream: u32, why: Goodbye) -> Vec<u8> {
    control(GOAWAY, &both(stream, why as u32))
}

/// Makes replies: each is a part of one zlib stream.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    begun: bool,
}

impl Replies {
    /// A zlib stream's first two bytes: deflate, 32 KiB, no dictionary (RFC 1950).
    const BEGIN: [u8; 2] = [0x78, 0x01];
    /// Stored blocks, not the last (RFC 1951): four bytes that say no headers, and an empty one. Go's decompressor hands bytes on only when
    /// an empty block comes, as after a flush; without it, it reads on, finds nothing, and is broken from then on.
    const EMPTY: [u8; 14] = [0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

    /// Accepts a stream.
    pub(crate) fn accept(&mut self, stream: u32) -> Vec<u8> {
        let begin = if self.begun { &[][..] } else { &Self::BEGIN };
        self.begun = true;
        control(SYN_REPLY, &[&stream.to_be_bytes(), begin, &Self::EMPTY].concat())
    }
}

fn both(first: u32, second: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_be_bytes());
    bytes[4..].copy_from_slice(&second.to_be_bytes());
    bytes
}

fn control(kind: u16, payload: &[u8]) -> Vec<u8> {
    let first = 0x8000_0000 | u32::from(VERSION) << 16 | u32::from(kind);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&both(first, length)[..], payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Decompress, FlushDecompress};

    #[test]
    fn frames_are_what_the_protocol_draws() {
        assert_eq!(data(5, 0x01_0203, false), [0, 0, 0, 5, 0, 1, 2, 3]);
        assert_eq!(data(0x7fff_ffff, 0, true), [0x7f, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
        assert_eq!(reset(3, Reset::Cancel), [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 5]);
        assert_eq!(ping(9), [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 9]);
        assert_eq!(goodbye(7, Goodbye::Protocol), [0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 1]);
    }

    #[test]
    fn replies_are_one_zlib_stream_of_empty_header_blocks() {
        let (mut replies, mut inflate) = (Replies::default(), Decompress::new(true));
        for stream in 1..50 {
            let frame = replies.accept(stream);
            assert_eq!(frame[..4], [0x80, 3, 0, 2]);
            assert_eq!(
                usize::try_from(u32::from_be_bytes([0, frame[5], frame[6], frame[7]])).unwrap(),
                frame.len() - 8
            );
            assert_eq!(frame[8..12], stream.to_be_bytes());
            assert!(frame.ends_with(&[0, 0, 0, 0xff, 0xff]), "as after a flush: Go needs it");
            let (mut out, before) = ([9; 64], (inflate.total_in(), inflate.total_out()));
            inflate.decompress(&frame[12..], &mut out, FlushDecompress::Sync).expect("a zlib stream");
            let (eaten, made) = (inflate.total_in() - before.0, inflate.total_out() - before.1);
            assert_eq!((eaten, made), (frame.len() as u64 - 12, 4));
            assert_eq!(out[..4], [0; 4]);
        }
    }
}
