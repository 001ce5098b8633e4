//! The container's terminal.
//!
//! *Invariant:* both ends come from the container's own devpts, which is verified to be one, and the program's end is taken from the
//! master (`TIOCGPTPEER`), not looked up by name (CVE-2025-52565).

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::termios::Winsize;

use super::place;

/// `DEVPTS_SUPER_MAGIC` of statfs(2).
const DEVPTS: u64 = 0x1cd1;

/// A new terminal: its master and the program's end. `root` is where the container's devpts is found; none: the entered root.
pub(super) fn open(
    root: Option<BorrowedFd<'_>>,
    rows: u16,
    columns: u16,
) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = match root {
        Some(root) => place::open(root, c"dev/pts/ptmx", flags)?,
        None => rustix::fs::openat(CWD, "/dev/pts/ptmx", flags, Mode::empty())?,
    };
    let is_devpts = u64::try_from(rustix::fs::fstatfs(master.as_fd())?.f_type) == Ok(DEVPTS);
    if !is_devpts {
        return Err(Errno::NOTTY);
    }
    crate::birth::unlock_terminal(master.as_fd())?;
    let peer_flags =
        rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
    let own = rustix::pty::ioctl_tiocgptpeer(master.as_fd(), peer_flags)?;
    if rows != 0 && columns != 0 {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(own.as_fd(), size)?;
    }
    Ok((master, own))
}

/// Binds the program's end at /dev/console.
pub(super) fn bind_console(root: BorrowedFd<'_>, own: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(own, "", flags)?;
    let place = place::file(root, c"dev/console")?;
    let both_empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree.as_fd(), "", place.as_fd(), "", both_empty)
}

/// Sends a descriptor through a socket: a terminal's master goes to the shim so. Some byte has to go with it.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], held: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [held];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).map(drop)
}
