//! Processes of a cgroup are stopped where they are, all at once, and go on: `cgroup.freeze` of version 2 (Documentation/admin-guide/
//! cgroup-v2.rst), `freezer.state` of version 1 (admin-guide/cgroup-v1/freezer-subsystem.rst).
//!
//! *Invariant:* what is frozen is below one directory. A freeze that does not come about is taken back before its error is told.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Error;
use crate::act::put;

/// Between two looks at a cgroup that is to freeze.
const PAUSE: Duration = Duration::from_millis(1);

/// The directory by which a container's processes can be frozen, of those that it has in its hierarchies. Version 2 is preferred:
/// what is frozen there can still be traced and killed.
#[must_use]
pub fn freezer<'a>(unified: Option<&'a Path>, others: &'a [PathBuf]) -> Option<&'a Path> {
    let unified = unified.filter(|directory| directory.join(V2).exists());
    unified.or_else(|| others.iter().map(PathBuf::as_path).find(|directory| directory.join(V1).exists()))
}

const V1: &str = "freezer.state";
const V2: &str = "cgroup.freeze";

/// Stops every process in a cgroup and below, and waits until all have stopped, `patience` at most.
///
/// # Errors
/// [`Error::Write`] or [`Error::Read`] if it has no freezer; [`Error::Alive`] if some do not stop.
pub fn freeze(directory: &Path, patience: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    loop {
        // Version 1 is told again: a process that was born meanwhile is caught by that.
        if let Err(error) = tell(directory, true).and_then(|()| is_frozen(directory)).and_then(|frozen| {
            if frozen {
                Ok(())
            } else {
                Err(Error::Alive { directory: directory.to_owned(), processes: Vec::new() })
            }
        }) {
            if matches!(error, Error::Alive { .. }) && Instant::now() < deadline {
                std::thread::sleep(PAUSE);
                continue;
            }
            let _ = thaw(directory);
            return Err(error);
        }
        return Ok(());
    }
}

/// Lets them go on. A cgroup that is gone is no error.
///
/// # Errors
/// [`Error::Write`].
pub fn thaw(directory: &Path) -> Result<(), Error> {
    if crate::act::exists(directory) { tell(directory, false) } else { Ok(()) }
}

/// Whether all of them have stopped.
///
/// # Errors
/// [`Error::Read`].
pub fn is_frozen(directory: &Path) -> Result<bool, Error> {
    let read = |file: PathBuf| std::fs::read_to_string(&file).map_err(|source| Error::Read { file, source });
    if directory.join(V2).exists() {
        let events = read(directory.join("cgroup.events"))?;
        return Ok(events.lines().any(|line| line == "frozen 1"));
    }
    Ok(read(directory.join(V1))?.trim() == "FROZEN")
}

fn tell(directory: &Path, frozen: bool) -> Result<(), Error> {
    let v2 = directory.join(V2);
    let (file, value) = match (v2.exists(), frozen) {
        (true, true) => (v2, "1"),
        (true, false) => (v2, "0"),
        (false, true) => (directory.join(V1), "FROZEN"),
        (false, false) => (directory.join(V1), "THAWED"),
    };
    put(&file, value.as_bytes()).map_err(|source| Error::Write { file, value: value.into(), source })
}
