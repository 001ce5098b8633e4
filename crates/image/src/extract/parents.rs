//! The directory that an entry stands in: found through the links of this layer, or made.
//!
//! *Invariant:* a directory is opened by openat2(2) with `RESOLVE_IN_ROOT`, or part by part without ever following a link; both end
//! inside the root.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2, readlinkat, statat};
use rustix::io::Errno;

use super::{Tree, attributes, names, open_directory, refused};
use crate::archive::{Entry, Stop};
use crate::scratch::Usage;

/// The most links on the way to one file; as the kernel's own MAXSYMLINKS.
const MOST_LINKS: usize = 40;

/// A directory and how it was asked for.
pub(super) struct Near {
    /// By which name.
    named: Vec<u8>,
    /// Where that is, links resolved, if it had to be found out.
    physical: Option<Vec<u8>>,
    directory: OwnedFd,
}

/// Opens the directory `path` of the tree below `root`, through links that stay inside.
pub(crate) fn open_inside(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = if path.is_empty() { b"." } else { path };
    openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Whether it is the device that overlayfs takes for "nothing here".
pub(super) fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

impl Tree {
    /// Makes `parent` the directory that is near, making what is absent of it.
    pub(super) fn go_to(&mut self, entry: &Entry, parent: &[u8]) -> Result<(), Stop> {
        if self.near.as_ref().is_some_and(|near| near.named == parent) {
            return Ok(());
        }
        match open_inside(self.root.as_fd(), parent) {
            Ok(directory) => {
                self.near = Some(Near { named: parent.to_vec(), physical: None, directory });
                Ok(())
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.walk_to(entry, parent),
            Err(errno) => Err(self.failed(&entry.path, errno)),
        }
    }

    /// The directory that is near.
    pub(super) fn here(&self) -> BorrowedFd<'_> {
        self.near.as_ref().map_or(self.root.as_fd(), |near| near.directory.as_fd())
    }

    /// Where the directory that is near is, links resolved.
    pub(super) fn here_physical(&mut self, entry: &Entry) -> Result<Vec<u8>, Stop> {
        let Some(near) = &self.near else { return Ok(Vec::new()) };
        if near.physical.is_none() {
            let named = near.named.clone();
            self.walk_to(entry, &named)?;
        }
        Ok(self.near.as_ref().and_then(|near| near.physical.clone()).unwrap_or_default())
    }

    /// Names may mean something else now: a directory or link was taken away.
    pub(super) fn forget_near(&mut self) {
        // The directory itself stays open for the entry at hand; it is only not found again by its name.
        if let Some(near) = &mut self.near {
            near.named = b"/".to_vec();
            near.physical = None;
        }
    }

    /// Goes to `parent` part by part, making directories where there are none: by a path of this layer that no entry announced, or
    /// behind a link whose target is in a lower layer.
    fn walk_to(&mut self, entry: &Entry, parent: &[u8]) -> Result<(), Stop> {
        let (mut physical, mut here, rest) =
            self.start_of_walk(parent).map_err(|errno| self.failed(&entry.path, errno))?;
        let mut ahead: VecDeque<Vec<u8>> = parts(&rest);
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            if part == b".." {
                physical = names::split(&physical).map_or(Vec::new(), |(above, _)| above.to_vec());
                here = open_inside(self.root.as_fd(), &physical)
                    .map_err(|errno| self.failed(&entry.path, errno))?;
                continue;
            }
            match self.step(entry, here.as_fd(), &physical, &part)? {
                Step::Into(directory) => {
                    physical = names::join(&physical, &part);
                    here = directory;
                }
                Step::Link(target) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(refused(&entry.path, "more than 40 links on the way"));
                    }
                    if target.starts_with(b"/") {
                        physical.clear();
                        here = open_inside(self.root.as_fd(), b"")
                            .map_err(|errno| self.failed(&entry.path, errno))?;
                    }
                    for part in parts(&target).into_iter().rev() {
                        ahead.push_front(part);
                    }
                    if ahead.len() > 4096 {
                        return Err(refused(&entry.path, "links lead too deep"));
                    }
                }
            }
        }
        self.near = Some(Near { named: parent.to_vec(), physical: Some(physical), directory: here });
        Ok(())
    }

    /// Where a walk begins: in the directory that is near if the way leads on from it, else at the root.
    fn start_of_walk(&self, parent: &[u8]) -> Result<(Vec<u8>, OwnedFd, Vec<u8>), Errno> {
        if let Some(Near { named, physical: Some(physical), directory }) = &self.near {
            let on = parent.strip_prefix(named.as_slice()).and_then(|rest| rest.strip_prefix(b"/"));
            if let Some(rest) = on.filter(|_| !named.is_empty()) {
                return Ok((physical.clone(), rustix::io::fcntl_dupfd_cloexec(directory, 0)?, rest.to_vec()));
            }
        }
        Ok((Vec::new(), open_inside(self.root.as_fd(), b"")?, parent.to_vec()))
    }

    fn step(
        &mut self,
        entry: &Entry,
        here: BorrowedFd<'_>,
        physical: &[u8],
        part: &[u8],
    ) -> Result<Step, Stop> {
        let stat = match statat(here, part, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => {
                // Hidden below, and now there again: a new directory that shows nothing of the lower one.
                rustix::fs::unlinkat(here, part, AtFlags::empty())
                    .map_err(|errno| self.failed(&entry.path, errno))?;
                let directory = self.imply(entry, here, part)?;
                attributes::set_opaque(directory.as_fd()).map_err(|errno| self.failed(&entry.path, errno))?;
                self.remember_time(&names::join(physical, part), entry.mtime)?;
                return Ok(Step::Into(directory));
            }
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                let directory = self.imply(entry, here, part)?;
                self.usage.add(Usage { bytes: 4096, inodes: 1 });
                let path = names::join(physical, part);
                self.remember_time(&path, entry.mtime)?;
                self.remember(path.len())?;
                self.traps.implied.insert(path);
                return Ok(Step::Into(directory));
            }
            Err(errno) => return Err(self.failed(&entry.path, errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                open_directory(here, part).map(Step::Into).map_err(|errno| self.failed(&entry.path, errno))
            }
            FileType::Symlink => {
                let target =
                    readlinkat(here, part, Vec::new()).map_err(|errno| self.failed(&entry.path, errno))?;
                Ok(Step::Link(target.into_bytes()))
            }
            _ => Err(refused(&entry.path, "stands below what is no directory in its layer")),
        }
    }

    /// A directory that no entry announces: root's, 0755, and of the time of the entry that needs it, until a lower layer says better.
    fn imply(&mut self, entry: &Entry, here: BorrowedFd<'_>, part: &[u8]) -> Result<OwnedFd, Stop> {
        let make = || {
            rustix::fs::mkdirat(here, part, Mode::RWXU)?;
            let directory = open_directory(here, part)?;
            let root = rustix::fs::Uid::ROOT;
            rustix::fs::fchown(&directory, Some(root), Some(rustix::fs::Gid::ROOT))?;
            rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o755))?;
            Ok(directory)
        };
        make().map_err(|errno: Errno| self.failed(&entry.path, errno))
    }
}

enum Step {
    Into(OwnedFd),
    Link(Vec<u8>),
}

fn parts(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec).collect()
}
