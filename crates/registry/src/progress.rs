//! How far a pull is, for anyone who looks.
//!
//! *Invariant:* looking waits for nothing and slows nothing down: counters are atomic, and the list of layers is set once.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use orlop_model::reference::Digest;

/// Where a layer is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not begun: others are before it.
    Waiting,
    /// Being fetched, verified and unpacked.
    Fetching,
    /// Whole.
    Done,
    /// Whole, and here before or brought by another pull.
    Shared,
}

/// One layer of a pull, as it was when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerStatus {
    /// Its blob.
    pub blob: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// Bytes of it that have come.
    pub fetched: u64,
    /// Bytes that they were unpacked to.
    pub unpacked: u64,
    /// Where it is on its way.
    pub stage: Stage,
}

/// A pull's progress. Empty until its manifest is known.
#[derive(Debug, Default)]
pub struct Progress {
    layers: OnceLock<Vec<Arc<LayerProgress>>>,
}

/// A layer's counters.
#[derive(Debug)]
pub(crate) struct LayerProgress {
    blob: Digest,
    size: u64,
    fetched: AtomicU64,
    unpacked: AtomicU64,
    stage: AtomicU8,
}

impl Progress {
    /// All layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> Vec<LayerStatus> {
        self.layers.get().into_iter().flatten().map(|layer| layer.look()).collect()
    }

    /// Takes the layers in, once; returns their counters.
    pub(crate) fn begin(&self, layers: impl Iterator<Item = (Digest, u64)>) -> Vec<Arc<LayerProgress>> {
        let layer = |(blob, size)| {
            let (fetched, unpacked, stage) =
                (AtomicU64::default(), AtomicU64::default(), AtomicU8::default());
            Arc::new(LayerProgress { blob, size, fetched, unpacked, stage })
        };
        self.layers.get_or_init(|| layers.map(layer).collect()).clone()
    }
}

impl LayerProgress {
    fn look(&self) -> LayerStatus {
        let stage = match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Waiting,
            1 => Stage::Fetching,
            2 => Stage::Done,
            _ => Stage::Shared,
        };
        let fetched = self.fetched.load(Ordering::Relaxed);
        LayerStatus {
            blob: self.blob,
            size: self.size,
            fetched,
            unpacked: self.unpacked.load(Ordering::Relaxed),
            stage,
        }
    }

    pub(crate) fn fetched(&self, bytes: u64) {
        self.fetched.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn unpacked(&self, bytes: u64) {
        self.unpacked.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn enter(&self, stage: Stage) {
        let stage = match stage {
            Stage::Waiting => 0,
            Stage::Fetching => 1,
            Stage::Done => 2,
            Stage::Shared => 3,
        };
        self.stage.store(stage, Ordering::Relaxed);
    }
}
