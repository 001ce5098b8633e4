//! The process that a scope is made of: systemd makes none without, and the container's first process is born into it by a clone.
//!
//! *Invariant:* it lives no longer than anyone has the pipe that it reads: this daemon until the shim is started, the shim until
//! its clone is done, the container's first process until its program runs.

use std::os::fd::{AsFd, OwnedFd};

use orlop_model::report::{Kind, Report};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::shims::Program;

/// A place that is held as long as this, or a copy of it, is there.
pub(crate) struct Place {
    /// Its process.
    pub(crate) pid: u32,
    /// The end of the pipe that is handed on.
    pub(crate) held: OwnedFd,
}

impl Place {
    /// Starts its process.
    ///
    /// # Errors
    /// As the kernel says.
    pub(crate) fn hold(shim: &Program) -> Result<Self, Report> {
        let failed = |errno| Report::new(Kind::Failed, "hold a place", "pipe", errno);
        let (read, held) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let spawned = shim.start(&["place"], &[read.as_fd()])?;
        let pid = spawned.pid.cast_unsigned();
        tokio::spawn(reap(spawned.pidfd));
        Ok(Place { pid, held })
    }
}

/// Waits for the end of a child, and takes its status.
async fn reap(process: OwnedFd) {
    let Ok(copy) = process.try_clone() else { return };
    #[expect(
        deprecated,
        reason = "a type that lies about its descriptor could misuse it; OwnedFd does not lie"
    )]
    let watched = AsyncFd::with_interest(copy, Interest::READABLE);
    if let Ok(watched) = watched {
        let _ = watched.readable().await;
    }
    let _ = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}
