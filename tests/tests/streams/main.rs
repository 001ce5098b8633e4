//! Exec, attach and port-forward over the daemon's URLs, by a client of our own.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `execs` | processes with streams |
//! | `attaches` | a container's own streams |
//! | `ports` | connections into pods |
//! | `tokens` | what a URL is good for |
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left.

mod attaches;
mod execs;
mod ports;
mod tokens;

use orlop_tests::daemon::PATIENCE;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::session::{Outcome, Session, V5};

/// Waits for something that comes by itself.
async fn soon<T>(what: &str, comes: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, comes).await;
    came.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// A session of exec.
async fn exec(stage: &mut Stage, id: &str, command: &[&str], streams: &str) -> Session {
    let url = stage.client.exec_url(id, command, streams).await.expect("a URL");
    Session::open(&url, V5).await.expect("a session")
}

/// A session of attach.
async fn attach(stage: &mut Stage, id: &str, streams: &str) -> Session {
    let url = stage.client.attach_url(id, streams).await.expect("a URL");
    Session::open(&url, V5).await.expect("a session")
}

/// All that a shell in the container says to `script`.
async fn sh(stage: &mut Stage, id: &str, script: &str, streams: &str) -> Outcome {
    let session = exec(stage, id, &["sh", "-c", script], streams).await;
    soon("its end", session.finish()).await
}
