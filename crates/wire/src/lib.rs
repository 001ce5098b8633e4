//! What passes between the server and a shim, and what a shim leaves on disk, as bytes.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`plan`] | a container as a list of kernel operations, everything resolved |
//! | [`order`] | which operation may not come before which; checked where a plan is made |
//! | [`message`] | what server and shim say to each other |
//! | [`record`] | what is on disk before anyone is told |
//! | [`code`] | how values become bytes |
//!
//! *Invariant:* bytes that arrive are never trusted: every length is checked before memory is taken for it, and what cannot be
//! decoded is an error, never a panic. Nothing here does anything.

pub mod code;
pub mod hook;
pub mod message;
pub mod order;
pub mod plan;
pub mod record;

/// The version of everything in this crate. Server and shim of one version understand each other; a change that an older shim
/// cannot read raises it.
pub const VERSION: u16 = 2;
