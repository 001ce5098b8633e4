//! A pod's user namespace with those that it owns: made by a shim's program, since a process of many threads cannot enter one.
//!
//! *Invariant:* they are held by descriptors alone until the room pins them, so there is nothing to take down before.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use orlop_model::pod::UserMaps;
use orlop_model::report::{Kind, Report};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::Core;
use super::pod::Pod;
use crate::room::{sysctl_path, sysctl_refused};

/// What is made in it: a pod with a user namespace has all of its own.
const KINDS: u64 = libc::CLONE_NEWNET as u64 | libc::CLONE_NEWIPC as u64 | libc::CLONE_NEWUTS as u64;

/// Whether only root of the user namespace that owns its namespace may write a sysctl: those of IPC. The node's root writes the
/// others, whose values may speak of the node's ids.
pub(super) fn is_roots(name: &str) -> bool {
    !name.starts_with("net.")
}

/// The descriptors: user, network, IPC, UTS. Blocks.
///
/// # Errors
/// What the kernel does not let it make.
pub(super) fn make(core: &Core, pod: &Pod, maps: UserMaps) -> Result<Vec<OwnedFd>, Report> {
    let failed = |errno: Errno| Report::new(Kind::Failed, "make user namespace", pod.id.short(), errno);
    let kind = SocketType::SEQPACKET;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(failed)?;
    let (uids, gids, kinds) = (maps.uids.to_string(), maps.gids.to_string(), KINDS.to_string());
    let sysctls: Vec<(&String, &String)> =
        pod.config.sysctls.iter().filter(|(name, _)| is_roots(name)).collect();
    let paths: Vec<String> = sysctls.iter().map(|(name, _)| sysctl_path(name)).collect();
    let mut arguments = vec!["spaces", &uids, &gids, &kinds];
    for ((_, value), path) in sysctls.iter().zip(&paths) {
        arguments.extend([path.as_str(), value.as_str()]);
    }
    let spawned = core.shim.start(&arguments, &[theirs.as_fd()])?;
    drop(theirs);
    let heard = hear(&ours);
    let _ = waitid(WaitId::PidFd(spawned.pidfd.as_fd()), WaitIdOptions::EXITED);
    let (descriptors, said) = heard.map_err(failed)?;
    if descriptors.len() == 4 {
        return Ok(descriptors);
    }
    // An errno, and what was being done.
    let (errno, step) = said.split_once(' ').unwrap_or(("", "hear of"));
    let errno = errno.parse().map_or(Errno::PIPE, Errno::from_raw_os_error);
    let refused = step.strip_prefix("sysctl ").and_then(|number| sysctls.get(number.parse::<usize>().ok()?));
    if let Some((name, value)) = refused {
        return Err(sysctl_refused(name, value, errno));
    }
    let report =
        Report::new(Kind::Failed, "make user namespace", pod.id.short(), format!("{step} it: {errno}"));
    Err(match errno {
        Errno::NOSPC | Errno::USERS => report.advise("raise the node's sysctl user.max_user_namespaces"),
        _ => report,
    })
}

fn hear(socket: &OwnedFd) -> Result<(Vec<OwnedFd>, String), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 64];
    let mut pieces = [IoSliceMut::new(&mut bytes)];
    let length = recvmsg(socket, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(held) = message {
            descriptors.extend(held);
        }
    }
    Ok((descriptors, String::from_utf8_lossy(&bytes[..length]).into_owned()))
}
