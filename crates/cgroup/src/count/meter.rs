//! A meter: the files of the figures that are asked for all the time, kept open.
//!
//! Opening a cgroup's file costs ten times what reading it does (5.4 µs against 0.5), so whoever reads often keeps them. An open file
//! does not keep its cgroup: it can be removed, and the file then has nothing to say. It does keep some memory of the kernel's
//! (4.6 KiB a file, its buffer), so whoever has not read for a while lets go.
//!
//! *Invariant:* a meter that was opened before its cgroup was made says nothing for ever; it is to be opened anew.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::CWD;

use super::{BUFFER, Buffer, Memory, Pressure, Stall, Usage, directory, open, read, text, unread};
use crate::Error;
use crate::hierarchy::{Hierarchies, relative};

/// The open files of one cgroup.
#[derive(Debug)]
pub struct Meter {
    /// The cgroup, for what is said of it.
    path: PathBuf,
    /// v1: nanoseconds; v2: among other things, microseconds.
    time: Option<Kept>,
    memory: Option<MemoryFiles>,
    cpu_pressure: Option<Kept>,
    memory_pressure: Option<Kept>,
    io_pressure: Option<Kept>,
}

#[derive(Debug)]
struct MemoryFiles {
    usage: Kept,
    stat: Kept,
    limit: Option<Kept>,
    /// v1: of memory and swap together.
    swap_limit: Option<Kept>,
    /// v2 only: on v1 it is a line of `stat`.
    swap: Option<Kept>,
}

/// A file that is kept open.
#[derive(Debug)]
struct Kept {
    file: OwnedFd,
    name: &'static str,
}

const TIME_V1: &str = "cpuacct.usage";
const MEMORY_V1: &str = "memory.usage_in_bytes";

/// Time on all CPUs of a cgroup that is asked seldom, nanoseconds: opened, read, closed. None if it is gone or nothing counts it.
///
/// # Errors
/// [`Error::Path`], [`Error::Read`].
pub fn time(hierarchies: &Hierarchies, path: &str) -> Result<Option<u64>, Error> {
    let below = relative(path)?;
    let (mount, name) = match hierarchies.v1("cpuacct") {
        Some(mount) => (Some(mount), TIME_V1),
        None => (hierarchies.unified(), "cpu.stat"),
    };
    let Some(mount) = mount else { return Ok(None) };
    let file = mount.join(below).join(name);
    let Some(opened) = open(CWD, &file).map_err(|errno| unread(&file, errno))? else { return Ok(None) };
    let buffer = &mut { BUFFER };
    let said = read(&opened, buffer).map_err(|errno| unread(&file, errno))?;
    Ok(said.and_then(if name == TIME_V1 { text::number } else { microseconds }))
}

/// `usage_usec` of `cpu.stat`, as nanoseconds.
fn microseconds(said: &str) -> Option<u64> {
    Some(text::field(said, "usage_usec")?.saturating_mul(1000))
}

/// Where the files of one cgroup are opened.
struct Place<'a> {
    path: &'a str,
    directory: Option<OwnedFd>,
}

impl Place<'_> {
    fn keep(&self, name: &'static str) -> Result<Option<Kept>, Error> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let opened =
            open(directory, name).map_err(|errno| unread(&PathBuf::from(self.path).join(name), errno))?;
        Ok(opened.map(|file| Kept { file, name }))
    }
}

