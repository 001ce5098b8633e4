//! unshare(2).

use rustix::io::Errno;

/// unshare(2) of the calling thread: `CLONE_NEW*` kinds and `CLONE_FS`.
///
/// # Errors
/// As the kernel says; `EINVAL` for `CLONE_FILES` and `CLONE_VM`, which other threads rely on.
pub fn unshare(kinds: u64) -> Result<(), Errno> {
    const UNSOUND: libc::c_int =
        libc::CLONE_FILES | libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    let kinds = libc::c_int::try_from(kinds).map_err(|_| Errno::INVAL)?;
    if kinds & UNSOUND != 0 {
        return Err(Errno::INVAL);
    }
    // SAFETY: an integer only; the kinds that would take descriptors or memory from under other threads are refused above.
    let returned = unsafe { libc::unshare(kinds) };
    crate::result(returned.into()).map(drop)
}
