//! The container's cgroups: made before the clone, removed after the end. What is done is done by `orlop_cgroup`; here it is done
//! without waiting.
//!
//! *Invariant:* what is removed was made by this shim, or is below it.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use orlop_cgroup::{Error, act};
use orlop_wire::plan::{Cgroup, Oom, Plan};
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

/// Ends every process in these cgroups and below, by the one of them that can do it best.
pub(crate) fn kill_all(unified: Option<&CStr>, cgroups: &[Cgroup]) {
    let own = cgroups.iter().filter(|cgroup| !cgroup.keep).map(|cgroup| path(&cgroup.directory));
    let own: Vec<&Path> = own.collect();
    if let Some(directory) = act::ending(unified.map(path), &own) {
        // It says that some are left, since it does not wait; the loop sees their ends.
        let _ = act::kill(directory, Duration::ZERO);
    }
}

/// Removes those that are not kept, with what is below them. Whether all are gone: a process that is still ending keeps its
/// cgroup a moment longer.
pub(crate) fn remove(cgroups: &[Cgroup]) -> bool {
    let its_own = cgroups.iter().rev().filter(|cgroup| !cgroup.keep);
    its_own.filter(|cgroup| act::remove(path(&cgroup.directory), Duration::ZERO).is_err()).count() == 0
}

/// Removes the container's own; whether all are gone. A unit's is left to systemd, which would not see that it is empty if it were
/// gone before it looks.
pub(crate) fn remove_own(plan: &Plan) -> bool {
    match plan.oom {
        Oom::Unit { .. } => true,
        Oom::Nowhere | Oom::V1 { .. } | Oom::V2 { .. } => remove(&plan.cgroups),
    }
}

/// How many processes of the container the kernel has killed for want of memory, and of the pod where that is counted.
pub(crate) fn oom_counts(oom: &Oom) -> (u64, u64) {
    match oom {
        Oom::Nowhere => (0, 0),
        Oom::V1 { directory } | Oom::V2 { directory } => (act::oom_kills(path(directory)).unwrap_or(0), 0),
        Oom::Unit { directory, above } => {
            let of = |directory: &CStr| act::oom_kills(path(directory)).unwrap_or(0);
            (of(directory), of(above))
        }
    }
}

/// Whether there were more since `before`. A unit's directory may be gone already; then what was counted above it stands for it.
pub(crate) fn was_oom(oom: &Oom, before: (u64, u64)) -> bool {
    let (own, above) = oom_counts(oom);
    let gone = matches!(oom, Oom::Unit { directory, .. } if !act::exists(path(directory)));
    own > before.0 || (gone && above > before.1)
}
