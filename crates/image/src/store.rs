//! The store: layers, images and their names, on disk and whole.
//!
//! ```text
//!   ROOT/blobs/sha256/HEX   manifests, indexes and configs
//!        layers/HEX/        unpacked layers, by diffID; an overlay's lower directories
//!        fix-ups/HEX/       what settles a chain of layers, by the chain's key
//!        ingest/            things being made, and things being removed
//!        index.redb         what of it all counts
//! ```
//!
//! *Invariant:* only what the index says is there counts, and the index says it after it is durable. Lists and look-ups read memory and
//! never wait for work; changes take turns.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use orlop_model::reference::Digest;
use rustix::io::Errno;

use crate::config::ImageConfig;
use crate::error::Error;
use crate::extract::{Finished, Traps, Tree};
use crate::hold::LayerHold;
use crate::index::Index;
use crate::known::{Change, FixUp, Holds, Known, LayerRecord, chain_key};
use crate::scratch::{Scratch, Usage, move_away, remove};
use crate::settle::{self, Chain};
use crate::sync::Syncer;
use crate::unpack::{self, LayerBlob};

/// All images of a node. Cheap to clone; one store for a directory at a time.
///
/// Its functions block on the disk, but for those that say that they read memory only.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) index: Index,
    pub(crate) known: RwLock<Known>,
    pub(crate) holds: Mutex<Holds>,
    pub(crate) configs: Mutex<HashMap<Digest, Arc<ImageConfig>>>,
    pub(crate) syncer: Syncer,
    /// Whoever changes the index holds it.
    turn: Mutex<()>,
    /// What a store before this one left in `ingest`.
    left: Mutex<Vec<String>>,
    lost: Vec<String>,
    /// Whether all that is in use is held, so that what is not held may go.
    may_delete: AtomicBool,
}

/// A layer of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What it is: the digest of its archive, unpacked.
    pub diff_id: Digest,
    /// Its directory, for an overlay's `lowerdir`.
    pub path: PathBuf,
    /// What it takes.
    pub usage: Usage,
}

impl Store {
    /// Opens the store in the directory `root`, making what is absent. What an earlier store did not finish is out of sight from here
    /// on, and gone after the next [`Store::sweep`].
    ///
    /// # Errors
    /// The disk or the index fails, or another process has the store open.
    pub fn open(root: &Path) -> Result<Self, Error> {
        for directory in ["blobs/sha256", "layers", "fix-ups", "ingest"] {
            let path = root.join(directory);
            std::fs::create_dir_all(&path).map_err(|error| Error::io("make", &path, error))?;
        }
        // Layers are only ever seen through a container's mount: nobody else has business in here.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(root, private).map_err(|error| Error::io("protect", root, error))?;
        let (index, known) = Index::open(&root.join("index.redb"))?;
        let left = names_in(&root.join("ingest"))?;
        let directory: OwnedFd =
            std::fs::File::open(root).map_err(|error| Error::io("open", root, error))?.into();
        let mut inner = Inner {
            root: root.to_owned(),
            index,
            known: RwLock::new(known),
            holds: Mutex::default(),
            configs: Mutex::default(),
            syncer: Syncer::new(directory),
            turn: Mutex::default(),
            left: Mutex::new(left),
            lost: Vec::new(),
            may_delete: AtomicBool::new(false),
        };
        inner.lost = inner.reconcile()?;
        Ok(Store(Arc::new(inner)))
    }

    /// Its directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// What the index had and the disk had not when the store was opened, a line each, for the log. Images among it are no longer
    /// listed: they have to be pulled again.
    #[must_use]
    pub fn lost(&self) -> &[String] {
        &self.0.lost
    }

