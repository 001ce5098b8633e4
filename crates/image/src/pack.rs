//! Tar archives, written: the other way round than `archive` reads them, in ustar with pax where ustar has no room.
//!
//! *Invariant:* of a tree every name is opened from the descriptor of the directory above it and never through a link; what is no
//! file or directory is never opened. So a tree of a stranger's shows nothing that is not in it.

mod changes;
mod header;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::Stat;

use crate::error::Error;

pub use changes::Changes;
use header::{Head, blocks};

/// Written at once.
const CHUNK: usize = 1 << 20;

/// An archive that is being written.
pub struct Pack<W> {
    out: W,
    /// What it is called in errors.
    label: String,
}

impl<W: Write> Pack<W> {
    /// An empty archive; `label` is what it is called in errors.
    pub fn new(out: W, label: &Path) -> Self {
        Pack { out, label: label.display().to_string() }
    }

    /// A directory for root alone.
    ///
    /// # Errors
    /// If the archive cannot be written.
    pub fn directory(&mut self, name: &str) -> Result<(), Error> {
        let name = format!("{}/", name.trim_end_matches('/'));
        let mut head = Head::plain(name.as_bytes(), b'5');
        head.mode = 0o700;
        self.head(&head)
    }

    /// A file for root alone.
    ///
    /// # Errors
    /// If the archive cannot be written.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut head = Head::plain(name.as_bytes(), b'0');
        (head.mode, head.size) = (0o600, bytes.len() as u64);
        self.head(&head)?;
        self.write(bytes)?;
        self.pad(bytes.len() as u64)
    }

    /// A file for root alone, with what `path` has: a regular file, not a link.
    ///
    /// # Errors
    /// If that is another thing or cannot be read, or the archive cannot be written.
    pub fn copy(&mut self, name: &str, path: &Path) -> Result<(), Error> {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
        let failed = |source: io::Error| Error::io("pack", path, source);
        let file =
            rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let file = File::from(file);
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        let mut head = Head::plain(name.as_bytes(), b'0');
        (head.mode, head.size) = (0o600, metadata.len());
        self.head(&head)?;
        self.body(file, metadata.len(), path)
    }

    /// All regular files of the directory `path`, which has no directories, as files of the directory `name`.
    ///
    /// # Errors
    /// As [`Pack::copy`].
    pub fn files(&mut self, name: &str, path: &Path) -> Result<(), Error> {
        self.directory(name)?;
        let failed = |source| Error::io("pack", path, source);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        for file in names {
            self.copy(&format!("{name}/{}", file.to_string_lossy()), &path.join(&file))?;
        }
        Ok(())
    }

    /// The end of the archive; gives back what it was written to.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn end(mut self) -> Result<W, Error> {
        self.write(&[0; 1024])?;
        self.out.flush().map_err(|source| self.failed(source))?;
        Ok(self.out)
    }

    fn head(&mut self, head: &Head<'_>) -> Result<(), Error> {
        let bytes = head.to_bytes();
        self.write(&bytes)
    }

    /// As many bytes as were announced: what became shorter meanwhile is an error, not a damaged archive.
    fn body(&mut self, mut from: impl io::Read, size: u64, path: &Path) -> Result<(), Error> {
        let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
        let mut left = size;
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = from.read(&mut buffer[..most]).map_err(|source| Error::io("pack", path, source))?;
            if count == 0 {
                return Err(Error::io("pack", path, io::Error::other("it became shorter while it was read")));
            }
            self.write(&buffer[..count])?;
            left -= count as u64;
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let padding = usize::try_from(blocks(size) - size).unwrap_or_default();
        self.write(&[0; 512][..padding])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io { step: "write archive", path: self.label.clone(), source }
    }

    /// An entry as `stat` and `file` (where it could be opened) say.
    fn entry(
        &mut self,
        name: &[u8],
        kind: u8,
        stat: &Stat,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        let mut head = Head::of(name, kind, stat);
        if let Some(file) = file {
            let failed =
                |errno| Error::io("read attributes of", Path::new(&crate::error::shown(name)), errno);
            head.xattrs = crate::extract::xattrs(file).map_err(failed)?;
        }
        self.head(&head)
    }
}
