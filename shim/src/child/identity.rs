//! Who the program is and what it may do.

use std::ffi::CStr;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, configure_capability_in_ambient_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// The number of the last capability that a mask can name.
const LAST: u32 = 63;

/// setrlimit(2).
pub(super) fn limit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    orlop_sys::process::limit(resource, soft, hard)
}

/// `oom_score_adj` of proc(5).
pub(super) fn oom_score_adj(score: i32) -> Result<(), Errno> {
    let path = "/proc/self/oom_score_adj";
    let file = rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = [0; 8];
    let mut left = text.as_mut_slice();
    // Five characters at most.
    std::io::Write::write_fmt(&mut left, format_args!("{score}")).map_err(|_| Errno::INVAL)?;
    let unused = left.len();
    let length = text.len() - unused;
    rustix::io::write(file, &text[..length]).map(drop)
}

/// `proc_pid_attr(5)`, by way of the host's /proc. The kernel takes a value in one write.
pub(super) fn attribute(name: &CStr, value: &CStr) -> Result<(), Errno> {
    let (path, write) = (OFlags::PATH | OFlags::DIRECTORY, OFlags::WRONLY);
    let directory = rustix::fs::openat(CWD, "/proc/thread-self/attr", path | OFlags::CLOEXEC, Mode::empty())?;
    let file = rustix::fs::openat(directory, name, write | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, value.to_bytes()).map(drop)
}

/// prctl(2), `PR_CAPBSET_DROP`, of every capability not in `keep`.
pub(super) fn bound(keep: u64) -> Result<(), Errno> {
    for number in (0..=LAST).filter(|number| keep & (1 << number) == 0) {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// setgroups(2), setresgid(2), setresuid(2), in the only order that works; permitted capabilities survive it (prctl(2),
/// `PR_SET_KEEPCAPS`), so that [`capabilities`] can choose among them.
pub(super) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    const MOST: usize = 256;
    set_keep_capabilities(true)?;
    let mut list = [Gid::ROOT; MOST];
    let list = list.get_mut(..groups.len()).ok_or(Errno::INVAL)?;
    for (to, &from) in list.iter_mut().zip(groups) {
        *to = Gid::from_raw(from);
    }
    set_thread_groups(list)?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// setgroups(2), setresgid(2), setresuid(2) to root of the user namespace that the process is in.
pub(crate) fn become_root() -> Result<(), Errno> {
    set_thread_groups(&[])?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// prctl(2), `PR_SET_PDEATHSIG`: a container does not outlive its shim. A change of user clears it, so it is said again after one.
pub(super) fn die_with_shim() -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
}

/// capset(2), then the ambient set by prctl(2).
pub(super) fn capabilities(
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
) -> Result<(), Errno> {
    let set = CapabilitySet::from_bits_retain;
    set_capabilities(
        None,
        CapabilitySets {
            effective: set(effective),
            permitted: set(permitted),
            inheritable: set(inheritable),
        },
    )?;
    for number in (0..=LAST).filter(|number| ambient & (1 << number) != 0) {
        configure_capability_in_ambient_set(set(1 << number), true)?;
    }
    Ok(())
}
