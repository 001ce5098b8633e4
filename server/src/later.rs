//! Work that goes on behind a caller's back and that an orderly end of the daemon waits for.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::JoinSet;

/// Tasks under way.
#[derive(Default)]
pub(crate) struct Later {
    tasks: Mutex<JoinSet<()>>,
}

impl Later {
    /// Begins one more.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().expect("invariant: nothing panics while it holds the tasks");
        // Those that have ended are let go here, so the set stays as small as what is under way.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Waits for all of them, at most this long. What is not done then is done by the next daemon.
    pub(crate) async fn finish(&self, patience: Duration) {
        let mut tasks = std::mem::take(
            &mut *self.tasks.lock().expect("invariant: nothing panics while it holds the tasks"),
        );
        let _ = tokio::time::timeout(patience, async { while tasks.join_next().await.is_some() {} }).await;
        tasks.detach_all();
    }
}
