//! Bytes of a stream become lines of the log.
//!
//! A line goes out when its newline comes; until then at most [`PART`] bytes of it are held. A line that is longer goes out in
//! parts of exactly [`PART`] bytes tagged `P`; its last part is tagged `F`.
//!
//! What is held when the stream ends has no newline, and is tagged `P` too. Readers (kubelet's among them) put a newline after an
//! `F` and nothing after a `P`, so only `P` gives back exactly what the container wrote; and nothing can follow that would be taken
//! for the rest of the line, since a restarted container has a log file of its own. containerd does the same.
//!
//! *Invariant:* no memory is taken after [`Formatter::new`] where the output buffer has [`ROOM`]; the output never outgrows its
//! buffer, so 64 KiB of newlines, which are 2.6 MiB of log, go out in turns.

use memchr::memchr;

use crate::time::{self, LENGTH};
use crate::{PART, Stream};

/// Bytes before the content: time, space, stream, space, tag, space.
const HEAD: usize = LENGTH + 10;

/// Room in the output buffer that the longest line takes.
pub const ROOM: usize = HEAD + PART + 1;

/// Where the tag stands in the head.
const TAG: usize = HEAD - 2;

/// One stream of a container on its way into the log.
pub struct Formatter {
    /// The head of a line, except for the time.
    head: [u8; HEAD],
    /// The line that has no newline yet, at most [`PART`] bytes of it.
    held: Vec<u8>,
}

impl Formatter {
    /// The beginning of `stream`.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        let mut head = [b' '; HEAD];
        head[LENGTH + 1..LENGTH + 7].copy_from_slice(stream.name().as_bytes());
        Formatter { head, held: Vec::with_capacity(PART) }
    }

    /// Appends to `out` the lines that `chunk` completes, all with the time `now` (nanoseconds since 1970), and holds what is left.
    ///
    /// Returns how much of `chunk` is taken: less than all of it when `out` has no [`ROOM`] left within its capacity. Then `out` is
    /// to be written, cleared, and the rest of the chunk fed again. Into an empty `out` something is always taken.
    #[must_use]
    pub fn feed(&mut self, now: i64, chunk: &[u8], out: &mut Vec<u8>) -> usize {
        if out.is_empty() {
            out.reserve(ROOM);
        }
        self.head[..LENGTH].copy_from_slice(&time::write(now));
        let mut rest = chunk;
        while !rest.is_empty() && out.capacity() - out.len() >= ROOM {
            let room = PART - self.held.len();
            // One byte beyond the room: a line of exactly PART bytes is whole.
            let seen = &rest[..rest.len().min(room + 1)];
            if let Some(end) = memchr(b'\n', seen) {
                self.line(b'F', &rest[..end], out);
                rest = &rest[end + 1..];
            } else if seen.len() > room {
                self.line(b'P', &rest[..room], out);
                rest = &rest[room..];
            } else {
                self.held.extend_from_slice(rest);
                rest = &[];
            }
        }
        chunk.len() - rest.len()
    }

    /// Appends what is held to `out`, as the stream has ended. `out` grows if it must.
    pub fn finish(&mut self, now: i64, out: &mut Vec<u8>) {
        if !self.held.is_empty() {
            self.head[..LENGTH].copy_from_slice(&time::write(now));
            self.line(b'P', &[], out);
        }
    }

    /// How many bytes wait for their newline.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    #[inline]
    fn line(&mut self, tag: u8, content: &[u8], out: &mut Vec<u8>) {
        self.head[TAG] = tag;
        out.extend_from_slice(&self.head);
        if !self.held.is_empty() {
            out.extend_from_slice(&self.held);
            self.held.clear();
        }
        out.extend_from_slice(content);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_366_245_123_456_789;

    fn lines(chunks: &[&[u8]]) -> String {
        let mut formatter = Formatter::new(Stream::Stdout);
        let mut out = Vec::with_capacity(1 << 20);
        for chunk in chunks {
            assert_eq!(formatter.feed(NOW, chunk, &mut out), chunk.len());
        }
        formatter.finish(NOW, &mut out);
        String::from_utf8(out).unwrap().replace("2026-01-02T15:04:05.123456789Z stdout ", "")
    }

    #[test]
    fn a_line_is_as_the_format_says() {
        let mut out = Vec::new();
        let mut formatter = Formatter::new(Stream::Stderr);
        assert_eq!(formatter.feed(NOW, b"oh no\n", &mut out), 6);
        assert_eq!(out, b"2026-01-02T15:04:05.123456789Z stderr F oh no\n");
    }

    #[test]
    fn a_line_waits_for_its_newline_over_chunks() {
        assert_eq!(lines(&[b"a", b"b", b"", b"c\nd\n\n"]), "F abc\nF d\nF \n");
    }

    #[test]
    fn what_ends_without_newline_is_a_part() {
        assert_eq!(lines(&[b"a\nb"]), "F a\nP b\n");
        assert_eq!(lines(&[]), "");
    }

    #[test]
    fn a_line_of_16_kib_is_whole_and_one_byte_more_is_cut() {
        let part = "x".repeat(PART);
        assert_eq!(lines(&[part.as_bytes(), b"\n"]), format!("F {part}\n"));
        assert_eq!(lines(&[part.as_bytes(), b"y\n"]), format!("P {part}\nF y\n"));
        assert_eq!(lines(&[part.as_bytes(), part.as_bytes(), b"\n"]), format!("P {part}\nF {part}\n"));
        assert_eq!(lines(&[part.as_bytes()]), format!("P {part}\n"));
    }

    #[test]
    fn one_line_of_16_mib_holds_no_more_than_a_part() {
        let chunk = vec![b'x'; 64 << 10];
        let mut formatter = Formatter::new(Stream::Stdout);
        let mut out = Vec::with_capacity(ROOM * 2);
        let capacity = out.capacity();
        let mut written = 0;
        for _ in 0..256 {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let taken = formatter.feed(NOW, rest, &mut out);
                assert!(taken > 0, "an empty buffer takes something");
                rest = &rest[taken..];
                written += out.len();
                out.clear();
                assert!(formatter.held() <= PART);
            }
        }
        formatter.finish(NOW, &mut out);
        written += out.len();
        assert_eq!(written, (16 << 20) / PART * ROOM);
        assert_eq!(
            (out.capacity(), formatter.held.capacity()),
            (capacity, PART),
            "no memory is taken after the start"
        );
    }

    #[test]
    fn newlines_alone_do_not_outgrow_the_buffer() {
        let chunk = vec![b'\n'; 64 << 10];
        let mut formatter = Formatter::new(Stream::Stdout);
        let mut out = Vec::with_capacity(64 << 10);
        let capacity = out.capacity();
        let (mut rest, mut written) = (&chunk[..], 0);
        while !rest.is_empty() {
            rest = &rest[formatter.feed(NOW, rest, &mut out)..];
            written += out.len();
            out.clear();
        }
        assert_eq!((written, out.capacity()), (chunk.len() * (HEAD + 1), capacity));
    }
}
