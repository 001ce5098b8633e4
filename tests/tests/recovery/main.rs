//! What happens to pods while orlopd is gone, and what its successor makes of it.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `crash` | orlopd is killed, or ends orderly, and starts again |
//! | `shims` | a shim is killed, or answers no more |
//! | `reboot` | nothing but the disk is left |
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left.

mod crash;
mod reboot;
mod shims;
