//! What has happened to pods and containers: complete, in order, once, by number.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `told` | how a test listens |
//! | `lives` | what is told of a life, and when |
//! | `readers` | many listeners, slow ones, those who come back |
//! | `crashes` | what is told over crashes and restarts of the daemon |
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left.

mod crashes;
mod lives;
mod readers;
mod told;
