//! What the kernel counts of a cgroup: time, memory, pressure; and, for metrics, all the rest.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `meter` | [`Meter`]: the few figures that are asked for all the time, over files that stay open |
//! | `detail` | [`Detail`]: throttling, limits, tasks, huge pages, disks |
//! | `text` | the kernel's files, taken apart |
//!
//! A figure comes from the hierarchy that has its controller. Pressure and, without a v1 `cpuacct`, time are counted by the unified
//! hierarchy whether or not it has controllers.
//!
//! *Invariant:* what the kernel does not count is `None`, never 0. A cgroup that is gone has nothing, which is no error. A read is of
//! files whose names are known; no directory is listed, but where a cgroup has cgroups below it and its processes are asked for.
//!
//! Sources: `cgroup-v1/{cpuacct,memory,blkio-controller,hugetlb,pids}.rst`, `cgroup-v2.rst`, `accounting/psi.rst` of the kernel.

mod detail;
mod meter;
mod text;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread};

use crate::Error;
pub use detail::{Cpu, Detail, Disk, Huge, MemoryLimits, Operation, Tasks, Throttling, processes};
pub use meter::{Meter, time};

/// The figures that are asked for all the time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Usage {
    /// Time on all CPUs since the cgroup was made, nanoseconds.
    pub cpu: Option<u64>,
    /// Memory.
    pub memory: Option<Memory>,
    /// How long its tasks waited.
    pub pressure: Pressure,
}

/// Memory, in bytes; counts since the cgroup was made. Cgroups below are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// All that is charged.
    pub usage: u64,
    /// Pages of files that were not touched for long: the first to be given back.
    pub inactive_file: u64,
    /// Pages of files that were.
    pub active_file: u64,
    /// Anonymous memory, huge pages and what is on its way to or from swap included.
    pub rss: u64,
    /// Pages of files, in all.
    pub cache: u64,
    /// Pages of files that are mapped.
    pub mapped_file: u64,
    /// Faults of its own and of cgroups below it; major ones included.
    pub faults: u64,
    /// Faults that waited for a disk.
    pub major_faults: u64,
    /// The same without the cgroups below it, where the kernel tells them apart (v1).
    pub own_faults: Option<(u64, u64)>,
    /// In swap; none where swap is not counted.
    pub swap: Option<u64>,
    /// Its own limit; none if it has none.
    pub limit: Option<u64>,
    /// The limit of its swap; none if it has none or swap is not counted.
    pub swap_limit: Option<u64>,
    /// Kernel memory, where it is a line of `memory.stat` (v2).
    pub kernel: Option<u64>,
}

impl Memory {
    /// What cannot be given back at once: usage without inactive pages of files, as cAdvisor has it.
    #[must_use]
    pub fn working_set(&self) -> u64 {
        self.usage.saturating_sub(self.inactive_file)
    }

    /// What is left of the limit over the working set; none without a limit.
    #[must_use]
    pub fn available(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.working_set()))
    }

    /// What is left of the limit of swap; none without one.
    #[must_use]
    pub fn swap_available(&self) -> Option<u64> {
        Some(self.swap_limit?.saturating_sub(self.swap?))
    }
}

/// How long tasks waited, by what for; none where the kernel does not count it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    /// For a CPU.
    pub cpu: Option<Stall>,
    /// For memory.
    pub memory: Option<Stall>,
    /// For a disk.
    pub io: Option<Stall>,
}

/// What a pressure file says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stall {
    /// While at least one task waited.
    pub some: Share,
    /// While all did.
    pub full: Share,
}

/// A share of time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Share {
    /// Per cent of the last 10 seconds.
    pub avg10: f64,
    /// Per cent of the last minute.
    pub avg60: f64,
    /// Per cent of the last 5 minutes.
    pub avg300: f64,
    /// In all, microseconds.
    pub total: u64,
}

/// A whole file that the kernel makes in one piece. None of those that are read here is longer.
type Buffer = [u8; 16 << 10];
const BUFFER: Buffer = [0; 16 << 10];

/// Opens a file of a cgroup; none if it is not there.
fn open(directory: impl AsFd, name: impl rustix::path::Arg + Copy) -> Result<Option<OwnedFd>, Errno> {
    match openat(directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(errno) if absent(errno) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens a directory, to open files in it; none if it is not there.
fn directory(path: &Path) -> Result<Option<OwnedFd>, Error> {
    match openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(errno) if absent(errno) => Ok(None),
        Err(errno) => Err(unread(path, errno)),
    }
}

/// What a file says now; none if its cgroup is gone.
fn read(file: impl AsFd, buffer: &mut Buffer) -> Result<Option<&str>, Errno> {
    match pread(file, &mut buffer[..], 0) {
        // The kernel writes ASCII; what is not is no figure.
        Ok(length) => Ok(std::str::from_utf8(&buffer[..length]).ok()),
        Err(errno) if absent(errno) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A file that is not there; of a cgroup that is gone; of a counter that is switched off (pressure).
fn absent(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP)
}

fn unread(file: &Path, errno: Errno) -> Error {
    Error::Read { file: file.to_owned(), source: io::Error::from(errno) }
}

#[cfg(test)]
mod tests;
