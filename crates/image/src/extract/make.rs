//! One entry as one file.
//!
//! *Invariant:* a file is made new (`O_EXCL`) or not at all: what stood under its name is taken away first, so nothing is ever written
//! through a link, hard or symbolic.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, mknodat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::{Tree, attributes, names, open_directory, parents, refused};
use crate::archive::{Archive, Entry, Kind, Stop};
use crate::scratch::{Usage, blocks, remove_tree, taken};

/// How much is written at once, and looked at for being all zeros.
const PIECE: usize = 64 << 10;

impl Tree {
    pub(super) fn make_directory(&mut self, entry: &Entry, path: &[u8], name: &[u8]) -> Result<(), Stop> {
        let failed = |tree: &Tree, errno| tree.failed(&entry.path, errno);
        let mut opaque = false;
        let made = match mkdirat(self.here(), name, Mode::RWXU) {
            Err(Errno::EXIST) => {
                let stat =
                    statat(self.here(), name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(self, e))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    false
                } else {
                    // Over a whiteout of this layer: what lower layers have there stays hidden.
                    opaque = parents::is_whiteout(&stat);
                    self.take_away(entry, name)?;
                    mkdirat(self.here(), name, Mode::RWXU).map_err(|e| failed(self, e))?;
                    true
                }
            }
            done => done.map(|()| true).map_err(|e| failed(self, e))?,
        };
        let directory = open_directory(self.here(), name).map_err(|e| failed(self, e))?;
        attributes::set(directory.as_fd(), entry).map_err(|e| failed(self, e))?;
        if opaque {
            attributes::set_opaque(directory.as_fd()).map_err(|e| failed(self, e))?;
        }
        if made {
            self.usage.add(Usage { bytes: 4096, inodes: 1 });
        }
        if self.traps.implied.last().is_some_and(|last| !last.is_empty()) {
            let physical = names::join(&self.here_physical(entry)?, name);
            self.traps.implied.remove(&physical);
        }
        self.remember_time(path, entry.mtime)
    }

    pub(super) fn make_file<R: BufRead>(
        &mut self,
        entry: &Entry,
        name: &[u8],
        archive: &mut Archive<R>,
    ) -> Result<(), Stop> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.anew(entry, name, |here| openat(here, name, flags, Mode::RUSR | Mode::WUSR))?;
        let written = self.write_body(entry, file.as_fd(), archive)?;
        self.usage.add(Usage { bytes: blocks(written), inodes: 1 });
        attributes::set(file.as_fd(), entry)
            .and_then(|()| attributes::set_time(file.as_fd(), entry.mtime))
            .map_err(|errno| self.failed(&entry.path, errno))
    }

    pub(super) fn make_symlink(&mut self, entry: &Entry, name: &[u8]) -> Result<(), Stop> {
        if entry.link.is_empty() {
            return Err(refused(&entry.path, "is a link to nothing"));
        }
        self.anew(entry, name, |here| rustix::fs::symlinkat(entry.link.as_slice(), here, name))?;
        self.usage.add(Usage { bytes: 0, inodes: 1 });
        attributes::set_by_name(self.here(), name, entry, true)
            .map_err(|errno| self.failed(&entry.path, errno))?;
        Ok(())
    }

    pub(super) fn make_node(&mut self, entry: &Entry, name: &[u8]) -> Result<(), Stop> {
        let (kind, device) = match entry.kind {
            Kind::Character(major, minor) => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
            Kind::Block(major, minor) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
            Kind::Fifo | Kind::File | Kind::HardLink | Kind::Symlink | Kind::Directory => (FileType::Fifo, 0),
        };
        self.anew(entry, name, |here| mknodat(here, name, kind, Mode::RUSR | Mode::WUSR, device))?;
        self.usage.add(Usage { bytes: 0, inodes: 1 });
        attributes::set_by_name(self.here(), name, entry, false)
            .map_err(|errno| self.failed(&entry.path, errno))
    }

    pub(super) fn make_hard_link(&mut self, entry: &Entry, path: &[u8], name: &[u8]) -> Result<(), Stop> {
        let target = names::clean(&entry.link);
        let Some((above, first)) = names::split(&target.inside).filter(|_| !target.climbs) else {
            return Err(refused(&entry.path, "is a hard link to what is outside its layer"));
        };
        if target.inside == path {
            return Err(refused(&entry.path, "is a hard link to itself"));
        }
        let found = parents::open_inside(self.root.as_fd(), above).and_then(|directory| {
            let stat = statat(&directory, first, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((directory, stat))
        });
        match found {
            Ok((_, stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                Err(refused(&entry.path, "is a hard link to a directory"))
            }
            Ok((directory, stat)) if !parents::is_whiteout(&stat) => {
                self.anew(entry, name, |here| {
                    rustix::fs::linkat(&directory, first, here, name, AtFlags::empty())
                })?;
                Ok(())
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                // Not in this layer: a lower one has to have it.
                self.take_away(entry, name)?;
                let physical = names::join(&self.here_physical(entry)?, name);
                self.remember(physical.len() + target.inside.len())?;
                self.traps.links.push((physical, target.inside));
                Ok(())
            }
            Err(errno) => Err(self.failed(&entry.path, errno)),
        }
    }

    /// An entry that says what lower layers have and this image has not: the file `hidden`, or all of a directory.
    pub(super) fn white_out(&mut self, entry: &Entry, parent: &[u8], hidden: &[u8]) -> Result<(), Stop> {
        match hidden {
            b".wh..opq" => {
                self.go_to(entry, parent)?;
                attributes::set_opaque(self.here()).map_err(|errno| self.failed(&entry.path, errno))
            }
            // Other names that begin so are AUFS's own notes; they say nothing of the image.
            _ if hidden.starts_with(names::WHITEOUT) => Ok(()),
            b"" | b"." | b".." => Err(refused(&entry.path, "is a whiteout of nothing")),
            _ => {
                self.go_to(entry, parent)?;
                self.hide(entry, hidden)
            }
        }
    }

    fn hide(&mut self, entry: &Entry, hidden: &[u8]) -> Result<(), Stop> {
        match mknodat(self.here(), hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => {
                self.usage.add(Usage { bytes: 0, inodes: 1 });
                Ok(())
            }
            // What this layer itself has there stays, and hides the lower; a directory must say so.
            Err(Errno::EXIST) => match open_directory(self.here(), hidden) {
                Ok(directory) => {
                    attributes::set_opaque(directory.as_fd()).map_err(|errno| self.failed(&entry.path, errno))
                }
                Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(errno) => Err(self.failed(&entry.path, errno)),
            },
            Err(errno) => Err(self.failed(&entry.path, errno)),
        }
    }

    /// Makes `name` where we are, in the place of what may stand there.
    fn anew<T>(
        &mut self,
        entry: &Entry,
        name: &[u8],
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Stop> {
        match make(self.here()) {
            Err(Errno::EXIST) => {
                self.take_away(entry, name)?;
                make(self.here()).map_err(|errno| self.failed(&entry.path, errno))
            }
            done => done.map_err(|errno| self.failed(&entry.path, errno)),
        }
    }

    /// Removes whatever `name` is where we are.
    fn take_away(&mut self, entry: &Entry, name: &[u8]) -> Result<(), Stop> {
        let failed = |tree: &Tree, errno| tree.failed(&entry.path, errno);
        let usage = match taken(self.here(), name) {
            Ok(usage) => usage,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(failed(self, errno)),
        };
        match unlinkat(self.here(), name, AtFlags::empty()) {
            Ok(()) => self.usage.subtract(usage),
            Err(Errno::ISDIR | Errno::PERM) => {
                rustix::fs::renameat(self.here(), name, self.scratch.directory(), "gone")
                    .map_err(|e| failed(self, e))?;
                let freed = remove_tree(self.scratch.directory(), b"gone").map_err(|e| failed(self, e))?;
                self.usage.subtract(freed);
            }
            Err(errno) => return Err(failed(self, errno)),
        }
        self.forget_near();
        Ok(())
    }

    /// Writes the body where it belongs; runs of zeros are left out, as holes. Says how many bytes were written.
    fn write_body<R: BufRead>(
        &mut self,
        entry: &Entry,
        file: BorrowedFd<'_>,
        archive: &mut Archive<R>,
    ) -> Result<u64, Stop> {
        let whole = [(0, entry.size)];
        let pieces = entry.pieces.as_deref().unwrap_or(&whole);
        let (mut written, mut end) = (0, 0);
        for (offset, length) in pieces {
            let (mut at, mut left) = (*offset, *length);
            while left > 0 {
                let bytes = archive.piece()?;
                let count = bytes.len().min(PIECE).min(usize::try_from(left).unwrap_or(PIECE));
                let bytes = &bytes[..count];
                if count < 4096 || bytes.iter().any(|byte| *byte != 0) {
                    self.room.take(count as u64, 0, self.root.as_fd(), &self.label)?;
                    write_at(file, bytes, at).map_err(|errno| self.failed(&entry.path, errno))?;
                    written += count as u64;
                    end = at + count as u64;
                }
                archive.used(count);
                at += count as u64;
                left -= count as u64;
            }
        }
        if end < entry.size {
            rustix::fs::ftruncate(file, entry.size).map_err(|errno| self.failed(&entry.path, errno))?;
        }
        Ok(written)
    }
}

fn write_at(file: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, at) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(count) => {
                bytes = &bytes[count..];
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
