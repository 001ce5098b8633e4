//! Birth: the calls with which a process begins and becomes a program. The second of the two red doors.
//!
//! *Invariant:* one kernel call a function, its manual page named, the fact that makes it sound stated where it is made.
#![expect(unsafe_code, reason = "clone3, execve and _exit have no safe wrapper")]

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// Both sides of a clone.
pub(crate) enum Born {
    /// The caller, holding its child: its number in the caller's PID namespace, and its pidfd.
    Parent(i32, OwnedFd),
    /// The new process.
    Child,
}

/// clone3(2) into new namespaces, and into `cgroup` (a directory of the unified hierarchy) if there is one. The child is held by
/// a pidfd, so its number is never mistaken for another's. With `CLONE_PARENT` among the kinds it is a child of the caller's parent.
///
/// # Errors
/// As the kernel says.
pub(crate) fn clone(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Born, Errno> {
    let mut pidfd: libc::c_int = -1;
    let flag = |bit: libc::c_int| u64::from(bit.cast_unsigned());
    // A sibling tells its end as its maker was to: it may not say so itself.
    let sibling = namespaces & flag(libc::CLONE_PARENT) != 0;
    let mut arguments = libc::clone_args {
        flags: namespaces | flag(libc::CLONE_PIDFD),
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: if sibling { 0 } else { flag(libc::SIGCHLD) },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(cgroup) = cgroup {
        // CLONE_INTO_CGROUP; the libc crate's constant has the sign of an int.
        arguments.flags |= 0x2_0000_0000;
        arguments.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: the kernel reads `arguments`, whose size is passed, and writes one int to `pidfd`; both outlive the call. Without
    // CLONE_VM the child has a copy of this address space, and this program has one thread, so no lock is held by a thread that
    // the child lacks.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    match i32::try_from(result) {
        Ok(0) => Ok(Born::Child),
        // SAFETY: on success in the parent the kernel has put a new descriptor, owned by nobody yet, into `pidfd`.
        Ok(pid) if pid > 0 => Ok(Born::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
        _ => Err(last()),
    }
}

/// A list of strings as execve(2) wants it: pointers into the strings, null at the end. Made before the clone, so that the child
/// allocates nothing.
pub(crate) struct Pointers<'a> {
    pointers: Vec<*const c_char>,
    strings: std::marker::PhantomData<&'a [CString]>,
}

impl<'a> Pointers<'a> {
    /// Of these strings, which stay borrowed as long as it lives.
    pub(crate) fn new(strings: &'a [CString]) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect();
        Pointers { pointers, strings: std::marker::PhantomData }
    }
}

/// execve(2); comes back only if it failed.
pub(crate) fn execute(program: &CStr, arguments: &Pointers<'_>, environment: &Pointers<'_>) -> Errno {
    // SAFETY: both arrays end in null and point to strings that they keep borrowed, until the call returns or the process is
    // another.
    unsafe {
        libc::execve(program.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr());
    }
    last()
}

/// _exit(2): ends the child without running what the shim would run at its own end.
pub(crate) fn leave(status: i32) -> ! {
    // SAFETY: an integer only; nothing of the process is used afterwards.
    unsafe { libc::_exit(status) }
}

/// ioctl(2), `TIOCSPTLCK`: unlocks the other end of the terminal `master`.
///
/// # Errors
/// As the kernel says.
pub(crate) fn unlock_terminal(master: BorrowedFd<'_>) -> Result<(), Errno> {
    let unlocked: libc::c_int = 0;
    // SAFETY: the kernel reads one int behind the pointer, which outlives the call.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK as _, &raw const unlocked) };
    if result == -1 { Err(last()) } else { Ok(()) }
}

fn last() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
