//! A pod's user namespace, and the namespaces that it owns: made by a process that nobody else's threads are in, since only such a one
//! can enter a user namespace (setns(2), unshare(2)).
//!
//! ```text
//!  orlopd ── start ──▶ orlop-shim spaces ── clone3, CLONE_NEWUSER ──▶ child
//!                         │ uid_map, gid_map                            │ waits
//!                         │──────────────────────────────── go ────────▶│ becomes root there, unshares the others,
//!                         │                                             │ writes sysctls that are its root's alone
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

/// Makes a user namespace with these maps (the lines of user_namespaces(7)), in it namespaces of `kinds` (`CLONE_NEW*`), and writes
/// `sysctls` there: a path below /proc/sys and a value, one after the other. Sends one byte and descriptors over the control socket:
/// user, network, IPC, UTS, those that there are. Or what failed, in words: an errno, and what was being done; `sysctl N` is the N-th.
pub(crate) fn run(uids: &str, gids: &str, kinds: &str, sysctls: &[&str]) -> ExitCode {
    let Ok(mut handed) = orlop_sys::process::take_handed(1) else { return ExitCode::FAILURE };
    let control = handed.remove(0);
    let kinds = kinds.parse().map_err(|_| failed("read kinds of")(Errno::INVAL));
    match kinds.and_then(|kinds| make(&control, uids, gids, kinds, sysctls)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            tell(&control, &failed);
            ExitCode::FAILURE
        }
    }
}

/// What was being done, and what the kernel said.
struct Failed {
    step: String,
    errno: Errno,
}

fn failed(step: &str) -> impl Fn(Errno) -> Failed {
    move |errno| Failed { step: step.into(), errno }
}

fn failed_io(step: &str) -> impl Fn(std::io::Error) -> Failed {
    move |error| failed(step)(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn tell(control: &OwnedFd, Failed { step, errno }: &Failed) {
    // If nobody hears it, whoever waits sees the end of the socket.
    let _ = rustix::io::write(control, format!("{} {step}", errno.raw_os_error()).as_bytes());
}

fn make(control: &OwnedFd, uids: &str, gids: &str, kinds: u64, sysctls: &[&str]) -> Result<(), Failed> {
    let user = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    let (mut hears, mut says) = std::io::pipe().map_err(failed_io("begin"))?;
    match birth::clone(user, None).map_err(failed("clone for"))? {
        Born::Child => {
            drop(says);
            // Nothing is said if the maps could not be written; then that is told already.
            if matches!(hears.read(&mut [0]), Ok(1))
                && let Err(failed) = settle(control, kinds, sysctls)
            {
                tell(control, &failed);
            }
            birth::leave(0)
        }
        Born::Parent(pid, process) => {
            drop(hears);
            for (file, map) in [("uid_map", uids), ("gid_map", gids)] {
                std::fs::write(format!("/proc/{pid}/{file}"), map).map_err(failed_io("write maps of"))?;
            }
            says.write_all(b"g").map_err(failed_io("begin"))?;
            let options = rustix::process::WaitIdOptions::EXITED;
            let waited = rustix::process::waitid(rustix::process::WaitId::PidFd(process.as_fd()), options);
            waited.map(drop).map_err(failed("wait for"))
        }
    }
}

/// In the user namespace: root of it first, so that what the others hold (a queue filesystem, for one) is its root's.
fn settle(control: &OwnedFd, kinds: u64, sysctls: &[&str]) -> Result<(), Failed> {
    identity::become_root().map_err(failed("become root of"))?;
    orlop_sys::namespace::unshare(kinds).map_err(failed("make namespaces in"))?;
    for (number, pair) in sysctls.chunks_exact(2).enumerate() {
        std::fs::write(format!("/proc/sys/{}", pair[0]), pair[1])
            .map_err(failed_io(&format!("sysctl {number}")))?;
    }
    let open = |path: &CStr| rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut all = vec![open(c"/proc/self/ns/user").map_err(failed("open"))?];
    for (kind, path) in KINDS {
        if kinds & u64::from(kind.cast_unsigned()) != 0 {
            all.push(open(path).map_err(failed("open namespaces of"))?);
        }
    }
    send(control.as_fd(), &all).map_err(failed("hand on"))
}

fn send(control: BorrowedFd<'_>, all: &[OwnedFd]) -> Result<(), Errno> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let held: Vec<BorrowedFd<'_>> = all.iter().map(AsFd::as_fd).collect();
    ancillary.push(SendAncillaryMessage::ScmRights(&held));
    rustix::net::sendmsg(control, &[IoSlice::new(b"n")], &mut ancillary, SendFlags::empty()).map(drop)
}
