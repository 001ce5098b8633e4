//! The only door to work that may block: kernel calls that can hang, waits for a process, large removals.
//!
//! *Invariant:* whoever waits here waits with a deadline; work that outlives it goes on by itself and harms nobody. The number of
//! threads is bounded by the runtime's.

use std::time::Duration;

use orlop_model::report::{Kind, Report};

/// Kernel calls on our own directories take far less than a second; what takes longer than this hangs.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Does `work` on a thread of its own, as `stage`.
///
/// # Errors
/// `TimedOut` after a minute.
pub(crate) async fn blocking<T: Send + 'static>(
    stage: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Report> {
    within(stage, DEADLINE, work).await
}

/// The same with another deadline.
///
/// # Errors
/// `TimedOut` after `patience`.
pub(crate) async fn within<T: Send + 'static>(
    stage: &'static str,
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Report> {
    match tokio::time::timeout(patience, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Report::new(Kind::Failed, stage, "", error)),
        Err(_) => {
            let cause = format!("it did not end within {} seconds", patience.as_secs());
            Err(Report::new(Kind::TimedOut, stage, "", cause))
        }
    }
}
