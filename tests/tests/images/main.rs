//! Images as kubelet sees them: what they are called, what is told of them, how they go, why one does not come.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `names` | ids, tags and digests, and what removing one of them takes away |
//! | `told` | verbose status, pins, what it all takes |
//! | `pulls` | registries that say no, each in its own way |
//! | `quiet` | what asking costs |
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left.

mod names;
mod pulls;
mod quiet;
mod told;
