//! Signal masks, dispositions, signalfd(2), signals to a pidfd.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// Every signal that can be blocked.
fn full() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigfillset(3) writes the whole set behind the pointer.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: written by the call above, which cannot fail for a valid pointer.
    unsafe { set.assume_init() }
}

/// sigprocmask(2): blocks every signal of the calling thread, which must be the only one.
///
/// # Errors
/// As the kernel says.
pub fn block_all() -> Result<(), Errno> {
    let set = full();
    // SAFETY: the set is initialised and outlives the call; the old mask is not asked for.
    let returned = unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
    crate::result(returned.into()).map(drop)
}

/// What a program expects at its exec: every disposition the default, no signal blocked (signal(7)).
///
/// The kernel is asked, not libc: libc refuses to touch the signals that it keeps for itself (32 and up), and musl's posix_spawn(3)
/// leaves just those ignored.
pub fn reset() {
    /// Of the kernel's own `struct sigaction`: handler, flags, restorer, mask. SIG_DFL is 0.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=64 {
        let nothing = std::ptr::null_mut::<u64>();
        // SAFETY: the kernel reads 32 bytes behind the pointer, which are there, and writes no old action; SIG_DFL runs no code of
        // ours; for SIGKILL and SIGSTOP the call fails and changes nothing (rt_sigaction(2)).
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), nothing, 8_usize) };
    }
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset(3) writes the whole set behind the pointer.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set is initialised and outlives the call; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut()) };
}

/// signalfd(2) of these signals, non-blocking and closed on exec; they must be blocked.
///
/// # Errors
/// As the kernel says.
pub fn descriptor(signals: &[i32]) -> Result<OwnedFd, Errno> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset(3) writes the whole set behind the pointer.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: written by the call above.
    let mut set = unsafe { set.assume_init() };
    for &signal in signals {
        // SAFETY: the set is initialised; an invalid number makes the call fail and changes nothing.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: the set is initialised and outlives the call; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
    crate::result(fd.into())?;
    // SAFETY: the call succeeded, so `fd` is a new descriptor that nobody owns yet.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `pidfd_send_signal(2)` with any signal number, also a real-time one; 0 asks whether the process is there.
///
/// # Errors
/// `ESRCH` if the process is gone; otherwise as the kernel says.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let nothing = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: integers, and a null pointer that stands for the default siginfo.
    let returned =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, nothing, 0) };
    crate::result(returned).map(drop)
}

/// sigwaitinfo(2): waits until `signal`, which must be blocked, is pending, and takes it.
pub fn wait_for(signal: i32) {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset(3) writes the whole set behind the pointer.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set is initialised by the call above; an invalid number changes nothing.
    unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    // SAFETY: the set is initialised and outlives the call; no details are asked for.
    unsafe { libc::sigwaitinfo(set.as_ptr(), std::ptr::null_mut()) };
}
