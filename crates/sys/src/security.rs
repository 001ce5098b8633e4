//! seccomp(2), keyctl(2).

use std::ffi::CStr;

use rustix::io::Errno;

/// seccomp(2), `SECCOMP_SET_MODE_FILTER`: from here on `program` judges every system call of this thread and its children.
///
/// `program` is classic BPF: 8 bytes an instruction, laid out as `struct sock_filter` of this machine. `flags` are
/// `SECCOMP_FILTER_FLAG_*`.
///
/// # Errors
/// `EINVAL` if it is no program; otherwise as the kernel says.
pub fn set_filter(program: &[u8], flags: u32) -> Result<(), Errno> {
    let length = u16::try_from(program.len() / 8).map_err(|_| Errno::INVAL)?;
    if length == 0 || !program.len().is_multiple_of(8) {
        return Err(Errno::INVAL);
    }
    let fprog = libc::sock_fprog {
        len: length,
        // The kernel copies the instructions byte by byte, so they need no alignment; it never writes to them.
        filter: program.as_ptr().cast::<libc::c_void>().cast_mut().cast(),
    };
    // SAFETY: `fprog` says how many instructions lie behind its pointer, and both outlive the call, which copies them.
    let returned =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog) };
    crate::result(returned).map(drop)
}

/// keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`: a session keyring of this name.
///
/// # Errors
/// As the kernel says.
pub fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the kernel reads the name to its NUL, which a CStr has.
    let returned = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    crate::result(returned).map(drop)
}
