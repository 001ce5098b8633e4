//! Making, ending and removing cgroups; reading what the kernel counts.
//!
//! *Invariant:* everything can be said again: what is there is not made, what is gone is not removed, and neither is an error.
//! Every wait has an end that the caller chose.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use orlop_sys::bpf;
use orlop_wire::plan::Cgroup;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::Error;

/// Between two looks at a cgroup that is to become empty.
const PAUSE: Duration = Duration::from_millis(2);

/// Makes a directory, with its parents, unless it is there.
///
/// # Errors
/// [`Error::Make`].
pub fn make(directory: &Path) -> Result<(), Error> {
    // The parents mostly exist: one call, not one for each part of the path.
    match fs::create_dir(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(directory),
        Err(error) => Err(error),
    }
    .map_err(|source| Error::Make { directory: directory.to_owned(), source })
}

/// Makes directories and writes their values, in order.
///
/// # Errors
/// [`Error::Make`]; [`Error::Write`] for a value that is required.
pub fn apply(cgroups: &[Cgroup]) -> Result<(), Error> {
    for cgroup in cgroups {
        let directory = Path::new(std::ffi::OsStr::from_bytes(cgroup.directory.as_bytes()));
        make(directory)?;
        for write in &cgroup.writes {
            let file = directory.join(std::ffi::OsStr::from_bytes(write.file.as_bytes()));
            let written = put(&file, write.value.as_bytes()).and_then(|()| holds(&file));
            if let (Err(source), true) = (written, write.required) {
                let value = write.value.to_string_lossy().into_owned();
                return Err(Error::Write { file, value, source });
            }
        }
        if !cgroup.devices.is_empty() {
            judge(directory, &cgroup.devices)?;
        }
    }
    Ok(())
}

/// Has a program (see [`crate::devices::program`]) judge devices in a cgroup of the unified hierarchy. One of ours that is there
/// is replaced at once, so that there is no moment without; those of others (systemd's) judge beside it.
///
/// # Errors
/// [`Error::Devices`].
pub fn judge(directory: &Path, program: &[u8]) -> Result<(), Error> {
    let attach = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let cgroup = rustix::fs::open(directory, flags, Mode::empty())?;
        let program = bpf::load_device_program(program)?;
        let earlier = bpf::attached_device_program(cgroup.as_fd())?;
        bpf::attach_device_program(cgroup.as_fd(), program.as_fd(), earlier.as_ref().map(AsFd::as_fd))
    };
    attach().map_err(|errno: Errno| Error::Devices { directory: directory.to_owned(), source: errno.into() })
}

/// Puts a process into a cgroup.
///
/// # Errors
/// [`Error::Write`].
pub fn enter(directory: &Path, process: u32) -> Result<(), Error> {
    let file = directory.join("cgroup.procs");
    let value = process.to_string();
    put(&file, value.as_bytes()).map_err(|source| Error::Write { file, value, source })
}

/// One write(2), which is how the kernel takes a value: never created, never cut.
pub(crate) fn put(file: &Path, value: &[u8]) -> io::Result<()> {
    File::options().write(true).open(file)?.write_all(value)
}

/// Whether what was written to a file holds: a partition of CPUs is taken in any case, and then says why it is none.
pub(crate) fn holds(file: &Path) -> io::Result<()> {
    if !file.ends_with("cpuset.cpus.partition") {
        return Ok(());
    }
    let said = fs::read_to_string(file)?;
    if said.contains("invalid") { Err(io::Error::other(said.trim().to_owned())) } else { Ok(()) }
}

/// Whether the cgroup is there.
#[must_use]
pub fn exists(directory: &Path) -> bool {
    directory.is_dir()
}

/// The processes in a cgroup, without those of the cgroups below it; none if it is not there.
///
/// # Errors
/// [`Error::Read`].
pub fn processes(directory: &Path) -> Result<Vec<i32>, Error> {
    let file = directory.join("cgroup.procs");
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        // The directory went away while it was open.
        Err(error) if gone(&error) => Ok(Vec::new()),
        Err(source) => Err(Error::Read { file, source }),
    }
}

