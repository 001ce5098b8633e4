//! An archive's entries as files: one layer's tree, made without looking at any other layer.
//!
//! What only another layer can answer is noted in [`Traps`] and settled when layers are put together.
//!
//! *Invariant:* every name is resolved from the descriptor of the tree's root and inside it (`RESOLVE_IN_ROOT`); the last part is never
//! followed and never opened unless this code has just made it. So nothing that an archive says reaches a file outside.

mod attributes;
mod make;
pub(crate) mod names;
mod parents;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use crate::archive::{Archive, Entry, Kind, Stop, Time};
use crate::error::{Error, Fault, shown};
use crate::scratch::{Scratch, Usage};

pub(crate) use attributes::{copy_attributes, is_opaque, same_attributes, set_time, time_of, xattrs};
pub(crate) use parents::open_inside;

/// The most entries of one layer.
const MOST_ENTRIES: u64 = 1 << 20;
/// The most bytes of names that are kept in memory for one layer.
const MOST_NAMES: usize = 64 << 20;
/// Name of the tree in its scratch directory.
const TREE: &str = "tree";

/// What a layer leaves open, as paths without a leading slash in the layer's own tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Traps {
    /// Directories that have no entry of their own: their owner and mode are those of the layer below. The root is the empty path.
    pub(crate) implied: BTreeSet<Vec<u8>>,
    /// Hard links, and the files of lower layers that they name.
    pub(crate) links: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A tree being made.
pub(crate) struct Tree {
    scratch: Scratch,
    label: PathBuf,
    root: OwnedFd,
    /// The directory of the entry before, which mostly is that of the next one.
    near: Option<parents::Near>,
    /// Directories by name, and the time each gets when all is in them.
    times: Vec<(Vec<u8>, Time)>,
    /// When the last of all entries was changed.
    newest: Time,
    traps: Traps,
    usage: Usage,
    entries: u64,
    names: usize,
    room: Room,
}

/// A finished tree: the layer's directory is `tree` in the scratch directory.
pub(crate) struct Finished {
    pub(crate) scratch: Scratch,
    pub(crate) usage: Usage,
    pub(crate) traps: Traps,
}

impl Finished {
    /// Where the layer's directory is, until it is moved to its place.
    pub(crate) fn path(&self) -> PathBuf {
        self.scratch.path().join(TREE)
    }
}

