//! The container's cgroups: made before the clone, removed after the end. What is done is done by `orlop_cgroup`; here it is done
//! without waiting.
//!
//! *Invariant:* what is removed was made by this shim, or is below it.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use orlop_cgroup::{Error, act};
use orlop_wire::plan::{Cgroup, Oom};
use orlop_wire::record::Failure;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

fn path(directory: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(directory.to_bytes()))
}

/// Puts this process where the plan says: outside the pod.
pub(crate) fn enter(procs: &[CString]) -> Result<(), Failure> {
    for file in procs {
        let put = || {
            rustix::io::write(rustix::fs::openat(CWD, file.as_c_str(), OFlags::WRONLY, Mode::empty())?, b"0")
        };
        put()
            .map_err(|errno: Errno| crate::record::failure("enter cgroup", file.to_string_lossy(), errno))?;
    }
    Ok(())
}

/// Makes them and writes their values.
pub(crate) fn make(cgroups: &[Cgroup]) -> Result<(), Failure> {
    act::apply(cgroups).map_err(|error| failure(&error))
}

fn failure(error: &Error) -> Failure {
    let source = std::error::Error::source(error);
    let errno = source.and_then(|source| source.downcast_ref::<std::io::Error>()?.raw_os_error());
    Failure {
        stage: "cgroup".into(),
        object: error.to_string(),
        operation: None,
        errno: errno.unwrap_or_default(),
        detail: String::new(),
    }
}

/// Ends every process in a cgroup and below.
pub(crate) fn kill(directory: &CStr) {
    // It says that some are left, since it does not wait; the loop sees their ends.
    let _ = act::kill(path(directory), Duration::ZERO);
}

/// Removes those that are not kept, with what is below them. Whether all are gone: a process that is still ending keeps its
/// cgroup a moment longer.
pub(crate) fn remove(cgroups: &[Cgroup]) -> bool {
    let its_own = cgroups.iter().rev().filter(|cgroup| !cgroup.keep);
    its_own.filter(|cgroup| act::remove(path(&cgroup.directory), Duration::ZERO).is_err()).count() == 0
}

/// How many processes the kernel has killed for want of memory.
pub(crate) fn oom_kills(oom: &Oom) -> u64 {
    match oom {
        Oom::Nowhere => 0,
        Oom::V1 { directory } | Oom::V2 { directory } => act::oom_kills(path(directory)).unwrap_or(0),
    }
}
