//! What layers leave open is settled for one chain: a small directory that lies on top of it.
//!
//! It holds directories whose owner, mode and time a layer only implied, as the layer below has them, and hard links to files of lower
//! layers. Whatever is right without it is not in it; most chains need none.
//!
//! *Invariant:* no layer is changed: it is shared by chains that settle it differently.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd};

use orlop_model::reference::Digest;
use rustix::fs::{AtFlags, FileType, Mode, mkdirat, statat};
use rustix::io::Errno;

use crate::archive::Time;
use crate::error::{Error, shown};
use crate::extract::{Traps, copy_attributes, names, open_directory, same_attributes, set_time, time_of};
use crate::scratch::{Scratch, Usage};
use crate::view::{Found, Side, View, open_layer};

/// The most that the layers of one chain may leave open together.
const MOST_OPEN: usize = 200_000;
/// Name of the directory in its scratch directory.
pub(crate) const TREE: &str = "tree";

/// Layers with what each leaves open, topmost first.
pub(crate) struct Chain {
    pub(crate) layers: Vec<(Digest, Traps)>,
    pub(crate) view: View,
}

/// What is to be on top.
enum Fix {
    /// A directory like this one.
    Directory(Side),
    /// A hard link to this file.
    Link { side: Side, name: Vec<u8> },
}

impl Chain {
    /// Puts the layers at `paths` together, topmost first.
    pub(crate) fn open(layers: Vec<(Digest, Traps)>, paths: &[std::path::PathBuf]) -> Result<Self, Error> {
        let open = |path: &std::path::PathBuf| {
            open_layer(path).map_err(|errno| Error::io("open layer", path, errno))
        };
        let roots = paths.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let view = View::new(roots).map_err(|errno| Error::io("look at layers of", &paths[0], errno))?;
        Ok(Chain { layers, view })
    }

    /// Makes what settles the chain in `scratch`; none if nothing has to be settled.
    pub(crate) fn settle(&self, scratch: &Scratch) -> Result<Option<Usage>, Error> {
        let open =
            self.layers.iter().map(|(_, traps)| traps.implied.len() + traps.links.len()).sum::<usize>();
        if open > MOST_OPEN {
            let layer = self.layers[0].0;
            return Err(Error::Limit {
                digest: layer,
                limit: format!("layers leave {open} things to lower ones"),
            });
        }
        let mut fixes = self.directories()?;
        self.links(&mut fixes)?;
        if fixes.is_empty() {
            return Ok(None);
        }
        let made = make(self, &fixes, scratch.directory());
        made.map(Some).map_err(|errno| Error::io("settle layers in", &scratch.path(), errno))
    }

    fn directories(&self) -> Result<BTreeMap<Vec<u8>, Fix>, Error> {
        let mut fixes = BTreeMap::new();
        for (layer, (digest, traps)) in self.layers.iter().enumerate() {
            for path in &traps.implied {
                let failed =
                    |errno: Errno| chain_error(*digest, path, &std::io::Error::from(errno).to_string());
                let Found::Directory(sides) = self.view.exact(path).map_err(failed)? else { continue };
                let Some(top) = sides.first().filter(|top| top.layer == layer) else { continue };
                let better = self.announced(&sides, path);
                if better.layer == layer {
                    continue;
                }
                // Every layer without an entry for its root has the root's time wrong, and nobody looks at that one.
                let time = !path.is_empty();
                if !same_attributes(top.directory.as_fd(), better.directory.as_fd(), time).map_err(failed)? {
                    fixes.insert(path.clone(), Fix::Directory(better.clone()));
                }
            }
        }
        Ok(fixes)
    }

