//! What needs the node's privileges is made ready before the clone: detached mounts, which a child in a user namespace moves into place.
//!
//! *Invariant:* carried out is what the plan says, in its order. Nothing is attached where anyone sees it; what is not used is gone
//! with its descriptor. What cannot be mapped is told by its filesystem and path.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use orlop_wire::plan::{BindHow, Operation, OwnLayer, Preparation};
use orlop_wire::record::Failure;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, makedev};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};

use crate::birth::{self, Born};
use crate::child::{Failed, mounts, root, terminal};
use crate::watch::process::explain;

/// What cgroups(7) names for delegation, where the kernel does not say.
const DELEGATED: [&str; 3] = ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"];

/// What was not made ready: the kernel's word, and what is to be said beyond it.
struct Refused {
    errno: Errno,
    detail: String,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Refused { errno, detail: String::new() }
    }
}

/// Carries out all [`Operation::Prepare`]s; their trees, in order.
pub(crate) fn all(
    operations: &[Operation],
    slots: &[OwnedFd],
    stdio: Option<[BorrowedFd<'_>; 3]>,
) -> Result<Vec<OwnedFd>, Failure> {
    let mut trees = Vec::new();
    for (operation, number) in operations.iter().zip(0..) {
        let Operation::Prepare { what } = operation else { continue };
        match one(what, slots, stdio) {
            Ok(tree) => trees.extend(tree),
            Err(Refused { errno, detail }) => {
                let failed = Failed { operation: number, errno: errno.raw_os_error() };
                return Err(Failure { detail, ..explain(operations, failed) });
            }
        }
    }
    Ok(trees)
}

fn one(
    what: &Preparation,
    slots: &[OwnedFd],
    stdio: Option<[BorrowedFd<'_>; 3]>,
) -> Result<Option<OwnedFd>, Refused> {
    let user = |slot: u32| slots.get(slot as usize).map(AsFd::as_fd).ok_or(Errno::BADF);
    match what {
        Preparation::Path { source, recursive, create, user: slot } => {
            let slot = slot.map(user).transpose()?;
            path(source, *recursive, *create, slot).map(Some)
        }
        Preparation::Device { source, kind, major, minor } => {
            Ok(Some(device(source, *kind, (*major, *minor))?))
        }
        Preparation::Layers { lower, own, context, attributes, user: slot, place } => {
            let made = Made { own: own.as_ref(), context: context.as_deref(), attributes: *attributes };
            layers(lower, &made, user(*slot)?, place).map(Some)
        }
        Preparation::Streams { uid, gid } => {
            give_pipes(stdio, *uid, *gid)?;
            Ok(None)
        }
        Preparation::Delegate { directory, uid, gid } => {
            delegate(directory, *uid, *gid)?;
            Ok(None)
        }
    }
}

fn path(
    source: &CStr,
    recursive: bool,
    create: bool,
    user: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Refused> {
    let how = BindHow { recursive, create_source: create, ..BindHow::default() };
    let tree = mounts::source(source, how)?;
    apart_from_host(&tree)?;
    if let Some(user) = user {
        orlop_sys::mount::map_owners(tree.as_fd(), recursive, user)
            .map_err(|errno| Refused { errno, detail: culprit(source, recursive, user) })?;
    }
    Ok(tree)
}

/// A tree is a peer of what it was opened from: without this, what root of a user namespace mounts on it would be mounted on the node.
fn apart_from_host(tree: &OwnedFd) -> Result<(), Errno> {
    root::propagate(tree.as_fd(), c"", libc::MS_SLAVE | libc::MS_REC)
}

/// Which filesystem cannot map owners, and where it is mounted: of `path`, or below it if `recursive`.
fn culprit(path: &CStr, recursive: bool, user: BorrowedFd<'_>) -> String {
    let Ok(held) = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else {
        return String::new();
    };
    let mut buffer = [0; mounts::DESCRIPTOR];
    let real = mounts::descriptor(held.as_fd(), &mut buffer)
        .and_then(|link| rustix::fs::readlinkat(CWD, link, Vec::new()))
        .unwrap_or_else(|_| path.into());
    let number = rustix::fs::statx(&held, "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::MNT_ID)
        .map_or(0, |stat| stat.stx_mnt_id);
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = |point: &str| {
        let rest = point.as_bytes().strip_prefix(real.to_bytes());
        recursive && rest.is_some_and(|rest| real.to_bytes() == b"/" || rest.starts_with(b"/"))
    };
    for line in table.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let kind = words.iter().skip_while(|word| **word != "-").nth(1);
        let (Some(id), Some(point), Some(kind)) = (words.first(), words.get(4), kind) else { continue };
        let own = id.parse() == Ok(number);
        let tried = if own { Ok(real.clone()) } else { CString::new(*point) };
        if (own || below(point))
            && let Ok(tried) = tried
            && mounts::tree(CWD, &tried, false)
                .and_then(|tree| orlop_sys::mount::map_owners(tree.as_fd(), false, user))
                .is_err()
        {
            return format!("the filesystem {kind} at {point} cannot map owners for a user namespace");
        }
    }
    String::new()
}

/// It has to be what the plan says: another's node must not get in by a name.
fn device(source: &CStr, kind: u32, (major, minor): (u32, u32)) -> Result<OwnedFd, Errno> {
    let tree = mounts::tree(CWD, source, false)?;
    apart_from_host(&tree)?;
    let stat = rustix::fs::fstat(&tree)?;
    let is_kind = FileType::from_raw_mode(stat.st_mode) == FileType::from_raw_mode(kind);
    let is_fifo = FileType::from_raw_mode(kind).is_fifo();
    if is_kind && (is_fifo || stat.st_rdev == makedev(major, minor)) { Ok(tree) } else { Err(Errno::NODEV) }
}

/// What an overlay is to be, beside its layers.
struct Made<'a> {
    own: Option<&'a OwnLayer>,
    context: Option<&'a CStr>,
    attributes: u64,
}

impl Made<'_> {
    fn own(&self) -> Option<root::Own<'_>> {
        self.own.map(|own| root::Own { upper: &own.upper, work: &own.work, volatile: own.volatile })
    }
}

