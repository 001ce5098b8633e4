//! Lines of the log become what the container wrote.
//!
//! *Invariant:* a line that is none is skipped and counted, never a reason to stop: the file may have been cut by a full disk, and
//! what stands in it was written by whoever had it open. No line and no joined line takes more memory than [`LONGEST`].

use std::io::{self, BufRead};

use memchr::memchr;

use crate::{PART, Stream, time};

/// The longest line that is read, and the longest that parts are joined to: other runtimes may write lines beyond [`PART`].
pub const LONGEST: usize = 64 * PART;

/// One line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// Which output it is from.
    pub stream: Stream,
    /// Whether the container's line ends here: tag `F`; else `P`, and more may follow.
    pub ends: bool,
    /// What was written, without newline.
    pub content: &'a [u8],
}

/// Takes a line of the log apart; `None` if it is none. A newline at its end is not part of it.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (at, line) = line.split_at_checked(memchr(b' ', line)?)?;
    let at = time::read(at)?;
    let (stream, line) = match line.split_at_checked(8)? {
        (b" stdout ", rest) => (Stream::Stdout, rest),
        (b" stderr ", rest) => (Stream::Stderr, rest),
        _ => return None,
    };
    // An empty line may lack the space after its tags.
    let (tags, content) = match memchr(b' ', line) {
        Some(space) => (&line[..space], &line[space + 1..]),
        None => (line, &line[line.len()..]),
    };
    // The format leaves room for more tags, after colons.
    let ends = match tags.split(|byte| *byte == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(Line { at, stream, ends, content })
}

/// The lines of a log, one after the other.
pub struct Lines<R> {
    from: R,
    line: Vec<u8>,
    taken: u64,
    skipped: u64,
}

impl<R: BufRead> Lines<R> {
    /// Of all that `from` holds.
    pub fn new(from: R) -> Self {
        Lines { from, line: Vec::new(), taken: 0, skipped: 0 }
    }

