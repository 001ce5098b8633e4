//! Kernel calls that rustix and nix lack, and those that the compiler cannot vouch for: the first of the two red doors.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`bpf`] | bpf(2): programs that judge devices |
//! | [`mount`] | `mount_setattr(2)` |
//! | [`process`] | `posix_spawn(3)` with descriptors, `close_range(2)`, inherited descriptors |
//! | [`signal`] | masks, dispositions, signalfd(2), signals to a pidfd |
//! | [`security`] | seccomp(2), keyctl(2) |
//! | [`namespace`] | unshare(2) |
//!
//! *Invariant:* one kernel call a function, its manual page named, no decision taken. An unsafe block holds one operation, and the
//! fact that makes it sound stands above it.
#![expect(unsafe_code, reason = "this is the room for it")]

pub mod bpf;
pub mod mount;
pub mod namespace;
pub mod process;
pub mod security;
pub mod signal;

use rustix::io::Errno;

/// What a raw call returned: -1 is an error, whose number stands in `errno`.
fn result(returned: libc::c_long) -> Result<libc::c_long, Errno> {
    if returned == -1 { Err(last()) } else { Ok(returned) }
}

/// The error of the call just made by this thread.
fn last() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
