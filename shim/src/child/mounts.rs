//! Mounts, binds, devices, links, masks: what is put into the root before it is entered.
//!
//! *Invariant:* what is mounted on is held by descriptor while it is mounted on (CVE-2021-30465); what masks is verified to be what
//! it should be (CVE-2025-31133).

use std::ffi::{CStr, CString};
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use orlop_sys::mount::{Change, set_attributes};
use orlop_wire::plan::BindHow;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, makedev};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::{place, root};

/// A fresh filesystem at a path of the root.
pub(super) fn fresh(
    root: BorrowedFd<'_>,
    kind: &CStr,
    source: &CStr,
    target: &CStr,
    attributes: u64,
    options: &[(CString, Option<CString>)],
) -> Result<(), Errno> {
    let filesystem = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(filesystem.as_fd(), "source", source)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(filesystem.as_fd(), key.as_c_str(), value.as_c_str())?,
            None => fsconfig_set_flag(filesystem.as_fd(), key.as_c_str())?,
        }
    }
    fsconfig_create(filesystem.as_fd())?;
    let attributes = u32::try_from(attributes).map_err(|_| Errno::INVAL)?;
    let attributes = MountAttrFlags::from_bits(attributes).ok_or(Errno::INVAL)?;
    let mounted = fsmount(filesystem.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let place = place::directory(root, target, 0o755)?;
    put(mounted.as_fd(), place.as_fd())
}

/// Directories of the host as one, with nothing to write to, at a path of the root.
pub(super) fn layers(
    root: BorrowedFd<'_>,
    lower: &[CString],
    context: Option<&CStr>,
    target: &CStr,
    attributes: u64,
) -> Result<(), Errno> {
    let attributes = u32::try_from(attributes).map_err(|_| Errno::INVAL)?;
    let place = place::directory(root, target, 0o755)?;
    let wanted = MountAttrFlags::from_bits(attributes).ok_or(Errno::INVAL)?;
    match root::detached(lower, None, context, wanted) {
        // As for the root: before Linux 6.7. mount(2) takes a path, so the one of the place's descriptor. The attributes that a plan
        // may ask for have the numbers of its flags.
        Err(Errno::INVAL) => {
            let mut buffer = [0; DESCRIPTOR];
            let flags = MountFlags::from_bits(attributes).ok_or(Errno::INVAL)?;
            root::by_options(lower, None, context, descriptor(place.as_fd(), &mut buffer)?, flags).map(drop)
        }
        other => put(other?.as_fd(), place.as_fd()),
    }
}

/// Room for `/proc/self/fd/NUMBER`.
pub(crate) const DESCRIPTOR: usize = 32;

/// The path that leads to a descriptor.
pub(crate) fn descriptor<'a>(
    place: BorrowedFd<'_>,
    buffer: &'a mut [u8; DESCRIPTOR],
) -> Result<&'a CStr, Errno> {
    let mut room = &mut buffer[..];
    write!(room, "/proc/self/fd/{}\0", place.as_raw_fd()).map_err(|_| Errno::NAMETOOLONG)?;
    CStr::from_bytes_until_nul(buffer).map_err(|_| Errno::NAMETOOLONG)
}

fn put(mounted: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    let both_empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mounted, "", place, "", both_empty)
}

/// The mounts at a path of the host, as a detached tree of their own.
pub(crate) fn source(path: &CStr, how: BindHow) -> Result<OwnedFd, Errno> {
    match tree(CWD, path, how.recursive) {
        Err(Errno::NOENT) if how.create_source => {
            make_all(path)?;
            tree(CWD, path, how.recursive)
        }
        other => other,
    }
}

pub(crate) fn tree(directory: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(directory, path, flags)
}

/// A namespace as a detached tree of one file.
pub(super) fn namespace(held: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(held, "", flags)
}

/// A detached tree at a path of the root.
pub(super) fn bind(
    root: BorrowedFd<'_>,
    tree: BorrowedFd<'_>,
    target: &CStr,
    how: BindHow,
) -> Result<(), Errno> {
    let all = Change { set: how.set_all, clear: how.clear_all, propagation: how.propagation };
    if all != Change::default() {
        set_attributes(tree, c"", true, all)?;
    }
    let own = Change { set: how.set, clear: how.clear, propagation: 0 };
    if own != Change::default() {
        set_attributes(tree, c"", false, own)?;
    }
    let place = if place::is_directory(tree)? {
        place::directory(root, target, 0o755)?
    } else {
        place::file(root, target)?
    };
    put(tree, place.as_fd())
}

