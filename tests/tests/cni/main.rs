//! Pods' networks by CNI plugins: those of Debian, and those of our own that do what plugins should not do.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `scene` | a daemon in mode cni, configurations, a plugin of our own |
//! | `debian` | bridge, host-local, portmap, bandwidth, firewall, tuning: in every version, in both families |
//! | `protocol` | what plugins are told, in which order, and what is made of their answers |
//! | `faults` | plugins that are slow, hang, fork, print garbage or too much, fail |
//! | `directory` | configurations come, change and go, in each way of writing a file |
//! | `crashes` | orlopd is killed, the node is started anew |
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left: no attachment, no address, no process.

mod crashes;
mod debian;
mod directory;
mod faults;
mod protocol;
mod scene;
