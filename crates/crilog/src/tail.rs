//! Where the last lines of a log begin.
//!
//! *Invariant:* a file is read backwards in blocks and no further than it must be, whatever its size; its offset is not moved.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use memchr::memrchr;

use crate::reader;

const BLOCK: usize = 64 << 10;

/// No line's head is longer: a time of 9 digits with an offset, stream, tags.
const HEAD: usize = 64;

/// The offset at which the last `count` lines of `file` begin, 0 if it has not so many.
///
/// A line is what the container wrote: parts count as one with the `F` that ends them; and so do parts at the very end, which
/// nothing has ended yet. Where parts of both streams lie between each other, those of the other stream's line that reach beyond
/// the offset are cut off. A piece of a line at the end of the file, and lines that are none, do not count.
///
/// # Errors
/// As the kernel says of reading `file`.
pub fn start(file: &File, count: u64) -> io::Result<u64> {
    let mut back = Backwards { file, offset: file.metadata()?.len(), block: Vec::new() };
    // What follows the last newline is not a line yet.
    let Some(mut end) = back.newline()? else { return Ok(0) };
    if count == 0 {
        return Ok(end + 1);
    }
    let mut lines = 0;
    let mut open_end = true;
    loop {
        let before = back.newline()?;
        let begin = before.map_or(0, |newline| newline + 1);
        if let Some(ends) = ends(file, begin, end)? {
            // An F begins a line as seen from behind; so do the last parts of all, where no F follows them.
            if ends || open_end {
                lines += 1;
            }
            open_end = false;
            if lines > count {
                return Ok(end + 1);
            }
        }
        match before {
            Some(newline) => end = newline,
            None => return Ok(0),
        }
    }
}

/// Whether the line between the offsets `begin` and `end` is tagged `F`; `None` if it is no line.
fn ends(file: &File, begin: u64, end: u64) -> io::Result<Option<bool>> {
    let mut head = [0; HEAD];
    let length = usize::try_from(end - begin).unwrap_or(HEAD).min(HEAD);
    file.read_exact_at(&mut head[..length], begin)?;
    Ok(reader::parse(&head[..length]).map(|line| line.ends))
}

/// A file, read from its end.
struct Backwards<'a> {
    file: &'a File,
    /// Where in the file `block` begins.
    offset: u64,
    /// What was read and not yet looked at.
    block: Vec<u8>,
}

impl Backwards<'_> {
    /// The offset of the newline before the last one found.
    fn newline(&mut self) -> io::Result<Option<u64>> {
        loop {
            if let Some(at) = memrchr(b'\n', &self.block) {
                self.block.truncate(at);
                return Ok(Some(self.offset + at as u64));
            }
            if self.offset == 0 {
                return Ok(None);
            }
            let begin = self.offset.saturating_sub(BLOCK as u64);
            self.block.resize(usize::try_from(self.offset - begin).unwrap_or(BLOCK), 0);
            self.file.read_exact_at(&mut self.block, begin)?;
            self.offset = begin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stream;
    use crate::reader::{Joiner, Lines};
    use crate::writer::Formatter;
    use std::fmt::Write as _;
    use std::io::{BufReader, Seek as _, SeekFrom, Write as _};

    const TIME: &str = "2026-01-02T15:04:05.000000009Z";

    /// A file without name that holds `content`.
    fn file(content: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("orlop-tail-{}-{:p}", std::process::id(), content));
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn tail(content: &[u8], count: u64) -> Vec<String> {
        let mut file = file(content);
        let start = start(&file, count).unwrap();
        file.seek(SeekFrom::Start(start)).unwrap();
        let (mut lines, mut joiner, mut out) =
            (Lines::new(BufReader::new(file)), Joiner::default(), Vec::new());
        while let Some(line) = lines.next_line().unwrap() {
            out.extend(joiner.push(line));
        }
        out.extend(joiner.finish());
        out.into_iter().map(|joined| String::from_utf8_lossy(&joined.content).into_owned()).collect()
    }

    #[test]
    fn the_last_lines_are_found_in_a_file_of_many_blocks() {
        let mut content = String::new();
        for number in 0..10_000 {
            writeln!(content, "{TIME} stdout F {number}").unwrap();
        }
        for count in [1, 2, 1500, 9999] {
            let lines = tail(content.as_bytes(), count);
            assert_eq!(lines.len() as u64, count);
            assert_eq!(lines[0], (10_000 - count).to_string());
        }
        assert_eq!(tail(content.as_bytes(), 0).len(), 0);
        assert_eq!(tail(content.as_bytes(), 10_000).len(), 10_000);
        assert_eq!(tail(content.as_bytes(), u64::MAX).len(), 10_000);
        assert_eq!(tail(b"", 3).len(), 0);
    }

    #[test]
    fn parts_count_as_the_line_that_they_are() {
        let long = "x".repeat(300_000);
        let mut out = Vec::with_capacity(1 << 20);
        let mut formatter = Formatter::new(Stream::Stdout);
        for text in ["first\n", &long, "\n", "last\n", &long] {
            assert_eq!(formatter.feed(1, text.as_bytes(), &mut out), text.len());
        }
        formatter.finish(1, &mut out);
        assert_eq!(tail(&out, 1), std::slice::from_ref(&long));
        assert_eq!(tail(&out, 2), ["last", &long]);
        assert_eq!(tail(&out, 3), [&long, "last", &long]);
        assert_eq!(tail(&out, 4), ["first", &long, "last", &long]);
    }

    #[test]
    fn garbage_and_a_cut_off_end_do_not_count() {
        let content = format!("{TIME} stdout F a\nrubbish\n{TIME} stdout F b\n\n\n{TIME} stdout F cut");
        assert_eq!(tail(content.as_bytes(), 1), ["b"]);
        assert_eq!(tail(content.as_bytes(), 2), ["a", "b"]);
        assert_eq!(tail("no newline at all".as_bytes(), 2).len(), 0);
        assert_eq!(tail(&b"\n".repeat(BLOCK * 3), 2).len(), 0);
    }
}
