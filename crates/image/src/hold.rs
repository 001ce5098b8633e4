//! What is in use does not go.
//!
//! *Invariant:* a hold is counted in memory and dropping one does nothing but count: whoever gave it back calls
//! [`crate::Store::sweep`] from where blocking is fine. After a restart nothing is held until it is held again.

use std::sync::Arc;

use orlop_model::reference::Digest;

use crate::error::Error;
use crate::known::{Holds, Image};
use crate::store::{Inner, Store};

/// An image in use: its layers stay where they are, even if the image is removed meanwhile.
#[must_use = "an image is held only as long as its lease lives"]
pub struct Lease {
    inner: Arc<Inner>,
    image: Arc<Image>,
}

impl Lease {
    /// The image, as it was when it was taken hold of.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        release(&mut self.inner.holds(), self.image.id, |holds| &mut holds.images);
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({:?})", self.image.id)
    }
}

/// A layer that a pull has brought or found, until an image has it.
#[must_use = "a layer is held only as long as this lives"]
pub struct LayerHold {
    inner: Arc<Inner>,
    diff_id: Digest,
}

impl LayerHold {
    /// The layer.
    #[must_use]
    pub fn diff_id(&self) -> Digest {
        self.diff_id
    }

    /// Takes hold of a layer that is there and not about to go.
    pub(crate) fn take(inner: &Arc<Inner>, diff_id: Digest) -> Option<Self> {
        let mut holds = inner.holds();
        if holds.doomed.contains(&diff_id) || !inner.known().layers.contains_key(&diff_id) {
            return None;
        }
        *holds.layers.entry(diff_id).or_default() += 1;
        Some(LayerHold { inner: Arc::clone(inner), diff_id })
    }
}

impl Drop for LayerHold {
    fn drop(&mut self) {
        release(&mut self.inner.holds(), self.diff_id, |holds| &mut holds.layers);
    }
}

impl std::fmt::Debug for LayerHold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LayerHold({:?})", self.diff_id)
    }
}

fn release(
    holds: &mut Holds,
    what: Digest,
    of: impl Fn(&mut Holds) -> &mut std::collections::HashMap<Digest, usize>,
) {
    let counts = of(holds);
    if let Some(count) = counts.get_mut(&what) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&what);
        }
    }
}

impl Store {
    /// Keeps the image `id` as long as the lease lives. An image that was removed while it was held can be held again, so that a
    /// restarted server finds what its containers use; [`Store::resolve`] does not find it.
    ///
    /// # Errors
    /// There is no such image.
    pub fn hold(&self, id: Digest) -> Result<Lease, Error> {
        let mut holds = self.0.holds();
        let image = self.0.known().images.get(&id).cloned();
        let image = image
            .filter(|_| !holds.doomed.contains(&id))
            .ok_or_else(|| Error::Missing(format!("image {id}")))?;
        *holds.images.entry(id).or_default() += 1;
        Ok(Lease { inner: Arc::clone(&self.0), image })
    }
}
