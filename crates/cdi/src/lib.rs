//! Devices by name: the files of the Container Device Interface (CDI), and what they change in an OCI runtime spec.
//!
//! A vendor says in a file which devices there are and what a container needs to use one: nodes, mounts, environment, hooks, groups.
//! Whoever asks for `vendor.com/class=name` gets those changes made in its spec.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`name`] | names of vendors, classes and devices |
//! | `tree` | a file's text, JSON or YAML, with the line of each value |
//! | `read` | that as a file's content, checked |
//! | `version` | which version of the interface brought what |
//! | [`mod@file`] | a file's content |
//! | [`registry`] | all files: which device is whose, and what is in whose way |
//! | [`mod@apply`] | the changes, made in a spec |
//!
//! *Invariant:* pure. Files come in as bytes, what the node knows of a device comes from whoever asks; a file that is broken is so by
//! itself, with the line, and takes nothing from the others.

pub mod apply;
pub mod file;
pub mod name;
mod read;
pub mod registry;
mod tree;
mod version;

#[cfg(test)]
mod tests;

pub use apply::{Cannot, HostNode, apply};
pub use file::{Edits, Fault};
pub use registry::{Registry, Source};

/// The newest version of the interface that is known.
pub const NEWEST: &str = version::NEWEST;
