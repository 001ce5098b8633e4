//! What the index says, in memory: all that lists and look-ups ever read.
//!
//! *Invariant:* plain values and pure functions. It follows the index: a change is on disk before it is here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use orlop_model::reference::Digest;
use orlop_model::time::Timestamp;

use crate::config::ImageUser;
use crate::extract::Traps;
use crate::scratch::{Usage, blocks};

/// An image on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of its config.
    pub id: Digest,
    /// Digest of its manifest (of the one for this node, where the name leads to an index).
    pub manifest: Digest,
    /// What it takes on this node, in bytes: layers, unpacked, and documents; shared layers count in each image that has them.
    pub size: u64,
    /// Its layers' diffIDs, lowest first.
    pub layers: Vec<Digest>,
    /// Its names by tag, as they were pulled: `docker.io/library/busybox:latest`.
    pub tags: Vec<String>,
    /// Its names by digest.
    pub digests: Vec<String>,
    /// Whether garbage collection has to leave it alone.
    pub pinned: bool,
    /// Whom it runs as.
    pub user: ImageUser,
    /// When it was first pulled.
    pub created: Timestamp,
    /// What it is made of besides layers: config, manifest, and the index it came by. With their sizes.
    pub(crate) blobs: Vec<(Digest, u64)>,
    /// Whether it was removed while something still used it.
    pub(crate) removed: bool,
}

/// A layer as the index knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerRecord {
    pub(crate) usage: Usage,
    /// Whether it leaves anything open that a chain must settle.
    pub(crate) open: bool,
}

/// What settles a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FixUp {
    /// Of its directory; none: nothing had to be settled.
    pub(crate) usage: Option<Usage>,
}

/// One change of the index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    PutLayer { diff_id: Digest, layer: LayerRecord, traps: Traps },
    DropLayer(Digest),
    PutVerified { blob: Digest, diff_id: Digest },
    DropVerified(Digest),
    PutImage(Image),
    DropImage(Digest),
    PutName { name: String, id: Digest },
    DropName(String),
    PutFixUp { chain: Digest, fix_up: FixUp },
    DropFixUp(Digest),
}

/// All of the index.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) layers: HashMap<Digest, LayerRecord>,
    pub(crate) verified: HashMap<Digest, Digest>,
    pub(crate) images: BTreeMap<Digest, Arc<Image>>,
    pub(crate) names: BTreeMap<String, Digest>,
    pub(crate) fix_ups: HashMap<Digest, FixUp>,
    pub(crate) usage: Usage,
}

/// What is in use, or being made, and must not go.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    pub(crate) images: HashMap<Digest, usize>,
    pub(crate) layers: HashMap<Digest, usize>,
    /// About to go: these can be held no more.
    pub(crate) doomed: HashSet<Digest>,
}

impl Change {
    /// The image or layer that somebody could hold and that goes with this.
    pub(crate) fn takes(&self) -> Option<Digest> {
        match self {
            Change::DropImage(digest) | Change::DropLayer(digest) => Some(*digest),
            Change::DropVerified(_)
            | Change::DropName(_)
            | Change::DropFixUp(_)
            | Change::PutLayer { .. }
            | Change::PutVerified { .. }
            | Change::PutImage(_)
            | Change::PutName { .. }
            | Change::PutFixUp { .. } => None,
        }
    }
}

