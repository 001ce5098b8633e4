//! A pod's user namespace, and the namespaces that it owns: made by a process that nobody else's threads are in, since only such a one
//! can enter a user namespace (setns(2), unshare(2)).
//!
//! ```text
//!  orlopd ── start ──▶ orlop-shim spaces ── clone3, CLONE_NEWUSER ──▶ child
//!                         │ uid_map, gid_map                            │ waits
//!                         │──────────────────────────────── go ────────▶│ becomes root there, unshares the others
//!  orlopd ◀───────────── descriptors: user, then the others ────────────│ ends
//! ```
//!
//! *Invariant:* what is made is held by descriptors alone: if nobody takes them, nothing is left of it.

use std::ffi::CStr;
use std::io::{IoSlice, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::birth::{self, Born};
use crate::child::identity;

/// The namespaces that a pod may have: kind, and the process's own of it.
const KINDS: [(libc::c_int, &CStr); 3] = [
    (libc::CLONE_NEWNET, c"/proc/self/ns/net"),
    (libc::CLONE_NEWIPC, c"/proc/self/ns/ipc"),
    (libc::CLONE_NEWUTS, c"/proc/self/ns/uts"),
];

/// Makes a user namespace with these maps (the lines of user_namespaces(7)) and in it namespaces of `kinds` (`CLONE_NEW*`); sends one
/// byte and their descriptors over the control socket: user, network, IPC, UTS, those that there are.
pub(crate) fn run(uids: &str, gids: &str, kinds: &str) -> ExitCode {
    let done = kinds.parse().map_err(|_| ("kinds", Errno::INVAL)).and_then(|kinds| make(uids, gids, kinds));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err((step, errno)) => {
            // Whoever waits hears why: the errno, and no descriptor.
            if let Ok(control) = orlop_sys::process::take_handed(1).map(|mut handed| handed.remove(0)) {
                let said = format!("{} {step}", errno.raw_os_error());
                let _ = rustix::io::write(&control, said.as_bytes());
            }
            ExitCode::FAILURE
        }
    }
}

type Step<T> = Result<T, (&'static str, Errno)>;

fn make(uids: &str, gids: &str, kinds: u64) -> Step<()> {
    let user = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    let failed = |step: &'static str| move |errno: Errno| (step, errno);
    let failed_io = |step: &'static str| {
        move |error: std::io::Error| (step, Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    let (mut hears, mut says) = std::io::pipe().map_err(failed_io("pipe"))?;
    let (mut ended, end) = std::io::pipe().map_err(failed_io("pipe"))?;
    match birth::clone(user, None).map_err(failed("make user namespace"))? {
        Born::Child => {
            drop(says);
            drop(ended);
            let told = hears.read(&mut [0]).unwrap_or(0);
            let done = if told == 1 { settle(kinds) } else { Err(Errno::CANCELED) };
            if let Err(errno) = done {
                let _ = rustix::io::write(&end, &errno.raw_os_error().to_ne_bytes());
            }
            birth::leave(0)
        }
        Born::Parent(pid, _pidfd) => {
            drop(hears);
            drop(end);
            for (file, map) in [("uid_map", uids), ("gid_map", gids)] {
                std::fs::write(format!("/proc/{pid}/{file}"), map).map_err(failed_io("write maps of"))?;
            }
            says.write_all(b"g").map_err(failed_io("tell"))?;
            let mut errno = [0; 4];
            match ended.read(&mut errno) {
                Ok(0) => Ok(()),
                Ok(_) => {
                    let errno = Errno::from_raw_os_error(i32::from_ne_bytes(errno));
                    Err(("make namespaces in", errno))
                }
                Err(error) => Err(failed_io("hear")(error)),
            }
        }
    }
}

/// In the user namespace: root of it first, so that what the others hold (a queue filesystem, for one) is its root's.
fn settle(kinds: u64) -> Result<(), Errno> {
    identity::become_root()?;
    orlop_sys::namespace::unshare(kinds)?;
    let open = |path: &CStr| rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut all = vec![open(c"/proc/self/ns/user")?];
    for (kind, path) in KINDS {
        if kinds & u64::from(kind.cast_unsigned()) != 0 {
            all.push(open(path)?);
        }
    }
    let control = orlop_sys::process::take_handed(1)?.remove(0);
    send(control.as_fd(), &all)
}

fn send(control: BorrowedFd<'_>, all: &[OwnedFd]) -> Result<(), Errno> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let held: Vec<BorrowedFd<'_>> = all.iter().map(AsFd::as_fd).collect();
    ancillary.push(SendAncillaryMessage::ScmRights(&held));
    rustix::net::sendmsg(control, &[IoSlice::new(b"n")], &mut ancillary, SendFlags::empty()).map(drop)
}
