//! How a path is bound.
//!
//! *Invariant:* plain data, as all of a plan.

use crate::code::wire;

wire! {
/// How something is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BindHow {
    /// With the mounts below it.
    pub recursive: bool,
    /// `MOUNT_ATTR_*` to set on the mount itself.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear on it.
    pub clear: u64,
    /// `MOUNT_ATTR_*` to set on it and all below it.
    pub set_all: u64,
    /// `MOUNT_ATTR_*` to clear on it and all below it.
    pub clear_all: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or 0, applied recursively.
    pub propagation: u64,
    /// Whether a missing host path is made as a directory first, as container engines do for volumes.
    pub create_source: bool,
}}
