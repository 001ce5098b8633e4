//! Where things are while they are being made, and how trees are taken away.
//!
//! *Invariant:* what is in `ingest` is nobody's: whatever is found there when a store is opened was left by a death and goes. Trees are
//! removed in constant stack and with two descriptors, however deep a stranger has nested them.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::error::Error;

/// Space and inodes that something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes, in whole blocks of 4 KiB.
    pub bytes: u64,
    /// Files, directories and all else that has an inode.
    pub inodes: u64,
}

impl Usage {
    pub(crate) fn add(&mut self, other: Usage) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.inodes = self.inodes.saturating_add(other.inodes);
    }

    pub(crate) fn subtract(&mut self, other: Usage) {
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.inodes = self.inodes.saturating_sub(other.inodes);
    }
}

/// What a file of that many bytes of data takes.
pub(crate) fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(4096) * 4096
}

/// A new directory in `ingest`, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    ingest: PathBuf,
    name: String,
    directory: OwnedFd,
}

/// Names that no other scratch of this process has, nor one of a process before: those of the dead are of another second.
fn fresh_name(kind: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let second = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    format!("{kind}-{second:x}-{:x}-{:x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Scratch {
    /// Makes one in the directory `ingest`.
    pub(crate) fn new(ingest: &Path) -> Result<Self, Error> {
        let name = fresh_name("new");
        let path = ingest.join(&name);
        let make = || {
            let above =
                rustix::fs::open(ingest, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            mkdirat(&above, &name, Mode::RWXU)?;
            openat(&above, &name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        };
        let directory = make().map_err(|errno| Error::io("make", &path, errno))?;
        Ok(Scratch { ingest: ingest.to_owned(), name, directory })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.ingest.join(&self.name)
    }

    /// The same as a descriptor.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is swept when the store is opened next.
        let _ = remove(&self.ingest, &self.name);
    }
}

/// Moves `path` into `ingest` under a fresh name, which it returns; none if it is not there.
pub(crate) fn move_away(ingest: &Path, path: &Path) -> Result<Option<String>, Error> {
    let name = fresh_name("gone");
    match std::fs::rename(path, ingest.join(&name)) {
        Ok(()) => Ok(Some(name)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("move away", path, error)),
    }
}

/// Removes `name`, whatever it is, from the directory `ingest`.
pub(crate) fn remove(ingest: &Path, name: &str) -> Result<(), Error> {
    let open = rustix::fs::open(ingest, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let removed = open.and_then(|spot| remove_tree(spot.as_fd(), name.as_bytes()));
    removed.map(drop).map_err(|errno| Error::io("remove", &ingest.join(name), errno))
}

/// Removes `name` from the directory `spot`, and says what it took. Directories that are not empty are first moved up into `spot`, so
/// that depth costs nothing.
pub(crate) fn remove_tree(spot: BorrowedFd<'_>, name: &[u8]) -> Result<Usage, Errno> {
    let mut freed = Usage::default();
    let mut waiting = vec![name.to_vec()];
    while let Some(name) = waiting.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(spot, name.as_slice(), flags, Mode::empty()) {
            Ok(directory) => {
                empty(spot, directory.as_fd(), &mut waiting, &mut freed)?;
                unlinkat(spot, name.as_slice(), AtFlags::REMOVEDIR)?;
                freed.add(Usage { bytes: 4096, inodes: 1 });
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                freed.add(taken(spot, name.as_slice())?);
                unlinkat(spot, name.as_slice(), AtFlags::empty())?;
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(freed)
}

fn empty(
    spot: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    waiting: &mut Vec<Vec<u8>>,
    freed: &mut Usage,
) -> Result<(), Errno> {
    // File systems may pass over entries while others are being removed: read until nothing is left.
    loop {
        let mut found = false;
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            found = true;
            remove_entry(spot, directory, name, waiting, freed)?;
        }
        if !found {
            return Ok(());
        }
    }
}

fn remove_entry(
    spot: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    name: &CStr,
    waiting: &mut Vec<Vec<u8>>,
    freed: &mut Usage,
) -> Result<(), Errno> {
    let usage = taken(directory, name)?;
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) => freed.add(usage),
        Err(Errno::ISDIR | Errno::PERM) => match unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) => freed.add(usage),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let up = fresh_name("deep");
                renameat(directory, name, spot, up.as_str())?;
                waiting.push(up.into_bytes());
            }
            Err(errno) => return Err(errno),
        },
        Err(errno) => return Err(errno),
    }
    Ok(())
}

/// What removing `name` frees.
pub(crate) fn taken<P: rustix::path::Arg>(directory: BorrowedFd<'_>, name: P) -> Result<Usage, Errno> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Usage { bytes: 4096, inodes: 1 },
        // Another name keeps it.
        _ if stat.st_nlink > 1 => Usage::default(),
        FileType::RegularFile => Usage { bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * 512, inodes: 1 },
        _ => Usage { bytes: 0, inodes: 1 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_gone_however_deep() {
        let ingest = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(ingest.path()).unwrap();
        let mut here =
            openat(scratch.directory(), ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for _ in 0..5000 {
            mkdirat(&here, "d", Mode::RWXU).unwrap();
            std::os::unix::fs::symlink(
                "/",
                format!("/proc/self/fd/{}/l", std::os::fd::AsRawFd::as_raw_fd(&here)),
            )
            .unwrap();
            here = openat(&here, "d", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        }
        drop(scratch);
        assert_eq!(std::fs::read_dir(ingest.path()).unwrap().count(), 0);
        assert!(Path::new("/bin").exists(), "links are not followed");
    }

    #[test]
    fn what_is_not_there_is_no_error() {
        let ingest = tempfile::tempdir().unwrap();
        assert_eq!(move_away(ingest.path(), &ingest.path().join("none")).unwrap(), None);
        remove(ingest.path(), "none").unwrap();
    }
}
