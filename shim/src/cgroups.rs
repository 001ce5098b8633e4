//! The container's cgroups: made before the clone, removed after the end.
//!
//! *Invariant:* what is removed was made by this shim, or is below it.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use orlop_wire::plan::{Cgroup, CgroupWrite};
use orlop_wire::record::Failure;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, unlinkat};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Puts this process where the plan says: outside the pod.
pub(crate) fn enter(procs: &[std::ffi::CString]) -> Result<(), Failure> {
    for file in procs {
        let put = || {
            rustix::io::write(rustix::fs::openat(CWD, file.as_c_str(), OFlags::WRONLY, Mode::empty())?, b"0")
        };
        put().map_err(|errno| failure("enter cgroup", file, errno))?;
    }
    Ok(())
}

/// Makes them and writes their values.
pub(crate) fn make(cgroups: &[Cgroup]) -> Result<(), Failure> {
    for cgroup in cgroups {
        let directory =
            ensure(&cgroup.directory).map_err(|errno| failure("make cgroup", &cgroup.directory, errno))?;
        for write in &cgroup.writes {
            write_value(&directory, write).map_err(|errno| {
                let mut failure = failure("cgroup", &cgroup.directory, errno);
                failure.object = format!("{}/{}", failure.object, write.file.to_string_lossy());
                failure.detail = format!("value \"{}\"", write.value.to_string_lossy());
                failure
            })?;
        }
    }
    Ok(())
}

fn write_value(directory: &OwnedFd, write: &CgroupWrite) -> Result<(), Errno> {
    let file =
        rustix::fs::openat(directory, write.file.as_c_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    match file.and_then(|file| rustix::io::write(file, write.value.to_bytes())) {
        Err(errno) if write.required => Err(errno),
        _ => Ok(()),
    }
}

/// The directory, made with its parents if it is missing.
fn ensure(path: &CStr) -> Result<OwnedFd, Errno> {
    let open = || rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty());
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => return open(),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let text = path.to_bytes();
    let parent = text.iter().rposition(|&byte| byte == b'/').filter(|&at| at > 0).ok_or(Errno::NOENT)?;
    let parent = std::ffi::CString::new(&text[..parent]).map_err(|_| Errno::INVAL)?;
    ensure(&parent)?;
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => open(),
        Err(errno) => Err(errno),
    }
}

/// Ends every process in a directory of the unified hierarchy and below: cgroups(7), `cgroup.kill`.
pub(crate) fn kill(unified: &CStr) -> Result<(), Errno> {
    let directory = rustix::fs::openat(CWD, unified, DIRECTORY, Mode::empty())?;
    let file = rustix::fs::openat(directory, "cgroup.kill", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, b"1").map(drop)
}

/// Removes those that are not kept, with what is below them. Whether all are gone: a process that is still ending keeps its
/// cgroup a moment longer.
pub(crate) fn remove(cgroups: &[Cgroup]) -> bool {
    let its_own = cgroups.iter().rev().filter(|cgroup| !cgroup.keep);
    its_own.filter(|cgroup| !remove_tree(&cgroup.directory)).count() == 0
}

fn remove_tree(path: &CStr) -> bool {
    match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return true,
        Err(_) => {}
    }
    // Not empty: cgroups that the container has made below its own.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(entries) = rustix::fs::openat(CWD, path, flags, Mode::empty()).and_then(Dir::new) else {
        return false;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            let below = [path.to_bytes(), b"/", name.to_bytes()].concat();
            if let Ok(below) = std::ffi::CString::new(below) {
                remove_tree(&below);
            }
        }
    }
    matches!(unlinkat(CWD, path, AtFlags::REMOVEDIR), Ok(()) | Err(Errno::NOENT))
}

fn failure(stage: &str, path: &CStr, errno: Errno) -> Failure {
    crate::record::failure(stage, path.to_string_lossy(), errno)
}