    /// Space and inodes of all images together. Reads memory only.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.0.known().usage
    }

    /// The layer `diff_id`, if it is here. Reads memory only.
    #[must_use]
    pub fn layer(&self, diff_id: Digest) -> Option<Layer> {
        let usage = self.0.known().layers.get(&diff_id)?.usage;
        Some(Layer { diff_id, path: self.0.layer_path(diff_id), usage })
    }

    /// Takes hold of the layer `diff_id` if it is here and this node has seen `blob` unpack to it: then it need not be fetched. What a
    /// config says proves nothing; a blob never seen here is fetched, and verified, even where its layer is there already.
    ///
    /// # Errors
    /// This node has seen `blob` unpack to something else.
    pub fn hold_verified(&self, blob: Digest, diff_id: Digest) -> Result<Option<LayerHold>, Error> {
        let verified = self.0.known().verified.get(&blob).copied();
        match verified {
            None => Ok(None),
            Some(seen) if seen == diff_id => Ok(LayerHold::take(&self.0, diff_id)),
            Some(got) => {
                Err(Error::Blob { digest: blob, fault: crate::error::Fault::DiffId { said: diff_id, got } })
            }
        }
    }

    /// Reads a layer's blob from `source` to its end: verifies size, digest and diffID, unpacks it, makes it durable and keeps it.
    /// Where the layer is here already the blob is only verified. `progress` is told of unpacked bytes as they come.
    ///
    /// # Errors
    /// Why there is no such layer; then nothing of it is left.
    pub fn unpack(
        &self,
        layer: &LayerBlob,
        source: impl Read + Send,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<LayerHold, Error> {
        // Held while it is verified, so that it is still there then.
        let had = LayerHold::take(&self.0, layer.diff_id);
        let tree = match had {
            Some(_) => None,
            None => Some(Tree::new(Scratch::new(&self.0.ingest())?)?),
        };
        let finished = unpack::run(layer, source, tree, progress)?;
        if finished.is_some() {
            self.0.sync()?;
        }
        let _turn = self.0.turn();
        let verified = Change::PutVerified { blob: layer.descriptor.digest, diff_id: layer.diff_id };
        // Another pull may have brought the same layer meanwhile.
        let had = had.or_else(|| LayerHold::take(&self.0, layer.diff_id));
        match (had, finished) {
            (Some(hold), _) => {
                self.0.commit(&[verified])?;
                Ok(hold)
            }
            (None, Some(finished)) => self.0.keep_layer(layer.diff_id, finished, verified),
            (None, None) => Err(Error::Missing(format!("layer {}", layer.diff_id))),
        }
    }

    /// The directories of an image's root, topmost first, as an overlay's lower directories; `layers` are its diffIDs, lowest first.
    /// Where layers leave something to lower ones, one more directory that settles it comes first; it is made at the first call.
    ///
    /// # Errors
    /// A layer is not here, or asks for what no lower layer has.
    pub fn chain(&self, layers: &[Digest]) -> Result<Vec<PathBuf>, Error> {
        let key = chain_key(layers);
        let mut paths = self.0.layer_paths(layers)?;
        let fix_up = self.0.known().fix_ups.get(&key).copied();
        let fix_up = match fix_up {
            Some(fix_up) => fix_up,
            None => self.0.settle(key, layers, &paths)?,
        };
        if fix_up.usage.is_some() {
            paths.insert(0, self.0.fix_up_path(key));
        }
        Ok(paths)
    }

    /// Reads the file `path` of the root that `layers` (diffIDs, lowest first) make, following links inside that root; none if it is
    /// not there. The runtime's own look into an image: safe whatever the image has put there.
    ///
    /// # Errors
    /// It is no regular file or larger than `most` bytes, a layer is not here, or the disk fails.
    pub fn read_in_root(&self, layers: &[Digest], path: &str, most: u64) -> Result<Option<Vec<u8>>, Error> {
        let paths = self.chain(layers)?;
        let open = |path: &PathBuf| {
            crate::view::open_layer(path).map_err(|errno| Error::io("open layer", path, errno))
        };
        crate::root_file::read(paths.iter().map(open).collect::<Result<_, _>>()?, path, most)
    }

    /// Removes what nothing needs: images that were removed while in use and are so no longer, layers of no image that nobody holds,
    /// and what an earlier store left. Whoever holds something across a restart takes hold again before calling this.
    ///
    /// Nothing is ever deleted before the first call; so a server may pull and remove while it is still finding out what it holds.
    ///
    /// # Errors
    /// The disk fails; the next call goes on.
    pub fn sweep(&self) -> Result<(), Error> {
        self.0.may_delete.store(true, Ordering::Release);
        self.0.collect()?;
        let left = std::mem::take(&mut *lock(&self.0.left));
        left.iter().try_for_each(|name| remove(&self.0.ingest(), name))
    }

    /// The same for those who cannot know whether everybody has taken hold again: does nothing before the first [`Store::sweep`].
    ///
    /// # Errors
    /// As there.
    pub fn tidy(&self) -> Result<(), Error> {
        if self.0.may_delete.load(Ordering::Acquire) { self.sweep() } else { Ok(()) }
    }
}

