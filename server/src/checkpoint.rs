//! Checkpoint and restore: what runs in a container is written down by CRIU, and goes on from there elsewhere.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`criu`] | the program: found, asked what the kernel can do, run with a deadline |
//! | [`sight`] | what it has to be told of a container that runs: mounts and streams that come from outside |
//! | [`cut`] | containers that stand still while they are written down |
//! | [`dump`] | one of them, into a directory of its own |
//! | [`documents`] | what others read of an archive |
//! | [`note`] | what this runtime reads of it |
//! | [`export`] | archives at the place that was asked for |
//! | [`source`] | an archive or an image that a container is restored from |
//! | [`restore`] | a container's own layer and plan, from that |
//! | [`memory`] | the pod's `/dev/shm` |
//! | [`pod`] | `RestorePod` |
//! | [`undo`] | what a dump has made is taken down, whoever left it |
//!
//! ```text
//!  freeze all ─▶ criu dump, changed files, log: each into a directory of its own ─▶ thaw all ─▶ archives, durable ─▶ names
//! ```
//!
//! A container is restored in the root that its own plan makes: its mounts are what the request of today asks for, CRIU takes each from
//! there. It runs CRIU in its stead, in its cgroup and its pod's namespaces, and the first of the restored processes becomes its shim's
//! child.
//!
//! *Invariant:* no container is left frozen: what is frozen is in its ledger before it is, and thawed by whoever finds it there. An
//! archive has its name once it is whole and durable.

pub(crate) mod criu;
mod cut;
mod documents;
mod dump;
pub(crate) mod export;
mod memory;
mod note;
pub(crate) mod pod;
pub(crate) mod restore;
mod sight;
pub(crate) mod source;
pub(crate) mod undo;
