//! All the rest: what only metrics ask for.
//!
//! *Invariant:* each directory is opened once and its files by name in it; nothing stays open.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::fstat;

use super::{BUFFER, Buffer, absent, directory, open, read, text, unread};
use crate::hierarchy::{Hierarchies, relative};
use crate::{Error, act};

/// What only metrics ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Detail {
    /// CPU time and its limits.
    pub cpu: Cpu,
    /// Memory's limits and what came of them.
    pub memory: MemoryLimits,
    /// Tasks; none where nothing counts them.
    pub tasks: Option<Tasks>,
    /// Huge pages: the size as the kernel writes it (`2MB`).
    pub huge: Vec<(String, Huge)>,
    /// What went to and from disks, of each.
    pub disks: Vec<Disk>,
}

/// CPU time and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cpu {
    /// In user mode, nanoseconds.
    pub user: Option<u64>,
    /// In the kernel, nanoseconds.
    pub system: Option<u64>,
    /// Length of a period, microseconds.
    pub period: Option<u64>,
    /// Time in a period, microseconds; none: no limit.
    pub quota: Option<u64>,
    /// Weight, as v1 counts it: 2 to 262144.
    pub shares: Option<u64>,
    /// What the quota did.
    pub throttling: Option<Throttling>,
}

/// What a quota did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttling {
    /// Periods in which anything ran.
    pub periods: u64,
    /// Those in which it had to wait.
    pub throttled: u64,
    /// How long it did, nanoseconds.
    pub time: u64,
}

/// Memory's limits and what came of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryLimits {
    /// The most that was ever charged, bytes.
    pub most: Option<u64>,
    /// How often the limit was met.
    pub failures: Option<u64>,
    /// Memory of the kernel's, bytes.
    pub kernel: Option<u64>,
    /// What is to be left to it when memory is short, bytes; none: nothing.
    pub reservation: Option<u64>,
    /// Limit of memory and swap together (v1) or of swap (v2), bytes; none: no limit.
    pub swap_limit: Option<u64>,
    /// Processes that were killed for want of memory.
    pub oom_kills: Option<u64>,
}

/// Tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tasks {
    /// How many there are: threads, not processes.
    pub current: u64,
    /// How many there may be; none: no limit.
    pub limit: Option<u64>,
}

/// Huge pages of one size, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Huge {
    /// Used now.
    pub usage: u64,
    /// The most that was ever used; v2 does not say.
    pub most: Option<u64>,
}

/// What went to or from a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// The disk's number.
    pub major: u32,
    /// The disk's number.
    pub minor: u32,
    /// What was done.
    pub operation: Operation,
    /// Bytes.
    pub bytes: u64,
    /// How often.
    pub count: u64,
}

/// What is done with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read from.
    Read,
    /// Written to.
    Write,
    /// Told what it may forget.
    Discard,
}

impl Operation {
    /// As blkio calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Operation::Read => "Read",
            Operation::Write => "Write",
            Operation::Discard => "Discard",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Operation::Read, Operation::Write, Operation::Discard].into_iter().find(|one| one.name() == name)
    }
}

/// The processes of a cgroup and of those below it.
///
/// # Errors
/// [`Error::Path`], [`Error::Read`].
pub fn processes(hierarchies: &Hierarchies, path: &str) -> Result<Vec<i32>, Error> {
    let below = relative(path)?;
    let v1 = || hierarchies.v1_mounts().into_keys().next();
    let Some(mount) = hierarchies.unified().or_else(v1) else { return Ok(Vec::new()) };
    let place = mount.join(below);
    let opened = Place { directory: directory(&place)?, path: place };
    let Some(directory) = &opened.directory else { return Ok(Vec::new()) };
    // A directory has two names, and one more in each directory right below it.
    if fstat(directory).is_ok_and(|stat| stat.st_nlink <= 2) {
        return opened.listed();
    }
    let mut all = Vec::new();
    for place in act::tree(&opened.path) {
        all.extend(act::processes(&place)?);
    }
    Ok(all)
}

/// A directory whose files are read.
struct Place {
    path: PathBuf,
    directory: Option<OwnedFd>,
}

impl Place {
    fn new(mount: Option<&Path>, below: &Path) -> Result<Self, Error> {
        let path = mount.map(|mount| mount.join(below)).unwrap_or_default();
        let directory = if mount.is_some() { directory(&path)? } else { None };
        Ok(Place { path, directory })
    }

