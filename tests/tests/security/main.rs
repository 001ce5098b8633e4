//! Security contexts and mounts, each field by its effect in the kernel, read from outside of the container.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `outside` | what the kernel says of a process: status, mounts, namespaces, devices |
//! | `processes` | who a process is and what it may do |
//! | `mounts` | what is mounted, and how |
//! | `filters` | system calls, really tried |
//! | `probe` | a program that tries them, in the processor's own words |
//! | `privileges` | what privileged lifts |
//!
//! *Invariant:* what a container says of itself counts for nothing here but the answers of system calls that it tries.

mod filters;
mod mounts;
mod outside;
mod privileges;
mod probe;
mod processes;
