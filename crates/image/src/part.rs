//! A directory of an image, for whoever mounts a part of it alone.
//!
//! *Invariant:* a stranger chose what is there. Links are resolved inside the image's root, by whoever looks, once: what comes out are
//! paths without any, in layers that do not change.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use orlop_model::reference::Digest;
use rustix::io::Errno;

use crate::error::{Error, shown};
use crate::store::Store;
use crate::view::{Found, View, open_layer};

/// What a path of an image leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A directory: what each layer has of it, topmost first. An overlay of them shows it as the image does.
    Directory(Vec<PathBuf>),
    /// Nothing, or a link that leads to nothing inside the image.
    Nothing,
    /// What is no directory.
    Other,
}

impl Store {
    /// Looks for the directory `path` of the root that `layers` (diffIDs, lowest first) make, following links inside that root.
    ///
    /// # Errors
    /// A layer is not here, or the disk fails.
    pub fn part(&self, layers: &[Digest], path: &str) -> Result<Part, Error> {
        let roots = self.chain(layers)?;
        let open = |root: &PathBuf| open_layer(root).map_err(|errno| Error::io("open layer", root, errno));
        let opened = roots.iter().map(open).collect::<Result<_, _>>()?;
        let looked = View::new(opened).and_then(|view| view.locate(path.as_bytes(), true));
        match looked {
            Ok((Found::Directory(sides), at)) => {
                let at = Path::new(std::ffi::OsStr::from_bytes(&at));
                Ok(Part::Directory(sides.iter().map(|side| roots[side.layer].join(at)).collect()))
            }
            Ok((Found::Nothing, _)) => Ok(Part::Nothing),
            Ok((Found::Other { .. }, _)) => Ok(Part::Other),
            Err(Errno::LOOP) => {
                Err(Error::InRoot { path: shown(path.as_bytes()), why: "more than 40 links on the way" })
            }
            Err(Errno::NAMETOOLONG) => {
                Err(Error::InRoot { path: shown(path.as_bytes()), why: "links lead too deep" })
            }
            Err(errno) => Err(Error::io("look in the image", Path::new(path), errno)),
        }
    }
}
