//! Containers and pods are written down, and go on elsewhere from where they were.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `scene` | a stage whose containers have PID namespaces of their own; archives read and written |
//! | `refused` | what cannot be, with a CRIU or without one |
//! | `hostile` | archives that are not what they say |
//! | `archives` | what others read of an archive |
//! | `containers` | one container: goes on, and the one it was goes on, too |
//! | `pods` | several containers, as they are at one moment |
//! | `crashes` | orlopd dies in the middle |
//!
//! The last ones need a CRIU that can work on this kernel: feature `criu`, and `CRIU` names its program; `tests/criu.sh` finds one.
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left.

mod archives;
#[cfg(feature = "criu")]
mod containers;
#[cfg(feature = "criu")]
mod crashes;
mod hostile;
#[cfg(feature = "criu")]
mod pods;
mod refused;
mod scene;
