//! Makes the container's root, enters it, freezes it.
//!
//! *Invariant:* the root is mounted inside the container's own mount namespace, so it vanishes with it and the host never sees it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use orlop_sys::mount::{Change, set_attributes};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount,
    move_mount, open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};
use rustix::thread::LinkNameSpaceType;

/// What an overlay writes to.
#[derive(Clone, Copy)]
pub(crate) struct Own<'a> {
    pub(crate) upper: &'a CStr,
    pub(crate) work: &'a CStr,
    pub(crate) volatile: bool,
}

/// The layers as one overlay, attached at `place`.
pub(super) fn overlay(
    lower: &[CString],
    own: Own<'_>,
    context: Option<&CStr>,
    place: &CStr,
) -> Result<OwnedFd, Errno> {
    match detached(lower, Some(own), context, MountAttrFlags::empty()) {
        // Before Linux 6.7 there is no `lowerdir+`, and a value of fsconfig(2) has 255 bytes at most.
        Err(Errno::INVAL) => by_options(lower, Some(own), context, place, MountFlags::empty()),
        other => attach(other?, place),
    }
}

/// fsopen(2), fsconfig(2), fsmount(2): an overlay exists as a descriptor before it has a place, so nobody can swap what lies there.
pub(super) fn detached(
    lower: &[CString],
    own: Option<Own<'_>>,
    context: Option<&CStr>,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let overlay = begin_overlay(context)?;
    for layer in lower {
        fsconfig_set_string(overlay.as_fd(), "lowerdir+", layer.as_c_str())?;
    }
    end_overlay(overlay.as_fd(), own, attributes)
}

/// The same of layers that are detached mounts themselves; Linux 6.15 takes those.
pub(crate) fn of_trees(
    lower: &[OwnedFd],
    own: Option<Own<'_>>,
    context: Option<&CStr>,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let overlay = begin_overlay(context)?;
    for layer in lower {
        fsconfig_set_fd(overlay.as_fd(), "lowerdir+", layer.as_fd())?;
    }
    end_overlay(overlay.as_fd(), own, attributes)
}

fn begin_overlay(context: Option<&CStr>) -> Result<OwnedFd, Errno> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(overlay.as_fd(), "source", "overlay")?;
    if let Some(context) = context {
        fsconfig_set_string(overlay.as_fd(), "context", context)?;
    }
    Ok(overlay)
}

