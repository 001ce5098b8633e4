//! Points at which a test can have the daemon die.
//!
//! Built with the feature `failpoints` only. `ORLOP_FAILPOINT=NAME` kills the daemon (SIGKILL, like a crash) when it passes the
//! point NAME; `ORLOP_FAILPOINT=any:N` at the N-th point that it passes, whichever that is.
//!
//! *Invariant:* without the feature this is nothing: no variable is read, no code is made.

/// Passes the point `name`.
#[cfg(feature = "failpoints")]
pub(crate) fn pass(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Some(wanted) = WANTED.get_or_init(|| std::env::var("ORLOP_FAILPOINT").ok()) else { return };
    let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    let reached =
        wanted.strip_prefix("any:").map_or_else(|| wanted == name, |count| count == number.to_string());
    if reached {
        eprintln!("failpoint {name} ({number})");
        let me = rustix::process::getpid();
        let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
        // The signal is on its way to every thread; nothing more may be done by this one.
        loop {
            std::thread::park();
        }
    }
}

/// Passes the point `name`.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn pass(_name: &str) {}
