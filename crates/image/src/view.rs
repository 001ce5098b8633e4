//! Layers on top of each other, as overlayfs would show them, without a mount.
//!
//! A look-up costs a few system calls a layer: less than an overlay mount, and it works on every kernel and for every number of layers
//! (docs/decisions/0011-views.md).
//!
//! *Invariant:* layers never change while they are looked at; links are resolved here, inside the view's root, and nothing that could
//! block or act (a pipe, a device) is ever opened.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, readlinkat, statat};
use rustix::io::Errno;

use crate::extract::{is_opaque, names, open_directory};

/// The most links on the way to one file.
const MOST_LINKS: usize = 40;
/// The most parts, links resolved, on the way to one file.
const MOST_PARTS: usize = 4096;

/// A directory as it is in one layer.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    /// Which layer: 0 is the topmost.
    pub(crate) layer: usize,
    pub(crate) directory: Rc<OwnedFd>,
}

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// A directory: all layers that are seen in it, topmost first.
    Directory(Vec<Side>),
    /// Anything else: in which layer's directory, and its name there.
    Other { side: Side, name: Vec<u8>, stat: Box<Stat> },
}

/// A stack of layers, topmost first.
pub(crate) struct View {
    root: Vec<Side>,
}

impl View {
    /// Looks at the layers whose directories are `roots`, topmost first.
    pub(crate) fn new(roots: Vec<OwnedFd>) -> Result<Self, Errno> {
        let mut root = Vec::new();
        for (layer, directory) in roots.into_iter().enumerate() {
            let opaque = is_opaque(directory.as_fd())?;
            root.push(Side { layer, directory: Rc::new(directory) });
            if opaque {
                break;
            }
        }
        Ok(View { root })
    }

    /// The same without the layers above `layer`.
    pub(crate) fn from(&self, layer: usize) -> View {
        View { root: self.root.iter().filter(|side| side.layer >= layer).cloned().collect() }
    }

    /// What is at `path`, a cleaned path: no link in it is followed.
    pub(crate) fn exact(&self, path: &[u8]) -> Result<Found, Errno> {
        let mut here = self.root.clone();
        let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            match step(&here, part)? {
                Found::Directory(sides) => here = sides,
                other if parts.peek().is_none() => return Ok(other),
                Found::Nothing | Found::Other { .. } => return Ok(Found::Nothing),
            }
        }
        Ok(Found::Directory(here))
    }

    /// What is at `path`, through links that stay inside; the last part, too, is followed if `last`.
    pub(crate) fn find(&self, path: &[u8], last: bool) -> Result<Found, Errno> {
        self.locate(path, last).map(|(found, _)| found)
    }

    /// The same, with the place of the directory that was found, or in which it was found, as a path without links.
    pub(crate) fn locate(&self, path: &[u8], last: bool) -> Result<(Found, Vec<u8>), Errno> {
        let mut ahead: VecDeque<Vec<u8>> = parts(path).collect();
        let (mut here, mut at) = (self.root.clone(), Vec::new());
        let (mut links, mut steps) = (0, 0);
        while let Some(part) = ahead.pop_front() {
            steps += 1;
            if steps > MOST_PARTS {
                return Err(Errno::NAMETOOLONG);
            }
            if part == b".." {
                at = names::split(&at).map_or(Vec::new(), |(above, _)| above.to_vec());
                let Found::Directory(sides) = self.exact(&at)? else { return Ok((Found::Nothing, at)) };
                here = sides;
                continue;
            }
            match step(&here, &part)? {
                Found::Nothing => return Ok((Found::Nothing, at)),
                Found::Directory(sides) => {
                    here = sides;
                    at = names::join(&at, &part);
                }
                Found::Other { side, name, stat } => {
                    let link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
                    if !link || (ahead.is_empty() && !last) {
                        let whole = ahead.is_empty();
                        let found = if whole { Found::Other { side, name, stat } } else { Found::Nothing };
                        return Ok((found, at));
                    }
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = readlinkat(&*side.directory, name, Vec::new())?.into_bytes();
                    if target.starts_with(b"/") {
                        (here, at) = (self.root.clone(), Vec::new());
                    }
                    let target: Vec<_> = parts(&target).collect();
                    target.into_iter().rev().for_each(|part| ahead.push_front(part));
                }
            }
        }
        Ok((Found::Directory(here), at))
    }
}

fn parts(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec)
}

/// `name` in the merged directory `here`.
fn step(here: &[Side], name: &[u8]) -> Result<Found, Errno> {
    let mut sides: Vec<Side> = Vec::new();
    for side in here {
        let stat = match statat(&*side.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let directory = open_directory(side.directory.as_fd(), name)?;
            let opaque = is_opaque(directory.as_fd())?;
            sides.push(Side { layer: side.layer, directory: Rc::new(directory) });
            if opaque {
                break;
            }
            continue;
        }
        if !sides.is_empty() {
            // A directory hides what is no directory below it, and all below that.
            break;
        }
        let whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
        return Ok(if whiteout {
            Found::Nothing
        } else {
            Found::Other { side: side.clone(), name: name.to_vec(), stat: Box::new(stat) }
        });
    }
    Ok(if sides.is_empty() { Found::Nothing } else { Found::Directory(sides) })
}

/// Opens the directory of a layer.
pub(crate) fn open_layer(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}
