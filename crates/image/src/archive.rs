//! Tar archives, entry by entry: ustar, pax, and the extensions of GNU for long names, big numbers and sparse files.
//!
//! The formats: pax in POSIX.1-2024 (`pax`, "pax Interchange Format"), GNU's in the manual of GNU tar ("Basic Tar Format", "Storing
//! Sparse Files").
//!
//! *Invariant:* nothing here touches a file system, and no length that an archive claims makes memory be taken before it is known to
//! be small. What an entry says is either understood or refused, so that nobody else reads another tree from the same bytes.

mod header;
mod pax;
mod sparse;

use std::io::BufRead;

use crate::error::Fault;

use header::{BLOCK, Header};
use pax::Extended;

/// What all extended headers and long names of one entry may take together, in bytes.
pub(crate) const MOST_META: u64 = 1 << 20;
/// The largest file, in bytes, holes included.
pub(crate) const LARGEST_FILE: u64 = 256 << 30;

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A second name of a file, whose first one is the entry's `link`.
    HardLink,
    /// A symbolic link to the entry's `link`.
    Symlink,
    /// A character device.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A point in time: seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name, as it stands there.
    pub(crate) path: Vec<u8>,
    /// What it makes.
    pub(crate) kind: Kind,
    /// What it points to, for the two kinds of link.
    pub(crate) link: Vec<u8>,
    /// Permission bits, 07777 at most.
    pub(crate) mode: u32,
    /// Owner; never the "no change" of chown(2).
    pub(crate) uid: u32,
    /// Group; likewise.
    pub(crate) gid: u32,
    /// When it was last changed.
    pub(crate) mtime: Time,
    /// Extended attributes, names without their pax prefix.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// How large the file is.
    pub(crate) size: u64,
    /// Where the bytes of the body belong, as offset and length, in order and inside `size`; none: all from the start.
    pub(crate) pieces: Option<Vec<(u64, u64)>>,
}

/// Why an archive is read no further.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is wrong about itself.
    Fault(Fault),
    /// It asks for too much.
    Limit(String),
    /// The store failed.
    Store(crate::error::Error),
}

impl From<crate::error::Error> for Stop {
    fn from(error: crate::error::Error) -> Self {
        Stop::Store(error)
    }
}

pub(crate) fn bad(why: impl Into<String>) -> Stop {
    Stop::Fault(Fault::Tar(why.into()))
}

/// Reads entries from a stream of bytes.
pub(crate) struct Archive<R> {
    source: R,
    /// Bytes of the current body that nobody has taken.
    body: u64,
    /// Bytes behind it that belong to no entry.
    padding: u64,
}

impl<R: BufRead> Archive<R> {
    pub(crate) fn new(source: R) -> Self {
        Archive { source, body: 0, padding: 0 }
    }

