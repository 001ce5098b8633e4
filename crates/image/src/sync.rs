//! Durability for many at once: whoever needs the store's file system to be on disk waits for one syncfs(2) that began after it asked,
//! and shares it with all who asked meanwhile.
//!
//! *Invariant:* a `sync` that returned `Ok` covers all that was written before it was called.

use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

/// The one who syncs for all.
#[derive(Debug)]
pub(crate) struct Syncer {
    file_system: OwnedFd,
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many rounds have begun.
    begun: u64,
    /// Rounds up to this one have ended.
    ended: u64,
    /// The last round that failed, and how.
    failed: Option<(u64, Errno)>,
}

impl Syncer {
    /// Syncs the file system of `file_system`.
    pub(crate) fn new(file_system: OwnedFd) -> Self {
        Syncer { file_system, state: Mutex::default(), done: Condvar::new() }
    }

    /// Returns when all that was written to the file system before is on its disk.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        let mut state = self.lock();
        // The round under way may have passed our writes: the one after it counts.
        let ours = state.begun + 1;
        while state.ended < ours {
            if state.begun > state.ended {
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.begun += 1;
            let round = state.begun;
            drop(state);
            let synced = rustix::fs::syncfs(&self.file_system);
            state = self.lock();
            state.ended = round;
            if let Err(errno) = synced {
                state.failed = Some((round, errno));
            }
            self.done.notify_all();
        }
        match state.failed {
            // A failed round may have lost what came before; only a good one after it covers us again.
            Some((round, errno)) if round >= ours => Err(errno),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_share_a_round_and_none_waits_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let syncer = Syncer::new(std::fs::File::open(directory.path()).unwrap().into());
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| (0..4).for_each(|_| syncer.sync().unwrap()));
            }
        });
        let state = syncer.lock();
        assert_eq!(state.begun, state.ended);
        assert!((4..=64).contains(&state.begun), "{}", state.begun);
    }
}
