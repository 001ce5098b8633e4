//! Starts the shim's program.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use orlop_model::report::{Kind, Report};
use orlop_sys::process::{Spawned, spawn};
use orlop_wire::record::file;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

/// The shim's program, held by descriptor: an upgrade that removes the file takes nothing from this daemon.
#[derive(Debug)]
pub(crate) struct Program {
    file: OwnedFd,
    path: PathBuf,
    null: OwnedFd,
}

impl Program {
    /// The program at `path`.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, Report> {
        let open = |path: &Path, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
        let failed = |errno| {
            Report::new(Kind::Failed, "find shim", path.display().to_string(), errno)
                .advise("install orlop-shim beside orlopd, or set [shim] path")
        };
        let file = open(path, OFlags::PATH).map_err(failed)?;
        let null = open(Path::new("/dev/null"), OFlags::RDWR).map_err(failed)?;
        Ok(Program { file, path: path.to_owned(), null })
    }

    /// Starts it with these arguments after its name, and these descriptors from 3 on.
    ///
    /// # Errors
    /// As the kernel says.
    pub(crate) fn start(&self, arguments: &[&str], handed: &[BorrowedFd<'_>]) -> Result<Spawned, Report> {
        let failed =
            |cause: String| Report::new(Kind::Failed, "start shim", self.path.display().to_string(), cause);
        let strings: Result<Vec<CString>, _> =
            std::iter::once(&"orlop-shim").chain(arguments).map(|argument| CString::new(*argument)).collect();
        let strings = strings.map_err(|error| failed(error.to_string()))?;
        let program = CString::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
            .map_err(|error| failed(error.to_string()))?;
        let null = self.null.as_fd();
        spawn(&program, &strings, &[], [null; 3], handed).map_err(|errno| failed(errno.to_string()))
    }
}

fn open_life(directory: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(directory.join(file::LIFE), flags, Mode::from_raw_mode(0o600))
}

/// Takes the lock that says that a shim of this state directory lives. The shim inherits it with the descriptor; it is free when
/// the last process that has it is gone.
///
/// # Errors
/// `WOULDBLOCK` if a shim lives.
pub(crate) fn lock(directory: &Path) -> Result<OwnedFd, Errno> {
    let life = open_life(directory)?;
    flock(&life, FlockOperation::NonBlockingLockExclusive)?;
    Ok(life)
}

/// Whether a shim of this state directory lives.
pub(crate) fn is_locked(directory: &Path) -> bool {
    if !directory.join(file::LIFE).exists() {
        return false;
    }
    // Taken only to see whether it can be; it is free again when the descriptor is closed.
    matches!(lock(directory), Err(Errno::WOULDBLOCK))
}
