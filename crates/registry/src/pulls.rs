//! All pulls under way: they outlive whoever asked, and who asks for the same joins.
//!
//! *Invariant:* two pulls are the same only if name and credentials are: nobody gets by another's password what is not theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use orlop_image::Store;
use orlop_image::manifest::Platform;
use orlop_model::reference::Reference;
use tokio::sync::{Semaphore, watch};

use crate::auth::Auth;
use crate::client::Client;
use crate::error::Error;
use crate::flights::Flights;
use crate::progress::Progress;
use crate::pull::{self, Means, Pulled};

/// What a pull came to.
pub type Outcome = Result<Pulled, Arc<Error>>;

type Key = (Reference, Option<Auth>);

/// Begins pulls and knows those under way. Cheap to clone.
#[derive(Clone)]
pub struct Pulls {
    means: Arc<Means>,
    running: Arc<Mutex<HashMap<Key, Ticket>>>,
}

/// A pull under way, or ended. Dropping it ends nothing.
#[derive(Clone, Debug)]
pub struct Ticket {
    reference: Reference,
    progress: Arc<Progress>,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Ticket {
    /// What is being pulled.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// How far it is. Never waits.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// What it came to, when it has ended.
    ///
    /// # Errors
    /// Why there is no image.
    pub async fn outcome(mut self) -> Outcome {
        let ended = self.outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        ended.ok().flatten().unwrap_or_else(|| Err(Arc::new(Error::Abandoned)))
    }
}

impl Pulls {
    /// Pulls into `store`, at most `layers_at_once` layers at a time, of all pulls together.
    #[must_use]
    pub fn new(store: Store, client: Client, layers_at_once: usize) -> Self {
        let budget = Semaphore::new(layers_at_once.clamp(1, Semaphore::MAX_PERMITS));
        let means = Means { store, client, flights: Flights::default(), budget, node: Platform::native() };
        Pulls { means: Arc::new(means), running: Arc::default() }
    }

    /// How many layers at once suit this machine: three a core hide the waiting of each for the network; each takes about 5 MiB.
    #[must_use]
    pub fn usual_budget() -> usize {
        std::thread::available_parallelism().map_or(2, usize::from).saturating_mul(3).clamp(6, 12)
    }

    /// Begins to pull `reference` as `auth`, or joins a pull of the same that is under way. It runs to its end in a task of its own.
    ///
    /// Has to be called inside a tokio runtime.
    #[must_use]
    pub fn pull(&self, reference: &Reference, auth: Option<Auth>) -> Ticket {
        let key = (reference.clone(), auth);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ticket) = running.get(&key) {
            return ticket.clone();
        }
        let (tell, outcome) = watch::channel(None);
        let ticket = Ticket { reference: reference.clone(), progress: Arc::default(), outcome };
        running.insert(key.clone(), ticket.clone());
        let place = Place { running: Arc::clone(&self.running), key };
        tokio::spawn(run(Arc::clone(&self.means), place, Arc::clone(&ticket.progress), tell));
        ticket
    }

    /// All pulls under way.
    #[must_use]
    pub fn running(&self) -> Vec<Ticket> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// A pull's place among those under way; free when it is dropped, whatever ended the pull.
struct Place {
    running: Arc<Mutex<HashMap<Key, Ticket>>>,
    key: Key,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

async fn run(means: Arc<Means>, place: Place, progress: Arc<Progress>, tell: watch::Sender<Option<Outcome>>) {
    let (reference, auth) = place.key.clone();
    // In a task of its own, so that a fault of this program is an answer, too.
    let pulling = async move {
        let source = means.client.source(&reference, auth)?;
        pull::pull(&means, &reference, source, &progress).await
    };
    let outcome = tokio::spawn(pulling).await.unwrap_or(Err(Error::Abandoned)).map_err(Arc::new);
    // Who comes from here on begins anew: the tag may have moved.
    drop(place);
    tell.send_replace(Some(outcome));
}

impl std::fmt::Debug for Pulls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pulls({})", self.running.lock().unwrap_or_else(PoisonError::into_inner).len())
    }
}
