//! Starts the shim's program.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use orlop_model::report::{Kind, Report};
use orlop_sys::process::{Spawned, spawn};
use orlop_wire::record::file;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::Pid;

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
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(life) = rustix::fs::open(directory.join(file::LIFE), flags, Mode::empty()) else { return false };
    // Shared, so that two who look do not see each other; it is free again when the descriptor is closed.
    matches!(flock(&life, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
}

/// Kills whoever lives in this state directory and can be named by nobody: a daemon died between its start and the record of its
/// number, or it does not listen. Who has the life file open is who holds its lock. Blocks.
pub(crate) fn kill_holders(directory: &Path) {
    // Links are read, never followed: what they lead to may be a file of a server that does not answer.
    let Ok(life) = std::fs::canonicalize(directory.join(file::LIFE)) else { return };
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let holds = |pid: Pid| {
        let descriptors = PathBuf::from(format!("/proc/{}/fd", pid.as_raw_nonzero()));
        entries(&descriptors).any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == life))
    };
    let own = rustix::process::getpid();
    for entry in entries(Path::new("/proc")) {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = number.and_then(Pid::from_raw).filter(|pid| *pid != own && holds(*pid))
            && let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            // Once more, now that the number can be no other's.
            && holds(pid)
        {
            let _ = orlop_sys::signal::send(pidfd.as_fd(), libc::SIGKILL);
        }
    }
}
