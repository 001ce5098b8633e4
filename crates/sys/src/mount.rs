//! `mount_setattr(2)`.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// `MOUNT_ATTR_RDONLY`.
pub const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// `MOUNT_ATTR_NOSUID`.
pub const NO_SUID: u64 = libc::MOUNT_ATTR_NOSUID;
/// `MOUNT_ATTR_NODEV`.
pub const NO_DEV: u64 = libc::MOUNT_ATTR_NODEV;
/// `MOUNT_ATTR_NOEXEC`.
pub const NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// What changes on a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 for as it is.
    pub propagation: u64,
}

/// `mount_setattr(2)`: changes the mount at `path` from `directory` (an empty path: the mount of `directory` itself), with all
/// below it if `recursive`.
///
/// # Errors
/// As the kernel says; `EINVAL` where `path` is no mount point.
pub fn set_attributes(
    directory: BorrowedFd<'_>,
    path: &CStr,
    recursive: bool,
    change: Change,
) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: 0,
    };
    set(directory, path, recursive, attributes)
}

/// `mount_setattr(2)`, `MOUNT_ATTR_IDMAP`: owners of files are seen, and written, through the maps of the user namespace `user`; with
/// all below it if `recursive`. For a detached mount that nobody has used yet.
///
/// # Errors
/// As the kernel says; `EINVAL` where a filesystem cannot (before Linux 6.3 tmpfs, for one), `EPERM` where owners are mapped already.
pub fn map_owners(tree: BorrowedFd<'_>, recursive: bool, user: BorrowedFd<'_>) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(user.as_raw_fd().cast_unsigned()),
    };
    set(tree, c"", recursive, attributes)
}

fn set(
    directory: BorrowedFd<'_>,
    path: &CStr,
    recursive: bool,
    attributes: libc::mount_attr,
) -> Result<(), Errno> {
    let mut flags = 0;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the kernel reads the path to its NUL, which a CStr has, and `attributes`, whose size is passed; both outlive the call.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    crate::result(returned).map(drop)
}
