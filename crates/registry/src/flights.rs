//! Which layers are being fetched, so that two pulls that want one fetch it once.
//!
//! *Invariant:* whoever fetches frees the place when it is done or dies; those who waited then look at the store, and fetch themselves
//! what is not there. So one pull's failure is never another's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use orlop_model::reference::Digest;
use tokio::sync::watch;

/// A blob, and what it is to unpack to.
pub(crate) type Key = (Digest, Digest);

/// All layers under way.
#[derive(Clone, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<Key, watch::Receiver<()>>>>);

/// Who fetches a layer.
pub(crate) enum Boarding {
    /// We do, until the seat is given up.
    Ours(Seat),
    /// Somebody else: it is over when this one's sender is gone.
    Theirs(watch::Receiver<()>),
}

/// The right to fetch a layer.
pub(crate) struct Seat {
    flights: Flights,
    key: Key,
    _sender: watch::Sender<()>,
}

impl Flights {
    /// Takes the right to fetch a layer, or says who has it.
    pub(crate) fn board(&self, key: Key) -> Boarding {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = flights.get(&key) {
            return Boarding::Theirs(other.clone());
        }
        let (sender, receiver) = watch::channel(());
        flights.insert(key, receiver);
        Boarding::Ours(Seat { flights: self.clone(), key, _sender: sender })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // The place is free before the others are woken by the sender's end.
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
