//! Joins namespaces and cgroups.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};

/// setns(2) into the namespace that `held` names; `kind` 0 for whatever it is.
pub(super) fn join(held: BorrowedFd<'_>, kind: u64) -> Result<(), Errno> {
    const KINDS: [(i32, LinkNameSpaceType); 7] = [
        (libc::CLONE_NEWCGROUP, LinkNameSpaceType::ControlGroup),
        (libc::CLONE_NEWIPC, LinkNameSpaceType::InterProcessCommunication),
        (libc::CLONE_NEWNET, LinkNameSpaceType::Network),
        (libc::CLONE_NEWNS, LinkNameSpaceType::Mount),
        (libc::CLONE_NEWPID, LinkNameSpaceType::ProcessID),
        (libc::CLONE_NEWUSER, LinkNameSpaceType::User),
        (libc::CLONE_NEWUTS, LinkNameSpaceType::HostNameAndNISDomainName),
    ];
    let wanted = KINDS.iter().find(|(number, _)| u64::from(number.cast_unsigned()) == kind).map(|&(_, t)| t);
    if wanted.is_none() && kind != 0 {
        return Err(Errno::INVAL);
    }
    rustix::thread::move_into_link_name_space(held, wanted)
}

/// setns(2) by pidfd, into several of the container's namespaces at once; the root of its mount namespace is its root.
pub(super) fn join_container(process: BorrowedFd<'_>, kinds: u64) -> Result<(), Errno> {
    let kinds = u32::try_from(kinds).ok().and_then(ThreadNameSpaceType::from_bits).ok_or(Errno::INVAL)?;
    rustix::thread::move_into_thread_name_spaces(process, kinds)
}

/// Writes 0, which means the writer, to a `cgroup.procs`.
pub(super) fn enter_cgroup(procs: &CStr) -> Result<(), Errno> {
    let file = rustix::fs::openat(CWD, procs, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, b"0").map(drop)
}