    fn said<'b>(&self, name: &str, buffer: &'b mut Buffer) -> Result<Option<&'b str>, Error> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let failed = |errno| unread(&self.path.join(name), errno);
        let Some(file) = open(directory, name).map_err(failed)? else { return Ok(None) };
        read(&file, buffer).map_err(failed)
    }

    /// The processes in it, without those below.
    fn listed(&self) -> Result<Vec<i32>, Error> {
        const NAME: &str = "cgroup.procs";
        let failed = |errno| unread(&self.path.join(NAME), errno);
        let Some(directory) = &self.directory else { return Ok(Vec::new()) };
        let Some(file) = open(directory, NAME).map_err(failed)? else { return Ok(Vec::new()) };
        let mut list = Vec::with_capacity(512);
        loop {
            list.reserve(512);
            match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut list)) {
                Ok(0) => break,
                Ok(_) => {}
                // The cgroup is gone, and nobody is in it.
                Err(errno) if absent(errno) => break,
                Err(errno) => return Err(failed(errno)),
            }
        }
        let numbers = list.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        Ok(numbers.filter_map(|line| line.parse().ok()).collect())
    }

    fn number(&self, name: &str, buffer: &mut Buffer) -> Result<Option<u64>, Error> {
        Ok(self.said(name, buffer)?.and_then(text::number))
    }

    fn limit(&self, name: &str, buffer: &mut Buffer) -> Result<Option<u64>, Error> {
        Ok(self.said(name, buffer)?.and_then(text::limit))
    }

    fn field(&self, name: &str, key: &str, buffer: &mut Buffer) -> Result<Option<u64>, Error> {
        Ok(self.said(name, buffer)?.and_then(|said| text::field(said, key)))
    }
}