impl Meter {
    /// Opens what there is of the cgroup `path`.
    ///
    /// # Errors
    /// [`Error::Path`]; [`Error::Read`] if what is there cannot be opened.
    pub fn open(hierarchies: &Hierarchies, path: &str) -> Result<Self, Error> {
        let below = relative(path)?;
        let place = |mount: Option<&std::path::Path>| -> Result<Place<'_>, Error> {
            let directory = mount.map(|mount| directory(&mount.join(&below))).transpose()?.flatten();
            Ok(Place { path, directory })
        };
        let unified = place(hierarchies.unified())?;
        let time = match hierarchies.v1("cpuacct") {
            Some(mount) => place(Some(mount))?.keep(TIME_V1)?,
            None => unified.keep("cpu.stat")?,
        };
        let memory = match hierarchies.v1("memory") {
            Some(mount) => MemoryFiles::v1(&place(Some(mount))?, hierarchies.counts_swap())?,
            None => MemoryFiles::v2(&unified)?,
        };
        Ok(Meter {
            time,
            memory,
            cpu_pressure: unified.keep("cpu.pressure")?,
            memory_pressure: unified.keep("memory.pressure")?,
            io_pressure: unified.keep("io.pressure")?,
            path: path.into(),
        })
    }

    /// How many files it keeps open; 0 if the cgroup was not there.
    #[must_use]
    pub fn files(&self) -> usize {
        let memory = self.memory.as_ref().map_or(0, |memory| {
            2 + [&memory.limit, &memory.swap_limit, &memory.swap].into_iter().flatten().count()
        });
        let others = [&self.time, &self.cpu_pressure, &self.memory_pressure, &self.io_pressure];
        memory + others.into_iter().flatten().count()
    }

    /// Time on all CPUs, nanoseconds; none if the cgroup is gone or nothing counts it.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn cpu(&self) -> Result<Option<u64>, Error> {
        self.time(&mut { BUFFER })
    }

    /// All figures.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn usage(&self) -> Result<Usage, Error> {
        let buffer = &mut { BUFFER };
        Ok(Usage {
            cpu: self.time(buffer)?,
            memory: self.memory(buffer)?,
            pressure: Pressure {
                cpu: self.stall(self.cpu_pressure.as_ref(), buffer)?,
                memory: self.stall(self.memory_pressure.as_ref(), buffer)?,
                io: self.stall(self.io_pressure.as_ref(), buffer)?,
            },
        })
    }

    fn said<'b>(&self, kept: &Kept, buffer: &'b mut Buffer) -> Result<Option<&'b str>, Error> {
        read(&kept.file, buffer).map_err(|errno| unread(&self.path.join(kept.name), errno))
    }

    fn one(
        &self,
        kept: Option<&Kept>,
        buffer: &mut Buffer,
        parse: fn(&str) -> Option<u64>,
    ) -> Result<Option<u64>, Error> {
        let Some(kept) = kept else { return Ok(None) };
        Ok(self.said(kept, buffer)?.and_then(parse))
    }

    fn time(&self, buffer: &mut Buffer) -> Result<Option<u64>, Error> {
        let v1 = self.time.as_ref().is_some_and(|kept| kept.name == TIME_V1);
        self.one(self.time.as_ref(), buffer, if v1 { text::number } else { microseconds })
    }

    fn memory(&self, buffer: &mut Buffer) -> Result<Option<Memory>, Error> {
        let Some(files) = &self.memory else { return Ok(None) };
        let Some(usage) = self.one(Some(&files.usage), buffer, text::number)? else { return Ok(None) };
        let limit = self.one(files.limit.as_ref(), buffer, text::limit)?;
        let swap_limit = self.one(files.swap_limit.as_ref(), buffer, text::limit)?;
        let swap = self.one(files.swap.as_ref(), buffer, text::number)?;
        let Some(stat) = self.said(&files.stat, buffer)? else { return Ok(None) };
        Ok(Some(if files.usage.name == MEMORY_V1 {
            let swap_limit = swap_limit.map(|both| both.saturating_sub(limit.unwrap_or(0)));
            Memory { limit, swap_limit, ..text::memory_v1(stat, usage) }
        } else {
            Memory { swap, limit, swap_limit, ..text::memory_v2(stat, usage) }
        }))
    }

    fn stall(&self, kept: Option<&Kept>, buffer: &mut Buffer) -> Result<Option<Stall>, Error> {
        let Some(kept) = kept else { return Ok(None) };
        Ok(self.said(kept, buffer)?.and_then(text::stall))
    }
}

impl MemoryFiles {
    fn v1(place: &Place<'_>, swap: bool) -> Result<Option<Self>, Error> {
        let (Some(usage), Some(stat)) = (place.keep(MEMORY_V1)?, place.keep("memory.stat")?) else {
            return Ok(None);
        };
        let swap_limit = if swap { place.keep("memory.memsw.limit_in_bytes")? } else { None };
        Ok(Some(MemoryFiles {
            usage,
            stat,
            limit: place.keep("memory.limit_in_bytes")?,
            swap_limit,
            swap: None,
        }))
    }

    fn v2(place: &Place<'_>) -> Result<Option<Self>, Error> {
        let (Some(usage), Some(stat)) = (place.keep("memory.current")?, place.keep("memory.stat")?) else {
            return Ok(None);
        };
        Ok(Some(MemoryFiles {
            usage,
            stat,
            limit: place.keep("memory.max")?,
            swap_limit: place.keep("memory.swap.max")?,
            swap: place.keep("memory.swap.current")?,
        }))
    }
}
