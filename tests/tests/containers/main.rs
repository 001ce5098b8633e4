//! What a container is, as it sees itself and as the node sees it.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `program` | arguments, environment, directory, terminal |
//! | `accounts` | who runs it |
//! | `mounts` | what of the node it sees |
//! | `images` | images that it sees as volumes |
//! | `confinement` | what it may not do |
//! | `limits` | what it may use |
//! | `logs` | what becomes of what it writes |
//! | `execs` | processes beside the first |
//! | `fields` | what suites forget |
//!
//! *Invariant:* each test has a daemon of its own, and ends with the proof that nothing is left.

mod accounts;
mod confinement;
mod execs;
mod fields;
mod images;
mod limits;
mod logs;
mod mounts;
mod program;