impl Detail {
    /// Reads it of the cgroup `path`.
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::Read`].
    pub fn read(hierarchies: &Hierarchies, path: &str) -> Result<Self, Error> {
        let below = relative(path)?;
        let buffer = &mut { BUFFER };
        let unified = Place::new(hierarchies.unified(), &below)?;
        let v1 = |controller: &str| match hierarchies.v1(controller) {
            Some(mount) => Place::new(Some(mount), &below).map(Some),
            None => Ok(None),
        };
        Ok(Detail {
            cpu: cpu(v1("cpuacct")?.as_ref(), v1("cpu")?.as_ref(), &unified, buffer)?,
            memory: match v1("memory")? {
                Some(place) => memory_v1(&place, buffer)?,
                None => memory_v2(&unified, buffer)?,
            },
            tasks: tasks(v1("pids")?.as_ref().unwrap_or(&unified), buffer)?,
            huge: huge(hierarchies, v1("hugetlb")?.as_ref(), &unified, buffer)?,
            disks: match v1("blkio")? {
                Some(place) => disks_v1(&place, buffer)?,
                None => unified.said("io.stat", buffer)?.map(disks_v2).unwrap_or_default(),
            },
        })
    }
}

fn cpu(
    time: Option<&Place>,
    limits: Option<&Place>,
    unified: &Place,
    buffer: &mut Buffer,
) -> Result<Cpu, Error> {
    let mut cpu = Cpu::default();
    if let Some(place) = time {
        cpu.user = place.number("cpuacct.usage_user", buffer)?;
        cpu.system = place.number("cpuacct.usage_sys", buffer)?;
    } else if let Some(said) = unified.said("cpu.stat", buffer)? {
        let time = |key| text::field(said, key).map(|time| time.saturating_mul(1000));
        (cpu.user, cpu.system) = (time("user_usec"), time("system_usec"));
    }
    if let Some(place) = limits {
        cpu.period = place.number("cpu.cfs_period_us", buffer)?;
        cpu.quota = place.limit("cpu.cfs_quota_us", buffer)?;
        cpu.shares = place.number("cpu.shares", buffer)?;
        cpu.throttling =
            place.said("cpu.stat", buffer)?.and_then(|said| throttling(said, "throttled_time", 1));
    } else {
        // `max 100000` or `50000 100000`.
        if let Some((quota, period)) = unified.said("cpu.max", buffer)?.and_then(|said| said.split_once(' '))
        {
            (cpu.quota, cpu.period) = (text::limit(quota), text::number(period));
        }
        cpu.shares = unified.number("cpu.weight", buffer)?.map(text::shares);
        cpu.throttling =
            unified.said("cpu.stat", buffer)?.and_then(|said| throttling(said, "throttled_usec", 1000));
    }
    Ok(cpu)
}

fn throttling(said: &str, time: &str, unit: u64) -> Option<Throttling> {
    Some(Throttling {
        periods: text::field(said, "nr_periods")?,
        throttled: text::field(said, "nr_throttled")?,
        time: text::field(said, time)?.saturating_mul(unit),
    })
}

fn memory_v1(place: &Place, buffer: &mut Buffer) -> Result<MemoryLimits, Error> {
    Ok(MemoryLimits {
        most: place.number("memory.max_usage_in_bytes", buffer)?,
        failures: place.number("memory.failcnt", buffer)?,
        kernel: place.number("memory.kmem.usage_in_bytes", buffer)?,
        reservation: place.limit("memory.soft_limit_in_bytes", buffer)?,
        swap_limit: place.limit("memory.memsw.limit_in_bytes", buffer)?,
        oom_kills: place.field("memory.oom_control", "oom_kill", buffer)?,
    })
}

fn memory_v2(place: &Place, buffer: &mut Buffer) -> Result<MemoryLimits, Error> {
    let (mut failures, mut oom_kills) = (None, None);
    if let Some(said) = place.said("memory.events", buffer)? {
        (failures, oom_kills) = (text::field(said, "max"), text::field(said, "oom_kill"));
    }
    Ok(MemoryLimits {
        most: place.number("memory.peak", buffer)?,
        failures,
        kernel: place.field("memory.stat", "kernel", buffer)?,
        reservation: place.limit("memory.min", buffer)?.filter(|bytes| *bytes > 0),
        swap_limit: place.limit("memory.swap.max", buffer)?,
        oom_kills,
    })
}

fn tasks(place: &Place, buffer: &mut Buffer) -> Result<Option<Tasks>, Error> {
    let Some(current) = place.number("pids.current", buffer)? else { return Ok(None) };
    Ok(Some(Tasks { current, limit: place.limit("pids.max", buffer)? }))
}

fn huge(
    hierarchies: &Hierarchies,
    v1: Option<&Place>,
    unified: &Place,
    buffer: &mut Buffer,
) -> Result<Vec<(String, Huge)>, Error> {
    let mut all = Vec::new();
    for size in hierarchies.page_sizes() {
        let found = match v1 {
            Some(place) => {
                let most = place.number(&format!("hugetlb.{size}.max_usage_in_bytes"), buffer)?;
                place
                    .number(&format!("hugetlb.{size}.usage_in_bytes"), buffer)?
                    .map(|usage| Huge { usage, most })
            }
            None => unified
                .number(&format!("hugetlb.{size}.current"), buffer)?
                .map(|usage| Huge { usage, most: None }),
        };
        all.extend(found.map(|huge| (size.clone(), huge)));
    }
    Ok(all)
}

/// Two files of lines `8:0 Read 4096`, and a line `Total 4096`.
fn disks_v1(place: &Place, buffer: &mut Buffer) -> Result<Vec<Disk>, Error> {
    let mut disks = Vec::new();
    if let Some(said) = place.said("blkio.throttle.io_service_bytes_recursive", buffer)? {
        disks.extend(said.lines().filter_map(|line| {
            let ((major, minor), operation, bytes) = disk_line(line)?;
            Some(Disk { major, minor, operation, bytes, count: 0 })
        }));
    }
    if let Some(said) = place.said("blkio.throttle.io_serviced_recursive", buffer)? {
        for (number, operation, count) in said.lines().filter_map(disk_line) {
            let same = |disk: &&mut Disk| (disk.major, disk.minor) == number && disk.operation == operation;
            if let Some(disk) = disks.iter_mut().find(same) {
                disk.count = count;
            }
        }
    }
    Ok(disks)
}

fn disk_line(line: &str) -> Option<((u32, u32), Operation, u64)> {
    let mut words = line.split(' ');
    let number = device(words.next()?)?;
    Some((number, Operation::of(words.next()?)?, words.next()?.parse().ok()?))
}

fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Lines `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn disks_v2(said: &str) -> Vec<Disk> {
    let mut disks = Vec::new();
    for line in said.lines() {
        let Some((number, rest)) = line.split_once(' ') else { continue };
        let Some((major, minor)) = device(number) else { continue };
        let value = |key: &str| {
            let pairs = rest.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(found, _)| *found == key).find_map(|(_, value)| value.parse().ok())
        };
        for (operation, bytes, count) in [
            (Operation::Read, "rbytes", "rios"),
            (Operation::Write, "wbytes", "wios"),
            (Operation::Discard, "dbytes", "dios"),
        ] {
            if let (Some(bytes), Some(count)) = (value(bytes), value(count)) {
                disks.push(Disk { major, minor, operation, bytes, count });
            }
        }
    }
    disks
}