/// mkdir(2) of a path of the host, with its parents.
fn make_all(path: &CStr) -> Result<(), Errno> {
    let bytes = path.to_bytes();
    let mut buffer = [0; 4096];
    for end in (1..=bytes.len()).filter(|&end| end == bytes.len() || bytes[end] == b'/') {
        let room = buffer.get_mut(..=end).ok_or(Errno::NAMETOOLONG)?;
        room[..end].copy_from_slice(&bytes[..end]);
        room[end] = 0;
        let part = CStr::from_bytes_with_nul(room).map_err(|_| Errno::INVAL)?;
        match rustix::fs::mkdirat(CWD, part, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// A symlink at a path of the root; one that is there is replaced.
pub(super) fn symlink(root: BorrowedFd<'_>, at: &CStr, to: &CStr) -> Result<(), Errno> {
    let mut buffer = place::buffer();
    let (parent, name) = place::parent(root, at, &mut buffer)?;
    match rustix::fs::symlinkat(to, parent.as_fd(), name) {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent.as_fd(), name, rustix::fs::AtFlags::empty())?;
            rustix::fs::symlinkat(to, parent.as_fd(), name)
        }
        other => other,
    }
}

/// mknod(2) at a path of the root, with exactly this mode and owner; what is there is replaced.
pub(super) fn device(
    root: BorrowedFd<'_>,
    target: &CStr,
    mode: u32,
    (major, minor): (u32, u32),
    (uid, gid): (u32, u32),
) -> Result<(), Errno> {
    let mut buffer = place::buffer();
    let (parent, name) = place::parent(root, target, &mut buffer)?;
    let (kind, bits) = (FileType::from_raw_mode(mode), Mode::from_raw_mode(mode & 0o7777));
    let make = || rustix::fs::mknodat(parent.as_fd(), name, kind, bits, makedev(major, minor));
    match make() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent.as_fd(), name, rustix::fs::AtFlags::empty())?;
            make()?;
        }
        other => other?,
    }
    // The mask of the process has taken bits away. Between mknod and this nobody else is in the container.
    rustix::fs::chmodat(parent.as_fd(), name, bits, rustix::fs::AtFlags::empty())?;
    let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(parent.as_fd(), name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), nofollow)
}

/// lsetxattr(2) of a path of the root, by its descriptor: the host's /proc is still in sight.
pub(super) fn label(root: BorrowedFd<'_>, target: &CStr, label: &CStr) -> Result<(), Errno> {
    let place = place::find(root, target)?;
    let mut buffer = [0; DESCRIPTOR];
    let path = descriptor(place.as_fd(), &mut buffer)?;
    // With its NUL, as SELinux' own tools write it.
    let (value, flags) = (label.to_bytes_with_nul(), rustix::fs::XattrFlags::empty());
    rustix::fs::setxattr(path, c"security.selinux", value, flags)
}

/// A value written below a procfs of our own: not through one that an image could have put there (CVE-2025-52881).
pub(super) fn sysctl(name: &CStr, value: &CStr) -> Result<(), Errno> {
    let proc = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(proc.as_fd())?;
    let proc = fsmount(proc.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let sys = rustix::fs::openat(proc.as_fd(), "sys", directory, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let file = rustix::fs::openat2(sys, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    rustix::io::write(file, value.to_bytes()).map(drop)
}

/// Covers a path: a file by the null device, a directory by an empty read-only tmpfs. What is not there needs no cover.
pub(super) fn mask(root: BorrowedFd<'_>, target: &CStr) -> Result<(), Errno> {
    let place = match place::find(root, target) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    if place::is_directory(place.as_fd())? {
        let tmpfs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(tmpfs.as_fd(), "nr_inodes", "1")?;
        fsconfig_create(tmpfs.as_fd())?;
        let cover = fsmount(tmpfs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        return put(cover.as_fd(), place.as_fd());
    }
    // The host's own /dev/null: still in sight, and verified to be the null device, char 1:3.
    let null = tree(CWD, c"/dev/null", false)?;
    let stat = rustix::fs::fstat(null.as_fd())?;
    let is_null =
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(1, 3);
    if !is_null {
        return Err(Errno::NODEV);
    }
    put(null.as_fd(), place.as_fd())
}

/// Makes a path read-only: the mount that is there, or a bind of it upon itself. What is not there is left.
pub(super) fn freeze(root: BorrowedFd<'_>, target: &CStr) -> Result<(), Errno> {
    let place = match place::find(root, target) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other?,
    };
    let change = Change { set: orlop_sys::mount::READ_ONLY, ..Change::default() };
    match set_attributes(place.as_fd(), c"", false, change) {
        // No mount of its own: it lies on another.
        Err(Errno::INVAL) => {}
        other => return other,
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(place.as_fd(), "", flags)?;
    set_attributes(tree.as_fd(), c"", false, change)?;
    put(tree.as_fd(), place.as_fd())
}