    /// The next line; `None` at the end. A last line without newline is not there yet: it is kept, and comes when `from` has more.
    ///
    /// # Errors
    /// As `from` says.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        // Parsed twice, since the borrow checker does not let a loop return what it borrowed.
        while self.fill()? {
            if parse(&self.line).is_some() {
                return Ok(parse(&self.line));
            }
            self.skipped += 1;
        }
        Ok(None)
    }

    /// How many bytes of `from` are behind it: where to go on after a break.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// How many lines were none.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether a whole line, newline and all, was put into `self.line`.
    fn fill(&mut self) -> io::Result<bool> {
        if self.line.last() == Some(&b'\n') {
            self.line.clear();
        }
        loop {
            let there = self.from.fill_buf()?;
            if there.is_empty() {
                return Ok(false);
            }
            let end = memchr(b'\n', there);
            let count = end.map_or(there.len(), |end| end + 1);
            // Of what is too long, only the newline is kept, and a line of a newline is none.
            if self.line.len() + count <= LONGEST + PART {
                self.line.extend_from_slice(&there[..count]);
            } else {
                self.line.clear();
                self.line.extend_from_slice(if end.is_some() { b"\n" } else { b"\0" });
            }
            self.from.consume(count);
            self.taken += count as u64;
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

/// A line as the container wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// When its last part was written.
    pub at: i64,
    /// Which output it is from.
    pub stream: Stream,
    /// Whether it ended in a newline.
    pub ends: bool,
    /// What was written, without newline.
    pub content: Vec<u8>,
}

/// Puts parts together, each stream's for itself.
#[derive(Default)]
pub struct Joiner {
    stdout: Option<Joined>,
    stderr: Option<Joined>,
}

impl Joiner {
    /// Takes a line; gives back the one that it completes. One beyond [`LONGEST`] is given in pieces that do not end.
    pub fn push(&mut self, line: Line<'_>) -> Option<Joined> {
        let waiting = match line.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let mut joined = waiting.take().unwrap_or_else(|| Joined {
            at: line.at,
            stream: line.stream,
            ends: false,
            content: Vec::new(),
        });
        joined.at = line.at;
        joined.ends = line.ends;
        joined.content.extend_from_slice(line.content);
        if line.ends || joined.content.len() >= LONGEST {
            Some(joined)
        } else {
            *waiting = Some(joined);
            None
        }
    }

    /// What was waiting for its end when the log ended, in the order of time.
    #[must_use]
    pub fn finish(self) -> Vec<Joined> {
        let mut left: Vec<Joined> = self.stdout.into_iter().chain(self.stderr).collect();
        left.sort_by_key(|joined| joined.at);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-02T15:04:05.000000009Z";

    #[test]
    fn a_line_is_taken_apart() {
        let text = format!("{TIME} stderr P a b \n");
        let line = parse(text.as_bytes()).unwrap();
        assert_eq!(line.at, 1_767_366_245_000_000_009);
        assert_eq!((line.stream, line.ends, line.content), (Stream::Stderr, false, &b"a b "[..]));
    }

    #[test]
    fn further_tags_and_empty_content_are_read() {
        for (text, content) in
            [("stdout F:x:y z", "z"), ("stdout F", ""), ("stdout F ", ""), ("stdout F \r", "\r")]
        {
            let text = format!("{TIME} {text}");
            let line = parse(text.as_bytes()).unwrap();
            assert_eq!((line.ends, line.content), (true, content.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_no_line_is_none() {
        let tails =
            ["", " ", " stdout", " stdout ", " stdout X a", " stdin F a", "  stdout F a", " stdout  F a"];
        for tail in tails {
            assert_eq!(parse(format!("{TIME}{tail}").as_bytes()), None, "{tail:?}");
        }
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"yesterday stdout F a"), None);
        assert_eq!(parse(&[0xff; 100]), None);
    }

    #[test]
    fn garbage_between_lines_is_skipped_and_counted() {
        let mut text = format!("rubbish\n{TIME} stdout F one\n\0\0\0\n").into_bytes();
        text.extend(vec![b'x'; LONGEST * 3]);
        text.extend(format!("\n{TIME} stdout F two\n{TIME} stdout F cut of").bytes());
        let mut lines = Lines::new(&text[..]);
        assert_eq!(lines.next_line().unwrap().unwrap().content, b"one");
        assert_eq!(lines.next_line().unwrap().unwrap().content, b"two");
        assert_eq!(lines.next_line().unwrap(), None);
        assert_eq!((lines.skipped(), lines.taken()), (3, text.len() as u64));
        assert!(
            lines.line.capacity() <= 2 * (LONGEST + PART),
            "a line without end takes no memory without end"
        );
    }

    #[test]
    fn parts_are_joined_for_each_stream() {
        let mut joiner = Joiner::default();
        let mut line = |stream, ends, content: &'static [u8]| {
            joiner.push(Line { at: 1, stream, ends, content }).map(|joined| joined.content)
        };
        assert_eq!(line(Stream::Stdout, false, b"a"), None);
        assert_eq!(line(Stream::Stderr, false, b"x"), None);
        assert_eq!(line(Stream::Stdout, true, b"b"), Some(b"ab".to_vec()));
        assert_eq!(line(Stream::Stdout, true, b"c"), Some(b"c".to_vec()));
        let left = joiner.finish();
        assert_eq!((left.len(), &left[0].content[..], left[0].ends), (1, &b"x"[..], false));
    }

    #[test]
    fn parts_without_end_come_in_pieces() {
        let mut joiner = Joiner::default();
        let content = vec![b'x'; PART];
        let pieces = (0..130)
            .filter_map(|_| {
                joiner.push(Line { at: 1, stream: Stream::Stdout, ends: false, content: &content })
            })
            .map(|joined| joined.content.len());
        assert_eq!(pieces.collect::<Vec<_>>(), [LONGEST, LONGEST]);
    }
}
