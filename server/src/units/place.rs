//! The process that a scope is made of: systemd makes none without, and the container's first process is born into it by a clone.
//!
//! *Invariant:* it lives no longer than anyone has the pipe that it reads: this daemon until the shim is started, the shim until
//! its clone is done, the container's first process until its program runs.

use std::os::fd::{AsFd, OwnedFd};

use orlop_model::report::{Kind, Report};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::shims::{self, Program};

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
        tokio::spawn(async move { shims::wait(&spawned.pidfd).await });
        Ok(Place { pid, held })
    }
}
