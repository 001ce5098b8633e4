//! Pods' networks by CNI plugins: the client of the protocol, specification 0.3.0 to 1.1.0.
//!
//! ```text
//!   conf directory ──watched──▶ lists ──▶ the one in force ──▶ STATUS, VERSION ──▶ Condition
//!                                             │
//!   record ──▶ ADD p1 ─result▶ ADD p2 ─result▶ ... ──▶ record with result          attach
//!   record ──▶ DEL pn ──▶ ... ──▶ DEL p1 ──▶ record removed                        detach, after a reboot as well
//! ```
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`client`] | the verbs: attach, detach, check, collect |
//! | [`attachment`] | what a plugin is told of a pod |
//! | `list` | a configuration, and the request that is derived from it for one plugin |
//! | `directory`, `watch` | which configuration is in force, and whether its plugins can work |
//! | `outcome` | results, converted between versions |
//! | `record` | what was attached, on a disk that outlives a boot |
//! | `run`, `pen` | one plugin's process: its deadline, its bounds, its end with all its children |
//! | `failure` | how a plugin failed |
//! | `version` | versions of the specification |
//!
//! *Invariant:* the record of an attachment is on the disk before its first plugin runs, and is removed only after every plugin's
//! DEL has succeeded; it holds all that DEL needs. No plugin runs without a deadline, and none is waited for with a lock held.

pub mod attachment;
pub mod client;
mod directory;
mod failure;
mod gate;
mod list;
mod outcome;
mod pen;
mod record;
mod run;
mod version;
mod watch;

pub use attachment::Attachment;
pub use client::{Client, Settings};
pub use failure::{Failure, What};
pub use pen::Pens;
pub use watch::Condition;
