//! What a shim makes ready before it clones: what a child cannot do that is in a user namespace.
//!
//! *Invariant:* plain data, as all of a plan.

use std::ffi::CString;

use crate::code::wire;

wire! {
/// What a shim makes ready before it clones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preparation {
    /// A tree of what is mounted at a path of the host; its last symlink is followed.
    0 => Path {
        /// The path.
        source: CString,
        /// With the mounts below it.
        recursive: bool,
        /// Whether a missing path is made as a directory first.
        create: bool,
        /// The slot of the user namespace by which its owners are mapped (`MOUNT_ATTR_IDMAP`); none: they stay as they are.
        user: Option<u32>,
    },
    /// A tree of a device of the host.
    1 => Device {
        /// Its path.
        source: CString,
        /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`; it is verified to be that, with these numbers.
        kind: u32,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A tree of an overlay whose layers are mapped.
    2 => Layers {
        /// Layer directories of the host, the topmost first.
        lower: Vec<CString>,
        /// What is written to; nothing: it is read-only.
        own: Option<OwnLayer>,
        /// The SELinux context that its files have; none: their own.
        context: Option<CString>,
        /// `MOUNT_ATTR_*` of `mount_setattr(2)`.
        attributes: u64,
        /// The slot of the user namespace by which owners in the layers are mapped. The own layer is not: its files bear the ids of
        /// the node.
        user: u32,
        /// An empty directory of the host, on which something may be mounted in a mount namespace that lasts for this alone.
        place: CString,
    },
    /// No tree: the pipes that are its stdin, stdout and stderr become this user's and group's, by the node's numbers.
    3 => Streams {
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// No tree: a cgroup of version 2 is handed to this owner, by the node's numbers: the directory and the files that
    /// cgroups(7), "Cgroup delegation", names.
    4 => Delegate {
        /// The cgroup's directory.
        directory: CString,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}}

wire! {
/// What an overlay writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnLayer {
    /// The layer.
    pub upper: CString,
    /// overlayfs' scratch directory, on the filesystem of `upper`.
    pub work: CString,
    /// Whether it may be mounted without ever syncing the upper filesystem.
    pub volatile: bool,
}}

impl Preparation {
    /// Whether a tree comes of it.
    #[must_use]
    pub fn is_tree(&self) -> bool {
        match self {
            Preparation::Path { .. } | Preparation::Device { .. } | Preparation::Layers { .. } => true,
            Preparation::Streams { .. } | Preparation::Delegate { .. } => false,
        }
    }

    pub(super) fn object(&self) -> String {
        let text = |string: &CString| string.to_string_lossy().into_owned();
        match self {
            Preparation::Path { source, .. } | Preparation::Device { source, .. } => text(source),
            Preparation::Layers { own: Some(own), .. } => text(&own.upper),
            Preparation::Layers { lower, .. } => lower.first().map(text).unwrap_or_default(),
            Preparation::Streams { uid, gid } => format!("pipes of {uid}:{gid}"),
            Preparation::Delegate { directory, .. } => text(directory),
        }
    }
}
