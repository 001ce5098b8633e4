//! What is on disk before anyone is told.
//!
//! *Invariant:* a record appears by one rename, whole. The room of the exit record is taken before the container begins.

use std::time::{SystemTime, UNIX_EPOCH};

use orlop_wire::code::Wire;
use orlop_wire::record::{Born, Exited, Failure, file};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

/// An exit record is no longer than this: its texts are cut.
const RESERVED: usize = 4096;

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A failure of the kernel's.
pub(crate) fn failure(stage: &str, object: impl Into<String>, errno: Errno) -> Failure {
    Failure {
        stage: stage.into(),
        object: object.into(),
        operation: None,
        errno: errno.raw_os_error(),
        detail: String::new(),
    }
}

/// Takes the room of the exit record.
pub(crate) fn reserve() -> Result<(), Failure> {
    put(file::EXIT_RESERVED, &[0; RESERVED]).map_err(|errno| failure("reserve", file::EXIT_RESERVED, errno))
}

/// The program runs.
pub(crate) fn born(born: &Born) -> Result<(), Errno> {
    let temporary = "born.new";
    put(temporary, &born.to_bytes())?;
    rustix::fs::renameat(CWD, temporary, CWD, file::BORN)
}

/// It has ended: written over the reserved room, then renamed.
pub(crate) fn exited(exited: &Exited) -> Result<(), Errno> {
    let mut bytes = exited.to_bytes();
    if bytes.len() > RESERVED {
        let mut shorter = exited.clone();
        if let Some(failure) = &mut shorter.failure {
            failure.object = failure.object.chars().take(512).collect();
            failure.detail = failure.detail.chars().take(256).collect();
        }
        bytes = shorter.to_bytes();
    }
    put(file::EXIT_RESERVED, &bytes)?;
    rustix::fs::renameat(CWD, file::EXIT_RESERVED, CWD, file::EXIT)
}

fn put(name: &str, bytes: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, name, flags, Mode::from_raw_mode(0o600))?;
    let mut left = bytes;
    while !left.is_empty() {
        left = &left[rustix::io::write(&file, left)?..];
    }
    rustix::fs::ftruncate(&file, bytes.len() as u64)
}

/// The socket's file goes when the shim does.
pub(crate) fn remove_socket() {
    let _ = rustix::fs::unlinkat(CWD, file::SOCKET, AtFlags::empty());
}
