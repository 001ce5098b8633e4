//! What a container has changed in its root: its own overlay layer as an archive, and the names that it hides of the layers below.
//!
//! *Invariant:* the layer stands still meanwhile. What only overlayfs understands (whiteouts, its attributes) is in no archive.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::Pack;
use crate::error::{Error, shown};
use crate::extract::names::join;
use crate::extract::{is_opaque, open_inside};

/// Directories deeper than this are in no sensible root, and each is held open while what is in it is packed.
const DEEPEST: usize = 256;
/// The most names that are hidden: they are kept in memory.
const MOST_HIDDEN: usize = 1 << 20;

/// Overlayfs' notes on names that lead elsewhere: such a layer cannot be read by itself.
const ELSEWHERE: [&str; 2] = ["trusted.overlay.redirect", "trusted.overlay.metacopy"];

/// A container's own layer, and those below it.
pub struct Changes<'a> {
    upper: &'a Path,
    lower: Vec<OwnedFd>,
    /// Names of files that have several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    hidden: Vec<Vec<u8>>,
}

impl<'a> Changes<'a> {
    /// Of the layer `upper` on the layers `lower`.
    ///
    /// # Errors
    /// If a layer is not there.
    pub fn new(upper: &'a Path, lower: &[PathBuf]) -> Result<Self, Error> {
        let open = |path: &PathBuf| {
            crate::view::open_layer(path).map_err(|errno| Error::io("open layer", path, errno))
        };
        let lower = lower.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Changes { upper, lower, links: HashMap::new(), hidden: Vec::new() })
    }

    /// Writes all that is in the layer to `pack`. Gives back what it hides, as paths without a leading slash.
    ///
    /// # Errors
    /// If the layer cannot be read by itself, or the archive cannot be written.
    pub fn pack<W: Write>(mut self, pack: &mut Pack<W>) -> Result<Vec<Vec<u8>>, Error> {
        let root = crate::view::open_layer(self.upper)
            .map_err(|errno| Error::io("open layer", self.upper, errno))?;
        let stat = rustix::fs::fstat(&root).map_err(|errno| self.failed(b"", errno))?;
        pack.entry(b"./", b'5', &stat, Some(root.as_fd()))?;
        self.directory(pack, &root, b"", false, 0)?;
        Ok(self.hidden)
    }

    fn directory<W: Write>(
        &mut self,
        pack: &mut Pack<W>,
        directory: &OwnedFd,
        path: &[u8],
        opaque: bool,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(self.unreadable(path, "directories are more than 256 deep"));
        }
        self.is_by_itself(directory.as_fd(), path)?;
        let opaque = opaque || is_opaque(directory.as_fd()).map_err(|errno| self.failed(path, errno))?;
        let names = names_in(directory.as_fd()).map_err(|errno| self.failed(path, errno))?;
        if opaque {
            self.hide_all_but(path, &names)?;
        }
        for name in names {
            let inside = join(path, &name);
            let stat = statat(directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| self.failed(&inside, errno))?;
            self.entry(pack, (directory, &name), &inside, &stat, opaque, depth)?;
        }
        Ok(())
    }

    fn entry<W: Write>(
        &mut self,
        pack: &mut Pack<W>,
        (above, name): (&OwnedFd, &[u8]),
        inside: &[u8],
        stat: &Stat,
        opaque: bool,
        depth: usize,
    ) -> Result<(), Error> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        // Whiteouts share one inode, and are no files.
        if matches!(kind, FileType::RegularFile | FileType::Symlink) && stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                let mut head = super::Head::of(inside, b'1', stat);
                head.link.clone_from(first);
                return pack.head(&head);
            }
            self.links.insert(key, inside.to_vec());
        }
        match kind {
            FileType::Directory => {
                let directory = self.open(above, name, inside, OFlags::DIRECTORY)?;
                pack.entry(&[inside, b"/"].concat(), b'5', stat, Some(directory.as_fd()))?;
                self.directory(pack, &directory, inside, opaque, depth + 1)
            }
            FileType::RegularFile => {
                let file = self.open(above, name, inside, OFlags::empty())?;
                self.is_by_itself(file.as_fd(), inside)?;
                pack.entry(inside, b'0', stat, Some(file.as_fd()))?;
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                pack.body(std::fs::File::from(file), size, &self.upper.join(shown(inside)))
            }
            FileType::Symlink => {
                let link = readlinkat(above, name, Vec::new()).map_err(|errno| self.failed(inside, errno))?;
                let mut head = super::Head::of(inside, b'2', stat);
                head.link = link.into_bytes();
                pack.head(&head)
            }
            FileType::CharacterDevice if stat.st_rdev == 0 => self.hide(inside.to_vec()),
            FileType::CharacterDevice => pack.entry(inside, b'3', stat, None),
            FileType::BlockDevice => pack.entry(inside, b'4', stat, None),
            FileType::Fifo => pack.entry(inside, b'6', stat, None),
            // A socket is of the process that made it, which makes it again.
            _ => Ok(()),
        }
    }

    fn open(&self, above: &OwnedFd, name: &[u8], inside: &[u8], flags: OFlags) -> Result<OwnedFd, Error> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(above, name, flags, Mode::empty()).map_err(|errno| self.failed(inside, errno))
    }

    /// Whether all of it is in this layer.
    fn is_by_itself(&self, file: BorrowedFd<'_>, inside: &[u8]) -> Result<(), Error> {
        let has = |name: &str| rustix::fs::fgetxattr(file, name, &mut [0_u8; 1024]);
        let leads = |name: &&str| !matches!(has(name), Err(Errno::NODATA | Errno::OPNOTSUPP));
        if ELSEWHERE.iter().any(leads) {
            return Err(self.unreadable(inside, "overlayfs keeps a part of it in another layer"));
        }
        Ok(())
    }

    /// All that the layers below have in a directory is hidden, but for what is there anew.
    fn hide_all_but(&mut self, path: &[u8], there: &[Vec<u8>]) -> Result<(), Error> {
        let mut hidden: Vec<Vec<u8>> = Vec::new();
        for layer in &self.lower {
            let Ok(directory) = open_inside(layer.as_fd(), path) else { continue };
            let names = names_in(directory.as_fd()).map_err(|errno| self.failed(path, errno))?;
            hidden.extend(names.into_iter().filter(|name| !there.contains(name)));
        }
        hidden.sort();
        hidden.dedup();
        hidden.into_iter().try_for_each(|name| self.hide(join(path, &name)))
    }

    fn hide(&mut self, path: Vec<u8>) -> Result<(), Error> {
        if self.hidden.len() >= MOST_HIDDEN {
            return Err(self.unreadable(&path, "more than a million files are removed"));
        }
        self.hidden.push(path);
        Ok(())
    }

    fn failed(&self, inside: &[u8], errno: Errno) -> Error {
        Error::io("pack", &self.upper.join(shown(inside)), errno)
    }

    fn unreadable(&self, inside: &[u8], why: &str) -> Error {
        let object = format!("/{} in {}", shown(inside), self.upper.display());
        Error::Unsupported { object, why: why.into() }
    }
}

/// The names in a directory, sorted.
fn names_in(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}
