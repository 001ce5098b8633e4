//! When something last went over a connection.
//!
//! *Invariant:* whoever reads or writes only leaves a mark; one waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The last mark.
pub(crate) struct Pulse {
    begin: Instant,
    /// In milliseconds since `begin`.
    last: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Pulse { begin: Instant::now(), last: AtomicU64::new(0) }
    }

    /// Something went by.
    pub(crate) fn mark(&self) {
        let since = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// Returns once there has been no mark for `limit`.
    pub(crate) async fn stopped(&self, limit: Duration) {
        loop {
            let until = self.begin + Duration::from_millis(self.last.load(Ordering::Relaxed)) + limit;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}
