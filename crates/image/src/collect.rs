//! What nothing needs goes; what a death left between two steps is put right.
//!
//! *Invariant:* a thing leaves the index before it leaves the disk, and the disk by one rename. Nobody's turn waits for a tree to be
//! deleted.

use std::collections::HashSet;
use std::sync::Arc;

use orlop_model::reference::Digest;

use crate::error::Error;
use crate::known::{Change, Known};
use crate::scratch::{move_away, remove};
use crate::store::{Inner, lock, names_in};

impl Inner {
    /// Removes all garbage.
    pub(crate) fn collect(self: &Arc<Self>) -> Result<(), Error> {
        let gone = {
            let _turn = self.turn();
            let changes = {
                let mut holds = self.holds();
                let changes = self.known().garbage(&holds);
                holds.doomed.extend(changes.iter().filter_map(Change::takes));
                changes
            };
            let moved = if changes.is_empty() { Ok(Vec::new()) } else { self.commit_and_move(&changes) };
            self.holds().doomed.clear();
            moved?
        };
        gone.iter().try_for_each(|name| remove(&self.ingest(), name))
    }

    /// Takes what `changes` drop out of the index and out of its place; returns the names in `ingest` that are now to be deleted.
    fn commit_and_move(&self, changes: &[Change]) -> Result<Vec<String>, Error> {
        let blobs = self.known().blobs();
        self.commit(changes)?;
        let needed = self.known().blobs();
        let mut gone = Vec::new();
        for change in changes {
            let path = match change {
                Change::DropLayer(diff_id) => self.layer_path(*diff_id),
                Change::DropFixUp(chain) => self.fix_up_path(*chain),
                Change::DropImage(id) => {
                    lock(&self.configs).remove(id);
                    continue;
                }
                Change::DropVerified(_)
                | Change::DropName(_)
                | Change::PutLayer { .. }
                | Change::PutVerified { .. }
                | Change::PutImage(_)
                | Change::PutName { .. }
                | Change::PutFixUp { .. } => continue,
            };
            gone.extend(move_away(&self.ingest(), &path)?);
        }
        for blob in blobs.difference(&needed) {
            gone.extend(move_away(&self.ingest(), &self.blob_path(*blob))?);
        }
        Ok(gone)
    }

    /// Makes index and disk agree when a store is opened: what the disk has and the index has not is moved to `ingest`; what the index
    /// has and the disk has not is forgotten, with the images that need it. Says what was forgotten.
    pub(crate) fn reconcile(&self) -> Result<Vec<String>, Error> {
        let layers = self.present("layers", |known| known.layers.keys().copied().collect())?;
        let fix_ups = self.present("fix-ups", |known| {
            known
                .fix_ups
                .iter()
                .filter(|(_, fix_up)| fix_up.usage.is_some())
                .map(|(chain, _)| *chain)
                .collect()
        })?;
        let blobs = self.present("blobs/sha256", Known::blobs)?;
        let (changes, lost) = losses(&self.known(), &layers, &fix_ups, &blobs);
        if !changes.is_empty() {
            self.commit(&changes)?;
        }
        Ok(lost)
    }

    /// What of `directory` the index knows and the disk has; what only the disk has is moved away.
    fn present(
        &self,
        directory: &str,
        of: impl Fn(&Known) -> HashSet<Digest>,
    ) -> Result<HashSet<Digest>, Error> {
        let path = self.root.join(directory);
        let known = of(&self.known());
        let mut present = HashSet::new();
        for name in names_in(&path)? {
            match Digest::from_hex(&name).filter(|digest| known.contains(digest)) {
                Some(digest) => drop(present.insert(digest)),
                None => lock(self.leftovers()).extend(move_away(&self.ingest(), &path.join(name))?),
            }
        }
        Ok(present)
    }
}

fn losses(
    known: &Known,
    layers: &HashSet<Digest>,
    fix_ups: &HashSet<Digest>,
    blobs: &HashSet<Digest>,
) -> (Vec<Change>, Vec<String>) {
    let (mut changes, mut lost) = (Vec::new(), Vec::new());
    for layer in known.layers.keys().filter(|layer| !layers.contains(layer)) {
        lost.push(format!("layer {layer} is not on disk any more"));
        changes.push(Change::DropLayer(*layer));
        let verified = known.verified.iter().filter(|(_, diff_id)| *diff_id == layer);
        changes.extend(verified.map(|(blob, _)| Change::DropVerified(*blob)));
    }
    for (chain, fix_up) in &known.fix_ups {
        if fix_up.usage.is_some() && !fix_ups.contains(chain) {
            // It is made again when it is needed.
            changes.push(Change::DropFixUp(*chain));
        }
    }
    for image in known.images.values() {
        let whole = image.layers.iter().all(|layer| layers.contains(layer))
            && image.blobs.iter().all(|(blob, _)| blobs.contains(blob));
        if !whole {
            lost.push(format!("image {} ({}) is not whole any more", image.id, image.tags.join(", ")));
            changes.extend(image.tags.iter().chain(&image.digests).cloned().map(Change::DropName));
            changes.push(Change::DropImage(image.id));
        }
    }
    (changes, lost)
}