/// Kills every process in a cgroup and below it, and waits until none is left, `patience` at most.
///
/// On v2 the kernel does it at once, forks included: `cgroup.kill`. On v1 processes are killed as they are listed, each held by a
/// pidfd, until the list stays empty.
///
/// # Errors
/// [`Error::Alive`] if some are left (in an uninterruptible sleep; frozen); [`Error::Kill`]; [`Error::Read`].
pub fn kill(directory: &Path, patience: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    let at_once = match put(&directory.join("cgroup.kill"), b"1") {
        Ok(()) => true,
        Err(error) if gone(&error) => false,
        Err(source) => {
            return Err(Error::Write { file: directory.join("cgroup.kill"), value: "1".into(), source });
        }
    };
    // What is frozen cannot fork away from the list; killed it ends when it is let go.
    let freezer = directory.join("freezer.state");
    let frozen = !at_once && put(&freezer, b"FROZEN").is_ok();
    let outcome = kill_below(
        directory,
        at_once,
        || {
            if frozen {
                let _ = put(&freezer, b"THAWED");
            }
        },
        deadline,
    );
    if frozen {
        let _ = put(&freezer, b"THAWED");
    }
    outcome
}

/// Kills whatever is listed in a cgroup and below it, unless the kernel does it `at_once`, until nothing is.
fn kill_below(directory: &Path, at_once: bool, killed: impl Fn(), deadline: Instant) -> Result<(), Error> {
    loop {
        let mut left = Vec::new();
        for place in tree(directory) {
            let listed = processes(&place)?;
            if !at_once {
                for process in &listed {
                    kill_listed(&place, *process)?;
                }
            }
            left.extend(listed);
        }
        killed();
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Alive { directory: directory.to_owned(), processes: left });
        }
        thread::sleep(PAUSE);
    }
}

/// Kills a process that was listed, unless its number has passed to another one meanwhile.
fn kill_listed(directory: &Path, process: i32) -> Result<(), Error> {
    // 0 stands for a process of another PID namespace: nobody that we could name.
    let Some(pid) = Pid::from_raw(process).filter(|_| process > 0) else { return Ok(()) };
    let failed =
        |errno: Errno| Error::Kill { directory: directory.to_owned(), process, source: errno.into() };
    let held = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(held) => held,
        Err(Errno::SRCH) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    // Still listed while it is held: then either it is the one, or the one held is dead and the signal goes nowhere.
    if !processes(directory)?.contains(&process) {
        return Ok(());
    }
    match pidfd_send_signal(&held, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

/// Removes a cgroup and those below it, and tries again while processes are still leaving it, `patience` at most.
///
/// # Errors
/// [`Error::Alive`] if processes are left; [`Error::Remove`].
pub fn remove(directory: &Path, patience: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    loop {
        match remove_tree(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                if Instant::now() < deadline {
                    thread::sleep(PAUSE);
                    continue;
                }
                let mut left = Vec::new();
                for place in tree(directory) {
                    left.extend(processes(&place)?);
                }
                let directory = directory.to_owned();
                return Err(if left.is_empty() {
                    Error::Remove { directory, source: error }
                } else {
                    Error::Alive { directory, processes: left }
                });
            }
            Err(source) => return Err(Error::Remove { directory: directory.to_owned(), source }),
        }
    }
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
            let below = children(directory);
            if below.is_empty() {
                return Err(error);
            }
            below.iter().try_for_each(|child| remove_tree(child))?;
            match fs::remove_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            }
        }
        result => result,
    }
}

/// The directory by which all processes of a container are ended, of those that it has: the unified one, which does it at once;
/// else the freezer's, which holds them meanwhile; else any.
#[must_use]
pub fn ending<'a>(unified: Option<&'a Path>, all: &[&'a Path]) -> Option<&'a Path> {
    let is_freezer = |directory: &&&Path| directory.iter().any(|part| part == "freezer");
    unified.or_else(|| all.iter().find(is_freezer).or(all.first()).copied())
}

/// How many processes of the cgroup the kernel has killed for want of memory, on either version, and of all below it; 0 if it is
/// not there.
///
/// v1: `oom_kill` of `memory.oom_control`, which knows of its own alone; v2: of `memory.events`.
///
/// # Errors
/// [`Error::Read`].
pub fn oom_kills(directory: &Path) -> Result<u64, Error> {
    for name in ["memory.events", "memory.oom_control"] {
        let file = directory.join(name);
        match fs::read_to_string(&file) {
            Ok(text) => {
                let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
                return Ok(kills.and_then(|count| count.trim().parse().ok()).unwrap_or(0));
            }
            Err(error) if gone(&error) => {}
            Err(source) => return Err(Error::Read { file, source }),
        }
    }
    Ok(0)
}

/// A cgroup and all below it.
pub(crate) fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut places = vec![directory.to_owned()];
    let mut next = 0;
    while let Some(place) = places.get(next) {
        let below = children(place);
        places.extend(below);
        next += 1;
    }
    places
}

/// The cgroups right below; one that goes away meanwhile has none.
fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

/// What the kernel says of a cgroup that is not there any more: ENOENT when it is opened, ENODEV when it is read or written.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}
