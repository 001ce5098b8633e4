//! Makes the container's root, enters it, freezes it.
//!
//! *Invariant:* the root is mounted inside the container's own mount namespace, so it vanishes with it and the host never sees it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use orlop_sys::mount::{Change, set_attributes};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

/// fsopen(2), fsconfig(2), fsmount(2): the root exists as a descriptor before it has a place, so nobody can swap what lies there.
pub(super) fn overlay(
    lower: &[CString],
    upper: &CStr,
    work: &CStr,
    volatile: bool,
    place: &CStr,
) -> Result<OwnedFd, Errno> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(overlay.as_fd(), "source", "overlay")?;
    for layer in lower {
        fsconfig_set_string(overlay.as_fd(), "lowerdir+", layer.as_c_str())?;
    }
    fsconfig_set_string(overlay.as_fd(), "upperdir", upper)?;
    fsconfig_set_string(overlay.as_fd(), "workdir", work)?;
    if volatile {
        fsconfig_set_flag(overlay.as_fd(), "volatile")?;
    }
    fsconfig_create(overlay.as_fd())?;
    let root = fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    attach(root, place)
}

/// A directory of the host as the root: a bind mount of its own, so that it can be pivoted to.
pub(super) fn directory(source: &CStr, place: &CStr) -> Result<OwnedFd, Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    attach(open_tree(CWD, source, flags)?, place)
}

/// An empty tmpfs as the root, read-only: for a process that needs no file.
pub(crate) fn empty(place: &CStr) -> Result<OwnedFd, Errno> {
    let tmpfs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(tmpfs.as_fd(), "size", "4k")?;
    fsconfig_create(tmpfs.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = fsmount(tmpfs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    attach(root, place)
}

/// Mounts can be made only on what is attached; the descriptor goes on naming the root wherever it is.
fn attach(root: OwnedFd, place: &CStr) -> Result<OwnedFd, Errno> {
    move_mount(root.as_fd(), "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(root)
}

/// `mount_setattr(2)`: the propagation of the mount at `path`, and of all below it where `flags` hold `MS_REC`.
pub(crate) fn propagate(directory: BorrowedFd<'_>, path: &CStr, flags: u64) -> Result<(), Errno> {
    let recursive = flags & libc::MS_REC != 0;
    set_attributes(
        directory,
        path,
        recursive,
        Change { propagation: flags & !libc::MS_REC, ..Change::default() },
    )
}

/// `pivot_root(2)` onto itself: the old root comes to lie on the new one and is let go.
pub(crate) fn enter(root: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::openat(CWD, "/", flags, Mode::empty())?;
    fchdir(root)?;
    pivot_root(".", ".")?;
    // What is let go of here must not be let go of on the host, whatever the plan said of propagation. By its own descriptor: "."
    // is the new root.
    propagate(old.as_fd(), c"", libc::MS_SLAVE | libc::MS_REC)?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")
}

/// Makes the root's own mount read-only, those on it as they are.
pub(super) fn freeze() -> Result<(), Errno> {
    let change = Change { set: orlop_sys::mount::READ_ONLY, ..Change::default() };
    set_attributes(CWD, c"/", false, change)
}
