//! Who may run plugins: attachments side by side, a collection alone, as the specification asks.
//!
//! *Invariant:* a collection that waits holds nobody back; only one that runs does. So a plugin that hangs delays no other pod.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct State {
    attachments: usize,
    collecting: bool,
}

/// The gate.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

/// Within, until it is dropped.
#[derive(Debug)]
pub(crate) struct Within<'a> {
    gate: &'a Gate,
    collecting: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For ADD, DEL or CHECK of one pod: waits while a collection runs.
    pub(crate) fn attachment(&self) -> Within<'_> {
        let state = self.changed.wait_while(self.state(), |state| state.collecting);
        state.unwrap_or_else(PoisonError::into_inner).attachments += 1;
        Within { gate: self, collecting: false }
    }

    /// For GC: waits for a moment without attachments, `patience` at most.
    pub(crate) fn collection(&self, patience: Duration) -> Option<Within<'_>> {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        while state.attachments > 0 || state.collecting {
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.collecting = true;
        Some(Within { gate: self, collecting: true })
    }
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        if self.collecting {
            state.collecting = false;
        } else {
            state.attachments -= 1;
        }
        drop(state);
        self.gate.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_waits_and_holds_nobody_back() {
        let gate = Gate::default();
        let first = gate.attachment();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| gate.collection(Duration::from_secs(20)).is_some());
            assert!(gate.collection(Duration::ZERO).is_none());
            // While one waits, others come and go.
            drop(gate.attachment());
            drop(first);
            assert!(waits.join().unwrap());
        });
        let alone = gate.collection(Duration::ZERO).unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| drop(gate.attachment()));
            assert!(gate.collection(Duration::ZERO).is_none());
            drop(alone);
            waits.join().unwrap();
        });
    }
}
