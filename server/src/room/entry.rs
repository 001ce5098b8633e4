//! Into the room, and its pin in the host.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc;

use orlop_model::report::{Kind, Report};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_bind, mount_change, move_mount, unmount,
};
use rustix::thread::{LinkNameSpaceType, gettid, move_into_link_name_space};

use super::Job;
use super::deeds::Inside;

/// Name of the pin in the directory.
const PIN: &str = "room";

/// The life of the room's thread: enters, says how that went (with its own number if the room is new), then works.
pub(super) fn live(
    directory: &Path,
    processor: Option<usize>,
    ready: &mpsc::Sender<Result<Option<i32>, Report>>,
    inbox: &mpsc::Receiver<Job>,
) {
    let inside = match enter(directory, processor) {
        Ok((inside, new)) => {
            let thread = new.then(|| gettid().as_raw_nonzero().get());
            if ready.send(Ok(thread)).is_err() {
                return;
            }
            inside
        }
        Err(report) => {
            let _ = ready.send(Err(report));
            return;
        }
    };
    while let Ok(job) = inbox.recv() {
        job(&inside);
    }
}

fn enter(directory: &Path, processor: Option<usize>) -> Result<(Inside, bool), Report> {
    let failed = |step: &'static str| {
        let object = directory.display().to_string();
        move |errno: Errno| Report::new(Kind::Failed, "enter room", object, format!("{step}: {errno}"))
    };
    // The thread's root and working directory are to be its own.
    orlop_sys::namespace::unshare(u64::from(libc::CLONE_FS.cast_unsigned())).map_err(failed("unshare"))?;
    let inside = Inside::new().map_err(failed("own namespaces"))?;
    let pin = rustix::fs::open(directory.join(PIN), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    if let Ok(pin) = pin
        && move_into_link_name_space(pin.as_fd(), Some(LinkNameSpaceType::Mount)).is_ok()
    {
        return Ok((inside, false));
    }
    std::fs::create_dir_all(directory)
        .map_err(|error| Report::new(Kind::Failed, "enter room", directory.display().to_string(), error))?;
    unshare_on(processor).map_err(failed("unshare"))?;
    build(directory).map_err(failed("build"))?;
    Ok((inside, true))
}

/// A mount namespace of the thread's own, made on this processor.
fn unshare_on(processor: Option<usize>) -> Result<(), Errno> {
    let before = rustix::thread::sched_getaffinity(None)?;
    if let Some(processor) = processor {
        let mut only = rustix::thread::CpuSet::new();
        only.set(processor);
        rustix::thread::sched_setaffinity(None, &only)?;
    }
    let made = orlop_sys::namespace::unshare(u64::from(libc::CLONE_NEWNS.cast_unsigned()));
    rustix::thread::sched_setaffinity(None, &before)?;
    made
}

/// An empty root with a procfs: nothing of the host's mounts is held, so none of them is kept busy.
fn build(directory: &Path) -> Result<(), Errno> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let root = fresh("tmpfs", &[("mode", "0755"), ("size", "16m")])?;
    move_mount(root.as_fd(), "", CWD, directory, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    // To the root of the mount namespace: in a chroot it is another than the process's, and it is what the next daemon will enter.
    let own = rustix::fs::open("/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))?;
    rustix::process::fchdir(&root)?;
    for name in ["proc", "pods"] {
        rustix::fs::mkdirat(&root, name, Mode::from_raw_mode(0o755))?;
    }
    let proc = fresh("proc", &[])?;
    move_mount(proc.as_fd(), "", root.as_fd(), "proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

/// A mount of a fresh filesystem, attached nowhere yet.
pub(super) fn fresh(kind: &str, options: &[(&str, &str)]) -> Result<OwnedFd, Errno> {
    let filesystem = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(filesystem.as_fd(), *key, *value)?;
    }
    fsconfig_create(filesystem.as_fd())?;
    let safe = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(filesystem.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, safe)
}

/// Pins the namespace of `thread` in the host. The directory is a private mount of its own: a mount namespace can be pinned
/// nowhere else (mount_namespaces(7)).
pub(super) fn pin(directory: &Path, thread: i32) -> Result<(), Errno> {
    let file = directory.join(PIN);
    let pin = || -> Result<(), Errno> {
        mount_bind(directory, directory)?;
        mount_change(directory, MountPropagationFlags::PRIVATE)?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::open(&file, flags, Mode::from_raw_mode(0o600))?);
        mount_bind(format!("/proc/self/task/{thread}/ns/mnt"), &file)
    };
    pin().inspect_err(|_| unpin(directory))
}

/// Takes the pin down. What is not there is fine.
pub(super) fn unpin(directory: &Path) {
    let file = directory.join(PIN);
    let _ = unmount(&file, UnmountFlags::DETACH);
    let _ = rustix::fs::unlinkat(CWD, &file, AtFlags::empty());
    let _ = unmount(directory, UnmountFlags::DETACH);
    let _ = rustix::fs::unlinkat(CWD, directory, AtFlags::REMOVEDIR);
}
