//! Chance for tests that happens the same way each time.
//!
//! *Invariant:* in tests only; a number at the start decides everything.

use bytes::BytesMut;

/// A generator (xorshift64*).
pub(crate) struct Chance(u64);

impl Chance {
    /// `start`: any number.
    pub(crate) fn new(start: u64) -> Self {
        Chance(start.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % end.max(1)
    }

    /// Any byte.
    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    /// `whole` with one to eight changes: bytes turned, cut out, doubled, put in, or the end cut off.
    pub(crate) fn spoil(&mut self, whole: &[u8]) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        for _ in 0..=self.below(8) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(16)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.byte(),
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let doubled = bytes[at..end].to_vec();
                    bytes.splice(at..at, doubled);
                }
                4 => {
                    let new: Vec<u8> = (0..=self.below(16)).map(|_| self.byte()).collect();
                    bytes.splice(at..at, new);
                }
                _ if self.below(4) == 0 => bytes.truncate(at),
                _ => {}
            }
        }
        bytes
    }

    /// Feeds `bytes` to `read` in pieces of up to `most`, until that says to stop.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        most: usize,
        mut read: impl FnMut(&mut BytesMut) -> bool,
    ) {
        let mut buffer = BytesMut::new();
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at((1 + self.below(most)).min(bytes.len()));
            buffer.extend_from_slice(now);
            bytes = later;
            if !read(&mut buffer) {
                return;
            }
        }
    }
}
