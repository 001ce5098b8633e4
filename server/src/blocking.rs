//! The only door to work that may block: kernel calls that can hang, waits for a process, large removals.
//!
//! *Invariant:* whoever waits here waits with a deadline; work that outlives it goes on by itself and harms nobody. The number of
//! threads is bounded by the runtime's.

use std::time::Duration;

use orlop_model::report::{Kind, Report};

/// Kernel calls on our own directories take far less than a second; what takes longer than this hangs.
const DEADLINE: Duration = Duration::from_mins(1);

/// Does `work` on a thread of its own, as `stage`.
///
/// # Errors
/// `TimedOut` after a minute.
pub(crate) async fn blocking<T: Send + 'static>(
    stage: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Report> {
    match tokio::time::timeout(DEADLINE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Report::new(Kind::Failed, stage, "", error)),
        Err(_) => Err(Report::new(Kind::TimedOut, stage, "", "it did not end within a minute")),
    }
}