fn end_overlay(
    overlay: BorrowedFd<'_>,
    own: Option<Own<'_>>,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    if let Some(own) = own {
        fsconfig_set_string(overlay, "upperdir", own.upper)?;
        fsconfig_set_string(overlay, "workdir", own.work)?;
        if own.volatile {
            fsconfig_set_flag(overlay, "volatile")?;
        }
    }
    fsconfig_create(overlay)?;
    fsmount(overlay, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// mount(2): all layers in one line of options, which is a page at most.
pub(crate) fn by_options(
    lower: &[CString],
    own: Option<Own<'_>>,
    context: Option<&CStr>,
    place: &CStr,
    flags: MountFlags,
) -> Result<OwnedFd, Errno> {
    let mut line = Line { bytes: [0; PAGE], length: 0 };
    if let Some(context) = context {
        // Quoted: categories have commas between them.
        line.add(b"context=\"")?;
        line.add(context.to_bytes())?;
        line.add(b"\",")?;
    }
    line.add(b"lowerdir=")?;
    for (number, layer) in lower.iter().enumerate() {
        line.add(if number == 0 { b"" } else { b":" })?;
        line.path(layer)?;
    }
    if let Some(own) = own {
        line.add(b",upperdir=")?;
        line.path(own.upper)?;
        line.add(b",workdir=")?;
        line.path(own.work)?;
        line.add(if own.volatile { b",volatile" } else { b"" })?;
    }
    let options = CStr::from_bytes_until_nul(&line.bytes).map_err(|_| Errno::NAMETOOLONG)?;
    mount("overlay", place, "overlay", flags, options)?;
    rustix::fs::openat(CWD, place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// What mount(2) takes of options.
const PAGE: usize = 4096;

/// A line of options, made without allocating.
struct Line {
    bytes: [u8; PAGE],
    length: usize,
}

impl Line {
    fn add(&mut self, part: &[u8]) -> Result<(), Errno> {
        // One byte is left for the NUL.
        let room = self.bytes[..PAGE - 1].get_mut(self.length..self.length + part.len());
        room.ok_or(Errno::NAMETOOLONG)?.copy_from_slice(part);
        self.length += part.len();
        Ok(())
    }

    /// A path, with what would end it escaped as overlayfs reads it.
    fn path(&mut self, path: &CStr) -> Result<(), Errno> {
        path.to_bytes().iter().try_for_each(|byte| {
            if matches!(byte, b':' | b',' | b'\\') {
                self.add(b"\\")?;
            }
            self.add(&[*byte])
        })
    }
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

/// Takes a mount of the host out of this mount namespace.
pub(super) fn hide(path: &CStr) -> Result<(), Errno> {
    match unmount(path, UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Mounts can be made only on what is attached; the descriptor goes on naming the root wherever it is.
pub(crate) fn attach(root: OwnedFd, place: &CStr) -> Result<OwnedFd, Errno> {
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
///
/// The old root is that of the mount namespace, which lies above the process's own where the daemon was started in a chroot; setns(2)
/// into the namespace where the process is already leads there. So nothing of the host is left in the container's.
pub(crate) fn enter(root: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = rustix::fs::openat(CWD, "/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::thread::move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways show the same root, odd names included.
    #[test]
    fn layers_are_seen_through_options_as_through_descriptors() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let c = |name: &str| CString::new(at(name).display().to_string()).expect("no NUL");
        for name in
            ["one,a:b\\c", "two", "upper", "work", "upper2", "work2", "place", "place2", "place3", "place4"]
        {
            std::fs::create_dir(at(name)).expect("made");
        }
        std::fs::write(at("one,a:b\\c").join("file"), "of one").expect("written");
        std::fs::write(at("two").join("file"), "of two").expect("written");
        std::fs::write(at("two").join("other"), "of two").expect("written");
        let lower = [c("one,a:b\\c"), c("two")];
        // In a mount namespace of this thread's own, so that nothing is left when it ends.
        let kinds = libc::CLONE_FS | libc::CLONE_NEWNS;
        orlop_sys::namespace::unshare(u64::from(kinds.cast_unsigned())).expect("as root");
        propagate(CWD, c"/", libc::MS_PRIVATE | libc::MS_REC).expect("private");
        let (upper, work) = (c("upper"), c("work"));
        let own = Own { upper: &upper, work: &work, volatile: true };
        let (upper, work) = (c("upper2"), c("work2"));
        let other = Own { upper: &upper, work: &work, volatile: true };
        let ways = [
            by_options(&lower, Some(own), None, &c("place"), MountFlags::empty()),
            detached(&lower, Some(other), None, MountAttrFlags::empty())
                .and_then(|root| attach(root, &c("place2"))),
            by_options(&lower, None, None, &c("place3"), MountFlags::RDONLY),
            detached(&lower, None, None, MountAttrFlags::MOUNT_ATTR_RDONLY)
                .and_then(|root| attach(root, &c("place4"))),
        ];
        for (way, (place, writable)) in
            ways.into_iter().zip([("place", true), ("place2", true), ("place3", false), ("place4", false)])
        {
            way.expect("mounted");
            let read = |name| std::fs::read_to_string(at(place).join(name)).expect("seen");
            assert_eq!((read("file").as_str(), read("other").as_str()), ("of one", "of two"));
            assert_eq!(std::fs::write(at(place).join("new"), "").is_ok(), writable, "{place}");
            unmount(at(place), UnmountFlags::DETACH).expect("unmounted");
        }
    }
}
