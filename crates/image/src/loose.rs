//! Archives that are no layers of an image: what was written beside the store, unpacked into a directory by the rules of layers.
//!
//! *Invariant:* a directory appears by one rename, whole, or not at all; nothing outside of it is reached.

use std::cell::Cell;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use crate::archive::{Archive, Entry, Kind, Stop, Time};
use crate::descriptor::Compression;
use crate::error::Error;
use crate::extract::Tree;
use crate::extract::names::{WHITEOUT, clean, join, split};
use crate::scratch::Scratch;
use crate::store::Store;
use crate::unpack::{LARGEST_RATIO, decoder};

/// Read at once.
const READ: usize = 256 << 10;
/// Unpacked bytes that need no reason.
const ALWAYS_ALLOWED: u64 = 64 << 20;

/// What an archive may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Files and directories alone.
    Files,
    /// All that a layer may have.
    Layer,
}

impl Store {
    /// Unpacks an archive (plain, gzip or zstd) as the directory `to`, which is not there yet and lies on the store's file system.
    /// `label` is what it is called in errors. `hidden` are names that hide what lower layers have, as paths in it.
    ///
    /// # Errors
    /// What is wrong with it: then nothing of it is left.
    pub fn unpack_loose(
        &self,
        label: &str,
        source: impl Read,
        to: &Path,
        allowed: Allowed,
        hidden: &[Vec<u8>],
    ) -> Result<(), Error> {
        let mut tree = Tree::new(Scratch::new(&self.0.ingest())?)?;
        let said = |stop| match stop {
            Stop::Fault(fault) => Error::Archive { label: label.to_owned(), why: fault.to_string() },
            Stop::Limit(limit) => Error::Archive { label: label.to_owned(), why: limit },
            Stop::Store(error) => error,
        };
        let failed = |error: io::Error| Error::Archive { label: label.to_owned(), why: error.to_string() };
        let taken = Cell::new(0);
        let mut source = BufReader::with_capacity(READ, Counted { inner: source, taken: &taken });
        let compression = compression(source.fill_buf().map_err(failed)?);
        let unpacked = decoder(compression, source).map_err(failed)?;
        let given = Measured { inner: unpacked, taken: &taken, given: 0 };
        let mut archive = Archive::new(BufReader::with_capacity(READ, given));
        while let Some(entry) = archive.next().map_err(said)? {
            if allowed == Allowed::Files && !matches!(entry.kind, Kind::File | Kind::Directory) {
                return Err(said(crate::extract::refused(&entry.path, "is neither a file nor a directory")));
            }
            tree.place(&entry, &mut archive).map_err(said)?;
        }
        for path in hidden {
            tree.place(&whiteout(path), &mut archive).map_err(said)?;
        }
        let finished = tree.finish().map_err(said)?;
        if let Some((name, _)) = finished.traps.links.first() {
            return Err(said(crate::extract::refused(
                name,
                "is a link to a file that is not in the archive",
            )));
        }
        std::fs::rename(finished.path(), to).map_err(|source| Error::io("place", to, source))
    }
}

/// By its first bytes: RFC 1952, RFC 8878.
fn compression(first: &[u8]) -> Compression {
    match first {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::Plain,
    }
}

/// An entry that hides what lower layers have at `path`.
fn whiteout(path: &[u8]) -> Entry {
    let inside = clean(path).inside;
    let path = match split(&inside) {
        Some((parent, name)) => join(parent, &[WHITEOUT, name].concat()),
        None => WHITEOUT.to_vec(),
    };
    Entry {
        path,
        kind: Kind::File,
        link: Vec::new(),
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: Vec::new(),
        size: 0,
        pieces: None,
    }
}

/// Bytes on their way in, counted.
struct Counted<'a, R> {
    inner: R,
    taken: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.taken.set(self.taken.get() + count as u64);
        Ok(count)
    }
}

/// Bytes on their way out, which may not be too many for those that came in.
struct Measured<'a, R> {
    inner: R,
    taken: &'a Cell<u64>,
    given: u64,
}

impl<R: Read> Read for Measured<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.given += count as u64;
        if self.given > self.taken.get().saturating_mul(LARGEST_RATIO).max(ALWAYS_ALLOWED) {
            return Err(io::Error::other("swells too much"));
        }
        Ok(count)
    }
}
