//! The files of cgroup v1.
//!
//! *Invariant:* values of one directory stand in an order that a directory just made accepts: the limit of memory before that of
//! memory and swap (which may not be lower), the period before the quota, memory nodes and CPUs before anything enters.
//!
//! Sources: `cgroup-v1/memory.rst`, `cpusets.rst`, `devices.rst`, `pids.rst`, `hugetlb.rst`; `scheduler/sched-bwc.rst`.

use std::fs;
use std::io;
use std::path::Path;

use orlop_model::container::Resources;
use orlop_wire::plan::{Cgroup, CgroupWrite};

use super::{DeviceRule, cgroup, parents, write};
use crate::Error;

/// What a container's directory gets for `controller`; cpuset is apart, in [`cpuset`].
pub(super) fn writes(
    controller: &str,
    resources: &Resources,
    devices: &[DeviceRule],
    swap: bool,
) -> Result<Vec<CgroupWrite>, Error> {
    match controller {
        "cpu" => cpu(resources),
        "memory" => memory(resources, swap),
        "pids" => match resources.unified.get("pids.max") {
            Some(value) => Ok(vec![write("pids.max", value, true)?]),
            None => Ok(Vec::new()),
        },
        "hugetlb" => hugetlb(resources),
        "devices" => devices.iter().map(device).collect(),
        // blkio, cpuacct, freezer, the named ones: entered for what they count and can do, without limits.
        _ => Ok(Vec::new()),
    }
}

fn cpu(resources: &Resources) -> Result<Vec<CgroupWrite>, Error> {
    let mut writes = Vec::new();
    if resources.cpu_shares > 0 {
        writes.push(write("cpu.shares", resources.cpu_shares, true)?);
    }
    if resources.cpu_period > 0 {
        writes.push(write("cpu.cfs_period_us", resources.cpu_period, true)?);
    }
    if resources.cpu_quota != 0 {
        // -1 is what a new directory has, and every negative number means it.
        writes.push(write("cpu.cfs_quota_us", resources.cpu_quota.max(-1), resources.cpu_quota > 0)?);
    }
    Ok(writes)
}

fn memory(resources: &Resources, swap: bool) -> Result<Vec<CgroupWrite>, Error> {
    let mut writes = Vec::new();
    if resources.memory_limit != 0 {
        let limit = resources.memory_limit.max(-1);
        writes.push(write("memory.limit_in_bytes", limit, limit > 0)?);
    }
    // Where swap is not counted there is nothing to limit it by; kubelet sends this limit to every machine.
    if resources.memory_swap_limit != 0 && swap {
        let limit = resources.memory_swap_limit.max(-1);
        writes.push(write("memory.memsw.limit_in_bytes", limit, limit > 0)?);
    }
    Ok(writes)
}

fn hugetlb(resources: &Resources) -> Result<Vec<CgroupWrite>, Error> {
    let mut writes = Vec::new();
    for (size, bytes) in &resources.hugepages {
        writes.push(write(format!("hugetlb.{size}.limit_in_bytes"), bytes, *bytes > 0)?);
        writes.push(write(format!("hugetlb.{size}.rsvd.limit_in_bytes"), bytes, false)?);
    }
    Ok(writes)
}

fn device(rule: &DeviceRule) -> Result<CgroupWrite, Error> {
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    let value = match rule.block {
        None => "a".to_owned(),
        Some(block) => {
            let kind = if block { 'b' } else { 'c' };
            format!("{kind} {}:{} {}", number(rule.major), number(rule.minor), rule.access)
        }
    };
    write(if rule.allow { "devices.allow" } else { "devices.deny" }, value, true)
}

/// What a container gets of CPUs and memory nodes, and the parents that have to get theirs first: a cpuset without them takes
/// neither tasks nor children with any.
pub(super) fn cpuset(
    mount: &Path,
    below: &Path,
    resources: &Resources,
) -> Result<(Vec<Cgroup>, Vec<CgroupWrite>), Error> {
    let mut above = Vec::new();
    let mut own = Vec::new();
    for (file, asked) in [("cpuset.mems", &resources.cpuset_mems), ("cpuset.cpus", &resources.cpuset_cpus)] {
        let mut value = read(&mount.join(file))?.ok_or_else(|| missing(&mount.join(file)))?;
        for parent in parents(below) {
            let directory = mount.join(parent);
            match read(&directory.join(file))? {
                Some(has) if !has.is_empty() => value = has,
                Some(_) | None => above.push((directory, write(file, &value, true)?)),
            }
        }
        own.push(write(file, if asked.is_empty() { &value } else { asked }, true)?);
    }
    // The uppermost first, whichever file it lacks.
    above.sort_by_key(|(directory, _)| directory.components().count());
    let parents = above.into_iter().map(|(directory, write)| cgroup(&directory, vec![write], true));
    Ok((parents.collect::<Result<_, _>>()?, own))
}

/// What a file says; `None` if it is not there.
fn read(file: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { file: file.to_owned(), source }),
    }
}

fn missing(file: &Path) -> Error {
    Error::Read { file: file.to_owned(), source: io::ErrorKind::NotFound.into() }
}