fn layers(
    lower: &[CString],
    made: &Made<'_>,
    user: BorrowedFd<'_>,
    place: &CStr,
) -> Result<OwnedFd, Refused> {
    let mut mapped = Vec::with_capacity(lower.len());
    for layer in lower {
        mapped.push(path(layer, false, false, Some(user))?);
    }
    let attributes = u32::try_from(made.attributes).map_err(|_| Errno::INVAL)?;
    let wanted = MountAttrFlags::from_bits(attributes).ok_or(Errno::INVAL)?;
    match root::of_trees(&mapped, made.own(), made.context, wanted) {
        // Before Linux 6.15 overlayfs takes no layer that is attached nowhere, before 6.6 none by its descriptor.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {
            apart(&mapped, made, attributes, place).map_err(Refused::from)
        }
        other => other.map_err(Refused::from),
    }
}

/// The overlay of layers that are attached for it, in a mount namespace of a process that lasts for this alone.
fn apart(layers: &[OwnedFd], made: &Made<'_>, attributes: u32, place: &CStr) -> Result<OwnedFd, Errno> {
    // Whatever lies on it: a descriptor leads to its mount.
    let mut paths = Vec::with_capacity(layers.len());
    for layer in layers {
        let mut buffer = [0; mounts::DESCRIPTOR];
        paths.push(mounts::descriptor(layer.as_fd(), &mut buffer)?.to_owned());
    }
    // The attributes that a plan may ask for have the numbers of mount(2)'s flags.
    let flags = MountFlags::from_bits(attributes).ok_or(Errno::INVAL)?;
    let kind = SocketType::SEQPACKET;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    match birth::clone(u64::from(libc::CLONE_NEWNS.cast_unsigned()), None)? {
        Born::Child => {
            drop(ours);
            let overlay = attached(layers, place)
                .and_then(|()| root::by_options(&paths, made.own(), made.context, place, flags))
                .and_then(detach);
            let told = overlay.and_then(|overlay| terminal::send(theirs.as_fd(), b"t", overlay.as_fd()));
            if let Err(errno) = told {
                let _ = rustix::io::write(&theirs, &errno.raw_os_error().to_ne_bytes());
            }
            birth::leave(0)
        }
        Born::Parent(_, process) => {
            drop(theirs);
            let heard = hear(ours.as_fd());
            let options = rustix::process::WaitIdOptions::EXITED;
            let _ = rustix::process::waitid(rustix::process::WaitId::PidFd(process.as_fd()), options);
            heard
        }
    }
}

/// What a helper sends: a descriptor, or an errno.
fn hear(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4];
    let mut pieces = [std::io::IoSliceMut::new(&mut bytes)];
    let length = rustix::net::recvmsg(socket, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let held = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match held {
        Some(held) => Ok(held),
        None if length == 4 => Err(Errno::from_raw_os_error(i32::from_ne_bytes(bytes))),
        None => Err(Errno::PIPE),
    }
}

fn attached(layers: &[OwnedFd], place: &CStr) -> Result<(), Errno> {
    root::propagate(CWD, c"/", libc::MS_PRIVATE | libc::MS_REC)?;
    for layer in layers {
        // A peer of the host's mount until then: what is mounted on it would travel there.
        root::propagate(layer.as_fd(), c"", libc::MS_PRIVATE)?;
        move_mount(layer.as_fd(), "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    Ok(())
}

/// A mount of its own of what is mounted there.
fn detach(mounted: OwnedFd) -> Result<OwnedFd, Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(mounted, "", flags)
}

/// A program that is not root's may then open `/dev/stdout` anew; in the user namespace nobody could give them away any more.
fn give_pipes(stdio: Option<[BorrowedFd<'_>; 3]>, uid: u32, gid: u32) -> Result<(), Errno> {
    for stream in stdio.into_iter().flatten() {
        if FileType::from_raw_mode(rustix::fs::fstat(stream)?.st_mode).is_fifo() {
            rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
    }
    Ok(())
}

fn delegate(directory: &CStr, uid: u32, gid: u32) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = rustix::fs::openat(CWD, directory, flags, Mode::empty())?;
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(&held, "", uid, gid, AtFlags::EMPTY_PATH)?;
    let named = std::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap_or_default();
    for file in named.lines().chain(DELEGATED) {
        match rustix::fs::chownat(&held, file, uid, gid, AtFlags::SYMLINK_NOFOLLOW) {
            // Of a controller that is not enabled here.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