impl Known {
    /// Follows a change that the index has made durable.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::PutLayer { diff_id, layer, .. } => drop(self.layers.insert(*diff_id, *layer)),
            Change::DropLayer(diff_id) => drop(self.layers.remove(diff_id)),
            Change::PutVerified { blob, diff_id } => drop(self.verified.insert(*blob, *diff_id)),
            Change::DropVerified(blob) => drop(self.verified.remove(blob)),
            Change::PutImage(image) => drop(self.images.insert(image.id, Arc::new(image.clone()))),
            Change::DropImage(id) => drop(self.images.remove(id)),
            Change::PutName { name, id } => self.put_name(name, *id),
            Change::DropName(name) => self.drop_name(name),
            Change::PutFixUp { chain, fix_up } => drop(self.fix_ups.insert(*chain, *fix_up)),
            Change::DropFixUp(chain) => drop(self.fix_ups.remove(chain)),
        }
    }

    /// Gives `name` to `id`; who had it before loses it.
    pub(crate) fn put_name(&mut self, name: &str, id: Digest) {
        self.drop_name(name);
        self.names.insert(name.to_owned(), id);
        if let Some(image) = self.images.get_mut(&id) {
            let image = Arc::make_mut(image);
            let names = if name.contains('@') { &mut image.digests } else { &mut image.tags };
            names.push(name.to_owned());
            names.sort();
        }
    }

    fn drop_name(&mut self, name: &str) {
        let had = self.names.remove(name).and_then(|id| self.images.get_mut(&id));
        if let Some(image) = had {
            let image = Arc::make_mut(image);
            image.tags.retain(|tag| tag != name);
            image.digests.retain(|digest| digest != name);
        }
    }

    /// Counts again what all of it takes.
    pub(crate) fn sum(&mut self) {
        let mut usage = Usage::default();
        self.layers.values().for_each(|layer| usage.add(layer.usage));
        self.fix_ups.values().filter_map(|fix_up| fix_up.usage).for_each(|fix_up| usage.add(fix_up));
        let blobs: HashMap<_, _> =
            self.images.values().flat_map(|image| image.blobs.iter().copied()).collect();
        for size in blobs.values() {
            usage.add(Usage { bytes: blocks(*size), inodes: 1 });
        }
        self.usage = usage;
    }

    /// Blobs that some image needs.
    pub(crate) fn blobs(&self) -> HashSet<Digest> {
        self.images.values().flat_map(|image| image.blobs.iter().map(|(digest, _)| *digest)).collect()
    }

    /// What nothing needs any more: images removed and no longer held, and layers and fix-ups of no image that nobody holds.
    pub(crate) fn garbage(&self, holds: &Holds) -> Vec<Change> {
        let held = |id: &Digest| holds.images.contains_key(id);
        let (gone, kept): (Vec<_>, Vec<_>) =
            self.images.values().partition(|image| image.removed && !held(&image.id));
        let layers: HashSet<Digest> = kept.iter().flat_map(|image| image.layers.iter().copied()).collect();
        let chains: HashSet<Digest> = kept.iter().map(|image| chain_key(&image.layers)).collect();
        let gone_layers: HashSet<Digest> = self
            .layers
            .keys()
            .copied()
            .filter(|layer| !layers.contains(layer) && !holds.layers.contains_key(layer))
            .collect();
        let mut changes: Vec<Change> = gone.iter().map(|image| Change::DropImage(image.id)).collect();
        let verified = self.verified.iter().filter(|(_, diff_id)| gone_layers.contains(diff_id));
        changes.extend(verified.map(|(blob, _)| Change::DropVerified(*blob)));
        let fix_ups = self.fix_ups.keys().filter(|chain| !chains.contains(chain));
        changes.extend(fix_ups.map(|chain| Change::DropFixUp(*chain)));
        changes.extend(gone_layers.into_iter().map(Change::DropLayer));
        changes
    }
}

/// The id of a chain of layers, lowest first, as the OCI image specification reckons it; none without a layer.
#[must_use]
pub fn chain_id(layers: &[Digest]) -> Option<Digest> {
    use sha2::Digest as _;
    let above = |below: Digest, layer: &Digest| {
        Digest::from_sha256(sha2::Sha256::digest(format!("{below} {layer}")).into())
    };
    let (lowest, others) = layers.split_first()?;
    Some(others.iter().fold(*lowest, above))
}

/// The key of a chain of layers, lowest first.
pub(crate) fn chain_key(layers: &[Digest]) -> Digest {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for layer in layers {
        hash.update(layer.as_bytes());
    }
    Digest::from_sha256(hash.finalize().into())
}
