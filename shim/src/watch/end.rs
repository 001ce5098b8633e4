//! The container's end: everything of it killed, its streams drained, its record on disk, everyone told, its cgroups removed.
//!
//! ```text
//!  first process gone ─▶ kill the rest ─▶ drain streams ─▶ remove cgroups ─▶ record ─▶ hooks ─▶ tell ─▶ last children reaped ─▶ over
//!                                          (at most 2 s)                               (theirs)         (at most 2 s)
//! ```
//!
//! *Invariant:* nobody is told of an end that is not on disk, and nobody reads a log that is not whole.

use std::time::{Duration, Instant};

use orlop_wire::hook::Point;
use orlop_wire::message::News;
use orlop_wire::record::{Exited, Failure};

use super::Shim;

/// A stream, a cgroup or an exec that does not end by itself is left after this long: something outside the container holds it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the loop sleeps at most while something is about to end.
const PULSE: Duration = Duration::from_millis(5);

/// How far the end has come.
pub(crate) struct Ending {
    since: Instant,
    failure: Option<Failure>,
    /// Exit code, signal, and when; once the first process is waited for.
    status: Option<(i32, i32, i64)>,
    /// As recorded, once it is.
    recorded: Option<Exited>,
    /// The same, once everyone has been told.
    pub(super) told: Option<Exited>,
    cleaned: bool,
    /// Whether it was for want of memory.
    oom: bool,
}

impl Ending {
    fn new() -> Self {
        Ending {
            since: Instant::now(),
            failure: None,
            status: None,
            recorded: None,
            told: None,
            cleaned: false,
            oom: false,
        }
    }

    /// How long the loop may sleep.
    pub(super) fn patience(&self, hooks: bool) -> Duration {
        // A hook's end is a signal, and its deadline its own.
        let waits = hooks && self.recorded.is_some();
        if self.status.is_some() && !waits { PULSE } else { PATIENCE }
    }

    fn is_late(&self) -> bool {
        self.since.elapsed() > PATIENCE
    }
}

impl Shim {
    /// An operation failed: the child says so and ends by itself.
    pub(super) fn never_ran(&mut self, failure: Failure) {
        self.ending.get_or_insert_with(Ending::new).failure = Some(failure);
    }

    /// The first process is gone.
    pub(super) fn first_ended(&mut self, code: i32, signal: i32) {
        // At once: whoever else watches the cgroup may take it away.
        let oom = code == 137 && crate::cgroups::was_oom(&self.plan.oom, self.oom_before);
        let ending = self.ending.get_or_insert_with(Ending::new);
        ending.oom = oom;
        ending.status = Some((code, signal, crate::record::now()));
        ending.since = Instant::now();
        self.give_up_hooks();
        self.kill_rest();
    }

    /// Ends what the first process left: in a PID namespace of its own the kernel has done it already.
    fn kill_rest(&self) {
        crate::cgroups::kill_all(self.plan.unified.as_deref(), &self.plan.cgroups);
        for exec in self.processes.execs.values() {
            let _ = orlop_sys::signal::send(std::os::fd::AsFd::as_fd(&exec.pidfd), self.killing());
        }
    }

    /// One step further, if the end has begun; and what waits for peers goes out.
    pub(super) fn settle(&mut self) {
        if let Some(ending) = &self.ending
            && ending.recorded.is_none()
            && let Some(status) = ending.status
            && (!self.poll.has_streams() || ending.is_late())
        {
            self.conclude(status);
        }
        self.tell_end();
        if self.ending.as_ref().is_some_and(|ending| ending.told.is_some() && !ending.cleaned) {
            let cleaned = self.clean() && self.processes.execs.is_empty() && self.commands.are_done();
            if let Some(ending) = &mut self.ending {
                ending.cleaned = cleaned || ending.is_late();
            }
        }
        self.flush();
    }

    fn conclude(&mut self, (code, signal, at): (i32, i32, i64)) {
        self.log.close(&mut self.poll);
        self.end_attachments();
        let Some(ending) = &self.ending else { return };
        let exited = Exited {
            version: orlop_wire::VERSION,
            code: if ending.failure.is_some() { 128 } else { code },
            signal: if ending.failure.is_some() { 0 } else { signal },
            // Its own death decides: an old kill of a child of it, or a kill that was asked for, is no cause. A shell that ends
            // because its last command was killed says so by 137.
            oom_killed: code == 137 && !self.first().killed && ending.failure.is_none() && ending.oom,
            at,
            failure: ending.failure.clone(),
        };
        self.clean();
        // If no disk takes it, it is told all the same; the server then keeps it.
        let _ = crate::record::exited(&exited);
        if let Some(ending) = &mut self.ending {
            ending.recorded = Some(exited);
        }
    }

    /// Once it is recorded: hooks, and everyone is told.
    fn tell_end(&mut self) {
        let Some(Ending { recorded: Some(exited), told: None, .. }) = &self.ending else { return };
        let exited = exited.clone();
        if self.plan.hooks.is_some() {
            if self.hooks.is_busy() {
                return;
            }
            if self.hooks.start_last() {
                self.run_hooks(Point::Poststop);
                if self.hooks.is_busy() {
                    return;
                }
            }
        }
        self.tell_born();
        self.tell_all(&News::Exited { exited: exited.clone() });
        self.delete();
        if let Some(ending) = &mut self.ending {
            ending.told = Some(exited);
            ending.since = Instant::now();
        }
    }

    /// Removes cgroups; whether all are gone.
    fn clean(&mut self) -> bool {
        self.processes.leftovers.retain(|cgroup| !crate::cgroups::remove(std::slice::from_ref(cgroup)));
        crate::cgroups::remove_own(&self.plan)
    }

    /// Whether nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| {
            ending.cleaned
                && (ending.is_late() || !self.connections.iter().flatten().any(super::Connection::waits))
        })
    }
}