    /// Of the layers that are seen in the directory `path`, the topmost that has an entry for it; else the topmost.
    fn announced<'a>(&self, sides: &'a [Side], path: &[u8]) -> &'a Side {
        let announces = |side: &&Side| !self.layers[side.layer].1.implied.contains(path);
        sides.iter().find(announces).unwrap_or(&sides[0])
    }

    fn links(&self, fixes: &mut BTreeMap<Vec<u8>, Fix>) -> Result<(), Error> {
        let pending: Vec<HashMap<&[u8], &[u8]>> = self
            .layers
            .iter()
            .map(|(_, traps)| {
                traps.links.iter().map(|(path, target)| (path.as_slice(), target.as_slice())).collect()
            })
            .collect();
        for (layer, links) in pending.iter().enumerate() {
            for (path, target) in links {
                let failed = |why: &str| chain_error(self.layers[layer].0, path, why);
                let kernel = |errno: Errno| failed(&std::io::Error::from(errno).to_string());
                let (side, name) =
                    self.target(layer, target, &pending).map_err(kernel)?.ok_or_else(|| {
                        failed("is a hard link to a file that is neither in its layer nor in a lower one")
                    })?;
                if !fixes.contains_key(*path) && self.shows(layer, path).map_err(kernel)? {
                    fixes.insert(path.to_vec(), Fix::Link { side, name });
                }
            }
        }
        Ok(())
    }

    /// The file that a link of `layer` to `target` names; none if there is none, or a directory.
    fn target(
        &self,
        layer: usize,
        target: &[u8],
        pending: &[HashMap<&[u8], &[u8]>],
    ) -> Result<Option<(Side, Vec<u8>)>, Errno> {
        let below = self.view.from(layer);
        let mut target = target;
        let mut seen = HashSet::new();
        loop {
            match below.find(target, false)? {
                Found::Other { side, name, .. } => return Ok(Some((side, name))),
                Found::Directory(_) => return Ok(None),
                Found::Nothing => {}
            }
            // It may be such a link itself.
            let next = pending[layer..].iter().find_map(|links| links.get(target));
            match next {
                Some(next) if seen.insert(target) => target = next,
                Some(_) | None => return Ok(None),
            }
        }
    }

    /// Whether what `layer` has at `path` is what the chain shows there: nothing above it, nor a later entry of its own, says otherwise.
    fn shows(&self, layer: usize, path: &[u8]) -> Result<bool, Errno> {
        let Some((above, name)) = names::split(path) else { return Ok(false) };
        let Found::Directory(sides) = self.view.exact(above)? else { return Ok(false) };
        for side in &sides {
            match statat(&*side.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                // In the layer itself a whiteout means the file of lower layers, which the link replaces.
                Ok(stat) if side.layer == layer => {
                    let whiteout = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                        && stat.st_rdev == 0;
                    return Ok(whiteout);
                }
                Ok(_) => return Ok(false),
                Err(Errno::NOENT) if side.layer == layer => return Ok(true),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(false)
    }
}

fn chain_error(layer: Digest, path: &[u8], why: &str) -> Error {
    Error::Chain { layer, why: format!("{}: {why}", shown(path)) }
}

fn make(chain: &Chain, fixes: &BTreeMap<Vec<u8>, Fix>, scratch: BorrowedFd<'_>) -> Result<Usage, Errno> {
    mkdirat(scratch, TREE, Mode::RWXU)?;
    let root = open_directory(scratch, TREE.as_bytes())?;
    let mut usage = Usage { bytes: 4096, inodes: 1 };
    let mut times: BTreeMap<Vec<u8>, Time> = BTreeMap::new();
    times.insert(Vec::new(), dress(chain, b"", fixes.get(&b""[..]), root.as_fd())?);
    for (path, fix) in fixes {
        let mut here = open_directory(root.as_fd(), b".")?;
        let mut at = Vec::new();
        let last = names::split(path).map_or(&b""[..], |(_, last)| last);
        let depth = path.split(|byte| *byte == b'/').count();
        for (level, part) in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).enumerate() {
            if let (true, Fix::Link { side, name }) = (level + 1 == depth, fix) {
                rustix::fs::linkat(&*side.directory, name.as_slice(), &here, last, AtFlags::empty())?;
                continue;
            }
            at = names::join(&at, part);
            match mkdirat(&here, part, Mode::RWXU) {
                Ok(()) => {
                    here = open_directory(here.as_fd(), part)?;
                    usage.add(Usage { bytes: 4096, inodes: 1 });
                    times.insert(at.clone(), dress(chain, &at, fixes.get(&at), here.as_fd())?);
                }
                Err(Errno::EXIST) => here = open_directory(here.as_fd(), part)?,
                Err(errno) => return Err(errno),
            }
        }
    }
    for (path, time) in &times {
        let directory = crate::extract::open_inside(root.as_fd(), path)?;
        set_time(directory.as_fd(), *time)?;
    }
    Ok(usage)
}

/// Gives the new directory `to` the looks of `path` in the chain, and returns when that was changed.
fn dress(chain: &Chain, path: &[u8], fix: Option<&Fix>, to: BorrowedFd<'_>) -> Result<Time, Errno> {
    let like = match (fix, chain.view.exact(path)?) {
        (Some(Fix::Directory(side)), _) => side.clone(),
        (_, Found::Directory(sides)) => chain.announced(&sides, path).clone(),
        (_, Found::Nothing | Found::Other { .. }) => return Err(Errno::NOTDIR),
    };
    copy_attributes(like.directory.as_fd(), to)?;
    time_of(like.directory.as_fd())
}
