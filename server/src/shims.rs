//! Shims as the server sees them: started with descriptors, spoken to over a socket, adopted after a restart.
//!
//! *Invariant:* a shim that does not answer holds up nobody but whoever asks it. The container's own data never passes here.

mod launch;
mod link;

pub(crate) use launch::{Program, is_locked, kill_holders, lock};
pub(crate) use link::{Heard, Link, report, wait};