impl Inner {
    pub(crate) fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn holds(&self) -> MutexGuard<'_, Holds> {
        lock(&self.holds)
    }

    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        lock(&self.turn)
    }

    /// Names of things in `ingest` that only wait to be deleted.
    pub(crate) fn leftovers(&self) -> &Mutex<Vec<String>> {
        &self.left
    }

    pub(crate) fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }

    pub(crate) fn layer_path(&self, diff_id: Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.hex())
    }

    pub(crate) fn fix_up_path(&self, chain: Digest) -> PathBuf {
        self.root.join("fix-ups").join(chain.hex())
    }

    pub(crate) fn blob_path(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.syncer.sync().map_err(|errno| Error::io("sync", &self.root, errno))
    }

    /// Makes `changes` durable, then visible. Only in one's turn.
    pub(crate) fn commit(&self, changes: &[Change]) -> Result<(), Error> {
        self.index.apply(changes)?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            known.apply(change);
        }
        known.sum();
        Ok(())
    }

    /// Puts what is at `from` in its place, for good: its bytes are on disk already, its name is after this.
    pub(crate) fn place(&self, from: &Path, to: &Path) -> Result<(), Error> {
        // What the index does not know does not count; a death between a change of the index and a removal leaves such.
        if let Some(gone) = move_away(&self.ingest(), to)? {
            lock(&self.left).push(gone);
        }
        std::fs::rename(from, to).map_err(|error| Error::io("put in its place", to, error))?;
        sync_directory(to.parent().unwrap_or(to))
    }

    fn keep_layer(
        self: &Arc<Self>,
        diff_id: Digest,
        finished: Finished,
        verified: Change,
    ) -> Result<LayerHold, Error> {
        let lowest = Traps { implied: [Vec::new()].into(), links: Vec::new() };
        let layer = LayerRecord {
            usage: finished.usage,
            open: finished.traps != lowest && finished.traps != Traps::default(),
        };
        self.place(&finished.path(), &self.layer_path(diff_id))?;
        let put = Change::PutLayer { diff_id, layer, traps: finished.traps };
        self.commit(&[put, verified])?;
        LayerHold::take(self, diff_id).ok_or_else(|| Error::Missing(format!("layer {diff_id}")))
    }

    /// Directories of `layers`, topmost first.
    fn layer_paths(&self, layers: &[Digest]) -> Result<Vec<PathBuf>, Error> {
        let known = self.known();
        let path = |layer: &Digest| {
            let known = known.layers.contains_key(layer).then(|| self.layer_path(*layer));
            known.ok_or_else(|| Error::Missing(format!("layer {layer}")))
        };
        layers.iter().rev().map(path).collect()
    }

    fn settle(&self, key: Digest, layers: &[Digest], paths: &[PathBuf]) -> Result<FixUp, Error> {
        let scratch = Scratch::new(&self.ingest())?;
        let usage = if paths.is_empty() {
            None
        } else {
            let traps = |layer: &Digest| Ok((*layer, self.index.traps(*layer)?));
            let layers = layers.iter().rev().map(traps).collect::<Result<_, Error>>()?;
            Chain::open(layers, paths)?.settle(&scratch)?
        };
        if usage.is_some() {
            self.sync()?;
        }
        let fix_up = FixUp { usage };
        let _turn = self.turn();
        if let Some(had) = self.known().fix_ups.get(&key) {
            return Ok(*had);
        }
        if usage.is_some() {
            self.place(&scratch.path().join(settle::TREE), &self.fix_up_path(key))?;
        }
        self.commit(&[Change::PutFixUp { chain: key, fix_up }])?;
        Ok(fix_up)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    let sync = std::fs::File::open(path).and_then(|directory| directory.sync_all());
    sync.map_err(|error| Error::io("sync", path, error))
}

/// Names of what is in a directory. What cannot be one of ours is passed over.
pub(crate) fn names_in(path: &Path) -> Result<Vec<String>, Error> {
    let read = std::fs::read_dir(path).map_err(|error| Error::io("read", path, error))?;
    let mut names = Vec::new();
    for entry in read {
        let entry = entry.map_err(|error| Error::io("read", path, error))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.0.root.display())
    }
}

/// What of errno says that a name leads nowhere.
pub(crate) fn is_absent(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOENT.raw_os_error())
}
