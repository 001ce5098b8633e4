//! Starting programs and the descriptors that they inherit.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A program that was started: its number and a descriptor that never means another process.
#[derive(Debug)]
pub struct Spawned {
    /// Process id.
    pub pid: i32,
    /// pidfd, closed on exec.
    pub pidfd: OwnedFd,
}

/// Initialised `posix_spawn` file actions, freed at the end.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> Result<Self, Errno> {
        let mut actions = std::mem::MaybeUninit::uninit();
        // SAFETY: the call initialises what the pointer leads to.
        let failed = unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) };
        checked(failed)?;
        // SAFETY: initialised by the call above, which succeeded.
        Ok(Actions(unsafe { actions.assume_init() }))
    }

    fn duplicate(&mut self, from: RawFd, to: RawFd) -> Result<(), Errno> {
        // SAFETY: `self.0` is initialised; the numbers are only stored.
        checked(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and dropped once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// Initialised `posix_spawn` attributes, freed at the end.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// A session of its own, no signal blocked, and SIGPIPE not ignored as it is in every program of Rust.
    fn session() -> Result<Self, Errno> {
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: the call initialises what the pointer leads to.
        checked(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised by the call above, which succeeded.
        let mut attributes = Attributes(unsafe { attributes.assume_init() });
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset(3) writes the whole set behind the pointer.
        unsafe { libc::sigemptyset(none.as_mut_ptr()) };
        // SAFETY: both are initialised and outlive the call, which copies the set.
        checked(unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes.0, none.as_ptr()) })?;
        // SAFETY: both are initialised and outlive the call; the signal's number is valid.
        unsafe { libc::sigaddset(none.as_mut_ptr(), libc::SIGPIPE) };
        // SAFETY: as above; the set has SIGPIPE now.
        checked(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, none.as_ptr()) })?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID;
        let flags = libc::c_short::try_from(flags).map_err(|_| Errno::INVAL)?;
        // SAFETY: `attributes` is initialised; an integer is stored in it.
        checked(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `session`, and dropped once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

/// Of musl and glibc alike, not among the libc crate's constants for each.
const POSIX_SPAWN_SETSID: libc::c_int = 0x80;

/// The first number that a handed descriptor has in the started program.
pub const FIRST_HANDED: RawFd = 3;

/// `posix_spawn(3)`: starts `program` in a session of its own, without the cost of a fork; `handed` become its descriptors 3, 4, ...
/// and /dev/null or whatever `stdio` is its 0, 1 and 2.
///
/// # Errors
/// As the kernel says of clone, dup2 and exec.
pub fn spawn(
    program: &CStr,
    arguments: &[CString],
    environment: &[CString],
    stdio: [BorrowedFd<'_>; 3],
    handed: &[BorrowedFd<'_>],
) -> Result<Spawned, Errno> {
    // Out of the way of the numbers that they are moved to; duplicates are closed on exec, dup2's results are not.
    let mut aside = Vec::with_capacity(handed.len() + 3);
    for descriptor in stdio.iter().chain(handed) {
        aside.push(rustix::io::fcntl_dupfd_cloexec(descriptor, 64)?);
    }
    let mut actions = Actions::new()?;
    for (number, descriptor) in (0..).zip(&aside) {
        actions.duplicate(descriptor.as_raw_fd(), number)?;
    }
    let attributes = Attributes::session()?;
    let pointers = |strings: &[CString]| -> Vec<*mut libc::c_char> {
        strings.iter().map(|s| s.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
    };
    let (argv, envp) = (pointers(arguments), pointers(environment));
    let mut pid = 0;
    // SAFETY: strings end in NUL, arrays in null, and all of them, with the initialised actions and attributes, outlive the call,
    // which returns after the child's exec.
    let failed = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            argv.as_ptr(),
            envp.as_ptr(),
        )
    };
    checked(failed)?;
    // Our own child, not yet waited for: its number cannot have gone to another.
    let child = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    Ok(Spawned { pid, pidfd: pidfd_open(child, PidfdFlags::empty())? })
}

/// These calls return their error instead of setting errno.
fn checked(error: libc::c_int) -> Result<(), Errno> {
    if error == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(error)) }
}

/// Takes the descriptors that this program was started with: `count` from [`FIRST_HANDED`] on, which close on exec from now on.
/// To be called once, first thing in `main`.
///
/// # Errors
/// `EBADF` if one of them is not open.
pub fn take_handed(count: usize) -> Result<Vec<OwnedFd>, Errno> {
    let count = RawFd::try_from(count).map_err(|_| Errno::BADF)?;
    (FIRST_HANDED..FIRST_HANDED + count)
        .map(|number| {
            // SAFETY: `number` is borrowed only for this check, which fails if it is not open.
            let there = unsafe { BorrowedFd::borrow_raw(number) };
            rustix::io::fcntl_setfd(there, rustix::io::FdFlags::CLOEXEC)?;
            // SAFETY: open, as the call above showed, and handed to this program by whoever started it; nothing in it owns the
            // number, since nothing has run before.
            Ok(unsafe { OwnedFd::from_raw_fd(number) })
        })
        .collect()
}

/// `close_range(2)` with `CLOSE_RANGE_CLOEXEC`: no descriptor from `first` on survives the next exec.
///
/// # Errors
/// As the kernel says.
pub fn close_on_exec_from(first: RawFd) -> Result<(), Errno> {
    // SAFETY: integers only, and nothing is closed: owners of descriptors keep what they own until the exec.
    let returned =
        unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    crate::result(returned).map(drop)
}

/// setrlimit(2), with `resource` by its number.
///
/// # Errors
/// `EPERM` above the hard limit without `CAP_SYS_RESOURCE`; otherwise as the kernel says.
pub fn limit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    let resource = libc::c_int::try_from(resource).map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel reads one `rlimit` behind the pointer, which outlives the call.
    let returned = unsafe { libc::setrlimit(resource, &raw const limit) };
    crate::result(returned.into()).map(drop)
}
