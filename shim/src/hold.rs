//! The first process of a PID namespace that a pod's containers share: it reaps what they orphan, and ends them all by ending.
//!
//! *Invariant:* it has nothing that a container in its namespace could take: an empty read-only root, the pod's namespaces, no
//! capability, not dumpable.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use orlop_wire::record::Failure;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, WaitId, WaitIdOptions, set_dumpable_behavior, waitid};

use crate::birth::{self, Born};
use crate::record::failure;

/// Is in a cgroup until the other end of the pipe that it was handed is closed by all who have it. systemd makes a scope of a
/// process that is there, and the container's first is not yet.
pub(crate) fn place() -> ExitCode {
    let Ok(handed) = orlop_sys::process::take_handed(1) else { return ExitCode::FAILURE };
    let mut byte = [0];
    while handed
        .first()
        .is_some_and(|pipe| matches!(rustix::io::read(pipe, &mut byte), Ok(1..) | Err(Errno::INTR)))
    {}
    ExitCode::SUCCESS
}

/// Makes the namespace and its first process, says that process's number (4 bytes) over the control socket, and leaves it alone. With
/// `user` the last of the namespaces is a user namespace, which is to own the new one.
pub(crate) fn run(directory: &str, handed: &str, user: bool) -> ExitCode {
    match begin(directory, handed, user) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("orlop-shim init: {} {}: errno {}", failure.stage, failure.object, failure.errno);
            ExitCode::FAILURE
        }
    }
}

fn begin(directory: &str, handed: &str, user: bool) -> Result<(), Failure> {
    let flag = |bit: libc::c_int| u64::from(bit.cast_unsigned());
    orlop_sys::signal::block_all().map_err(|errno| failure("block signals", "", errno))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| failure("prctl", "dumpable", errno))?;
    let place =
        std::ffi::CString::new(directory).map_err(|_| failure("directory", directory, Errno::INVAL))?;
    let count = handed.parse().map_err(|_| failure("count of descriptors", handed, Errno::INVAL))?;
    let mut handed = orlop_sys::process::take_handed(count)
        .map_err(|errno| failure("take descriptors", count.to_string(), errno))?;
    let mut namespaces = handed.split_off(2.min(handed.len()));
    if let Some(user) = namespaces.pop_if(|_| user) {
        let kind = Some(rustix::thread::LinkNameSpaceType::User);
        rustix::thread::move_into_link_name_space(user.as_fd(), kind)
            .map_err(|errno| failure("join namespace", "user", errno))?;
    }
    let (mut said, hears) = std::io::pipe().map_err(|error| failure("pipe", error.to_string(), Errno::IO))?;
    match birth::clone(flag(libc::CLONE_NEWPID) | flag(libc::CLONE_NEWNS), None) {
        Err(errno) => Err(failure("clone", directory, errno)),
        Ok(Born::Child) => {
            drop(said);
            let settled = settle(&namespaces, &place, user);
            drop(namespaces);
            // The life lock (4) stays: it is held as long as this process lives. The control socket is the parent's.
            handed.truncate(2);
            let control = handed.swap_remove(0);
            drop(control);
            match settled {
                Ok(()) => {
                    drop(hears);
                    reap()
                }
                Err(errno) => {
                    let _ = rustix::io::write(&hears, &errno.raw_os_error().to_ne_bytes());
                    birth::leave(127)
                }
            }
        }
        Ok(Born::Parent(pid, _pidfd)) => {
            drop(hears);
            let mut errno = [0; 4];
            let length = std::io::Read::read(&mut said, &mut errno).unwrap_or(0);
            if length != 0 {
                let errno = Errno::from_raw_os_error(i32::from_ne_bytes(errno));
                return Err(failure("settle", directory, errno));
            }
            let control = handed.first().ok_or_else(|| failure("control", "", Errno::BADF))?;
            rustix::io::write(control, &pid.to_ne_bytes())
                .map(drop)
                .map_err(|errno| failure("control", "", errno))
        }
    }
}

/// Into the pod's namespaces, an empty root, and out of every privilege.
fn settle(namespaces: &[OwnedFd], place: &std::ffi::CStr, user: bool) -> Result<(), Errno> {
    for namespace in namespaces {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), None)?;
    }
    crate::child::root::propagate(rustix::fs::CWD, c"/", libc::MS_PRIVATE | libc::MS_REC)?;
    let root = crate::child::root::empty(place)?;
    crate::child::root::enter(root.as_fd())?;
    if user {
        // Until here it was the node's root, whose directories it had to reach.
        crate::child::identity::become_root()?;
    }
    let none = rustix::thread::CapabilitySet::empty();
    let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::set_capabilities(None, sets)
}

/// Waits for whatever ends, for ever. All signals are blocked, and none but SIGKILL from outside its namespace reaches it.
fn reap() -> ! {
    loop {
        if let Err(Errno::CHILD) = waitid(WaitId::All, WaitIdOptions::EXITED) {
            // No child now: until one is orphaned to this process, SIGCHLD tells.
            orlop_sys::signal::wait_for(libc::SIGCHLD);
        }
    }
}