impl Tree {
    /// An empty tree in `scratch`.
    pub(crate) fn new(scratch: Scratch) -> Result<Self, Error> {
        let label = scratch.path();
        let make = || {
            mkdirat(scratch.directory(), TREE, Mode::from_raw_mode(0o755))?;
            let root = open_directory(scratch.directory(), TREE.as_bytes())?;
            rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755))?;
            Ok(root)
        };
        let root = make().map_err(|errno: Errno| Error::io("make", &label, errno))?;
        let mut traps = Traps::default();
        traps.implied.insert(Vec::new());
        let usage = Usage { bytes: 4096, inodes: 1 };
        Ok(Tree {
            scratch,
            label,
            root,
            near: None,
            times: Vec::new(),
            newest: Time::default(),
            traps,
            usage,
            entries: 0,
            names: 0,
            room: Room::default(),
        })
    }

    /// Makes what `entry` says; the body is taken from `archive`.
    pub(crate) fn place<R: BufRead>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> Result<(), Stop> {
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            return Err(Stop::Limit(format!("more than {MOST_ENTRIES} entries")));
        }
        self.room.take(0, 1, self.root.as_fd(), &self.label)?;
        self.newest = self.newest.max(entry.mtime);
        let path = names::clean(&entry.path);
        let Some((parent, name)) = names::split(&path.inside) else {
            return self.place_root(entry);
        };
        if parent.split(|byte| *byte == b'/').any(|part| part.starts_with(names::WHITEOUT)) {
            return Err(refused(&entry.path, "a directory has a name that is reserved for whiteouts"));
        }
        if let Some(hidden) = name.strip_prefix(names::WHITEOUT) {
            return self.white_out(entry, parent, hidden);
        }
        self.go_to(entry, parent)?;
        match entry.kind {
            Kind::Directory => self.make_directory(entry, &path.inside, name),
            Kind::File => self.make_file(entry, name, archive),
            Kind::HardLink => self.make_hard_link(entry, &path.inside, name),
            Kind::Symlink => self.make_symlink(entry, name),
            Kind::Character(..) | Kind::Block(..) | Kind::Fifo => self.make_node(entry, name),
        }
    }

    /// Gives the directories their times and says what was left open.
    pub(crate) fn finish(mut self) -> Result<Finished, Stop> {
        if self.traps.implied.contains(&b""[..]) {
            // Not the time of unpacking: what is unpacked twice is alike.
            self.times.push((Vec::new(), self.newest));
        }
        for (path, time) in &self.times {
            match parents::open_inside(self.root.as_fd(), path) {
                Ok(directory) => {
                    set_time(directory.as_fd(), *time).map_err(|errno| self.failed(path, errno))?;
                }
                // A later entry has put something else there.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(self.failed(path, errno)),
            }
        }
        Ok(Finished { scratch: self.scratch, usage: self.usage, traps: self.traps })
    }

    fn place_root(&mut self, entry: &Entry) -> Result<(), Stop> {
        if entry.kind != Kind::Directory {
            return Err(refused(&entry.path, "is the root, and no directory"));
        }
        attributes::set(self.root.as_fd(), entry).map_err(|errno| self.failed(&entry.path, errno))?;
        self.traps.implied.remove(&b""[..]);
        self.remember_time(b"", entry.mtime)
    }

    fn remember_time(&mut self, path: &[u8], time: Time) -> Result<(), Stop> {
        self.remember(path.len())?;
        self.times.push((path.to_vec(), time));
        Ok(())
    }

    /// Accounts for a name that stays in memory until the layer is whole.
    fn remember(&mut self, length: usize) -> Result<(), Stop> {
        self.names += length + 64;
        if self.names > MOST_NAMES {
            Err(Stop::Limit("more names of directories than fit in 64 MiB".into()))
        } else {
            Ok(())
        }
    }

    /// The kernel's refusal: mostly the layer's own fault, else the machine's.
    fn failed(&self, path: &[u8], errno: Errno) -> Stop {
        match errno {
            Errno::NAMETOOLONG
            | Errno::LOOP
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::INVAL
            | Errno::MLINK
            | Errno::NOENT
            | Errno::EXIST
            | Errno::RANGE
            | Errno::TOOBIG
            | Errno::FBIG => refused(path, &std::io::Error::from(errno).to_string()),
            errno => Stop::Store(Error::io("unpack into", &self.label.join(shown(path)), errno)),
        }
    }
}

pub(crate) fn refused(path: &[u8], why: &str) -> Stop {
    Stop::Fault(Fault::Entry { path: shown(path), why: why.to_owned() })
}

/// Opens the directory `name` of `above`, never through a link.
pub(crate) fn open_directory(above: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(above, name, flags, Mode::empty())
}

/// Keeps the file system from being filled to its last block: a node without room for its own records is lost.
#[derive(Default)]
pub(crate) struct Room {
    /// Bytes and entries that may come before the file system is asked again: never more than half of what it then had.
    bytes: u64,
    entries: u64,
}

impl Room {
    /// Accounts for what is about to be made, and asks where that may be too much.
    ///
    /// A fiftieth of the file system is kept free, 256 MiB at most, and likewise inodes, 4096 at most.
    pub(crate) fn take(
        &mut self,
        bytes: u64,
        entries: u64,
        on: BorrowedFd<'_>,
        label: &Path,
    ) -> Result<(), Error> {
        if self.bytes >= bytes && self.entries >= entries {
            self.bytes -= bytes;
            self.entries -= entries;
            return Ok(());
        }
        let stat =
            rustix::fs::fstatvfs(on).map_err(|errno| Error::io("look at the free space of", label, errno))?;
        let full = |free: String, reserve: String| Error::NoRoom {
            path: label.display().to_string(),
            free,
            reserve,
        };
        let (free, all) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
        let reserve = (all / 50).min(256 << 20);
        let kib = |bytes: u64| format!("{} KiB", bytes >> 10);
        let room = free.checked_sub(reserve + bytes).ok_or_else(|| full(kib(free), kib(reserve)))?;
        self.bytes = (room / 2).min(8 << 20);
        // Some file systems (btrfs) have no fixed number of inodes and say 0.
        let reserve = (stat.f_files / 50).min(4096);
        let inodes = |count: u64| format!("{count} inodes");
        let short = || full(inodes(stat.f_favail), inodes(reserve));
        let fixed = stat.f_files > 0;
        let room =
            if fixed { stat.f_favail.checked_sub(reserve + entries).ok_or_else(short)? } else { 1 << 20 };
        self.entries = (room / 2).min(1024);
        Ok(())
    }
}
