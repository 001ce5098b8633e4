//! What a container may use, on every layout of cgroups and by both drivers, read from the kernel's files from outside.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `unified` | files of cgroup v2 by name |
//! | `drivers` | where cgroups are, and who makes them |
//! | `want` | who is told to have died for want of memory |
//!
//! What limits of CRI's own fields come to is in the suites `containers` and `updates`, figures in `stats`: all of them run on v2, too.
//!
//! *Invariant:* a machine without version 2, or without systemd, has to refuse what needs it: no test passes by having nothing to do.

mod drivers;
mod unified;
mod want;