    /// The next entry; what was not taken of the body of the one before is passed over. None at the archive's end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Stop> {
        let mut extended = Extended::default();
        let mut meta = 0;
        loop {
            self.pass(self.body + self.padding)?;
            (self.body, self.padding) = (0, 0);
            let Some(header) = self.header()? else {
                return if meta == 0 { Ok(None) } else { Err(bad("ends after an extended header")) };
            };
            let kind = header.kind();
            if !matches!(kind, b'x' | b'g' | b'L' | b'K') {
                return self.entry(&header, extended).map(Some);
            }
            self.enter(header.size()?)?;
            meta += self.body.max(1);
            if meta > MOST_META {
                return Err(Stop::Limit(format!(
                    "more than {} KiB of extended headers for one entry",
                    MOST_META >> 10
                )));
            }
            let text = self.take_all()?;
            match kind {
                b'x' => extended.read(&text)?,
                b'L' => extended.path = Some(up_to_nul(text)),
                b'K' => extended.link = Some(up_to_nul(text)),
                // A global header: git writes its commit there. Nobody who unpacks images heeds it, so no one builds on it.
                _ => {}
            }
        }
    }

    /// The next bytes of the current body, as many as are at hand; empty at its end.
    pub(crate) fn piece(&mut self) -> Result<&[u8], Stop> {
        if self.body == 0 {
            return Ok(&[]);
        }
        let left = usize::try_from(self.body).unwrap_or(usize::MAX);
        let at_hand = self.source.fill_buf().map_err(|_| cut())?;
        if at_hand.is_empty() {
            return Err(cut());
        }
        Ok(&at_hand[..at_hand.len().min(left)])
    }

    /// That many of the bytes that [`Archive::piece`] showed are used up.
    pub(crate) fn used(&mut self, count: usize) {
        self.source.consume(count);
        self.body -= count as u64;
    }

    /// Gives the stream back: what follows the archive is of no meaning, but of the layer's digest.
    pub(crate) fn into_source(self) -> R {
        self.source
    }

    fn header(&mut self) -> Result<Option<Header>, Stop> {
        let mut block = [0; BLOCK];
        match self.source.fill_buf() {
            Ok([]) => return Ok(None),
            Ok(_) => self.source.read_exact(&mut block).map_err(|_| cut())?,
            Err(_) => return Err(cut()),
        }
        Header::parse(&block)
    }

    fn enter(&mut self, size: u64) -> Result<(), Stop> {
        if size > LARGEST_FILE {
            return Err(Stop::Limit(format!("an entry of {size} bytes, {LARGEST_FILE} are allowed")));
        }
        self.body = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn entry(&mut self, header: &Header, mut extended: Extended) -> Result<Entry, Stop> {
        let size = extended.body_size(header)?;
        self.enter(size)?;
        let map = sparse::map(self, header, &mut extended, size)?;
        let path = extended.path.take().unwrap_or_else(|| header.path());
        let link = extended.link.take().unwrap_or_else(|| header.link());
        if path.contains(&0) || link.contains(&0) {
            return Err(bad("a name has a NUL byte"));
        }
        let kind = header.makes(&path)?;
        if !matches!(kind, Kind::File) && map.is_some() {
            return Err(bad("a sparse entry that is no file"));
        }
        let (size, pieces) = match map {
            Some((size, pieces)) => (size, Some(pieces)),
            None => (self.body, None),
        };
        Ok(Entry {
            path,
            kind,
            link,
            mode: header.mode()?,
            uid: id("uid", extended.uid.take(), header.uid())?,
            gid: id("gid", extended.gid.take(), header.gid())?,
            mtime: extended.mtime.unwrap_or_else(|| header.mtime()),
            xattrs: extended.xattrs,
            size,
            pieces,
        })
    }

    /// All of the current body, which the caller knows to be small.
    fn take_all(&mut self) -> Result<Vec<u8>, Stop> {
        let mut text = Vec::new();
        loop {
            let piece = self.piece()?;
            if piece.is_empty() {
                return Ok(text);
            }
            text.extend_from_slice(piece);
            let count = piece.len();
            self.used(count);
        }
    }

    fn pass(&mut self, mut count: u64) -> Result<(), Stop> {
        while count > 0 {
            let at_hand = self.source.fill_buf().map_err(|_| cut())?.len();
            if at_hand == 0 {
                return Err(cut());
            }
            let step = at_hand.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.source.consume(step);
            count -= step as u64;
        }
        Ok(())
    }
}

fn cut() -> Stop {
    bad("ends in the middle of an entry")
}

fn up_to_nul(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}

/// An owner: pax's word before the header's; all ones would mean "no change" to chown(2).
fn id(what: &str, pax: Option<u64>, header: Result<u64, Stop>) -> Result<u32, Stop> {
    let id = pax.map_or(header, Ok)?;
    match u32::try_from(id) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(bad(format!("{what} {id} is none that a file can have"))),
    }
}

#[cfg(test)]
mod tests;
